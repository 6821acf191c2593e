//! The pages that show how to write a function.

use std::fs;

/// The first block of Rust on the page at this path, which is relative to this crate.
fn first_function(page: &str) -> String {
    let path = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let block = text.split_once("```rust\n").and_then(|(_, rest)| rest.split_once("```"));
    block.unwrap_or_else(|| panic!("{page} has no Rust")).0.to_owned()
}

/// The example is compiled, and its tests are run.
#[test]
fn the_function_of_all_pages_is_the_example() {
    let example = include_str!("../examples/order.rs");
    for page in ["README.md", "../README.md"] {
        assert_eq!(first_function(page), example, "{page}");
    }
}
