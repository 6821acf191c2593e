//! The receipt of an invocation, in headers.
//!
//! `Server-Timing` contains the times, which browsers show; `X-FunLess-Receipt` contains the rest, as a
//! dictionary of RFC 9651.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh::receipt::Receipt;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const RECEIPT: HeaderName = HeaderName::from_static("x-funless-receipt");

/// Adds the receipt to the headers of a response, unless it is empty.
pub(super) fn put(headers: &mut HeaderMap, receipt: &Receipt) {
    if *receipt == Receipt::default() {
        return;
    }
    for (name, text) in [(SERVER_TIMING, timing(receipt)), (RECEIPT, costs(receipt))] {
        // A worker's name is the only text in it.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

/// The times in milliseconds, in the order of the phases. Phases that did not take place are left out.
fn timing(receipt: &Receipt) -> String {
    let phases = [
        ("schedule", receipt.schedule_us),
        ("queue", receipt.queue_us),
        ("fetch", receipt.fetch_us),
        ("compile", receipt.compile_us),
        ("load", receipt.load_us),
        ("instantiate", receipt.instantiate_us),
        ("run", receipt.run_us),
        ("keep", receipt.keep_us),
    ];
    let mut text = String::with_capacity(128);
    for (phase, us) in phases.into_iter().filter(|(_, us)| *us > 0) {
        write_time(&mut text, phase, us);
        text.push_str(", ");
    }
    write_time(&mut text, "total", receipt.total_us);
    text
}

fn write_time(text: &mut String, name: &str, us: u64) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{name};dur={}.{:03}", us / 1000, us % 1000);
}

fn costs(receipt: &Receipt) -> String {
    let Receipt { cpu_us, peak_memory_bytes, in_bytes, out_bytes, http_requests, attempts, .. } = receipt;
    let mut text = format!(
        "cpu_us={cpu_us}, peak_memory_bytes={peak_memory_bytes}, in_bytes={in_bytes}, \
         out_bytes={out_bytes}, http_requests={http_requests}, attempts={attempts}"
    );
    if !receipt.worker.is_empty() {
        let _ = write!(text, ", worker={:?}", receipt.worker);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let mut headers = HeaderMap::new();
        put(&mut headers, &Receipt::default());
        assert!(headers.is_empty(), "the receipt is empty");
        let receipt = Receipt {
            schedule_us: 12,
            fetch_us: 1_000,
            run_us: 1_234_567,
            total_us: 1_300_000,
            cpu_us: 900,
            peak_memory_bytes: 65536,
            in_bytes: 2,
            out_bytes: 3,
            http_requests: 4,
            attempts: 1,
            worker: "edge-1".into(),
            ..Receipt::default()
        };
        put(&mut headers, &receipt);
        let timing = "schedule;dur=0.012, fetch;dur=1.000, run;dur=1234.567, total;dur=1300.000";
        assert_eq!(headers[SERVER_TIMING], timing);
        let costs = "cpu_us=900, peak_memory_bytes=65536, in_bytes=2, out_bytes=3, http_requests=4, \
                     attempts=1, worker=\"edge-1\"";
        assert_eq!(headers[RECEIPT], costs);
    }
}
