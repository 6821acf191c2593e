//! Who calls, and what they call about.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::Upload;
use tests::grpc::{Connection, connect};
use tests::receiver::Receiver;
use tests::{Client, Mesh, guests, wait};

/// How long a dead letter may take.
const LETTER_TIMEOUT: Duration = Duration::from_secs(60);

/// The text of the scripts.
pub const SCRIPT: &str = "- default: [{workers: '*'}]";

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Without a token.
    Nobody,
    /// Another subject than the owner.
    Other,
    Owner,
    Administrator,
}

impl Who {
    /// All, in the order of the columns.
    pub const ALL: [Self; 4] = [Self::Nobody, Self::Other, Self::Owner, Self::Administrator];
}

/// The callers, and a receiver that refuses results.
pub struct Cast {
    callers: [(Client, Connection); 4],
    receiver: Receiver,
}

impl Cast {
    /// The callers of a mesh.
    pub async fn of(mesh: &Mesh) -> Self {
        let admin = mesh.admin();
        let (other, owner) = (admin.create_subject("bob").await, admin.create_subject("ann").await);
        let callers = [mesh.nobody(), other, owner, admin].map(async |client: Client| {
            let connection = connect(mesh, client.token()).await;
            (client, connection)
        });
        let receiver = Receiver::start().await;
        receiver.answer_with(400);
        let callers = futures::future::join_all(callers).await;
        Self { callers: callers.try_into().unwrap_or_else(|_| panic!("four callers")), receiver }
    }

    /// The REST client of a caller.
    pub fn client(&self, who: Who) -> &Client {
        &self.caller(who).0
    }

    /// The gRPC connection of a caller.
    pub fn connection(&self, who: Who) -> &Connection {
        &self.caller(who).1
    }

    fn caller(&self, who: Who) -> &(Client, Connection) {
        let index = Who::ALL.iter().position(|one| *one == who).expect("one of them");
        &self.callers[index]
    }
}

/// The resource of a row, and the names that a call needs. For `create`, it does not exist yet.
#[derive(Debug, Default)]
pub struct Scene {
    /// A part of all names, which nothing else contains.
    pub marker: String,
    pub module: String,
    pub function: String,
    pub script: String,
    pub subject: String,
    pub decision: String,
    /// The revision of the script's creation.
    pub revision: u64,
    /// The id of a dead letter.
    pub letter: String,
}

impl Scene {
    /// A new resource of this kind that the owner has created.
    pub async fn of(cast: &Cast, kind: &str, action: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let marker = format!("scene_{}_", NEXT.fetch_add(1, Ordering::Relaxed));
        let is_shared = kind.ends_with(" _");
        let own_module = || format!("{marker}module");
        let mut scene = Self {
            module: if is_shared { "_".to_owned() } else { own_module() },
            function: format!("{marker}function"),
            script: format!("{marker}script"),
            subject: format!("{marker}subject"),
            marker,
            ..Self::default()
        };
        let owner = cast.client(Who::Owner);
        let is_created = action != "create";
        match kind {
            "module" if is_created => owner.create_module(&scene.module).await,
            "function" | "function of _" => {
                if !is_shared {
                    owner.create_module(&scene.module).await;
                }
                if is_created {
                    scene.create_function(owner, &guests::responding(b"1"), &[]).await;
                }
            }
            "script" if is_created => scene.create_script(owner).await,
            "shared script" => scene.create_script(cast.client(Who::Administrator)).await,
            "subject" if is_created => {
                drop(cast.client(Who::Administrator).create_subject(&scene.subject).await)
            }
            "decision" => {
                owner.create_module(&scene.module).await;
                scene.create_script(owner).await;
                scene.create_function(owner, &guests::responding(b"1"), &[]).await;
                scene.decide(owner).await;
            }
            "event" | "dead letter of an event" => {
                owner.create_module(&scene.module).await;
                scene.create_event(owner, kind).await;
            }
            "sink" | "dead letter of a result" | "dead letter of _" => {
                if !is_shared {
                    owner.create_module(&scene.module).await;
                }
                scene.create_sink(owner, cast.receiver.url(), kind, action).await;
            }
            "module" | "module _" | "script" | "subject" | "code" | "worker" | "health" => {}
            other => panic!("a new kind: {other}"),
        }
        if kind == "worker" {
            scene.marker = "metrics_".to_owned();
        }
        scene
    }

    async fn create_function(&self, owner: &Client, code: &[u8], parts: &[(&str, String)]) {
        let upload = Upload::function(&self.function, code);
        let upload = parts.iter().fold(upload, |upload, (name, text)| upload.text(name, text));
        let answer = owner.post_form(&format!("/v1/fn/{}", self.module), upload).await;
        // 207: stored, but its events are not connected yet.
        assert!([201, 207].contains(&answer.status), "{answer:?}");
    }

    async fn create_script(&mut self, owner: &Client) {
        let upload = Upload::default().text("name", &self.script).file("file", SCRIPT.as_bytes());
        let answer = owner.post_form("/v1/scripts/app", upload).await.expect(201);
        let revision = answer.headers.get("x-funless-revision").expect("the revision");
        self.revision = revision.to_str().expect("text").parse().expect("a number");
    }

    async fn decide(&mut self, owner: &Client) {
        let body = json!({ "args": {}, "scheduling": { "language": "app", "script": self.script } });
        let path = format!("/v1/fn/{}/{}", self.module, self.function);
        let answer = owner.post(&path, &body).await.expect(200);
        let decision = answer.headers.get("x-funless-decision").expect("the decision's id");
        self.decision = decision.to_str().expect("text").to_owned();
    }

    /// A function that a schedule triggers. It fails, so that its events become dead letters.
    async fn create_event(&mut self, owner: &Client, kind: &str) {
        let events = json!([{ "type": "cron", "params": { "schedule": "* * * * * *" } }]);
        self.create_function(owner, &guests::failing(b"no"), &[("events", events.to_string())]).await;
        self.letter = self.first_letter(owner).await;
        if kind == "event" {
            self.letter.clear();
            return;
        }
        // It has no more events, and a redrive succeeds.
        let upload = Upload::function(&self.function, &guests::responding(b"1")).text("events", "[]");
        owner.put_form(&format!("/v1/fn/{}/{}", self.module, self.function), upload).await.expect(200);
    }

    /// A function with a sink that refuses its results.
    async fn create_sink(&mut self, owner: &Client, url: &str, kind: &str, action: &str) {
        let sinks = json!([{ "type": "webhook", "params": { "url": url, "max_attempts": 1 } }]);
        self.create_function(owner, &guests::responding(b"1"), &[("sinks", sinks.to_string())]).await;
        if kind == "sink" && action == "list" {
            owner.result(&self.module, &self.function, json!({})).await;
            self.first_letter(owner).await;
            return;
        }
        owner.result(&self.module, &self.function, json!({})).await;
        let letter = self.first_letter(owner).await;
        if kind != "sink" {
            self.letter = letter;
        }
    }

    async fn first_letter(&self, owner: &Client) -> String {
        let path = format!("/v1/dead-letters?module={}&function={}", self.module, self.function);
        let what = format!("there is a dead letter of {}/{}", self.module, self.function);
        wait::until(&what, LETTER_TIMEOUT, async || {
            let letters: Value = owner.get(&path).await.expect(200).json();
            Some(letters["data"].get(0)?["id"].as_str()?.to_owned())
        })
        .await
    }
}
