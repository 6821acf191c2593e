//! Descriptors with their comments, by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

/// Numbers of fields in descriptor.proto, of which the paths of comments consist.
mod tag {
    pub(super) const FILE_MESSAGE: i32 = 4;
    pub(super) const FILE_ENUM: i32 = 5;
    pub(super) const FILE_SERVICE: i32 = 6;
    pub(super) const SERVICE_METHOD: i32 = 2;
    pub(super) const MESSAGE_FIELD: i32 = 2;
    pub(super) const MESSAGE_NESTED: i32 = 3;
    pub(super) const MESSAGE_ENUM: i32 = 4;
    pub(super) const ENUM_VALUE: i32 = 2;
}

/// Everything in the packages of the mesh. Names are full names without a leading dot.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// In the order of their names.
    pub(super) services: Vec<Service>,
    pub(super) messages: BTreeMap<String, Message>,
    pub(super) enums: BTreeMap<String, Enum>,
    /// The types of maps, by the names of their entries.
    maps: HashMap<String, (String, String)>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) methods: Vec<Method>,
}

#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) request: String,
    pub(super) response: String,
    pub(super) streams_requests: bool,
    pub(super) streams_responses: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) comment: String,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) comment: String,
    /// The name of a scalar, message or enum.
    pub(super) kind: String,
    pub(super) is_list: bool,
    /// The types of key and value.
    pub(super) map: Option<(String, String)>,
    /// The `oneof` to which it belongs.
    pub(super) one_of: Option<String>,
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) comment: String,
    /// Names and comments.
    pub(super) values: Vec<(String, String)>,
}

impl Descriptors {
    /// Reads an encoded `FileDescriptorSet` with its comments.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let set = FileDescriptorSet::decode(bytes).context("the descriptors")?;
        let mut descriptors = Self::default();
        for file in set.file.iter().filter(|file| file.package().starts_with("funless.")) {
            descriptors.add_file(file);
        }
        descriptors.services.sort_by(|one, other| one.name.cmp(&other.name));
        for field in descriptors.messages.values_mut().flat_map(|message| &mut message.fields) {
            field.map = descriptors.maps.get(&field.kind).cloned();
        }
        Ok(descriptors)
    }

    fn add_file(&mut self, file: &FileDescriptorProto) {
        let comments = Comments::of(file);
        for (message, index) in file.message_type.iter().zip(0..) {
            self.add_message(file.package(), message, &comments, &[tag::FILE_MESSAGE, index]);
        }
        for (values, index) in file.enum_type.iter().zip(0..) {
            self.add_enum(file.package(), values, &comments, &[tag::FILE_ENUM, index]);
        }
        for (service, index) in file.service.iter().zip(0..) {
            let path = [tag::FILE_SERVICE, index];
            let methods = service.method.iter().zip(0..).map(|(method, index)| Method {
                name: method.name().to_owned(),
                comment: comments.at(&path, &[tag::SERVICE_METHOD, index]),
                request: full_name(method.input_type()),
                response: full_name(method.output_type()),
                streams_requests: method.client_streaming(),
                streams_responses: method.server_streaming(),
            });
            self.services.push(Service {
                name: format!("{}.{}", file.package(), service.name()),
                comment: comments.at(&path, &[]),
                methods: methods.collect(),
            });
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto, comments: &Comments, path: &[i32]) {
        let name = format!("{scope}.{}", message.name());
        for (nested, index) in message.nested_type.iter().zip(0..) {
            let path = [path, &[tag::MESSAGE_NESTED, index]].concat();
            self.add_message(&name, nested, comments, &path);
        }
        for (values, index) in message.enum_type.iter().zip(0..) {
            let path = [path, &[tag::MESSAGE_ENUM, index]].concat();
            self.add_enum(&name, values, comments, &path);
        }
        let fields: Vec<_> = message
            .field
            .iter()
            .zip(0..)
            .map(|(field, index)| Field {
                name: field.name().to_owned(),
                comment: comments.at(path, &[tag::MESSAGE_FIELD, index]),
                kind: kind_of(field),
                is_list: field.label() == Label::Repeated,
                map: None,
                one_of: one_of(message, field),
            })
            .collect();
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            if let [key, value] = fields.as_slice() {
                self.maps.insert(name, (key.kind.clone(), value.kind.clone()));
            }
            return;
        }
        self.messages.insert(name, Message { comment: comments.at(path, &[]), fields });
    }

    fn add_enum(&mut self, scope: &str, values: &EnumDescriptorProto, comments: &Comments, path: &[i32]) {
        let listed =
            values.value.iter().zip(0..).map(|(value, index)| {
                (value.name().to_owned(), comments.at(path, &[tag::ENUM_VALUE, index]))
            });
        let read = Enum { comment: comments.at(path, &[]), values: listed.collect() };
        self.enums.insert(format!("{scope}.{}", values.name()), read);
    }

    /// Adds a type of the mesh, and all that it contains.
    pub(super) fn reach(&self, name: &str, reached: &mut BTreeSet<String>) {
        let is_known = self.messages.contains_key(name) || self.enums.contains_key(name);
        if !is_known || !reached.insert(name.to_owned()) {
            return;
        }
        for field in self.messages.get(name).into_iter().flat_map(|message| &message.fields) {
            let value = field.map.as_ref().map_or(&field.kind, |(_, value)| value);
            self.reach(value, reached);
        }
    }
}

/// The comments above the elements of a file, by path.
struct Comments<'a>(HashMap<&'a [i32], &'a str>);

impl<'a> Comments<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        Self(locations.map(|location| (location.path.as_slice(), location.leading_comments())).collect())
    }

    fn at(&self, path: &[i32], rest: &[i32]) -> String {
        let comment = self.0.get([path, rest].concat().as_slice()).copied().unwrap_or_default();
        let lines: Vec<_> = comment.lines().map(str::trim).collect();
        lines.join("\n").trim().to_owned()
    }
}

fn full_name(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

fn kind_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => full_name(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

/// The `oneof` of a field. That of an `optional` field is synthetic.
fn one_of(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<String> {
    let index = usize::try_from(field.oneof_index?).ok().filter(|_| !field.proto3_optional())?;
    message.oneof_decl.get(index).map(|declared| declared.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_have_their_comments() {
        let descriptors = Descriptors::read(proto::FILE_DESCRIPTOR_SET).expect("valid");
        let invoke = &descriptors.messages["funless.scheduler.v1.InvokeResponse"];
        let result = invoke.fields.iter().find(|field| field.name == "result").expect("a field");
        assert_eq!(result.one_of.as_deref(), Some("outcome"));
        assert_eq!(result.comment, "The function's result, one JSON value, as it wrote it.");
        let state = &descriptors.messages["funless.scheduler.v1.WorkerState"];
        let by_tag = state.fields.iter().find(|field| field.name == "running_by_tag").expect("a field");
        assert_eq!(by_tag.map, Some(("string".into(), "uint32".into())));
        let mut reached = BTreeSet::new();
        descriptors.reach("funless.scheduler.v1.ListWorkersResponse", &mut reached);
        assert!(reached.contains("funless.scheduler.v1.MetricsSource"), "{reached:?}");
    }
}
