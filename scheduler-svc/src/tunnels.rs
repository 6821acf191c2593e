//! The tunnels that workers behind NAT have opened.

use std::collections::HashMap;
use std::sync::Arc;

use mesh::Channel;
use parking_lot::Mutex;

/// The open tunnels. Each is a call of its worker, so there are at most `server.max_concurrent`.
#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// By the worker's id, each with its number.
    channels: HashMap<String, (u64, Channel)>,
    opened: u64,
}

/// A tunnel to a worker. It is closed to new calls when this is dropped.
#[derive(Debug)]
pub struct OpenTunnel {
    tunnels: Arc<Tunnels>,
    worker_id: String,
    number: u64,
}

impl Tunnels {
    /// A worker has opened a tunnel. It replaces an earlier one, which ends with its last call.
    pub fn opened(self: &Arc<Self>, worker_id: String, channel: Channel) -> OpenTunnel {
        let mut open = self.0.lock();
        open.opened += 1;
        let number = open.opened;
        open.channels.insert(worker_id.clone(), (number, channel));
        OpenTunnel { tunnels: Arc::clone(self), worker_id, number }
    }

    /// The tunnel to the worker with this id.
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
    async fn the_latest_tunnel_is_used_until_it_ends() {
        let tunnels = Arc::new(Tunnels::default());
        let open = async |name: &str| {
            let (near, _far, _) = mesh::testing::tunnel();
            let channel =
                Dialer::default().dial_tunnel(name, near).await.expect("the far end need not answer");
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
