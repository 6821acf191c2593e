//! The long-running version of the tests of [`tests::chaos`]. Run it with `scripts/chaos`.

// A command-line tool prints to its user.
#![allow(clippy::print_stdout)]

use clap::Parser as _;
use tests::chaos::{self, Plan};

#[derive(Debug, clap::Parser)]
#[command(about = "Publishes messages while parts of the mesh are killed one after the other.")]
enum Arguments {
    /// MQTT messages, each of which must result in exactly one document.
    Events {
        /// The number of messages.
        #[arg(long, default_value_t = 20_000)]
        messages: u32,
        /// The number of messages per second.
        #[arg(long, default_value_t = 200)]
        per_second: u32,
        /// The seed for the choice of victims.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Do not kill the broker, and identify messages by their MQTT identity instead of a dedupe key.
        #[arg(long)]
        spare_broker: bool,
    },
}

#[tokio::main]
async fn main() {
    let Arguments::Events { messages, per_second, seed, spare_broker } = Arguments::parse();
    let plan = Plan { messages, per_second, seed, kill_broker: !spare_broker };
    let outcome = chaos::run(&plan, |line| println!("{line}")).await;
    println!("deaths: {:?}", outcome.deaths);
    println!("sums: {}", outcome.conservation);
    println!("{messages} messages, {messages} documents, in {:.0?}", outcome.took);
}
