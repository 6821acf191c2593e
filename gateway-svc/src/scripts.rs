//! Storing a script, as both ports do it.

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
    /// What the scheduler made of the text.
    pub(crate) check: CheckScriptResponse,
}

/// Why a script was not stored.
pub(crate) enum NotCreated {
    /// The text is not a script. At least one problem.
    NoScript(Vec<ScriptProblem>),
    /// A service said no, or does not answer.
    Failed(Error),
}

impl From<Status> for NotCreated {
    fn from(status: Status) -> Self {
        Self::Failed(status.into())
    }
}

impl From<NotCreated> for Error {
    /// Problems are refused content. Only the first few fit into an error; `CheckScript` tells all.
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

/// Stores a script, unless its text is none.
pub(crate) async fn create_script(
    channels: &Channels,
    caller: &Caller,
    deadline: Deadline,
    script: Script,
) -> Result<Created, NotCreated> {
    // Of a blank text nothing can be said; the registry refuses it.
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

/// What the scheduler makes of a text. Nothing is stored.
pub(crate) async fn check_script(
    channels: &Channels,
    caller: &Caller,
    deadline: Deadline,
    content: String,
) -> Result<CheckScriptResponse, Status> {
    let request = caller.attach(deadline.attach(CheckScriptRequest { content }));
    Ok(channels.policies().check_script(request).await?.into_inner())
}
