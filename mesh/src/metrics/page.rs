//! The response of `/metrics`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prometheus::proto::MetricFamily;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

use super::durations::EXEMPLARS;
use super::openmetrics;

/// The content type and the metrics of all `registries`: OpenMetrics with exemplars if the header `accept`
/// contains it, and Prometheus' text format otherwise.
pub(crate) fn page(registries: &[Registry], accept: &str) -> prometheus::Result<(&'static str, String)> {
    // Services of one process have metrics with the same names, and each family may occur only once.
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in registries.iter().flat_map(Registry::gather) {
        match families.entry(family.name().to_owned()) {
            Entry::Vacant(entry) => drop(entry.insert(family)),
            Entry::Occupied(mut entry) => entry.get_mut().mut_metric().extend(family.take_metric()),
        }
    }
    let exemplars = families.extract_if(.., |name, _| name.ends_with(EXEMPLARS)).collect();
    if accept.contains(openmetrics::MEDIA_TYPE) {
        return Ok((openmetrics::CONTENT_TYPE, openmetrics::encode(families.values(), &exemplars)));
    }
    let families: Vec<_> = families.into_values().collect();
    Ok((TEXT_FORMAT, TextEncoder::new().encode_to_string(&families)?))
}
