//! Which worker takes an invocation. Pure functions over a view of the cluster.
//!
//! There is one way to choose: [`choose`] evaluates a [`Script`](app::Script), block by block, against a
//! [`WorkerTable`]. The default policy is a script of one block. Dispatch, hypothetical explanations and
//! simulations all use it, so they cannot differ. What led to a choice is not recorded: [`steps()`] finds it again
//! from the choice and the workers as they were.

pub mod app;
#[cfg(test)]
pub(crate) mod arbitrary;
mod bitset;
mod choose;
mod filter;
mod memory_index;
mod rule;
mod steps;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod worker;

#[cfg(test)]
pub(crate) use choose::oracle::choose as oracle;
pub use choose::{Choice, Outcome, Refusal, choose};
pub use rule::Requirements;
pub use steps::{ItemUse, PastWorkers, Step, Verdict, steps};
pub use table::{TagUpdate, Update, WorkerTable};
pub use worker::{KB, Memory, TagCounts, Tags, Worker, WorkerStatus};
