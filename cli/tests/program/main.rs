//! The program `fl` as it is run, against fakes: what it prints, and what it says when something is wrong.

// Changed on purpose? `INSTA_UPDATE=always cargo test -p cli` writes the snapshots anew.

mod deploy;
mod errors;
mod formats;
mod support;
