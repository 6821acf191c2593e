//! Events of bindings that were removed while no connector ran: nobody holds these bindings, and nothing
//! would ever end their events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mesh::bindings::find_holders;
use mesh::deadline::Deadline;
use mesh::{Channel, Error};

use crate::journal::{Change, Journal, Write};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(30);
/// A binding that nobody holds so many times in a row has been removed: one that exists is held again
/// within seconds.
const PATIENCE: u32 = 3;
/// How long a look may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Forgets what nobody will end, again and again.
pub(crate) async fn keep_sweeping(journal: Journal, registry: Channel) {
    let mut unheld = Unheld::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match sweep(&journal, &registry, &mut unheld).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "it is not known which bindings have been removed"),
        }
    }
}

async fn sweep(journal: &Journal, registry: &Channel, unheld: &mut Unheld) -> Result<(), Error> {
    let busy = journal.busy_bindings().await.map_err(|error| Error::unavailable(error.to_string()))?;
    let held = find_holders(registry, busy.clone(), Deadline::after(TIMEOUT)).await?;
    for id in unheld.look(busy, &held.into_keys().collect()) {
        let write = Write { binding_id: id.as_str().into(), change: Change::ForgetAll };
        if let Ok(Ok(events)) = journal.try_write(write).await {
            tracing::info!(binding = id, events, "the binding was removed; its events are forgotten");
        }
    }
    Ok(())
}

/// How many times in a row nobody held a binding.
#[derive(Default)]
struct Unheld(HashMap<String, u32>);

impl Unheld {
    /// Of these bindings some are held. Gives those that have been without a holder for long.
    fn look(&mut self, busy: Vec<String>, held: &HashSet<String>) -> Vec<String> {
        let unheld = busy.into_iter().filter(|id| !held.contains(id));
        let times = unheld.map(|id| {
            let times = self.0.get(&id).copied().unwrap_or_default() + 1;
            (id, times)
        });
        self.0 = times.collect();
        self.0.extract_if(|_, times| *times >= PATIENCE).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_without_a_holder_for_long_is_removed() {
        let mut unheld = Unheld::default();
        let busy = || vec!["a".to_owned(), "b".to_owned()];
        let held = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<HashSet<_>>();
        let looks: [(&[&str], &[&str]); 6] =
            [(&[], &[]), (&["a"], &[]), (&[], &["b"]), (&["a", "b"], &[]), (&[], &[]), (&[], &[])];
        for (number, (holders, removed)) in looks.into_iter().enumerate() {
            assert_eq!(unheld.look(busy(), &held(holders)), removed, "look {number}");
        }
        assert!(unheld.look(vec![], &held(&[])).is_empty());
    }
}
