//! `fl up`: the whole mesh on this machine, as one process or as six.

mod data_dir;
mod demo;
mod one_process;
mod overrides;
mod ports;
mod settings;
mod six_processes;
mod supervise;

use std::pin::pin;
use std::time::Duration;

use mesh::config::{AdminListen, TelemetryConfig};
use mesh::database::DatabaseUrl;

use crate::args::Up;
use crate::profile::Profile;

/// How long the mesh may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the mesh until it is asked to stop.
pub async fn up(options: Up) -> anyhow::Result<()> {
    options.check()?;
    data_dir::prepare(&options.data_dir)?;
    let _lock = data_dir::lock(&options.data_dir)?;
    let profile = data_dir::profile(&options.data_dir, options.url(options.http))?;
    let telemetry = TelemetryConfig {
        log: options.log.clone(),
        format: options.log_format,
        otlp_endpoint: options.otlp_endpoint.clone(),
        sample_ratio: options.sample_ratio,
        ..TelemetryConfig::default()
    };
    telemetry.validate().map_err(|problem| anyhow::anyhow!("--sample-ratio: {problem}"))?;
    let telemetry = mesh::telemetry::init("mesh", &telemetry)?;
    let outcome = match options.mesh {
        false => one_process::run(&options, &profile, &telemetry).await,
        true => six_processes::run(&options, &profile).await,
    };
    tokio::task::spawn_blocking(|| telemetry.shutdown()).await?;
    outcome
}

/// From the start of the services until the process is asked to stop, which it may be at any moment.
/// `ready` ends when the mesh serves, or says what it waits for in vain.
async fn live(
    options: &Up,
    profile: &Profile,
    ready: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let shown = async {
        ready.await?;
        print_welcome(options);
        if options.demo {
            demo::run(profile).await?;
        }
        anyhow::Ok(())
    };
    let mut stop = pin!(mesh::shutdown::requested());
    tokio::select! {
        stop = &mut stop => return Ok(stop?),
        shown = shown => shown?,
    }
    Ok(stop.await?)
}

/// The databases of the services that have one.
struct Databases {
    registry: String,
    connector: String,
    sink: String,
}

impl Databases {
    /// A PostgreSQL is for all of them; SQLite has a file for each, so that none waits for another.
    /// Refused here when it is not a database: a supervised service would fail again and again.
    fn of(options: &Up) -> anyhow::Result<Self> {
        let embedded = |name: &str| format!("sqlite:{}", options.data_dir.join(name).display());
        let given = options.database_url.clone();
        let kind = given.as_ref().map(|url| url.parse::<DatabaseUrl>()).transpose();
        let shared = match kind.map_err(|problem| anyhow::anyhow!("--database-url: {problem}"))? {
            Some(DatabaseUrl::Postgres(url)) => Some(url),
            Some(DatabaseUrl::SqliteFile(_) | DatabaseUrl::SqliteMemory) | None => None,
        };
        Ok(Self {
            registry: given.unwrap_or_else(|| embedded("registry.db")),
            connector: shared.clone().unwrap_or_else(|| embedded("connector.db")),
            sink: shared.unwrap_or_else(|| embedded("sink.db")),
        })
    }
}

/// Says where things are and what to type next.
fn print_welcome(options: &Up) {
    let data_dir = options.data_dir.display();
    let config = match data_dir.to_string().as_str() {
        ".funless" => String::new(),
        _ => format!(" --config {data_dir}/config"),
    };
    println!("FunLess Mesh is up.");
    println!();
    let (rest, grpc) = (options.url(options.http), options.url(options.grpc));
    println!("  REST    {rest}/v1   (documentation: {rest}/docs)");
    println!("  gRPC    {grpc}");
    if let AdminListen::At(admin) = options.admin {
        println!("  admin   http://{admin}/metrics");
    }
    println!("  data    {data_dir}   (tokens: {data_dir}/config)");
    if !options.strict {
        println!("  egress  to loopback is allowed, except to the mesh's ports   (--strict denies it)");
    }
    println!();
    println!("Next, in another terminal:");
    println!();
    // The demo has uploaded it.
    if !options.demo {
        println!("  fl fn upload hello guest/hello.wasm{config}");
    }
    println!("  fl fn invoke hello --args '{{\"name\":\"you\"}}'{config}");
    println!();
    println!("Stop with Ctrl-C.");
}
