//! Short versions of `scripts/chaos events`.

use tests::Shape;
use tests::chaos::{Plan, run};

const PLAN: Plan = Plan { messages: 2000, per_second: 150, seed: 5, kill_broker: true };

pub async fn events_survive_the_death_of_everything(_: Shape) {
    let outcome = run(&PLAN, |_| {}).await;
    assert_eq!(outcome.deaths.len(), 8, "every part was killed: {:?}", outcome.deaths);
}

/// The broker is not killed, and messages are identified by their MQTT packets alone: each is counted once.
pub async fn events_keep_their_identity_without_a_key(_: Shape) {
    let plan = Plan { seed: 6, kill_broker: false, ..PLAN };
    let outcome = run(&plan, |_| {}).await;
    assert_eq!(outcome.deaths.len(), 7, "every other part was killed: {:?}", outcome.deaths);
    assert_eq!(outcome.conservation["events"]["received"], plan.messages);
    assert_eq!(outcome.conservation["sinks"]["delivered"], plan.messages);
}
