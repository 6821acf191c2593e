//! Replays the corpus and inputs from a fixed seed.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::replay::{Random, corpus};
use fuzz::{Check, SURFACES, Surface, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

const SEED: u64 = 2026;
/// The longest that one input takes; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most files of a corpus, and the most bytes of one.
const MAX_FILES: usize = 100;
const MAX_FILE_BYTES: usize = 4 << 10;

fn main() -> ExitCode {
    if let Some(code) = worker_svc::compile_if_asked(std::env::args_os()) {
        return code;
    }
    let trials = SURFACES.into_iter().flat_map(|surface| {
        [
            Trial::test(format!("{}::corpus", surface.name), move || replay_corpus(surface)),
            Trial::test(format!("{}::seed", surface.name), move || replay_seed(surface)),
        ]
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Every file holds the invariants. Some are accepted and some are refused: both ways are tried.
fn replay_corpus(surface: Surface) -> Result<(), Failed> {
    let files = corpus(surface.name)?;
    if files.len() > MAX_FILES {
        return Err(format!("{} files: minimise the corpus", files.len()).into());
    }
    let mut check = (surface.open)();
    let (mut accepted, mut refused) = (0, 0);
    for (path, input) in files {
        if input.len() > MAX_FILE_BYTES {
            return Err(format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display()).into());
        }
        match timed(&mut check, &input, &path)? {
            Verdict::Accepted => accepted += 1,
            Verdict::Refused => refused += 1,
        }
    }
    match accepted > 0 && refused > 0 {
        true => Ok(()),
        false => Err(format!("{accepted} inputs are accepted and {refused} refused").into()),
    }
}

/// Every input holds the invariants, and the inputs are the same each time.
fn replay_seed(surface: Surface) -> Result<(), Failed> {
    let files = corpus(surface.name)?;
    let (mut random, mut check) = (Random::new(SEED), (surface.open)());
    for number in 0..surface.generated {
        let input = random.input(&files);
        timed(&mut check, &input, format!("input {number}: {}", input.escape_ascii()).as_ref())?;
    }
    Ok(())
}

fn timed(check: &mut Check, input: &[u8], name: &Path) -> Result<Verdict, Failed> {
    let started = Instant::now();
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(input)));
    let verdict = verdict.map_err(|_| format!("{}: see the panic above", name.display()))?;
    match started.elapsed() {
        took if took > PATIENCE => Err(format!("{} took {took:?}", name.display()).into()),
        _ => Ok(verdict),
    }
}
