//! The surfaces of the mesh where bytes that nobody trusts come in.
//!
//! Each surface takes one input, gives it to the code of the service, and panics if an invariant does not hold. Fuzzers
//! (`targets/`) search for such inputs; the tests replay the committed corpus and inputs from a fixed seed.
//!
//! - [`code`]: the registry's checks of uploaded code
//! - [`host_calls`]: host functions, called with any arguments
//! - [`script`]: APP scripts
//! - [`rest`]: bodies of the REST API, JSON and multipart
//! - [`mqtt`]: messages of brokers
//! - [`modules`]: generated functions, from the check to the outcome

pub mod code;
pub mod host_calls;
pub mod modules;
pub mod mqtt;
pub mod replay;
pub mod rest;
pub mod script;
mod worker;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was used.
    Accepted,
    /// It was refused with a reason.
    Refused,
}

/// Takes an input. Panics if an invariant does not hold.
pub type Check = Box<dyn FnMut(&[u8]) -> Verdict + Send>;

/// A surface.
#[derive(Debug, Clone, Copy)]
pub struct Surface {
    /// The name of its target and of its folder of the corpus.
    pub name: &'static str,
    /// Prepares what takes its inputs.
    pub open: fn() -> Check,
    /// How many inputs from the fixed seed the tests try.
    pub generated: usize,
}

/// All surfaces.
pub const SURFACES: [Surface; 6] = [
    Surface { name: "code", open: code::open, generated: 10_000 },
    Surface { name: "host_calls", open: host_calls::open, generated: 500 },
    Surface { name: "script", open: script::open, generated: 3000 },
    Surface { name: "rest", open: rest::open, generated: 1000 },
    Surface { name: "mqtt", open: mqtt::open, generated: 3000 },
    Surface { name: "modules", open: modules::open, generated: 30 },
];

/// Checks the message of an error.
#[track_caller]
fn assert_message(message: &str) {
    assert!(!message.trim().is_empty(), "an error says what was wrong");
}
