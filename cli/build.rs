//! The files that are embedded: new ones have to be noticed.

// Cargo reads what a build script prints.
#![allow(clippy::print_stdout)]

fn main() {
    for folder in ["templates", "sdk"] {
        println!("cargo:rerun-if-changed=../guest/{folder}");
    }
}
