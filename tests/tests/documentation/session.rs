//! Runs the commands of a page: in a shell, in a folder that looks like a checkout, with wrappers on the path
//! for programs that take long or do not exit.

use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::process::{free_of_mesh, repository, stop_group, workspace_binary};

use crate::page::{self, Block};

/// Starts a program in the background and waits until a condition holds: `start NAME CONDITION PROGRAM...`.
/// Sets `pid`. If the program exits first, prints its output and fails.
const START: &str = r#"
start() {
    local log=$STATE/$1.log condition=$2
    shift 2
    # Truncate the log now: the condition must not see the output of an earlier program.
    : >"$log"
    "$@" >>"$log" 2>&1 &
    pid=$!
    until eval "$condition"; do
        kill -0 $pid 2>/dev/null || { cat "$log"; exit 1; }
        sleep 0.05
    done
}
"#;

/// `fl`. Commands that do not exit run in the background or are stopped.
const FL: &str = r#"#!/bin/bash
. "$STATE/start"
real=$BIN/fl
case " $* " in
*" up "*)
    if [ -f "$STATE/up.pid" ]; then
        kill "$(cat "$STATE/up.pid")" 2>/dev/null
        while kill -0 "$(cat "$STATE/up.pid")" 2>/dev/null; do sleep 0.05; done
    fi
    case " $* " in
    *" --demo "*) last='{"payload":"Hello FunLess!"}' ;;
    *) last='FunLess Mesh is up.' ;;
    esac
    start up 'grep -qF "$last" "$STATE/up.log"' "$real" "$@"
    echo $pid >"$STATE/up.pid"
    cat "$STATE/up.log"
    ;;
*" --watch "* | *" --follow "*)
    timeout --signal=INT 2 "$real" "$@" </dev/null
    code=$?
    [ $code = 124 ] || [ $code = 130 ] || exit $code
    ;;
*) exec "$real" "$@" ;;
esac
"#;

/// `cargo`. Everything has already been built.
const CARGO: &str = r#"#!/bin/bash
case "$*" in
"run --release --bin fl -- "*) shift 5; exec fl "$@" ;;
"build --release --workspace") ;;
*) echo "the tests do not support cargo $*"; exit 1 ;;
esac
"#;

/// `curl`. HTTP errors are failures, and streams are stopped.
const CURL: &str = r#"#!/bin/bash
case " $* " in
*" -N "*)
    timeout 2 /usr/bin/curl --fail-with-body --silent --show-error "$@"
    [ $? = 124 ]
    ;;
*) exec /usr/bin/curl --fail-with-body --silent --show-error "$@" ;;
esac
"#;

/// `prometheus`, in the background.
const PROMETHEUS: &str = r#"#!/bin/bash
. "$STATE/start"
start prometheus '/usr/bin/curl -s http://127.0.0.1:9090/-/ready | grep -qi ready' \
    /usr/bin/prometheus --storage.tsdb.path="$STATE/prometheus" "$@"
"#;

/// `registry-svc`, stopped as soon as it is ready.
const REGISTRY: &str = r#"#!/bin/bash
. "$STATE/start"
start registry '/usr/bin/curl -sf http://127.0.0.1:4101/readyz >/dev/null' "$BIN/registry-svc" "$@"
kill $pid
wait $pid
"#;

/// Shell functions for the annotations of pages.
const PRELUDE: &str = r#"
# A script that allows all functions on all workers.
any_worker() {
    printf '%s\n' '- default:' '    - workers: "*"'
}
# A dead letter whose function has been fixed.
dead_letter() {
    fl fn upload order guest/hello.wasm \
        --events '[{"type":"mqtt","params":{"host":"127.0.0.1","topic":"orders","max_attempts":1}}]'
    mosquitto_pub -q 1 -t orders -m '{}'
    until fl dead-letters list --json | jq -e '.data[0]' >/dev/null; do sleep 0.05; done
    fl fn upload order target/guests/echo.wasm --update
}
"#;

/// Runs the commands of a page. Panics with their output if one fails.
pub async fn run(path: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (checkout, state, programs) =
        (folder.path().join("checkout"), folder.path(), folder.path().join("bin"));
    for new in [&checkout, &programs] {
        std::fs::create_dir(new).expect("a folder");
    }
    for part in ["deploy", "docs", "guest"] {
        symlink(repository().join(part), checkout.join(part)).expect("a link");
    }
    std::fs::create_dir(checkout.join("target")).expect("a folder");
    symlink(repository().join("target/guests"), checkout.join("target/guests")).expect("a link");
    for (name, text) in
        [("fl", FL), ("cargo", CARGO), ("curl", CURL), ("prometheus", PROMETHEUS), ("registry-svc", REGISTRY)]
    {
        let program = programs.join(name);
        std::fs::write(&program, text).expect("a file");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .expect("failed to set permissions");
    }
    std::fs::write(state.join("start"), START).expect("a file");
    let fl = workspace_binary("fl");
    let binaries = fl.parent().expect("a folder");
    let script = state.join("script");
    std::fs::write(&script, script_of(&page::read(path), &checkout)).expect("a file");
    let log = state.join("log");
    let output = std::fs::File::create(&log).expect("a file");
    let mut search = vec![programs.clone(), binaries.to_owned()];
    search.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    search.push("/usr/sbin".into());
    let mut command = Command::new("bash");
    command
        .arg(&script)
        .current_dir(&checkout)
        .env("PATH", std::env::join_paths(search).expect("paths without colons"))
        .env("BIN", binaries)
        .env("STATE", state)
        .stdin(Stdio::null())
        .stderr(output.try_clone().expect("failed to clone the file handle"))
        .stdout(output)
        .process_group(0);
    free_of_mesh(&mut command);
    let mut child = command.spawn().expect("failed to run bash");
    let group = child.id();
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("a child");
    // The next page uses the same ports.
    stop_group(group).await;
    let printed = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "{path}: {status}; the last block failed:\n{printed}");
}

/// Joins all blocks into one script, which stops at the first command that fails.
fn script_of(blocks: &[Block], checkout: &Path) -> String {
    let mut script = format!("set -euo pipefail\n{PRELUDE}");
    for block in blocks.iter().filter(|block| block.not_run.is_none()) {
        if let Some(file) = &block.file {
            let file = checkout.join(file);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, &block.text).expect("a file");
        }
        if block.is_commands() {
            let before = block.before.as_deref().unwrap_or("true");
            let line = block.line;
            writeln!(
                script,
                "echo '== line {line}'\n{before}\nset -x\n{}\n{{ set +x; }} 2>/dev/null",
                block.text
            )
            .expect("a text");
        }
    }
    script
}
