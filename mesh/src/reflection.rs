//! Server reflection of a port: only the services that it serves, and the messages that they need.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use tonic_health::pb as health;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::{ServerReflection as V1, ServerReflectionServer as V1Server};
use tonic_reflection::server::v1alpha::{
    ServerReflection as V1Alpha, ServerReflectionServer as V1AlphaServer,
};

/// The services that every port serves in addition to its own.
const OF_EVERY_PORT: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The field numbers of a file's `service` and a service's `method`, in the paths of comments.
const SERVICE: i32 = 6;
const METHOD: i32 = 2;

/// Reflection of `services`, with the methods whose paths are `shown`. Older clients support only v1alpha.
pub(crate) fn services(
    services: &[&str],
    shown: fn(&str) -> bool,
) -> (V1Server<impl V1 + use<>>, V1AlphaServer<impl V1Alpha + use<>>) {
    let files = descriptors(services, shown);
    let builder =
        || Builder::configure().include_reflection_service(false).register_file_descriptor_set(files.clone());
    let v1 = builder().build_v1().expect("the descriptors come from our own build");
    let v1alpha = builder().build_v1alpha().expect("the descriptors come from our own build");
    (v1, v1alpha)
}

/// The files with the shown services and messages, and the files that they import.
fn descriptors(services: &[&str], shown: fn(&str) -> bool) -> FileDescriptorSet {
    let sets = [
        proto::FILE_DESCRIPTOR_SET,
        health::FILE_DESCRIPTOR_SET,
        v1::FILE_DESCRIPTOR_SET,
        v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let sets =
        sets.map(|set| FileDescriptorSet::decode(set).expect("the descriptors come from our own build"));
    let served = |service: &str| services.contains(&service) || OF_EVERY_PORT.contains(&service);
    let (mut files, mut needed) = (BTreeMap::new(), Vec::new());
    for mut file in sets.into_iter().flat_map(|set| set.file) {
        let only_messages = file.service.is_empty();
        prune(&mut file, |service, method| served(service) && shown(&format!("/{service}/{method}")));
        if only_messages || !file.service.is_empty() {
            needed.push(file.name().to_owned());
        }
        files.insert(file.name().to_owned(), file);
    }
    let mut kept = Vec::new();
    while let Some(name) = needed.pop() {
        let Some(file) = files.remove(&name) else { continue };
        needed.extend(file.dependency.iter().cloned());
        kept.push(file);
    }
    FileDescriptorSet { file: kept }
}

/// Removes the methods that are not shown, services without any, and the comments on both.
fn prune(file: &mut FileDescriptorProto, shown: impl Fn(&str, &str) -> bool) {
    let package = file.package().to_owned();
    // The new indexes of the remaining services and methods, by their old indexes.
    let mut places = BTreeMap::new();
    let mut services: Vec<ServiceDescriptorProto> = Vec::new();
    for (old, mut service) in (0..).zip(std::mem::take(&mut file.service)) {
        let name = format!("{package}.{}", service.name());
        let mut methods = BTreeMap::new();
        let mut place = 0..;
        service.method = (0..)
            .zip(std::mem::take(&mut service.method))
            .filter(|(_, method)| shown(&name, method.name()))
            .map(|(old, method)| {
                methods.insert(old, place.next().unwrap_or_default());
                method
            })
            .collect();
        if !service.method.is_empty() {
            places.insert(old, (i32::try_from(services.len()).unwrap_or_default(), methods));
            services.push(service);
        }
    }
    file.service = services;
    let Some(comments) = &mut file.source_code_info else { return };
    comments.location.retain_mut(|comment| match comment.path.as_mut_slice() {
        [SERVICE, service, rest @ ..] => {
            let Some((place, methods)) = places.get(service) else { return false };
            *service = *place;
            match rest {
                [METHOD, method, ..] => methods.get(method).map(|place| *method = *place).is_some(),
                _ => true,
            }
        }
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &FileDescriptorSet) -> Vec<String> {
        let of = |file: &FileDescriptorProto| {
            let package = file.package().to_owned();
            let methods = move |service: &ServiceDescriptorProto| {
                let service_name = format!("{package}.{}", service.name());
                let name = move |method: &prost_types::MethodDescriptorProto| {
                    format!("{service_name}/{}", method.name())
                };
                service.method.iter().map(name).collect::<Vec<_>>()
            };
            file.service.iter().flat_map(methods).collect::<Vec<_>>()
        };
        let mut names: Vec<_> = files.file.iter().flat_map(of).collect();
        names.retain(|name| !name.starts_with("grpc."));
        names.sort();
        names
    }

    #[test]
    fn only_served_and_shown_methods_are_listed() {
        let all = |_: &str| true;
        let served = ["funless.registry.v1.Subjects", "funless.registry.v1.Revisions"];
        let expected = [
            "funless.registry.v1.Revisions/GetRevision",
            "funless.registry.v1.Subjects/CreateSubject",
            "funless.registry.v1.Subjects/DeleteSubject",
            "funless.registry.v1.Subjects/ListSubjects",
        ];
        assert_eq!(names(&descriptors(&served, all)), expected);
        let lists = |path: &str| path.ends_with("/ListSubjects");
        assert_eq!(names(&descriptors(&served, lists)), expected[3..]);
        assert_eq!(names(&descriptors(&[], all)), [""; 0]);
        let served = ["Execution", "Logs"].map(|name| format!("funless.worker.v1.{name}"));
        let expected = served.clone().map(|service| service + "/");
        let shown = names(&descriptors(&served.each_ref().map(String::as_str), all));
        assert!(
            expected.iter().all(|service| shown.iter().any(|name| name.starts_with(service))),
            "{shown:?}"
        );
    }

    #[test]
    fn imports_are_included_and_comments_stay_with_their_methods() {
        let files = descriptors(&["funless.scheduler.v1.Cluster"], |path| path.ends_with("/AwaitCode")).file;
        let imports = files.iter().flat_map(|file| &file.dependency);
        for import in imports {
            assert!(files.iter().any(|file| file.name() == import), "{import} is missing");
        }
        let cluster = files.iter().find(|file| file.name().ends_with("cluster.proto")).expect("kept");
        let comments = &cluster.source_code_info.as_ref().expect("comments").location;
        let comment = comments.iter().find(|comment| comment.path == [SERVICE, 0, METHOD, 0]);
        let comment = comment.expect("a comment on the only method").leading_comments();
        assert!(comment.contains("code"), "{comment}");
        assert!(!comments.iter().any(|comment| comment.path.starts_with(&[SERVICE, 0, METHOD, 1])));
    }
}
