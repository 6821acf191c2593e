//! Dead letters: code shared by the RPCs of event sources and of sinks.

use std::collections::HashSet;

use proto::deadletter::v1::{DeadLetterFilter, DeadLetterSelection};

use crate::error::Error;

/// The maximum number of dead letters that one call lists, redrives or purges.
pub const MAX_DEAD_LETTERS: u32 = 1000;

/// The page size for a requested number of dead letters: 0 means the maximum, and larger numbers are capped.
pub fn page_size(requested: u32) -> u32 {
    if requested == 0 { MAX_DEAD_LETTERS } else { requested.min(MAX_DEAD_LETTERS) }
}

/// The dead letters that a call redrives or purges.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// These, each once.
    Ids(Vec<String>),
    /// The oldest that match the filter.
    Matching {
        /// The filter.
        filter: DeadLetterFilter,
        /// The maximum number.
        limit: u32,
    },
}

impl TryFrom<Option<DeadLetterSelection>> for Selection {
    type Error = Error;

    /// An empty list of ids selects by the filter. Too many ids are an error.
    fn try_from(selection: Option<DeadLetterSelection>) -> Result<Self, Error> {
        let DeadLetterSelection { ids, filter, limit } = selection.unwrap_or_default();
        if ids.is_empty() {
            return Ok(Self::Matching { filter: filter.unwrap_or_default(), limit: page_size(limit) });
        }
        if ids.len() > MAX_DEAD_LETTERS as usize {
            return Err(Error::field("ids", format!("expected at most {MAX_DEAD_LETTERS}")));
        }
        let mut seen = HashSet::new();
        Ok(Self::Ids(ids.into_iter().filter(|id| seen.insert(id.clone())).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_or_a_filter() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let select = |ids, limit| {
            let filter = Some(DeadLetterFilter { module: "m".into(), ..DeadLetterFilter::default() });
            Selection::try_from(Some(DeadLetterSelection { ids, filter, limit }))
        };
        assert_eq!(select(ids(&["b", "a", "b"]), 1).expect("few"), Selection::Ids(ids(&["b", "a"])));
        for (requested, limit) in [(0, 1000), (7, 7), (1000, 1000), (u32::MAX, 1000)] {
            let filter = DeadLetterFilter { module: "m".into(), ..DeadLetterFilter::default() };
            assert_eq!(select(Vec::new(), requested).expect("none"), Selection::Matching { filter, limit });
        }
        let error = select(vec!["a".into(); 1001], 0).expect_err("too many");
        assert_eq!(error.message, "ids expected at most 1000");
    }

    #[test]
    fn no_selection_selects_the_oldest() {
        let everything = Selection::Matching { filter: DeadLetterFilter::default(), limit: 1000 };
        assert_eq!(Selection::try_from(None).expect("valid"), everything);
    }
}
