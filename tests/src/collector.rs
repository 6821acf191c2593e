//! An OTLP gRPC receiver that remembers spans, and shows them as trees.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mesh::testing::Served;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use crate::wait;

/// Spans come in batches, from several processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is below this line may be anything.
const ANYTHING: &str = " ...";

/// The receiver, until it is dropped.
pub struct Collector {
    spans: Spans,
    served: Served,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

/// One span as it was received.
#[derive(Debug, Clone)]
pub struct Span {
    /// In hexadecimal, as are the other ids.
    pub trace_id: String,
    /// Its own id.
    pub id: String,
    /// The id of its parent; empty: it has none.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// `server`, `client`, `producer`, `consumer` or `internal`.
    pub kind: &'static str,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it is marked as failed.
    pub failed: bool,
    /// Trace and span that it is linked to.
    pub links: Vec<(String, String)>,
    /// Unix time in nanoseconds.
    pub start: u64,
    /// Unix time in nanoseconds.
    pub end: u64,
    /// `service.name` of the process.
    pub service: String,
}

impl Collector {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// Starts it on this port of the loopback interface.
    pub async fn start_at(port: u16) -> Self {
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let router = tonic::service::Routes::new(service).into_axum_router();
        Self { spans, served: Served::start_at(port, router).await }
    }

    /// Where it takes spans.
    pub fn url(&self) -> String {
        self.served.endpoint.to_string()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.0.lock().clone()
    }

    /// All spans of a trace so far.
    pub fn trace(&self, trace_id: &str) -> Trace {
        Trace { spans: self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect() }
    }

    /// Waits for a span like this, and gives the first one.
    pub async fn expect_span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        wait::until(what, PATIENCE, async || self.spans().into_iter().find(&is_it)).await
    }

    /// Waits until the trace looks so. `expected` is a tree as [`Trace::tree`] writes it, whose lines may
    /// be indented as a whole. What is below a line that ends in `...` may be anything.
    pub async fn expect_tree(&self, trace_id: &str, expected: &str) -> Trace {
        let expected = undented(expected);
        let open = expected.lines().filter_map(|line| line.strip_suffix(ANYTHING));
        let open: HashSet<_> = open.map(str::trim_start).collect();
        let whole = wait::until("the trace is whole", 2 * PATIENCE, async || {
            Some(self.trace(trace_id)).filter(|trace| trace.tree_above(&open) == expected)
        });
        tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(|_| {
            panic!("expected the trace\n{expected}\nand saw\n{}", self.trace(trace_id).tree_above(&open))
        })
    }
}

/// The spans of one trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// In the order in which they came.
    pub spans: Vec<Span>,
}

impl Trace {
    /// A line for each span, below its parent: `name (kind)`, with `!` when it failed and `~` when it is
    /// linked. In order of their beginning. Those whose parent is not there stand at the end under `orphans:`,
    /// unless the parent is the caller's.
    pub fn tree(&self) -> String {
        self.tree_above(&HashSet::new())
    }

    /// The tree without what is below these lines, to which `...` is added.
    fn tree_above(&self, open: &HashSet<&str>) -> String {
        let ids: HashSet<&str> = self.spans.iter().map(|span| &*span.id).collect();
        let mut children: HashMap<&str, Vec<&Span>> = HashMap::new();
        for span in &self.spans {
            let parent = if ids.contains(&*span.parent) { &*span.parent } else { "" };
            children.entry(parent).or_default().push(span);
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|span| (span.start, span.end));
        }
        let mut tree = String::new();
        draw(&children, open, "", 0, &mut tree);
        tree
    }

    /// The span of this name; there is one.
    pub fn span(&self, name: &str) -> &Span {
        let mut named = self.spans.iter().filter(|span| span.name == name);
        let span = named.next().unwrap_or_else(|| panic!("no span {name:?} in\n{}", self.tree()));
        assert!(named.next().is_none(), "several spans {name:?} in\n{}", self.tree());
        span
    }

    /// The span of this name and kind; there is one.
    pub fn span_of_kind(&self, name: &str, kind: &str) -> &Span {
        let mut named = self.spans.iter().filter(|span| span.name == name && span.kind == kind);
        named.next().unwrap_or_else(|| panic!("no span {name:?} ({kind}) in\n{}", self.tree()))
    }
}

impl Span {
    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.unwrap_or_else(|| panic!("{} has no attribute {name:?}: {:?}", self.name, self.attributes))
    }
}

fn draw(
    children: &HashMap<&str, Vec<&Span>>,
    open: &HashSet<&str>,
    parent: &str,
    depth: usize,
    tree: &mut String,
) {
    for span in children.get(parent).into_iter().flatten() {
        let failed = if span.failed { " !" } else { "" };
        let linked = if span.links.is_empty() { "" } else { " ~" };
        let line = format!("{} ({}){failed}{linked}", span.name, span.kind);
        let is_open = open.contains(&*line);
        tree.push_str(&format!("{}{line}{}\n", "  ".repeat(depth), if is_open { ANYTHING } else { "" }));
        if !is_open {
            draw(children, open, &span.id, depth + 1, tree);
        }
    }
}

/// The text without its outer blank lines and its common indentation.
fn undented(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let indent = lines.iter().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines.iter().map(|line| format!("{}\n", line[indent..].trim_end())).collect()
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock();
        for of_process in request.into_inner().resource_spans {
            let resource = of_process.resource.unwrap_or_default();
            let service = texts(resource.attributes).remove("service.name").unwrap_or_default();
            let received = of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            spans.extend(received.map(|span| read(span, &service)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(span: WireSpan, service: &str) -> Span {
    let kind = match span.kind() {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal | SpanKind::Unspecified => "internal",
    };
    Span {
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind,
        failed: span.status.is_some_and(|status| status.code == 2),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        name: span.name,
        attributes: texts(span.attributes),
        service: service.to_owned(),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
