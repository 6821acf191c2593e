//! Creation of scripts, for both ports.

use mesh::deadline::Deadline;
use mesh::{Caller, Error};
use proto::registry::v1::{CreateScriptRequest, CreateScriptResponse, Script};
use proto::scheduler::v1::{CheckScriptRequest, CheckScriptResponse, ScriptProblem};
use tonic::Status;

use crate::clients::Channels;

/// A script that was stored.
pub(crate) struct Created {
    /// The registry's answer.
    pub(crate) reply: CreateScriptResponse,
    /// The scheduler's check of the text.
    pub(crate) check: CheckScriptResponse,
}

/// Why a script was not stored.
pub(crate) enum NotCreated {
    /// The text is not a valid script. There is at least one problem.
    NoScript(Vec<ScriptProblem>),
    /// A service refused the request, or does not answer.
    Failed(Error),
}

impl From<Status> for NotCreated {
    fn from(status: Status) -> Self {
        Self::Failed(status.into())
    }
}

impl From<NotCreated> for Error {
    /// Problems become errors of the field `content`. Only the first few fit into an error; `CheckScript`
    /// returns all.
    fn from(refused: NotCreated) -> Self {
        match refused {
            NotCreated::Failed(error) => error,
            NotCreated::NoScript(problems) => {
                let content = |problem: ScriptProblem| ("content".to_owned(), problem.message);
                Self::fields(problems.into_iter().map(content))
            }
        }
    }
}

/// Stores a script, unless its text is not a valid script.
pub(crate) async fn create_script(
    channels: &Channels,
    caller: &Caller,
    deadline: Deadline,
    script: Script,
) -> Result<Created, NotCreated> {
    // A blank text is not checked; the registry refuses it.
    let check = match script.content.trim() {
        "" => CheckScriptResponse::default(),
        _ => check_script(channels, caller, deadline, script.content.clone()).await?,
    };
    if !check.errors.is_empty() {
        return Err(NotCreated::NoScript(check.errors));
    }
    let request = caller.attach(deadline.attach(CreateScriptRequest { script: Some(script) }));
    let reply = channels.scripts().create_script(request).await?.into_inner();
    Ok(Created { reply, check })
}

/// Lets the scheduler check a text. Nothing is stored.
pub(crate) async fn check_script(
    channels: &Channels,
    caller: &Caller,
    deadline: Deadline,
    content: String,
) -> Result<CheckScriptResponse, Status> {
    let request = caller.attach(deadline.attach(CheckScriptRequest { content }));
    Ok(channels.policies().check_script(request).await?.into_inner())
}
