//! docs/errors.md has a row for each reason, with its statuses.

use std::collections::BTreeMap;

use mesh::{Error, Reason, reason_name};

use super::ApiError;

/// The name of a gRPC code in protobuf: `NOT_FOUND`.
fn code_name(reason: Reason) -> String {
    let mut name = String::new();
    for character in format!("{:?}", mesh::error::code(reason)).chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

#[test]
fn every_reason_has_a_row() {
    let page = include_str!("../../../../docs/errors.md");
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [reason, code, status, retry, what_to_do] = cells.as_slice()
            && let Some(reason) = reason.strip_prefix('`').and_then(|reason| reason.strip_suffix('`'))
        {
            assert!(what_to_do.len() > 40, "{reason}: {what_to_do}");
            let documented = [*code, *status, *retry].map(str::to_owned);
            assert_eq!(rows.insert(reason, documented), None, "two rows for {reason}");
        }
    }
    let reasons = (1..1000).filter_map(|number| Reason::try_from(number).ok());
    for reason in reasons {
        let error = Error::new(reason, "x");
        let retry = if error.not_started() { "yes" } else { "no" };
        let status = ApiError::from(error).status.as_str().to_owned();
        let expected = [code_name(reason), status, retry.to_owned()];
        assert_eq!(rows.remove(reason_name(reason)), Some(expected), "{reason:?}");
    }
    assert!(rows.is_empty(), "no such reasons: {rows:?}");
}
