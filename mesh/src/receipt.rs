//! Receipts: the cost of an invocation, sent in the trailers of its response, including failures.

pub use proto::receipt::v1::Receipt;

use std::time::Duration;

use prost::Message as _;
use tonic::metadata::{BinaryMetadataKey, MetadataMap, MetadataValue};
use tonic::{Response, Status};

use crate::server::Trailers;

const KEY: &str = "x-funless-receipt-bin";

/// Adds the receipt to the trailers of a response.
pub fn attach<T>(response: &mut Response<T>, receipt: &Receipt) {
    let mut trailers = MetadataMap::with_capacity(1);
    write(&mut trailers, receipt);
    response.extensions_mut().insert(Trailers(trailers.into_headers()));
}

/// Adds the receipt to an error, whose metadata become the trailers.
pub fn attach_to_failure(status: &mut Status, receipt: &Receipt) {
    write(status.metadata_mut(), receipt);
}

/// The receipt in a response's metadata; an empty one if there is none.
pub fn of(metadata: &MetadataMap) -> Receipt {
    let bytes = metadata.get_bin(KEY).and_then(|value| value.to_bytes().ok());
    bytes.and_then(|bytes| Receipt::decode(bytes).ok()).unwrap_or_default()
}

/// A duration in microseconds, as receipts contain it.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn write(metadata: &mut MetadataMap, receipt: &Receipt) {
    let key = BinaryMetadataKey::from_static(KEY);
    metadata.insert_bin(key, MetadataValue::from_bytes(&receipt.encode_to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_read_as_written() {
        let receipt = Receipt { run_us: 3, worker: "w\u{e9}".into(), ..Receipt::default() };
        let mut status = Status::aborted("trapped");
        assert_eq!(of(status.metadata()), Receipt::default());
        attach_to_failure(&mut status, &receipt);
        assert_eq!(of(status.metadata()), receipt);
        let mut response = Response::new(());
        attach(&mut response, &receipt);
        let Trailers(trailers) = response.extensions().get().expect("trailers");
        assert_eq!(of(&MetadataMap::from_headers(trailers.clone())), receipt);
    }

    #[test]
    fn an_invalid_receipt_is_empty() {
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(KEY, MetadataValue::from_bytes(b"\xff\xff"));
        assert_eq!(of(&metadata), Receipt::default());
    }
}
