//! The statuses of the bindings that run here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proto::binding::v1::{BindingState, BindingStatus};
use tokio::sync::watch;

use super::passes::Passes;
use crate::clock::now_ms;

/// The statuses of the bindings that run here. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    entries: Arc<watch::Sender<HashMap<String, Entry>>>,
    passes: Passes,
}

#[derive(Debug)]
struct Entry {
    state: BindingState,
    message: String,
    since_ms: i64,
    /// Changes with each event and result, and therefore does not notify.
    last_activity_ms: Arc<AtomicI64>,
    /// The binding has changed or moved to another replica, and its previous connection is being closed.
    is_superseded: bool,
}

impl Entry {
    fn status(&self, id: &str) -> BindingStatus {
        BindingStatus {
            id: id.to_owned(),
            state: self.state.into(),
            message: self.message.clone(),
            since_ms: self.since_ms,
            last_activity_ms: self.last_activity_ms.load(Ordering::Relaxed),
        }
    }
}

impl StatusBoard {
    /// The status of a binding; `None` when it does not run here.
    pub fn get(&self, id: &str) -> Option<BindingStatus> {
        self.entries.borrow().get(id).map(|entry| entry.status(id))
    }

    /// Waits until writes to the registry before this call are applied here.
    pub(super) async fn up_to_date(&self) {
        self.passes.next().await;
    }

    /// The passes that apply changes of the registry.
    pub(super) fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Marks a binding as outdated: it connects again, and reports of its previous connection are ignored.
    pub(super) fn supersede(&self, id: &str) {
        self.entries.send_if_modified(|entries| {
            let Some(entry) = entries.get_mut(id).filter(|entry| !entry.is_superseded) else { return false };
            (entry.state, entry.message, entry.since_ms) =
                (BindingState::Connecting, String::new(), now_ms());
            entry.is_superseded = true;
            true
        });
    }

    /// Adds an entry in the state connecting. Dropping the report removes it.
    pub(super) fn enter(&self, id: &str) -> Report {
        let last_activity_ms = Arc::new(AtomicI64::new(0));
        let entry = Entry {
            state: BindingState::Connecting,
            message: String::new(),
            since_ms: now_ms(),
            last_activity_ms: Arc::clone(&last_activity_ms),
            is_superseded: false,
        };
        self.entries.send_modify(|entries| {
            entries.insert(id.to_owned(), entry);
        });
        Report { board: self.clone(), id: id.to_owned(), last_activity_ms }
    }
}

/// Reports the status of a running binding.
#[derive(Debug)]
pub struct Report {
    board: StatusBoard,
    id: String,
    last_activity_ms: Arc<AtomicI64>,
}

impl Report {
    /// Reports that it is connected.
    pub fn connected(&self) {
        if self.set(BindingState::Connected, String::new()) == Some(BindingState::Retrying) {
            tracing::info!(binding = self.id, "connected again");
        }
    }

    /// Reports that an attempt failed because of `problem` and will be retried.
    pub fn retrying(&self, problem: impl Into<String>) {
        let problem = problem.into();
        if self.set(BindingState::Retrying, problem.clone()) != Some(BindingState::Retrying) {
            tracing::warn!(binding = self.id, problem, "not connected; retrying");
        }
    }

    /// Reports that an event was received or a result delivered.
    pub fn active(&self) {
        self.last_activity_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Returns the previous state.
    fn set(&self, state: BindingState, message: String) -> Option<BindingState> {
        let mut former = None;
        self.board.entries.send_if_modified(|entries| {
            let own = entries.get_mut(&self.id).filter(|entry| self.is_of(entry) && !entry.is_superseded);
            let Some(entry) = own else { return false };
            former = Some(entry.state);
            if entry.state == state && entry.message == message {
                return false;
            }
            if entry.state != state {
                entry.since_ms = now_ms();
            }
            (entry.state, entry.message) = (state, message);
            true
        });
        former
    }

    /// Whether the entry belongs to this report.
    fn is_of(&self, entry: &Entry) -> bool {
        Arc::ptr_eq(&entry.last_activity_ms, &self.last_activity_ms)
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.board.entries.send_modify(|entries| {
            // A successor has its own entry.
            if entries.get(&self.id).is_some_and(|entry| self.is_of(entry)) {
                entries.remove(&self.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_each_other() {
        let board = StatusBoard::default();
        let report = board.enter("b");
        assert_eq!(board.get("b").expect("entered").state(), BindingState::Connecting);
        report.retrying("refused");
        let status = board.get("b").expect("there");
        assert_eq!((status.state(), status.message.as_str()), (BindingState::Retrying, "refused"));
        report.connected();
        report.active();
        let status = board.get("b").expect("there");
        assert_eq!(status.state(), BindingState::Connected);
        assert!(status.message.is_empty() && status.last_activity_ms > 0);
    }

    #[test]
    fn the_time_of_a_state_is_that_of_its_beginning() {
        let board = StatusBoard::default();
        let report = board.enter("b");
        report.retrying("refused");
        let since = board.get("b").expect("there").since_ms;
        report.retrying("timed out");
        let status = board.get("b").expect("there");
        assert_eq!((status.since_ms, status.message.as_str()), (since, "timed out"));
    }

    #[test]
    fn a_superseded_connection_reports_nothing_more() {
        let board = StatusBoard::default();
        let report = board.enter("b");
        report.connected();
        board.supersede("b");
        assert_eq!(board.get("b").expect("it still ends").state(), BindingState::Connecting);
        report.retrying("the broker closed the connection");
        report.connected();
        assert_eq!(board.get("b").expect("it still ends").state(), BindingState::Connecting);
        let successor = board.enter("b");
        report.connected();
        successor.retrying("not authorized");
        drop(report);
        let status = board.get("b").expect("of the successor");
        assert_eq!((status.state(), status.message.as_str()), (BindingState::Retrying, "not authorized"));
    }

    #[test]
    fn an_entry_ends_with_its_report_and_not_with_a_former_one() {
        let board = StatusBoard::default();
        let former = board.enter("b");
        let report = board.enter("b");
        drop(former);
        assert!(board.get("b").is_some());
        drop(report);
        assert!(board.get("b").is_none());
    }
}
