//! Statements in traces: their text, never their values.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _};
use opentelemetry::{KeyValue, global};
use sea_orm::metric::Info;
use sea_orm::{DatabaseConnection, DbBackend};

use crate::telemetry;

/// A statement that inserts many rows has as many placeholders.
const MAX_TEXT_BYTES: usize = 1024;

/// Makes each statement on `db` a span of the trace in which it is run; outside of traces it does nothing.
pub(super) fn trace(db: &mut DatabaseConnection) {
    db.set_metric_callback(|statement| {
        if telemetry::is_sampled() {
            record(statement);
        }
    });
}

fn record(Info { elapsed, statement, failed }: &Info<'_>) {
    let end = SystemTime::now();
    let operation = statement.sql.split_whitespace().next().unwrap_or_default().to_uppercase();
    let text = &statement.sql[..statement.sql.floor_char_boundary(MAX_TEXT_BYTES)];
    let attributes = [
        KeyValue::new("db.system.name", system(statement.db_backend)),
        KeyValue::new("db.operation.name", operation.clone()),
        KeyValue::new("db.query.text", text.to_owned()),
    ];
    let tracer = global::tracer("funless");
    let mut span = tracer
        .span_builder(Cow::Owned(operation))
        .with_kind(SpanKind::Client)
        .with_start_time(end.checked_sub(*elapsed).unwrap_or(end))
        .with_attributes(attributes)
        .start(&tracer);
    if *failed {
        span.set_status(Status::error("the statement failed"));
    }
    span.end_with_timestamp(end);
}

fn system(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "postgresql",
        DbBackend::Sqlite => "sqlite",
        _ => "other_sql",
    }
}
