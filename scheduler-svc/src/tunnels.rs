//! The ways to workers that nobody can reach: the tunnels that they have opened.

use std::collections::HashMap;
use std::sync::Arc;

use mesh::Channel;
use parking_lot::Mutex;

/// The tunnels that are open. Each is a call that its worker makes, so that there are no more of them than
/// `server.max_concurrent`.
#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// By the worker's id, each with its number.
    channels: HashMap<String, (u64, Channel)>,
    opened: u64,
}

/// A tunnel that leads to its worker until this is dropped.
#[derive(Debug)]
pub struct OpenTunnel {
    tunnels: Arc<Tunnels>,
    worker_id: String,
    number: u64,
}

impl Tunnels {
    /// A worker has opened a tunnel. It takes the place of an earlier one, which ends with the last call
    /// that uses it.
    pub fn opened(self: &Arc<Self>, worker_id: String, channel: Channel) -> OpenTunnel {
        let mut open = self.0.lock();
        open.opened += 1;
        let number = open.opened;
        open.channels.insert(worker_id.clone(), (number, channel));
        OpenTunnel { tunnels: Arc::clone(self), worker_id, number }
    }

    /// The way to the worker with this id.
    pub fn to(&self, worker_id: &str) -> Option<Channel> {
        self.0.lock().channels.get(worker_id).map(|(_, channel)| channel.clone())
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let mut open = self.tunnels.0.lock();
        if open.channels.get(&self.worker_id).is_some_and(|(number, _)| *number == self.number) {
            open.channels.remove(&self.worker_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::Dialer;

    use super::*;

    #[tokio::test]
    async fn the_latest_tunnel_is_the_way_until_it_ends() {
        let tunnels = Arc::new(Tunnels::default());
        let open = async |name: &str| {
            let (near, _far, _) = mesh::testing::tunnel();
            let channel = Dialer::default().dial_tunnel(name, near).await.expect("the far end is not asked");
            tunnels.opened("w".into(), channel)
        };
        let way = || tunnels.to("w").map(|channel| channel.endpoint().to_string());
        assert_eq!(way(), None);
        let first = open("first").await;
        let second = open("second").await;
        drop(first);
        assert_eq!(way().as_deref(), Some("tunnel:second"));
        assert!(tunnels.to("another").is_none());
        drop(second);
        assert_eq!(way(), None);
    }
}
