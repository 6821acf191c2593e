//! `fl bench`.

use std::time::Duration;

use clap::Args;

use super::functions::FunctionName;
use super::local::{Input, duration};

/// Invocations per second.
const MIN_RATE: f64 = 0.01;
const MAX_RATE: f64 = 1_000_000.0;

/// Longer than anybody waits.
const MAX_DURATION: Duration = Duration::from_secs(720 * 3600);

/// Options of `fl bench`.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(flatten)]
    pub function: FunctionName,
    #[command(flatten)]
    pub input: Input,
    /// Connections: so many invocations run at once.
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub connections: u16,
    /// Number of invocations.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub invocations: Option<u64>,
    /// How long, such as 30s or 5m. With -n, whichever is reached first. Default: 10s, or until -n is reached.
    #[arg(long, short, value_name = "TIME", value_parser = positive)]
    pub duration: Option<Duration>,
    /// Invocations per second in all, at a constant rate. Latency is then measured from when an invocation was due, so
    /// that those that wait for a connection count. Default: as many as the connections can do.
    #[arg(long, short, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time > Duration::ZERO && time <= MAX_DURATION {
        true => Ok(time),
        false => Err("expected more than 0s and at most 720h".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("expected a number from {MIN_RATE} to {MAX_RATE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_durations() {
        for (text, read) in
            [("0.5", Some(0.5)), ("1000", Some(1000.0)), ("0", None), ("NaN", None), ("x", None)]
        {
            assert_eq!(rate(text).ok(), read, "{text}");
        }
        for text in ["0s", "721h"] {
            assert_eq!(positive(text).expect_err(text), "expected more than 0s and at most 720h");
        }
        assert_eq!(positive("90s"), Ok(Duration::from_secs(90)));
    }
}
