//! Stores for tests.

use bytes::Bytes;
use mesh::auth::Secret;
use mesh::shutdown::Tasks;
use proto::registry::v1::{Binding, Code, Function};
use uuid::Uuid;

use super::{FunctionBindings, Store};
use crate::keyring::Keyring;
use crate::names::DEFAULT_MODULE;

/// An empty store in memory.
pub(crate) async fn store() -> Store {
    let url = "sqlite::memory:".parse().expect("a URL");
    let keyring = Keyring::new(Some(&Secret::new("5e".repeat(32))), &[]).expect("a key");
    let store = Store::open(&url, 1, 100, keyring, &Tasks::default()).await.expect("a store");
    store.prepare().await.expect("migrated");
    store
}

impl Store {
    /// Creates a function with so many events. Returns the revision.
    pub(crate) async fn put_events(&self, name: &str, events: usize) -> u64 {
        let mut write = self.write().await.expect("a write");
        let code = Code { hash: Bytes::from_static(b"hash"), ..Code::default() };
        write.insert_code(&code, b"").await.expect("stored");
        let function = Function {
            id: format!("id-{name}"),
            module: DEFAULT_MODULE.into(),
            name: name.into(),
            code: Some(code),
            ..Function::default()
        };
        let event = || Binding { id: Uuid::now_v7().to_string(), r#type: "cron".into(), params: "{}".into() };
        let events = Some((0..events).map(|_| event()).collect());
        let bindings = FunctionBindings { events, sinks: None };
        write.insert_function(function, bindings).await.expect("inserted");
        write.commit().await.expect("committed")
    }
}
