//! The log of one function, from all workers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _};
use mesh::deadline::Deadline;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use tokio::sync::watch;

use crate::membership::{Contact, Members};

/// Reads the same log on each worker.
pub struct Tail {
    members: Arc<Members>,
    /// What workers are asked for.
    wanted: TailLogsRequest,
    workers: SelectAll<BoxStream<'static, (WorkerId, Heard)>>,
    /// Whom it listens to.
    open: HashSet<WorkerId>,
    /// The number of the latest line of each worker. Who is listened to again begins with what it remembers.
    latest: HashMap<WorkerId, u64>,
    /// Somebody who was listened to has ended the stream.
    lost_some: bool,
    joins: watch::Receiver<u64>,
}

/// How long a worker is let alone whose stream has ended.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// What is told at once of what workers remember, in bytes of text; what is older is left out.
const MOST_BYTES: usize = 8 << 20;
/// What a line costs beside its text, in bytes, at most.
const LINE_OVERHEAD: usize = 512;

type WorkerId = String;

/// What comes from a worker.
enum Heard {
    /// What it remembers.
    First(TailLogsResponse),
    More(TailLogsResponse),
    /// Nothing will come any more.
    End,
}

impl Tail {
    /// Asks `members` for what is `wanted`, which names the function by its id.
    pub fn new(members: Arc<Members>, wanted: TailLogsRequest) -> Self {
        Self {
            // Before anybody is asked, so that nobody comes unseen.
            joins: members.joins(),
            members,
            wanted,
            workers: SelectAll::new(),
            open: HashSet::new(),
            latest: HashMap::new(),
            lost_some: false,
        }
    }

    /// What all workers remember, in the order of time. Who has not told by the `deadline` is named.
    pub async fn remembered(&mut self, deadline: Deadline) -> TailLogsResponse {
        let mut waiting = self.listen(Some(deadline));
        let mut all = TailLogsResponse::default();
        while !waiting.is_empty() {
            let heard = tokio::time::timeout_at(deadline.instant(), self.workers.next()).await;
            let Ok(Some((worker, heard))) = heard else { break };
            if let (Some(name), Heard::End) = (waiting.remove(&worker), &heard) {
                all.unheard.push(name);
            }
            let response = self.take(&worker, heard);
            all.lines.extend(response.lines);
            all.missed += response.missed;
        }
        all.unheard.extend(waiting.into_values());
        all.unheard.sort();
        all.lines.sort_by_key(|line| line.at_us);
        if self.wanted.lines > 0 {
            let surplus = all.lines.len().saturating_sub(self.wanted.lines as usize);
            all.lines.drain(..surplus);
        }
        all.missed += cut(&mut all.lines, MOST_BYTES);
        // Of those that come later, all lines are wanted.
        self.wanted.lines = 0;
        all
    }

    /// Listens to the workers that it does not listen to yet. Gives their ids and names.
    fn listen(&mut self, deadline: Option<Deadline>) -> HashMap<WorkerId, String> {
        self.lost_some = false;
        let workers: Vec<_> = {
            let cluster = self.members.cluster();
            let members = cluster.members().map(|(_, member)| member);
            let new = members.filter(|member| !self.open.contains(&member.identity.id));
            new.map(|member| (member.identity.clone(), member.contact.clone())).collect()
        };
        let mut new = HashMap::new();
        for (identity, contact) in workers {
            let heard = hear(contact, self.wanted.clone(), deadline.filter(|_| !self.wanted.follow));
            let id = identity.id.clone();
            self.workers.push(heard.map(move |heard| (id.clone(), heard)).boxed());
            self.open.insert(identity.id.clone());
            new.insert(identity.id, identity.name);
        }
        new
    }

    /// What is new of what was heard.
    fn take(&mut self, worker: &str, heard: Heard) -> TailLogsResponse {
        let response = match heard {
            Heard::First(mut response) => {
                if let Some(latest) = self.latest.get(worker) {
                    response.lines.retain(|line| line.number > *latest);
                }
                response
            }
            Heard::More(response) => response,
            Heard::End => {
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

/// The lines to come, also of workers to come.
pub fn follow(tail: Tail) -> impl Stream<Item = TailLogsResponse> + Send {
    stream::unfold(tail, async |mut tail| {
        loop {
            tokio::select! {
                Some((worker, heard)) = tail.workers.next() => {
                    let response = tail.take(&worker, heard);
                    if !response.lines.is_empty() || response.missed > 0 {
                        return Some((response, tail));
                    }
                }
                joined = tail.joins.changed() => {
                    // The members, which `tail` holds, do the changing.
                    joined.ok()?;
                    tail.listen(None);
                }
                () = tokio::time::sleep(LISTEN_AGAIN), if tail.lost_some => {
                    tail.listen(None);
                }
            }
        }
    })
}

/// Leaves out the oldest lines until the others have at most so many bytes. Gives how many.
fn cut(lines: &mut Vec<LogLine>, most_bytes: usize) -> u64 {
    let mut bytes = 0;
    let kept = lines.iter().rev().take_while(|line| {
        bytes += line.text.len() + LINE_OVERHEAD;
        bytes <= most_bytes
    });
    let surplus = lines.len() - kept.count();
    lines.drain(..surplus);
    surplus as u64
}

/// What comes from one worker, until its end.
fn hear(
    contact: Contact,
    wanted: TailLogsRequest,
    deadline: Option<Deadline>,
) -> impl Stream<Item = Heard> + Send {
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
            tracing::debug!(%status, "a worker does not tell its log");
        }
        std::future::ready(response.is_ok())
    });
    let heard = responses.enumerate().filter_map(async |(index, response)| match index {
        0 => response.ok().map(Heard::First),
        _ => response.ok().map(Heard::More),
    });
    heard.chain(stream::iter([Heard::End]))
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
            let surplus = cut(&mut lines, most);
            let texts: String = lines.into_iter().map(|line| line.text).collect();
            assert_eq!((texts.as_str(), surplus), (kept, 3 - kept.len() as u64), "{most}");
        }
    }
}
