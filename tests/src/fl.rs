//! Runs the command `fl`.

use std::path::Path;
use std::process::{Command, Output};

use crate::process::{Running, Signal, free_of_mesh, repository, without_authorities, workspace_binary};
use crate::{Client, Mesh};

/// The output and exit status of a command.
#[derive(Debug)]
pub struct Printed {
    /// Whether the exit code was 0.
    pub success: bool,
    /// The exit code.
    pub code: Option<i32>,
    /// The standard output, without trailing white space.
    pub out: String,
    /// The standard error, without trailing white space.
    pub err: String,
}

/// Runs `fl` with these arguments as `user` of `mesh`.
pub async fn fl(mesh: &Mesh, user: &Client, arguments: &[&str]) -> Printed {
    run(&all_arguments(mesh, user, arguments)).await
}

/// Starts `fl` with these arguments as `user` of `mesh`, with its output in the file `log`. Dropping the
/// result stops it with SIGINT, like Ctrl-C.
pub fn start(mesh: &Mesh, user: &Client, arguments: &[&str], log: &Path) -> Running {
    let mut command = Command::new(workspace_binary("fl"));
    command.args(all_arguments(mesh, user, arguments));
    without_authorities(&mut command);
    Running::start("fl", &mut command, log).stopped_by(Signal::INT)
}

fn all_arguments(mesh: &Mesh, user: &Client, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["--host".to_owned(), mesh.rest_url()];
    all.extend(user.token().into_iter().flat_map(|token| ["--token".to_owned(), token.to_owned()]));
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    all
}

/// Runs a command line in a shell in the repository, with `fl` on the path.
pub async fn typed(line: &str) -> Printed {
    let fl = workspace_binary("fl");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = fl.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", line]).current_dir(repository()).kill_on_drop(true);
    command.env("PATH", std::env::join_paths(folders).expect("paths without colons"));
    print(command).await
}

/// Runs `fl` with only these arguments, in a folder without a mesh.
pub async fn run(arguments: &[String]) -> Printed {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run_in(folder.path(), arguments).await
}

/// Runs `fl` with only these arguments in this folder, which is also the home directory.
pub async fn run_in(folder: &Path, arguments: &[String]) -> Printed {
    let mut command = tokio::process::Command::new(workspace_binary("fl"));
    command.args(arguments).current_dir(folder).env("HOME", folder).kill_on_drop(true);
    print(command).await
}

async fn print(mut command: tokio::process::Command) -> Printed {
    without_authorities(command.as_std_mut());
    free_of_mesh(command.as_std_mut());
    let Output { status, stdout, stderr } = command.output().await.expect("failed to run the command");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
    Printed { success: status.success(), code: status.code(), out: text(stdout), err: text(stderr) }
}
