//! The log of one function, from all workers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _};
use mesh::deadline::Deadline;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};

use crate::membership::{Contact, Members};

/// Reads the same log on each worker.
pub struct Tail {
    members: Arc<Members>,
    /// What workers are asked for.
    wanted: TailLogsRequest,
    workers: SelectAll<BoxStream<'static, (WorkerId, Heard)>>,
    /// Whom it listens to.
    open: HashSet<WorkerId>,
    /// When the latest line of each worker was written. Who is listened to again begins with what it
    /// remembers.
    latest: HashMap<WorkerId, i64>,
}

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
        Self { members, wanted, workers: SelectAll::new(), open: HashSet::new(), latest: HashMap::new() }
    }

    /// What all workers remember, in the order of time. Who has not told by the `deadline` is named.
    pub async fn remembered(&mut self, deadline: Deadline) -> TailLogsResponse {
        let mut waiting = self.listen();
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
        all
    }

    /// Listens to the workers that it does not listen to yet. Gives their ids and names.
    fn listen(&mut self) -> HashMap<WorkerId, String> {
        let workers: Vec<_> = {
            let cluster = self.members.cluster();
            let members = cluster.members().map(|(_, member)| member);
            let new = members.filter(|member| !self.open.contains(&member.identity.id));
            new.map(|member| (member.identity.clone(), member.contact.clone())).collect()
        };
        let mut new = HashMap::new();
        for (identity, contact) in workers {
            let heard = hear(contact, self.wanted.clone());
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
                    response.lines.retain(|line| line.at_us > *latest);
                }
                response
            }
            Heard::More(response) => response,
            Heard::End => {
                self.open.remove(worker);
                return TailLogsResponse::default();
            }
        };
        if let Some(LogLine { at_us, .. }) = response.lines.last() {
            self.latest.insert(worker.to_owned(), *at_us);
        }
        response
    }
}

/// The lines to come, also of workers to come.
pub fn follow(tail: Tail) -> impl Stream<Item = TailLogsResponse> + Send {
    let changes = tail.members.changes();
    stream::unfold((tail, changes), async |(mut tail, mut changes)| {
        loop {
            tokio::select! {
                Some((worker, heard)) = tail.workers.next() => {
                    let response = tail.take(&worker, heard);
                    if !response.lines.is_empty() || response.missed > 0 {
                        return Some((response, (tail, changes)));
                    }
                }
                changed = changes.changed() => {
                    // The members, which `tail` holds, do the changing.
                    changed.ok()?;
                    tail.listen();
                }
            }
        }
    })
}

/// What comes from one worker, until its end.
fn hear(contact: Contact, wanted: TailLogsRequest) -> impl Stream<Item = Heard> + Send {
    let responses = async move {
        match contact.logs().tail_logs(wanted).await {
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
