//! Spans that are stored with deferred work, to be continued or linked to later.

use std::fmt;
use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The maximum number of links of a span.
const MAX_LINKS: usize = 128;

/// A span of this or another process, as a W3C `traceparent`: 55 bytes of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: TraceId,
    span_id: SpanId,
    flags: TraceFlags,
}

impl TraceParent {
    /// The current span, or the one in the caller's context; `None` outside of a trace.
    pub fn current() -> Option<Self> {
        Context::map_current(Self::of_context)
    }

    /// The context of `span`, which starts it; `None` if spans are not exported here.
    pub fn of(span: &Span) -> Option<Self> {
        if span.is_disabled() { None } else { Self::of_context(&span.context()) }
    }

    fn of_context(context: &Context) -> Option<Self> {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Self {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            flags: span.trace_flags() & TraceFlags::SAMPLED,
        })
    }

    /// Whether the span is exported.
    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// The id of its trace, in hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.trace_id.to_string()
    }

    /// A context in which new spans are its children.
    pub fn context(self) -> Context {
        Context::new().with_remote_span_context(self.span_context())
    }

    fn span_context(self) -> SpanContext {
        SpanContext::new(self.trace_id, self.span_id, self.flags, true, TraceState::default())
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// The text is not a valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let parts: Vec<_> = text.split('-').collect();
        let ["00", trace_id, span_id, flags] = parts[..] else { return Err(NoTraceParent) };
        let are_digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if !are_digits || (trace_id.len(), span_id.len(), flags.len()) != (32, 16, 2) {
            return Err(NoTraceParent);
        }
        let trace_id = TraceId::from_hex(trace_id).map_err(|_| NoTraceParent)?;
        let span_id = SpanId::from_hex(span_id).map_err(|_| NoTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceParent)?;
        if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
            return Err(NoTraceParent);
        }
        Ok(Self { trace_id, span_id, flags: TraceFlags::new(flags) & TraceFlags::SAMPLED })
    }
}

/// Links a span that has not started to other spans: to the sampled ones, up to a limit. A root span is
/// sampled if one of them is.
pub fn link(span: &Span, to: impl IntoIterator<Item = TraceParent>) {
    if span.is_disabled() {
        return;
    }
    let (sampled, others): (Vec<_>, Vec<_>) = to.into_iter().partition(TraceParent::is_sampled);
    // A link to an unsampled span tells the sampler not to sample this one.
    let others = others.into_iter().take(usize::from(sampled.is_empty()));
    for other in sampled.into_iter().take(MAX_LINKS).chain(others) {
        span.add_link(other.span_context());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_read_as_written() {
        for (text, sampled) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", false),
        ] {
            let parent: TraceParent = text.parse().expect("a traceparent");
            assert_eq!((parent.to_string().as_str(), parent.is_sampled()), (text, sampled));
            assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(TraceParent::of_context(&parent.context()), Some(parent));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-xx",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent), "{text}");
        }
        assert_eq!(TraceParent::current(), None);
    }
}
