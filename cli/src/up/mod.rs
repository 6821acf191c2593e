//! `fl up`: the whole mesh on this machine, as one process or as six.

mod demo;
mod one_process;
mod overrides;
mod ports;
mod settings;
mod six_processes;
mod supervise;

use std::fs::{self, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use mesh::auth::Secret;
use mesh::config::{AdminListen, TelemetryConfig};
use mesh::database::DatabaseUrl;

use crate::args::Up;
use crate::profile::{Profile, write_private};

/// How long the mesh may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the mesh until it is asked to stop.
pub async fn up(options: Up) -> anyhow::Result<()> {
    options.check()?;
    prepare_data_dir(&options.data_dir)?;
    let _only_one = lock(&options.data_dir)?;
    let profile = prepare_profile(&options)?;
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

/// A new one is for its owner only: it holds tokens, code and the database. What is put into one that
/// was there already is private by itself.
fn prepare_data_dir(dir: &Path) -> anyhow::Result<()> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.with_context(|| format!("--data-dir: cannot use {}", dir.display()))
}

/// Two meshes on one data directory would overwrite each other's tokens. The lock ends with the process.
fn lock(dir: &Path) -> anyhow::Result<fs::File> {
    let path = dir.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!(
                "another mesh runs on {}; stop it, or give this one its own --data-dir",
                dir.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
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

/// Tokens are made at the first start and stay.
fn prepare_profile(options: &Up) -> anyhow::Result<Profile> {
    let path = options.data_dir.join("config");
    let known = Profile::read(&path)?.unwrap_or_default();
    let profile = Profile {
        api_host: Some(options.url(options.http)),
        api_token: Some(known.api_token.unwrap_or_else(new_token)),
        admin_token: Some(known.admin_token.unwrap_or_else(new_token)),
    };
    profile.write(&path)?;
    Ok(profile)
}

fn new_token() -> Secret {
    Secret::new(format!("fl_{}", Secret::random().expose()))
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

/// The key under which the registry keeps the secrets of bindings. Made at the first start.
fn encryption_key(options: &Up) -> anyhow::Result<Secret> {
    let path = options.data_dir.join("encryption-key");
    match fs::read_to_string(&path) {
        Ok(key) => Ok(Secret::new(key.trim())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = Secret::random();
            write_private(&path, &format!("{}\n", key.expose()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
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
