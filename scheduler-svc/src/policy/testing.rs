//! Short notations of scripts and clusters, for tests.

use bytes::Bytes;

use super::app::{Script, parse};
use super::worker::{Memory, Worker};

/// The hash of the code of all functions.
pub const CODE: Bytes = Bytes::from_static(b"code");

/// Parses a script.
pub fn script(text: &str) -> Script {
    parse(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

/// A cluster in one line: `NAME AVAILABLE/TOTAL`, then `TAG=COUNT` for what runs, `warm` and `drains`.
/// `NAME ?` has unknown memory.
pub fn cluster(text: &str) -> Vec<Worker> {
    let workers = text.split(',').map(str::trim).filter(|worker| !worker.is_empty());
    let mut workers: Vec<_> = workers.map(worker_of).collect();
    workers.sort_by(|a, b| a.name.cmp(&b.name));
    workers
}

fn worker_of(text: &str) -> Worker {
    let mut words = text.split(' ');
    let name = words.next().expect("a name");
    let memory = words.next().expect("memory").split_once('/').map(|(available, total)| Memory {
        available: available.parse().expect("a number"),
        total: total.parse().expect("a number"),
    });
    let mut worker = Worker::new(name, memory);
    for word in words {
        match word.split_once('=') {
            Some((tag, count)) => {
                let count = count.parse().expect("a number");
                worker.running += count;
                worker.tags.add(tag, count);
            }
            None if word == "warm" => worker.warm.extend([CODE]),
            None => worker.draining = word == "drains",
        }
    }
    worker
}
