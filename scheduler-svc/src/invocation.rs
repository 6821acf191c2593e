//! Invocations that have no worker yet.

use std::sync::Arc;

use bytes::Bytes;
use proto::DEFAULT_CAPACITY_KB;
use proto::registry::v1::Function;

use crate::policy::app::Script;
use crate::policy::{KB, Requirements};

/// An invocation that has no worker yet.
#[derive(Debug, Clone)]
pub struct PendingInvocation {
    /// What is invoked.
    pub function: Arc<Function>,
    /// The policy that chooses the worker.
    pub policy: Policy,
}

/// A named script, or the default policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The script's name. `None`: the default policy.
    pub name: Option<Arc<str>>,
    /// The script.
    pub script: Arc<Script>,
}

impl PendingInvocation {
    /// What it requires of a worker.
    pub fn requirements(&self) -> Requirements<'_> {
        static NO_CODE: Bytes = Bytes::new();
        let code = self.function.code.as_ref().map_or(&NO_CODE, |code| &code.hash);
        let capacity = capacity_kb_of(&self.function).saturating_mul(KB);
        Requirements { tag: tag_of(&self.function), capacity, code }
    }
}

/// The tag of a function; empty for none.
pub fn tag_of(function: &Function) -> &str {
    function.metadata.as_ref().map_or("", |metadata| &metadata.tag)
}

/// The capacity of a function, in KB.
pub fn capacity_kb_of(function: &Function) -> u64 {
    let capacity_kb = function.metadata.as_ref().map(|metadata| metadata.capacity_kb);
    capacity_kb.filter(|kb| *kb > 0).unwrap_or(DEFAULT_CAPACITY_KB)
}
