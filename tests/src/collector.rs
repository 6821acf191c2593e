//! An OTLP gRPC collector that stores spans and prints them as trees.

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

/// The gateway's call that verifies a token, client and server.
const AUTHENTICATE: &str = "funless.registry.v1.Authentication/Authenticate";
/// How long to wait for spans, which arrive in batches from several processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Marks a line whose descendants may be anything.
const ANYTHING: &str = " ...";

/// The collector. It stops when this is dropped.
pub struct Collector {
    spans: Spans,
    served: Served,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

/// A received span.
#[derive(Debug, Clone)]
pub struct Span {
    /// The trace id, in hexadecimal like the other ids.
    pub trace_id: String,
    /// The span id.
    pub id: String,
    /// The id of the parent span; empty for a root.
    pub parent: String,
    /// The span's name.
    pub name: String,
    /// `server`, `client`, `producer`, `consumer` or `internal`.
    pub kind: &'static str,
    /// The attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether the status is an error.
    pub failed: bool,
    /// The trace and span ids of links.
    pub links: Vec<(String, String)>,
    /// The start, as Unix time in nanoseconds.
    pub start: u64,
    /// The end, as Unix time in nanoseconds.
    pub end: u64,
    /// `service.name` of the process.
    pub service: String,
}

impl Collector {
    /// Starts the collector on a free port.
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// Starts the collector on this port of the loopback interface.
    pub async fn start_at(port: u16) -> Self {
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let router = tonic::service::Routes::new(service).into_axum_router();
        Self { spans, served: Served::start_at(port, router).await }
    }

    /// The collector's OTLP endpoint.
    pub fn url(&self) -> String {
        self.served.endpoint.to_string()
    }

    /// All spans received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.0.lock().clone()
    }

    /// All spans of a trace received so far.
    pub fn trace(&self, trace_id: &str) -> Trace {
        Trace { spans: self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect() }
    }

    /// Waits for a span that matches `is_it` and returns the first one. `what` describes it.
    pub async fn expect_span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        wait::until(what, PATIENCE, async || self.spans().into_iter().find(&is_it)).await
    }

    /// Waits until the trace equals `expected`, a tree as written by [`Trace::tree`], which may be indented
    /// as a whole. The descendants of a line that ends in `...` may be anything.
    pub async fn expect_tree(&self, trace_id: &str, expected: &str) -> Trace {
        let expected = dedent(expected);
        let open = expected.lines().filter_map(|line| line.strip_suffix(ANYTHING));
        let open: HashSet<_> = open.map(str::trim_start).collect();
        let whole = wait::until("the trace is complete", 2 * PATIENCE, async || {
            Some(self.trace(trace_id)).filter(|trace| trace.tree_above(&open) == expected)
        });
        tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(|_| {
            panic!("expected the trace\n{expected}\nbut received\n{}", self.trace(trace_id).tree_above(&open))
        })
    }
}

/// The spans of one trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The spans in the order of arrival.
    pub spans: Vec<Span>,
}

impl Trace {
    /// A tree with one line per span, `name (kind)`, with ` !` if it failed and ` ~` if it has links.
    /// Siblings are sorted by start time. The verification of tokens, which is cached for some seconds, is left out. Spans whose parent was not received are at the top level.
    pub fn tree(&self) -> String {
        self.tree_above(&HashSet::new())
    }

    /// The tree without the descendants of the lines `open`, which are marked with `...`.
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

    /// The span with this name. Panics unless there is exactly one.
    pub fn span(&self, name: &str) -> &Span {
        let mut named = self.spans.iter().filter(|span| span.name == name);
        let span = named.next().unwrap_or_else(|| panic!("no span {name:?} in\n{}", self.tree()));
        assert!(named.next().is_none(), "several spans {name:?} in\n{}", self.tree());
        span
    }

    /// The first span with this name and kind. Panics if there is none.
    pub fn span_of_kind(&self, name: &str, kind: &str) -> &Span {
        let mut named = self.spans.iter().filter(|span| span.name == name && span.kind == kind);
        named.next().unwrap_or_else(|| panic!("no span {name:?} ({kind}) in\n{}", self.tree()))
    }
}

impl Span {
    /// The attribute with this name. Panics if there is none.
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
    for span in children.get(parent).into_iter().flatten().filter(|span| span.name != AUTHENTICATE) {
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

/// The text without blank lines and common indentation.
fn dedent(text: &str) -> String {
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
