//! Which worker takes an invocation. Pure functions over a view of the cluster.
//!
//! There is one way to choose: [`choose`] evaluates a [`Script`](app::Script), block by block. The default
//! policy is a script of one block. Dispatch, explanations and simulations all use it, so they cannot differ.

pub mod app;
#[cfg(test)]
pub(crate) mod arbitrary;
mod choose;
mod rule;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
mod worker;

pub use choose::{Choice, Outcome, Refusal, choose};
pub use rule::Requirements;
pub use steps::{ItemUse, Step, Steps, Verdict};
pub use worker::{KB, Memory, TagCounts, Worker};
