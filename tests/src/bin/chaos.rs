//! The long-running versions of the tests of [`tests::chaos`] and [`tests::outages`]. Run it with `scripts/chaos`.

// A command-line tool prints to its user.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use clap::Parser as _;
use tests::chaos::{self, Plan};
use tests::outages;

#[derive(Debug, clap::Parser)]
#[command(about = "Kills parts of the mesh one after the other while it works.")]
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
    /// Takes one part after the other away under 20 requests/s and 20 events/s, and prints what callers saw.
    Outages {
        /// How long each part is away, in seconds.
        #[arg(long, default_value_t = 120)]
        outage_s: u64,
        /// For how long the load goes on at least after a part was started again, in seconds.
        #[arg(long, default_value_t = 20)]
        afterwards_s: u64,
        /// Only this part; may be repeated.
        #[arg(long, value_parser = outages::PARTS)]
        part: Vec<String>,
    },
}

#[tokio::main]
async fn main() {
    match Arguments::parse() {
        Arguments::Events { messages, per_second, seed, spare_broker } => {
            let plan = Plan { messages, per_second, seed, kill_broker: !spare_broker };
            let outcome = chaos::run(&plan, |line| println!("{line}")).await;
            println!("deaths: {:?}", outcome.deaths);
            println!("sums: {}", outcome.conservation);
            println!("{messages} messages, {messages} documents, in {:.0?}", outcome.took);
        }
        Arguments::Outages { outage_s, afterwards_s, part } => {
            let is_chosen = |name: &&str| part.is_empty() || part.iter().any(|chosen| chosen == name);
            let plan = outages::Plan {
                parts: outages::PARTS.into_iter().filter(is_chosen).collect(),
                outage: Duration::from_secs(outage_s),
                afterwards: Duration::from_secs(afterwards_s),
            };
            let report = outages::run(&plan, |line| println!("{line}")).await;
            println!("\n{report}");
        }
    }
}
