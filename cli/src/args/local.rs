//! `fl fn run`, `fl fn test` and `fl fn dev`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use mesh::egress::Rule;
use mesh::wasm::{MAX_MEMORY_BYTES, PAGE_BYTES};

/// The most that a worker can be configured to give an invocation.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Commands that need no mesh.
#[derive(Debug, Subcommand)]
pub enum LocalFunctions {
    /// Run a function on this machine as a worker does, without a mesh. Its log goes to standard error.
    Run(Run),
    /// Run the test cases of a function on this machine: the files tests/*.json in its folder. Fails if one fails.
    Test(Test),
    /// Watch the folder of a function: on every save, build, upload and invoke it, and show result, log and time.
    Dev(Dev),
}

/// Options of `fl fn run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Folder of a function, which is built first, or a WebAssembly binary.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub path: PathBuf,
    #[command(flatten)]
    pub input: Input,
    /// Print the receipt to standard error: where the time went, CPU time and memory.
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub limits: LocalLimits,
}

/// Options of `fl fn test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Folder of a function.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub limits: LocalLimits,
}

/// Options of `fl fn dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Folder of a function.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub input: Input,
    /// Print the receipt, too: where the time went, CPU time and memory.
    #[arg(long)]
    pub trace: bool,
    /// Run the function on this machine, without a mesh.
    #[arg(long)]
    pub local: bool,
    #[command(flatten)]
    pub limits: LocalLimits,
}

/// The input of a function.
#[derive(Debug, Args)]
pub struct Input {
    /// Arguments: any JSON value.
    #[arg(long, short, value_name = "JSON", conflicts_with = "args")]
    pub input: Option<String>,
    /// Argument whose value is a string. Repeatable. Or any JSON value, as with --input.
    #[arg(long, short, value_name = "KEY=VALUE|JSON")]
    pub args: Vec<String>,
}

/// What a function may use that runs on this machine.
#[derive(Debug, Args)]
pub struct LocalLimits {
    /// Timeout of an invocation, such as 500ms or 5s. Default: 60s, as on a worker.
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<Duration>,
    /// The most memory of an invocation, such as 64MiB. Default: 128MiB, as on a worker.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<ByteSize>,
    /// Deny the function connections to loopback, too.
    #[arg(long)]
    pub strict: bool,
    /// Let the function connect to addresses that are denied by default, such as 192.168.1.7:8080 or 10.0.0.0/8.
    /// Repeatable, or separated by commas.
    #[arg(long, env = "FL_ALLOW_EGRESS", value_delimiter = ',', value_name = "HOST[:PORTS]")]
    pub allow_egress: Vec<Rule>,
}

/// A time that an invocation may take.
fn timeout(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time >= Duration::from_millis(1) && time <= MAX_TIMEOUT {
        true => Ok(time),
        false => Err("expected 1ms to 24h".to_owned()),
    }
}

/// A time with a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let time = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| "expected a time with a unit, such as 500ms or 5s".to_owned())
}

/// A size of memory that WebAssembly can have.
fn memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a size with a unit, such as 64MiB".to_owned())?;
    match (PAGE_BYTES..=MAX_MEMORY_BYTES).contains(&size.as_u64()) {
        true => Ok(size),
        false => Err("expected 64KiB to 4GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units_and_bounds() {
        let expected = "expected a time with a unit, such as 500ms or 5s";
        for (text, read) in [
            ("500ms", Ok(Duration::from_millis(500))),
            ("1.5s", Ok(Duration::from_millis(1500))),
            ("2m", Ok(Duration::from_secs(120))),
            ("5", Err(expected)),
            ("-1s", Err(expected)),
            ("0s", Err("expected 1ms to 24h")),
            ("25h", Err("expected 1ms to 24h")),
        ] {
            assert_eq!(timeout(text), read.map_err(str::to_owned), "{text}");
        }
        for (text, read) in [
            ("64MiB", Ok(64 << 20)),
            ("65536", Ok(65536)),
            ("64KB", Err("expected 64KiB to 4GiB")),
            ("5GiB", Err("expected 64KiB to 4GiB")),
            ("much", Err("expected a size with a unit, such as 64MiB")),
        ] {
            let size = memory(text).map(|size| size.as_u64());
            assert_eq!(size, read.map_err(str::to_owned), "{text}");
        }
    }
}
