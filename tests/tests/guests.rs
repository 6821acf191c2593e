//! The compiled functions of `guest/`.

use tests::guests;

#[test]
fn guests_are_small() {
    for (name, wasm) in [("hello", guests::hello()), ("echo", guests::echo())] {
        assert!(wasm.starts_with(b"\0asm") && wasm.len() < 100_000, "{name} has {} bytes", wasm.len());
    }
}
