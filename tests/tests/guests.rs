//! The committed function and its source.

use std::process::Command;

use tests::guests;
use tests::process::repository;

/// What is committed is what its source was built to: see `scripts/guests --check`.
#[test]
fn hello_matches_its_sources_recorded_hash() {
    let check = Command::new(repository().join("scripts/guests")).arg("--check").output().unwrap();
    let complaint = [check.stdout, check.stderr].concat();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&complaint));
}

#[test]
fn guests_are_small() {
    for (name, wasm) in [("hello", guests::hello()), ("echo", guests::echo())] {
        assert!(wasm.starts_with(b"\0asm") && wasm.len() < 100_000, "{name} has {} bytes", wasm.len());
    }
}
