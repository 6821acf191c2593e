//! Merges the dead letters of two services into one list.

use proto::deadletter::v1::ListDeadLettersResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::letter::DeadLetterView;

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterPage)]
pub(crate) struct Page {
    data: Vec<DeadLetterView>,
    /// The `after` of the next page; null: this is the last page.
    next: Option<String>,
}

/// The first `limit` dead letters of several lists. Each list is ordered by id and may be incomplete.
pub(super) fn merge(lists: Vec<ListDeadLettersResponse>, limit: u32) -> Page {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Past the end of an incomplete list, its further dead letters are unknown.
    let incomplete = lists.iter().filter(|list| list.more);
    let known_to = incomplete.filter_map(|list| list.letters.last()).map(|letter| letter.id.clone()).min();

    let mut letters: Vec<_> = lists.into_iter().flat_map(|list| list.letters).collect();
    letters.sort_by(|a, b| a.id.cmp(&b.id));
    let mut more = known_to.is_some();
    if let Some(known_to) = known_to {
        letters.retain(|letter| letter.id <= known_to);
    }
    more |= letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| more).map(|letter| letter.id.clone());
    Page { data: letters.into_iter().map(DeadLetterView::from).collect(), next }
}

#[cfg(test)]
mod tests {
    use proto::deadletter::v1::DeadLetter;
    use serde_json::{Value, json};

    use super::*;

    fn list(ids: &str, more: bool) -> ListDeadLettersResponse {
        let letter = |id: char| DeadLetter { id: id.into(), ..DeadLetter::default() };
        ListDeadLettersResponse { letters: ids.chars().map(letter).collect(), more }
    }

    #[test]
    fn lists_are_merged_by_id() {
        let cases = [
            (vec![list("", false), list("", false)], 3, "", Value::Null),
            (vec![list("ad", false), list("bc", false)], 4, "abcd", Value::Null),
            (vec![list("ad", false), list("bc", false)], 3, "abc", json!("c")),
            (vec![list("abc", true), list("def", true)], 3, "abc", json!("c")),
            // A service may return fewer than requested and have more.
            (vec![list("bd", true), list("ace", false)], 9, "abcd", json!("d")),
            (vec![list("ab", true)], 9, "ab", json!("b")),
            (vec![list("b", false)], 1, "b", Value::Null),
        ];
        for (lists, limit, expected, next) in cases {
            let page = serde_json::to_value(merge(lists, limit)).expect("serializable");
            let ids = page["data"].as_array().expect("a list").iter();
            let ids: String = ids.filter_map(|letter| letter["id"].as_str()).collect();
            assert_eq!((ids.as_str(), &page["next"]), (expected, &next));
        }
    }
}
