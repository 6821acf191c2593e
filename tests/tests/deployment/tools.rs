//! Programs that scripts/test installs for these tests, in target/tools.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::process::repository;

/// The path of a program in target/tools.
fn tool(path: &str) -> PathBuf {
    let program = repository().join("target/tools").join(path);
    assert!(program.is_file(), "{} is missing; run scripts/test, which installs it", program.display());
    program
}

/// The standard output of a program at the root of the repository, which must succeed.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool(program));
    let output = command.args(arguments).current_dir(repository()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Validates a file, and returns what it contains. Formats are those of read.py.
pub fn validate(format: &str, text: &str) -> Value {
    let mut command = Command::new(tool("python/bin/python"));
    command.arg(repository().join("tests/tests/deployment/read.py")).arg(format);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("Python ends");
    // An invalid file is not read to its end.
    let _ = writer.join().expect("no panic");
    assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
