//! The progress of an upload, on a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::multipart::Part;

/// The part of the code that is sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How often what turns is turned.
const TURN: Duration = Duration::from_millis(100);

/// Shows how much of an upload has been sent, and that the mesh works on it. Without a terminal it shows nothing.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Of an upload of this function.
    pub fn of(name: &str, bytes: usize, is_quiet: bool) -> Self {
        let is_shown = !is_quiet && std::io::stderr().is_terminal();
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(u64::try_from(bytes).ok(), target);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(format!("uploading {name}"));
        Self(bar)
    }

    /// The code as a part of a form, whose progress is shown as it is read.
    pub fn part(&self, code: Vec<u8>) -> Part {
        if self.0.is_hidden() {
            return Part::bytes(code);
        }
        let code = Bytes::from(code);
        let length = code.len();
        let bar = self.0.clone();
        let chunks = (0..length).step_by(CHUNK_BYTES).map(move |start| {
            let chunk = code.slice(start..length.min(start + CHUNK_BYTES));
            bar.inc(u64::try_from(chunk.len()).unwrap_or_default());
            if bar.length() == Some(bar.position()) {
                wait(&bar);
            }
            Ok::<_, std::io::Error>(chunk)
        });
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        Part::stream_with_length(body, u64::try_from(length).unwrap_or_default())
    }
}

/// All is sent.
fn wait(bar: &ProgressBar) {
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.set_message("waiting until the workers have compiled it");
    bar.enable_steady_tick(TURN);
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
