//! Measures the mesh and what a user could run instead, side by side.
//!
//! All contenders run at once, and only one of them is called at a time: they take turns, round after round, so that
//! what else the machine does concerns all of them alike. Medians of the rounds are reported.
//!
//! - `contender`: who is measured; `wrk`: the load; `report`: the table, the JSON file and the plots

mod contender;
mod report;
mod wrk;

use std::path::PathBuf;

use anyhow::Context as _;

use self::contender::{Contender, find_program};
use self::report::{Measured, Report};
use self::wrk::Requests;

/// The size of the arguments and the result of `json`, in bytes.
const JSON_BYTES: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The number of rounds, in each of which everything is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The length of each measurement, in seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The numbers of connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 64])]
    connections: Vec<u32>,
    /// What is done; may be repeated. Default: all.
    #[arg(long = "workload", value_enum)]
    workloads: Vec<Workload>,
    /// Leave out the mesh in six processes, with SQLite and with PostgreSQL.
    #[arg(long)]
    one_process: bool,
    /// The program workerd, from the npm package of this name. Default: the one in PATH, if there is one.
    #[arg(long, value_name = "FILE")]
    workerd: Option<PathBuf>,
    /// The program wasmtime. Default: the one in PATH, if there is one. It needs --component.
    #[arg(long, value_name = "FILE")]
    wasmtime: Option<PathBuf>,
    /// `hello` as a component for `wasmtime serve`: see `bench/contenders`.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The address of a FunLess that runs already, such as http://127.0.0.1:4000.
    #[arg(long, value_name = "URL")]
    funless: Option<String>,
    /// The token for --funless.
    #[arg(long, requires = "funless")]
    token: Option<String>,
    /// Write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write plots to this folder, as SVG.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// What the functions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Workload {
    /// `{"name":"FunLess"}` becomes `{"payload":"Hello FunLess!"}`.
    Hello,
    /// 64 KiB of JSON go in and come out.
    Json,
}

impl Workload {
    const ALL: [Self; 2] = [Self::Hello, Self::Json];

    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Json => "64 KiB of JSON",
        }
    }

    /// The function, its arguments, and the result that is expected.
    fn call(self) -> (&'static str, String, String) {
        match self {
            Self::Hello => {
                ("hello", r#"{"name":"FunLess"}"#.to_owned(), r#"{"payload":"Hello FunLess!"}"#.to_owned())
            }
            Self::Json => {
                let items = vec![r#"{"key":"value","number":12345}"#; JSON_BYTES / 32];
                let json = format!("[{}]", items.join(","));
                ("echo", json.clone(), json)
            }
        }
    }
}

/// Starts all contenders, measures them in turns, and reports.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let contenders = start(options).await?;
    let workloads =
        if options.workloads.is_empty() { Workload::ALL.to_vec() } else { options.workloads.clone() };
    let mut report = Report::new(&contenders);
    let turns = workloads.len() * options.connections.len() * options.rounds as usize;
    let mut turn = 0;
    for workload in workloads {
        let (function, args, result) = workload.call();
        let requests: Vec<_> = contenders
            .iter()
            .map(|contender| match can_do(contender, workload) {
                true => Requests::new(contender, function, &args, &result).map(Some),
                false => Ok(None),
            })
            .collect::<anyhow::Result<_>>()?;
        for &connections in &options.connections {
            let mut samples = vec![Vec::new(); contenders.len()];
            for _ in 0..options.rounds {
                turn += 1;
                eprintln!("{turn} of {turns}: {}, connections: {connections}", workload.name());
                for (requests, samples) in requests.iter().zip(&mut samples) {
                    if let Some(requests) = requests {
                        samples.push(requests.run(connections, options.seconds).await?);
                    }
                }
            }
            report.add(Measured { workload: workload.name(), connections, samples });
        }
    }
    print!("{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?).with_context(|| file.display().to_string())?;
    }
    if let Some(folder) = &options.plots {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        report.plot(folder)?;
    }
    Ok(())
}

/// A component has one function.
fn can_do(contender: &Contender, workload: Workload) -> bool {
    workload == Workload::Hello || contender.name != "wasmtime serve"
}

async fn start(options: &Options) -> anyhow::Result<Vec<Contender>> {
    let mut contenders = vec![Contender::mesh(false).await?];
    if !options.one_process {
        contenders.push(Contender::mesh(true).await?);
        contenders.push(Contender::mesh_on_postgres().await?);
    }
    match (options.wasmtime.clone().or_else(|| find_program("wasmtime")), &options.component) {
        (Some(program), Some(component)) => contenders.push(Contender::wasmtime(&program, component).await?),
        (None, None) => eprintln!("without wasmtime serve: there is no wasmtime in PATH"),
        (Some(_), None) => eprintln!("without wasmtime serve: it needs --component"),
        (None, Some(_)) => anyhow::bail!("--component needs --wasmtime"),
    }
    match options.workerd.clone().or_else(|| find_program("workerd")) {
        Some(program) => contenders.push(Contender::workerd(&program).await?),
        None => eprintln!("without workerd: it is not in PATH"),
    }
    if let Some(url) = &options.funless {
        contenders.push(Contender::funless(url, options.token.as_deref()).await?);
    }
    Ok(contenders)
}
