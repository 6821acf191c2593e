//! The state of events and sinks, as the connector and the sink service report it.

use std::collections::HashMap;

use mesh::clock::rfc_3339_if_any;
use mesh::deadline::Deadline;
use proto::binding::v1::{BindingState, BindingStatus};
use proto::connector::v1::{EventCounts, EventStatus, GetEventStatusRequest};
use proto::registry::v1::Binding;
use proto::sink::v1::{GetSinkStatusRequest, SinkCounts, SinkStatus};
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::Status;
use utoipa::ToSchema;

use super::Rest;
use super::role::Role;

/// Whether to wait until the first attempt to connect has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

/// The report of a binding's service about it.
#[derive(Debug)]
pub(super) struct StatusReport<C> {
    pub(super) status: BindingStatus,
    counts: Option<C>,
}

/// The connector's reports about events.
pub(super) async fn of_events(
    rest: &Rest,
    ids: Vec<String>,
    wait: Wait,
    deadline: Deadline,
) -> Result<Vec<StatusReport<EventCounts>>, Status> {
    let request = deadline.attach(GetEventStatusRequest { ids, wait: wait == Wait::Yes });
    let statuses = rest.channels.events().get_event_status(request).await?.into_inner().statuses;
    let report = |EventStatus { status, counts }| Some(StatusReport { status: status?, counts });
    Ok(statuses.into_iter().filter_map(report).collect())
}

/// The sink service's reports about sinks.
pub(super) async fn of_sinks(
    rest: &Rest,
    ids: Vec<String>,
    wait: Wait,
    deadline: Deadline,
) -> Result<Vec<StatusReport<SinkCounts>>, Status> {
    let request = deadline.attach(GetSinkStatusRequest { ids, wait: wait == Wait::Yes });
    let statuses = rest.channels.sinks().get_sink_status(request).await?.into_inner().statuses;
    let report = |SinkStatus { status, counts }| Some(StatusReport { status: status?, counts });
    Ok(statuses.into_iter().filter_map(report).collect())
}

/// The statuses of bindings of either role, by their ids.
pub(super) async fn of_bindings(
    rest: &Rest,
    role: Role,
    ids: Vec<String>,
    wait: Wait,
    deadline: Deadline,
) -> Result<HashMap<String, BindingStatus>, Status> {
    let by_id = |status: BindingStatus| (status.id.clone(), status);
    Ok(match role {
        Role::Event => {
            let reports = of_events(rest, ids, wait, deadline).await?;
            reports.into_iter().map(|event| by_id(event.status)).collect()
        }
        Role::Sink => {
            let reports = of_sinks(rest, ids, wait, deadline).await?;
            reports.into_iter().map(|sink| by_id(sink.status)).collect()
        }
    })
}

/// A binding with the report about it.
#[derive(Debug)]
pub(super) struct Known<C> {
    pub(super) binding: BindingView,
    pub(super) last_activity_at: Option<String>,
    pub(super) counts: Option<C>,
}

/// Each binding with the report about it, in order. The state of a binding without a report is unknown.
pub(super) fn known<C: Copy>(
    role: Role,
    bindings: Vec<Binding>,
    reports: Result<Vec<StatusReport<C>>, Status>,
) -> impl Iterator<Item = Known<C>> {
    let (reports, default) = match reports {
        Ok(reports) => (reports, BindingStatus::default()),
        Err(status) => (Vec::new(), unknown(role, &status)),
    };
    let reports: HashMap<_, _> =
        reports.into_iter().map(|report| (report.status.id.clone(), report)).collect();
    bindings.into_iter().map(move |binding| {
        let report = reports.get(&binding.id);
        let status = report.map_or(&default, |report| &report.status);
        Known {
            last_activity_at: rfc_3339_if_any(status.last_activity_ms),
            binding: BindingView::new(binding, status),
            counts: report.and_then(|report| report.counts),
        }
    })
}

fn unknown(role: Role, status: &Status) -> BindingStatus {
    let service = role.service();
    tracing::warn!(service, %status, "the state of bindings is unknown");
    BindingStatus { message: format!("the {service} does not answer"), ..BindingStatus::default() }
}

/// An event source or a sink.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BindingView {
    id: String,
    r#type: String,
    /// Secrets read as `***`.
    #[schema(value_type = Object)]
    params: Option<Box<RawValue>>,
    /// `connecting`: the first attempt has not ended; `connected`; `retrying`: the last attempt failed, and
    /// there will be another; `unknown`: there is no report.
    #[schema(example = "connected")]
    state: &'static str,
    /// Since when it has this state: RFC 3339. Null: unknown.
    since: Option<String>,
    /// Why it is not connected. Null: there is no problem.
    message: Option<String>,
}

impl BindingView {
    fn new(binding: Binding, status: &BindingStatus) -> Self {
        let (state, since_ms) = match status.state() {
            BindingState::Unspecified => ("unknown", 0),
            BindingState::Connecting => ("connecting", status.since_ms),
            BindingState::Connected => ("connected", status.since_ms),
            BindingState::Retrying => ("retrying", status.since_ms),
        };
        Self {
            id: binding.id,
            r#type: binding.r#type,
            params: RawValue::from_string(binding.params).ok(),
            state,
            since: rfc_3339_if_any(since_ms),
            message: Some(status.message.clone()).filter(|message| !message.is_empty()),
        }
    }
}
