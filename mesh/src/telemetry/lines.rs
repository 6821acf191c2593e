//! Log lines: their levels, and the ids of their traces.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Wraps a format and adds the ids of the current trace and span to each line.
pub(super) struct WithTrace<F> {
    lines: F,
    for_machines: bool,
}

impl<F> WithTrace<F> {
    /// Wraps a text format: the ids are at the end of the line.
    pub(super) fn for_people(lines: F) -> Self {
        Self { lines, for_machines: false }
    }

    /// Wraps a JSON format: the ids are the first members of the object.
    pub(super) fn for_machines(lines: F) -> Self {
        Self { lines, for_machines: true }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let ids = Context::map_current(|current| {
            let span = current.span();
            let span = span.span_context();
            span.is_valid().then(|| (span.trace_id(), span.span_id()))
        });
        let Some((trace_id, span_id)) = ids else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{').filter(|_| self.for_machines) {
            Some(members) => {
                write!(writer, r#"{{"trace_id":"{trace_id}","span_id":"{span_id}",{members}"#)
            }
            None => writeln!(writer, "{} trace_id={trace_id} span_id={span_id}", line.trim_end()),
        }
    }
}

/// Changes the log levels while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

impl LogControl {
    pub(crate) fn new(handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self(handle)
    }

    /// The current log levels: one level, or levels by module.
    pub fn levels(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Sets the log levels. An error says what is wrong with `levels`.
    pub fn set(&self, levels: &str) -> Result<(), String> {
        let wrong = |error: &dyn fmt::Display| {
            format!(
                "{levels:?} is neither a level nor a list of levels by module, such as info,worker_svc=debug: {error}"
            )
        };
        let filter = EnvFilter::try_new(levels).map_err(|error| wrong(&error))?;
        self.0.reload(filter).map_err(|error| wrong(&error))
    }
}
