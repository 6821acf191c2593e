//! Reads the log of one function from all workers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _};
use mesh::deadline::Deadline;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use tokio::sync::watch;

use crate::membership::{Contact, Members};

/// Reads the log of a function on each worker.
pub struct Tail {
    members: Arc<Members>,
    /// The request to each worker.
    wanted: TailLogsRequest,
    workers: SelectAll<BoxStream<'static, (WorkerId, LogItem)>>,
    /// The workers whose streams are open.
    open: HashSet<WorkerId>,
    /// The number of the latest line of each worker: one whose stream is opened again repeats its backlog.
    latest: HashMap<WorkerId, u64>,
    /// A stream has ended, and may be opened again.
    lost_some: bool,
    joins: watch::Receiver<u64>,
}

/// How long to wait before streams that have ended are opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// The largest backlog in one response, in bytes; older lines are left out.
const MAX_BACKLOG_BYTES: usize = 8 << 20;
/// The most that a line takes in a message beside its text, in bytes.
const LINE_OVERHEAD: usize = 512;

type WorkerId = String;

/// What a worker's stream brings.
enum LogItem {
    /// The lines that it remembers.
    Backlog(TailLogsResponse),
    /// New lines.
    New(TailLogsResponse),
    /// The end of the stream.
    End,
}

impl Tail {
    /// Reads the log that is `wanted`, which names the function by its id.
    pub fn new(members: Arc<Members>, wanted: TailLogsRequest) -> Self {
        Self {
            // First, so that no worker joins unnoticed.
            joins: members.joins(),
            members,
            wanted,
            workers: SelectAll::new(),
            open: HashSet::new(),
            latest: HashMap::new(),
            lost_some: false,
        }
    }

    /// The lines that all workers remember, by time. Names the workers that have not answered by the
    /// `deadline`.
    pub async fn backlog(&mut self, deadline: Deadline) -> TailLogsResponse {
        let mut waiting = self.open_streams(Some(deadline));
        let mut all = TailLogsResponse::default();
        while !waiting.is_empty() {
            let item = tokio::time::timeout_at(deadline.instant(), self.workers.next()).await;
            let Ok(Some((worker, item))) = item else { break };
            if let (Some(name), LogItem::End) = (waiting.remove(&worker), &item) {
                all.unreachable.push(name);
            }
            let response = self.new_lines(&worker, item);
            all.lines.extend(response.lines);
            all.missed += response.missed;
        }
        all.unreachable.extend(waiting.into_values());
        all.unreachable.sort();
        all.lines.sort_by_key(|line| line.at_us);
        if self.wanted.lines > 0 {
            let surplus = all.lines.len().saturating_sub(self.wanted.lines as usize);
            all.lines.drain(..surplus);
        }
        all.missed += drop_oldest(&mut all.lines, MAX_BACKLOG_BYTES);
        // Workers that join later send all lines.
        self.wanted.lines = 0;
        all
    }

    /// Opens a stream to each worker that has none. Gives their ids and names.
    fn open_streams(&mut self, deadline: Option<Deadline>) -> HashMap<WorkerId, String> {
        self.lost_some = false;
        let workers: Vec<_> = {
            let cluster = self.members.cluster();
            let members = cluster.members().map(|(_, member)| member);
            let new = members.filter(|member| !self.open.contains(&member.identity.id));
            new.map(|member| (member.identity.clone(), member.contact.clone())).collect()
        };
        let mut new = HashMap::new();
        for (identity, contact) in workers {
            let items = read_log(contact, self.wanted.clone(), deadline.filter(|_| !self.wanted.follow));
            let id = identity.id.clone();
            self.workers.push(items.map(move |item| (id.clone(), item)).boxed());
            self.open.insert(identity.id.clone());
            new.insert(identity.id, identity.name);
        }
        new
    }

    /// The new lines of an item.
    fn new_lines(&mut self, worker: &str, item: LogItem) -> TailLogsResponse {
        let response = match item {
            LogItem::Backlog(mut response) => {
                if let Some(latest) = self.latest.get(worker) {
                    response.lines.retain(|line| line.number > *latest);
                }
                response
            }
            LogItem::New(response) => response,
            LogItem::End => {
                self.open.remove(worker);
                self.lost_some = true;
                return TailLogsResponse::default();
            }
        };
        if let Some(LogLine { number, .. }) = response.lines.last() {
            self.latest.insert(worker.to_owned(), *number);
        }
        response
    }
}

/// The new lines of all workers, including those that join later.
pub fn follow(tail: Tail) -> impl Stream<Item = TailLogsResponse> + Send {
    stream::unfold(tail, async |mut tail| {
        loop {
            tokio::select! {
                Some((worker, item)) = tail.workers.next() => {
                    let response = tail.new_lines(&worker, item);
                    if !response.lines.is_empty() || response.missed > 0 {
                        return Some((response, tail));
                    }
                }
                joined = tail.joins.changed() => {
                    // Fails only without members, which `tail` holds.
                    joined.ok()?;
                    tail.open_streams(None);
                }
                () = tokio::time::sleep(REOPEN_AFTER), if tail.lost_some => {
                    tail.open_streams(None);
                }
            }
        }
    })
}

/// Drops the oldest lines until the others have at most so many bytes. Gives how many it dropped.
fn drop_oldest(lines: &mut Vec<LogLine>, most_bytes: usize) -> u64 {
    let mut bytes = 0;
    let kept = lines.iter().rev().take_while(|line| {
        bytes += line.text.len() + LINE_OVERHEAD;
        bytes <= most_bytes
    });
    let surplus = lines.len() - kept.count();
    lines.drain(..surplus);
    surplus as u64
}

/// Reads the log of one worker until its stream ends.
fn read_log(
    contact: Contact,
    wanted: TailLogsRequest,
    deadline: Option<Deadline>,
) -> impl Stream<Item = LogItem> + Send {
    let request = match deadline {
        Some(deadline) => deadline.attach(wanted),
        None => tonic::Request::new(wanted),
    };
    let responses = async move {
        match contact.logs().tail_logs(request).await {
            Ok(answer) => answer.into_inner().left_stream(),
            Err(status) => stream::iter([Err(status)]).right_stream(),
        }
    };
    let responses = stream::once(responses).flatten().take_while(|response| {
        if let Err(status) = response {
            tracing::debug!(%status, "a worker did not send its log");
        }
        std::future::ready(response.is_ok())
    });
    let items = responses.enumerate().filter_map(async |(index, response)| match index {
        0 => response.ok().map(LogItem::Backlog),
        _ => response.ok().map(LogItem::New),
    });
    items.chain(stream::iter([LogItem::End]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_are_kept() {
        let line = |text: &str| LogLine { text: text.into(), ..LogLine::default() };
        let each = LINE_OVERHEAD + 1;
        for (most, kept) in [(3 * each, "abc"), (2 * each, "bc"), (2 * each - 1, "c"), (0, "")] {
            let mut lines = vec![line("a"), line("b"), line("c")];
            let surplus = drop_oldest(&mut lines, most);
            let texts: String = lines.into_iter().map(|line| line.text).collect();
            assert_eq!((texts.as_str(), surplus), (kept, 3 - kept.len() as u64), "{most}");
        }
    }
}
