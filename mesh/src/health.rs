//! Readiness of a service, and the conditions that it waits for.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;

use crate::contact::RegistryContact;
use crate::metrics::read_gauge;

/// The conditions under which a service is ready. It is not ready at first, and ready while every condition
/// holds and it does not drain.
#[derive(Debug, Clone)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<(&'static str, bool)>>>,
    ready: Arc<watch::Sender<bool>>,
}

/// One condition of a service's readiness, false at first.
#[derive(Debug, Clone)]
pub struct Condition {
    index: usize,
    readiness: Readiness,
    /// Set if the condition holds forever once it has held.
    contact: Option<RegistryContact>,
}

const NOT_DRAINING: &str = "not draining";

impl Default for Readiness {
    fn default() -> Self {
        Self { conditions: Arc::default(), ready: Arc::new(watch::Sender::new(false)) }
    }
}

impl Readiness {
    /// Adds a condition, such as "follows the registry".
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut conditions = self.conditions.lock();
        conditions.push((name, false));
        let index = conditions.len() - 1;
        drop(conditions);
        self.evaluate();
        Condition { index, readiness: self.clone(), contact: None }
    }

    /// Declares that all conditions have been added and the service serves. It is not ready before.
    pub fn serving(&self) -> Condition {
        let condition = self.condition(NOT_DRAINING);
        condition.set(true);
        condition
    }

    /// Registers a gauge that shows whether the service is ready.
    pub fn show(&self, registry: &Registry) {
        let ready = self.watch();
        read_gauge(registry, "funless_ready", "1 while the service is ready.", &[], move || {
            f64::from(u8::from(*ready.borrow()))
        });
    }

    /// Watches whether the service is ready.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Completes when the service drains.
    pub async fn draining(&self) {
        let mut changes = self.watch();
        while !self.conditions.lock().contains(&(NOT_DRAINING, false)) {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// The conditions that do not hold.
    pub fn missing(&self) -> Vec<&'static str> {
        let conditions = self.conditions.lock();
        let mut missing: Vec<_> =
            conditions.iter().filter(|(_, holds)| !holds).map(|(name, _)| *name).collect();
        if !conditions.iter().any(|(name, _)| *name == NOT_DRAINING) {
            missing.push("started");
        }
        missing
    }

    fn evaluate(&self) {
        // Evaluated under the channel's lock: of two concurrent changes, the later one sees both.
        self.ready.send_modify(|ready| *ready = self.missing().is_empty());
    }
}

impl Condition {
    /// Keeps the condition once it has held: the service has what it needs from the registry. `contact` then shows
    /// whether the registry can still be reached.
    #[must_use]
    pub fn kept(self, contact: RegistryContact) -> Self {
        Self { contact: Some(contact), ..self }
    }

    /// Sets whether the condition holds.
    pub fn set(&self, holds: bool) {
        if let Some(contact) = &self.contact {
            contact.set(holds);
            if !holds {
                return;
            }
        }
        self.readiness.conditions.lock()[self.index].1 = holds;
        self.readiness.evaluate();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_while_all_conditions_hold() {
        let readiness = Readiness::default();
        let ready = readiness.watch();
        let database = readiness.condition("database");
        database.set(true);
        assert!(!*ready.borrow(), "not ready before it serves");
        let serving = readiness.serving();
        assert!(*ready.borrow());
        database.set(false);
        assert_eq!(readiness.missing(), ["database"]);
        assert!(!*ready.borrow());
        database.set(true);
        serving.set(false);
        assert!(!*ready.borrow(), "a draining service is not ready");
    }

    #[test]
    fn a_kept_condition_outlasts_an_outage() {
        let (readiness, contact) = (Readiness::default(), RegistryContact::new(&Registry::new()));
        let registry = readiness.condition("registry").kept(contact.clone());
        let _serving = readiness.serving();
        registry.set(false);
        assert_eq!(readiness.missing(), ["registry"], "it has never held");
        for reachable in [true, false, true] {
            registry.set(reachable);
            assert_eq!((readiness.missing().len(), contact.lost_since().is_none()), (0, reachable));
        }
    }

    #[tokio::test]
    async fn draining_completes_even_when_not_ready() {
        let readiness = Readiness::default();
        readiness.condition("database");
        let serving = readiness.serving();
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.draining().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        serving.set(false);
        waiting.await.expect("no panic");
    }

    #[test]
    fn concurrent_changes_are_not_lost() {
        let readiness = Readiness::default();
        let conditions = ["a", "b"].map(|name| readiness.condition(name));
        let _serving = readiness.serving();
        for _ in 0..2000 {
            std::thread::scope(|threads| {
                for condition in &conditions {
                    threads.spawn(|| condition.set(true));
                }
            });
            assert!(*readiness.watch().borrow());
            conditions[0].set(false);
            conditions[1].set(false);
        }
    }
}
