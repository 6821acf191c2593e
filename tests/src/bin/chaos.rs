//! The long form of the tests of [`tests::chaos`]; run it with `scripts/chaos`.

// A command line tool talks to its user.
#![allow(clippy::print_stdout)]

use clap::Parser as _;
use tests::chaos::{self, Plan};

#[derive(Debug, clap::Parser)]
#[command(about = "Publishes messages while one part of the mesh after the other is killed.")]
enum Arguments {
    /// MQTT messages, each of which must be one document in the end.
    Events {
        /// How many.
        #[arg(long, default_value_t = 20_000)]
        messages: u32,
        /// How many a second.
        #[arg(long, default_value_t = 200)]
        per_second: u32,
        /// Where the choice of victims begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Leave the broker alone, and tell messages apart by what MQTT gives them.
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
    println!("books: {}", outcome.conservation);
    println!("{messages} messages, {messages} documents, in {:.0?}", outcome.took);
}
