//! Measures the cost of tracing: the same warm invocations with 0 %, 1 % and 100 % of the traces.
//!
//! The three meshes run side by side and take turns, so that other load on the machine affects all of them.
//! The collector runs on the same machine and discards what it receives.

use std::time::Duration;

use anyhow::Context as _;
use mesh::testing::Served;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use serde_json::json;
use tonic::{Request, Response, Status};

use crate::fl::Fl;
use crate::invoke::{Load, upload_and_call};

const WARM_UP: usize = 500;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run six processes instead of one.
    #[arg(long)]
    mesh: bool,
    /// The number of rounds. Each mesh has one turn per round.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The number of invocations per turn.
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// The number of concurrent connections; may be repeated.
    #[arg(long, default_values_t = [1, 16])]
    connections: Vec<usize>,
}

/// Measures all three meshes.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let router = tonic::service::Routes::new(TraceServiceServer::new(DiscardingCollector)).into_axum_router();
    let collector = Served::start(router).await;
    let url = collector.endpoint.to_string();
    let kinds = [("off", None), ("1 %", Some("0.01")), ("100 %", Some("1"))];
    let mut meshes = Vec::new();
    for (name, ratio) in kinds {
        let flags = ratio.map(|ratio| ["--otlp-endpoint", &url, "--sample-ratio", ratio]);
        let fl = Fl::start_with(options.mesh, flags.as_ref().map_or(&[][..], |flags| flags)).await?;
        upload_and_call(&fl).await?;
        meshes.push((name, fl));
    }
    for connections in &options.connections {
        compare(options, &meshes, *connections).await?;
    }
    for (_, fl) in meshes {
        fl.stop().await?;
    }
    Ok(())
}

/// Prints the medians over all rounds and their ratios to those without traces.
async fn compare(options: &Options, meshes: &[(&str, Fl)], connections: usize) -> anyhow::Result<()> {
    let loads: Vec<_> = meshes.iter().map(|(_, fl)| Load::new(fl, connections)).collect();
    for load in &loads {
        load.run(WARM_UP).await?;
    }
    let mut rounds = vec![Vec::new(); loads.len()];
    for round in 0..options.rounds {
        // Rotate the order, so that each mesh is first, second and last in turn.
        for turn in 0..loads.len() {
            let index = (round + turn) % loads.len();
            let measured = loads[index].run(options.requests).await?;
            rounds[index].push((measured.per_s(), measured.percentile(0.5)?));
        }
        eprint!("\r{connections} connections: round {} of {}", round + 1, options.rounds);
    }
    eprintln!();
    let medians: Vec<_> = rounds.iter().map(|rounds| medians(rounds)).collect::<anyhow::Result<_>>()?;
    let (base_per_s, base_p50) = *medians.first().context("no meshes")?;
    for ((name, _), (per_s, p50)) in meshes.iter().zip(medians) {
        println!(
            "{}",
            json!({
                "name": "traces",
                "shape": if options.mesh { "six processes" } else { "one process" },
                "sampled": name,
                "connections": connections,
                "per_s": per_s.round(),
                "p50_us": p50.as_micros(),
                "per_s_ratio": ratio(per_s, base_per_s),
                "p50_ratio": ratio(p50.as_secs_f64(), base_p50.as_secs_f64()),
            })
        );
    }
    Ok(())
}

fn medians(rounds: &[(f64, Duration)]) -> anyhow::Result<(f64, Duration)> {
    let mut per_s: Vec<_> = rounds.iter().map(|round| round.0).collect();
    let mut p50: Vec<_> = rounds.iter().map(|round| round.1).collect();
    per_s.sort_by(f64::total_cmp);
    p50.sort_unstable();
    let middle = rounds.len() / 2;
    Ok((*per_s.get(middle).context("no rounds")?, *p50.get(middle).context("no rounds")?))
}

fn ratio(value: f64, base: f64) -> f64 {
    (value / base * 1000.0).round() / 1000.0
}

/// A collector that discards all spans.
struct DiscardingCollector;

#[tonic::async_trait]
impl TraceService for DiscardingCollector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
