//! Unary methods as types.

use prost::{Message, Name};

use crate::scheduler::v1::{InvokeRequest, InvokeResponse};
use crate::worker::v1::{ExecuteRequest, ExecuteResponse};

/// A unary method that a service of the same process can be called with, without encoding its messages.
pub trait Method: Send + Sync + 'static {
    /// Its path, `/package.Service/Method`.
    const PATH: &'static str;
    /// What it takes.
    type Request: Message + Send + Sync + 'static;
    /// What it returns.
    type Response: Message + Name + Default + Send + Sync + 'static;
}

/// The scheduler's `Invoke`.
#[derive(Debug, Clone, Copy)]
pub enum Invoke {}

impl Method for Invoke {
    const PATH: &'static str = "/funless.scheduler.v1.Invocations/Invoke";
    type Request = InvokeRequest;
    type Response = InvokeResponse;
}

/// A worker's `Execute`.
#[derive(Debug, Clone, Copy)]
pub enum Execute {}

impl Method for Execute {
    const PATH: &'static str = "/funless.worker.v1.Execution/Execute";
    type Request = ExecuteRequest;
    type Response = ExecuteResponse;
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;

    /// The full names of the messages of the method at `path`, from the descriptors.
    fn messages_of(path: &str) -> Option<(String, String)> {
        let files = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("our own descriptors").file;
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let (package, service) = service.rsplit_once('.')?;
        let mut services =
            files.iter().filter(|file| file.package() == package).flat_map(|file| &file.service);
        let service = services.find(|found| found.name() == service)?;
        let method = service.method.iter().find(|found| found.name() == method)?;
        Some((method.input_type().to_owned(), method.output_type().to_owned()))
    }

    fn check<M: Method<Request: Name>>() {
        let expected = (format!(".{}", M::Request::full_name()), format!(".{}", M::Response::full_name()));
        assert_eq!(messages_of(M::PATH), Some(expected), "{}", M::PATH);
    }

    #[test]
    fn methods_have_the_messages_of_their_paths() {
        check::<Invoke>();
        check::<Execute>();
    }
}
