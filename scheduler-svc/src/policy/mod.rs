//! Which worker takes an invocation. Pure functions over a view of the cluster.

mod platform;

pub use platform::most_available;
