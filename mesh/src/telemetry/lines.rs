//! Log lines: which are written, and how they name their trace.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Lines of another format, each with the ids of the trace and the span that it belongs to.
pub(super) struct WithTrace<F> {
    lines: F,
    for_machines: bool,
}

impl<F> WithTrace<F> {
    /// Around a format for people: the ids stand at the end.
    pub(super) fn for_people(lines: F) -> Self {
        Self { lines, for_machines: false }
    }

    /// Around a format of JSON objects: the ids are their first members.
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

/// Changes what is logged while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

impl LogControl {
    pub(super) fn new(handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self(handle)
    }

    /// What is logged now: a level, or levels by module.
    pub fn levels(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Logs this from now on, or says what is wrong with it.
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
