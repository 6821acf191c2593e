//! Sampling: which traces are exported.

use opentelemetry::trace::{Link, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

/// Follows the parent's decision; without a parent, that of linked spans; otherwise samples by `ratio`.
pub(crate) fn sampler(ratio: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Roots { by_ratio: Sampler::TraceIdRatioBased(ratio) }))
}

/// Samples root spans. A span with links belongs to work for which the decision has already been made.
#[derive(Debug, Clone)]
struct Roots {
    by_ratio: Sampler,
}

impl ShouldSample for Roots {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampler = match links {
            [] => &self.by_ratio,
            links if links.iter().any(|link| link.span_context.is_sampled()) => &Sampler::AlwaysOn,
            _ => &Sampler::AlwaysOff,
        };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceState};

    use opentelemetry_sdk::trace::SamplingDecision;

    use super::*;

    fn span(flags: TraceFlags) -> SpanContext {
        SpanContext::new(TraceId::from(1), SpanId::from(1), flags, true, TraceState::default())
    }

    #[test]
    fn a_parent_decides_then_links_then_the_ratio() {
        const ON: TraceFlags = TraceFlags::SAMPLED;
        const OFF: TraceFlags = TraceFlags::NOT_SAMPLED;
        let cases: [(Option<TraceFlags>, &[TraceFlags], f64, bool); 9] = [
            (None, &[], 1.0, true),
            (None, &[], 0.0, false),
            (None, &[ON], 0.0, true),
            (None, &[OFF, ON], 0.0, true),
            (None, &[OFF], 1.0, false),
            (Some(ON), &[], 0.0, true),
            (Some(OFF), &[], 1.0, false),
            (Some(ON), &[OFF], 0.0, true),
            (Some(OFF), &[ON], 1.0, false),
        ];
        for (parent, links, ratio, expected) in cases {
            let context = parent
                .map_or_else(Context::new, |flags| Context::new().with_remote_span_context(span(flags)));
            let links: Vec<_> = links.iter().map(|flags| Link::new(span(*flags), Vec::new(), 0)).collect();
            let result = sampler(ratio).should_sample(
                Some(&context),
                TraceId::from(7),
                "name",
                &SpanKind::Consumer,
                &[],
                &links,
            );
            let is_sampled = result.decision == SamplingDecision::RecordAndSample;
            assert_eq!(is_sampled, expected, "{parent:?} {links:?} {ratio}");
        }
    }
}
