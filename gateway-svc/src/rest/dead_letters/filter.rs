//! The selection of dead letters.

use std::fmt;
use std::time::Duration;

use proto::deadletter::v1::{DeadLetterFilter, DeadLetterSelection};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reached::function_needs_module;
use super::super::role::Role;

/// The default number of dead letters in a page.
const DEFAULT_LIMIT: u32 = 100;
/// The maximum number of dead letters in a request.
const MAX_LIMIT: u32 = 1000;

/// Selects the dead letters that match all given fields.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[schema(as = DeadLetterFilter)]
pub(crate) struct Filter {
    /// The module of the function.
    module: Option<String>,
    /// The function. Requires `module`.
    function: Option<String>,
    /// The id of the event or sink.
    binding: Option<String>,
    /// Dead letters of events, or of sinks.
    #[param(inline)]
    role: Option<Role>,
    /// The minimum age: a number of seconds, or a number with a unit: `90s`, `15m`, `12h`, `7d`.
    #[param(value_type = Option<String>, example = "12h")]
    #[schema(value_type = Option<String>, example = "12h")]
    older_than: Option<Age>,
}

/// The page to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    #[serde(flatten)]
    #[param(ignore)]
    pub(super) filter: Filter,
    /// The maximum number of dead letters.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The id after which the page begins: the `next` of the previous page.
    after: Option<String>,
}

/// The dead letters to purge.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PurgeQuery {
    #[serde(flatten)]
    #[param(ignore)]
    pub(super) filter: Filter,
    /// The maximum number of dead letters. Absent: the maximum of one request.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Required if there is no filter.
    all: Option<bool>,
}

/// The dead letters to redrive.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedriveBody {
    #[serde(flatten)]
    pub(super) filter: Filter,
    /// The maximum number of dead letters. Absent: the maximum of one request.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The ids of the dead letters. Requires `role`, which applies to all of them, and allows no other
    /// filter.
    #[schema(max_items = 1000)]
    ids: Option<Vec<String>>,
}

impl Filter {
    /// Converts the filter for the services that store the dead letters.
    pub(super) fn read(&self) -> Result<DeadLetterFilter, ApiError> {
        if self.function.is_some() && self.module.is_none() {
            return Err(function_needs_module());
        }
        // The services treat an empty text as no filter, which would match all dead letters.
        let text = |key: &str, given: &Option<String>| match given.as_deref() {
            Some("") => Err(ApiError::bad_request_because(&format!("{key}: expected more than nothing"))),
            given => Ok(given.unwrap_or_default().to_owned()),
        };
        let Age(age) = self.older_than.unwrap_or_default();
        Ok(DeadLetterFilter {
            module: text("module", &self.module)?,
            function: text("function", &self.function)?,
            binding_id: text("binding", &self.binding)?,
            min_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The roles of the selected dead letters.
    pub(super) fn roles(&self) -> &'static [Role] {
        match self.role {
            None => &Role::ALL,
            Some(Role::Event) => &[Role::Event],
            Some(Role::Sink) => &[Role::Sink],
        }
    }

    fn names_letters(&self) -> bool {
        let Self { module, function, binding, role: _, older_than } = self;
        [module, function, binding].iter().any(|given| given.is_some()) || older_than.is_some()
    }
}

impl PageQuery {
    pub(super) fn limit(&self) -> Result<u32, ApiError> {
        Ok(checked(self.limit)?.unwrap_or(DEFAULT_LIMIT))
    }

    pub(super) fn after(&self) -> Result<String, ApiError> {
        match &self.after {
            Some(after) if !is_id(after) => {
                Err(ApiError::bad_request_because("after: expected the id of a dead letter"))
            }
            after => Ok(after.clone().unwrap_or_default()),
        }
    }
}

impl PurgeQuery {
    pub(super) fn selection(&self) -> Result<DeadLetterSelection, ApiError> {
        let is_filtered = self.filter.names_letters() || self.filter.role.is_some();
        if !is_filtered && self.all != Some(true) {
            return Err(ApiError::bad_request_because("expected a filter, or all=true"));
        }
        selection(Vec::new(), &self.filter, self.limit)
    }
}

impl RedriveBody {
    pub(super) fn selection(&self) -> Result<DeadLetterSelection, ApiError> {
        let Some(ids) = self.ids.clone() else { return selection(Vec::new(), &self.filter, self.limit) };
        let why = if ids.is_empty() || ids.len() > MAX_LIMIT as usize {
            format!("ids: expected 1 to {MAX_LIMIT}, not {}", ids.len())
        } else if let Some(no_id) = ids.iter().find(|id| !is_id(id)) {
            format!("ids: {no_id:?} is not the id of a dead letter")
        } else if self.filter.role.is_none() || self.filter.names_letters() || self.limit.is_some() {
            "ids: expected their role with them, and no other filter".to_owned()
        } else {
            return selection(ids, &self.filter, None);
        };
        Err(ApiError::bad_request_because(&why))
    }
}

fn selection(ids: Vec<String>, filter: &Filter, limit: Option<u32>) -> Result<DeadLetterSelection, ApiError> {
    let limit = checked(limit)?.unwrap_or_default();
    Ok(DeadLetterSelection { ids, filter: Some(filter.read()?), limit })
}

/// Subtracts `handled` from the limit, for the next service. Returns whether anything is left.
pub(super) fn leave(selection: &mut DeadLetterSelection, handled: usize) -> bool {
    if selection.limit == 0 {
        return true;
    }
    selection.limit = selection.limit.saturating_sub(u32::try_from(handled).unwrap_or(u32::MAX));
    selection.limit > 0
}

fn checked(limit: Option<u32>) -> Result<Option<u32>, ApiError> {
    match limit {
        Some(limit) if !(1..=MAX_LIMIT).contains(&limit) => {
            Err(ApiError::bad_request_because(&format!("limit: expected 1 to {MAX_LIMIT}, not {limit}")))
        }
        limit => Ok(limit),
    }
}

/// Whether `text` can be the id of a dead letter.
pub(super) fn is_id(text: &str) -> bool {
    Uuid::try_parse(text).is_ok()
}

/// A duration, written as a number of seconds or as a number with a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Age(Duration);

impl Age {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds = match unit {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            _ => return None,
        };
        Some(Self(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?)))
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AgeVisitor)
    }
}

struct AgeVisitor;

impl Visitor<'_> for AgeVisitor {
    type Value = Age;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("older_than as a number of seconds, or like 90s, 15m, 12h or 7d")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Age, E> {
        Ok(Age(Duration::from_secs(seconds)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Age, E> {
        Age::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        let cases = [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("12h", Some(43_200)),
            ("7d", Some(604_800)),
            ("", None),
            ("h", None),
            ("-1", None),
            ("1.5h", None),
            ("1h30m", None),
            ("1w", None),
            ("1é", None),
            ("99999999999999999999", None),
            ("18446744073709551615d", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(Age::parse(text), seconds.map(|s| Age(Duration::from_secs(s))), "{text:?}");
        }
    }

    #[test]
    fn a_limit_is_shared_by_the_services() {
        let mut selection = DeadLetterSelection { limit: 5, ..DeadLetterSelection::default() };
        assert!(leave(&mut selection, 2));
        assert_eq!(selection.limit, 3);
        assert!(!leave(&mut selection, 3));
        selection.limit = 0;
        assert!(leave(&mut selection, 1000), "without a limit there is always something left");
    }
}
