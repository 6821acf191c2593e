//! `fl fn`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::output::{Listing, Output, Quiet};
use crate::project::Language;

/// A function by its name.
#[derive(Debug, Args)]
pub struct FunctionName {
    /// Function: NAME or MODULE/NAME.
    #[arg(value_name = "FUNCTION")]
    given: String,
    /// Module of a function given as NAME. Default: `_`.
    #[arg(long, short, alias = "namespace")]
    module: Option<String>,
}

impl FunctionName {
    /// Its module and its name.
    pub fn parts(&self) -> anyhow::Result<(&str, &str)> {
        let Some((module, name)) = self.given.split_once('/') else {
            return Ok((self.module.as_deref().unwrap_or("_"), &self.given));
        };
        if let Some(other) = self.module.as_deref().filter(|other| *other != module) {
            anyhow::bail!("{}: --module {other} names another module", self.given);
        }
        Ok((module, name))
    }
}

/// A function as one word: NAME in the module `_`, or MODULE/NAME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionPath {
    pub module: String,
    pub name: String,
}

impl FromStr for FunctionPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (module, name) = text.split_once('/').unwrap_or(("_", text));
        if module.is_empty() || name.is_empty() {
            return Err("expected NAME or MODULE/NAME".to_owned());
        }
        Ok(Self { module: module.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for FunctionPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.module, self.name)
    }
}

#[derive(Debug, Subcommand)]
pub enum Functions {
    /// List the functions.
    #[command(visible_alias = "l", visible_alias = "ls")]
    List {
        /// Only those of this module.
        module: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show a function, by default as JSON.
    #[command(visible_alias = "g")]
    Get {
        #[command(flatten)]
        function: FunctionName,
        #[command(flatten)]
        output: Output,
    },
    /// Compile a function and upload it.
    ///
    /// Without arguments: the one that ./function.toml describes, with its metadata, events and sinks.
    #[command(visible_alias = "c")]
    Create(Create),
    /// Create a function from a WebAssembly binary.
    #[command(visible_alias = "up")]
    Upload {
        #[command(flatten)]
        upload: Upload,
        /// Replace the function if it exists.
        #[arg(long)]
        update: bool,
    },
    /// Replace the code of a function, and what else is given.
    ///
    /// Without arguments: compile what ./function.toml describes, and make the function what it says.
    #[command(visible_alias = "u")]
    Update(Update),
    /// Invoke a function and print its result.
    #[command(visible_alias = "i")]
    Invoke(Invoke),
    /// Create a function with the code, metadata and limits of another one, but without its events and sinks.
    #[command(visible_alias = "cp")]
    Copy {
        /// Function to copy: NAME or MODULE/NAME.
        #[arg(value_name = "SRC")]
        from: FunctionPath,
        /// The copy: NAME or MODULE/NAME.
        #[arg(value_name = "DST")]
        to: FunctionPath,
    },
    /// Show the logs of a function from all workers.
    Logs(Logs),
    /// Delete a function.
    #[command(visible_alias = "d")]
    Delete {
        #[command(flatten)]
        function: FunctionName,
        #[command(flatten)]
        quiet: Quiet,
    },
}

/// Commands that need no mesh.
#[derive(Debug, Subcommand)]
pub enum SourceFunctions {
    /// Start a function from a template.
    #[command(visible_alias = "n")]
    New(New),
    /// Compile a function to WebAssembly.
    ///
    /// Without arguments: the one that ./function.toml describes.
    #[command(visible_alias = "b")]
    Build(Source),
}

/// Options of `fl fn new`.
#[derive(Debug, Args)]
pub struct New {
    /// Name of the function, and of its folder.
    pub name: String,
    /// Language, which is the name of a template: see `fl template list`.
    #[arg(long, short, alias = "language", value_name = "LANGUAGE")]
    pub lang: String,
    /// Folder whose folder `template` has templates that come before those of fl.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub template_dir: PathBuf,
    /// Folder in which the folder of the function is created.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub out_dir: PathBuf,
}

/// The source of a function.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Source {
    /// Name of the function.
    #[arg(requires = "dir")]
    pub name: Option<String>,
    /// Folder with its source.
    pub dir: Option<PathBuf>,
    /// Language. Default: that of function.toml, or else the files tell.
    #[arg(long, short, alias = "lang")]
    pub language: Option<Language>,
    /// Folder for NAME.wasm.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub destination: PathBuf,
}

/// Options of `fl fn create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Name of the function.
    #[arg(requires = "dir")]
    pub name: Option<String>,
    /// Folder with its source.
    pub dir: Option<PathBuf>,
    /// Module. Default: that of function.toml, or else `_`.
    #[arg(long, short, alias = "namespace")]
    pub module: Option<String>,
    /// Language. Default: that of function.toml, or else the files tell.
    #[arg(long, short, alias = "lang")]
    pub language: Option<Language>,
    /// Return before the workers have prepared the code.
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub quiet: Quiet,
}

/// What is uploaded, and what is to be known of it.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Upload {
    #[command(flatten)]
    pub function: FunctionName,
    /// WebAssembly binary.
    pub file: PathBuf,
    #[command(flatten)]
    pub options: UploadOptions,
}

/// Options of `fl fn update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Function: NAME or MODULE/NAME.
    #[arg(value_name = "FUNCTION", requires = "file")]
    function: Option<String>,
    /// WebAssembly binary.
    file: Option<PathBuf>,
    /// Module of a function given as NAME. Default: `_`.
    #[arg(long, short, alias = "namespace", requires = "file")]
    module: Option<String>,
    #[command(flatten)]
    options: UploadOptions,
    /// Language of the source. Default: that of function.toml, or else the files tell.
    #[arg(long, short, alias = "lang", conflicts_with = "file")]
    language: Option<Language>,
}

/// What an update takes.
#[derive(Debug)]
pub enum UpdateSource {
    /// A binary.
    File(Upload),
    /// The folder with `function.toml`.
    Project(Create),
}

impl Update {
    /// The function that is given.
    pub fn function(&self) -> Option<FunctionName> {
        let given = self.function.clone()?;
        Some(FunctionName { given, module: self.module.clone() })
    }

    /// What it takes. Fails if options are given that `function.toml` has.
    pub fn source(self) -> anyhow::Result<UpdateSource> {
        let function = self.function();
        let Self { file, options, language, .. } = self;
        if let (Some(function), Some(file)) = (function, file) {
            return Ok(UpdateSource::File(Upload { function, file, options }));
        }
        let UploadOptions { tag, capacity, script, events, sinks, no_wait, quiet } = options;
        let given = [
            ("--tag", tag.is_some()),
            ("--capacity", capacity.is_some()),
            ("--script", script.is_some()),
            ("--events", events.is_some()),
            ("--sinks", sinks.is_some()),
        ];
        if let Some((flag, _)) = given.iter().find(|(_, is_given)| *is_given) {
            anyhow::bail!("{flag} needs FUNCTION and FILE; without them, function.toml says it");
        }
        Ok(UpdateSource::Project(Create { name: None, dir: None, module: None, language, no_wait, quiet }))
    }
}

/// What may be said of a function that is uploaded.
#[derive(Debug, Args)]
#[group(skip)]
pub struct UploadOptions {
    /// Tag that APP scripts match.
    #[arg(long)]
    pub tag: Option<String>,
    /// Memory in KB to reserve for each invocation.
    #[arg(long, value_name = "KB")]
    pub capacity: Option<u64>,
    /// APP script that schedules invocations which name none, such as those of events.
    #[arg(long, value_name = "NAME")]
    pub script: Option<String>,
    /// Event sources: a JSON list of {"type", "params"}, or @FILE. An update replaces them.
    #[arg(long, value_name = "JSON|@FILE")]
    pub events: Option<String>,
    /// Sinks: a JSON list of {"type", "params"}, or @FILE. An update replaces them.
    #[arg(long, value_name = "JSON|@FILE")]
    pub sinks: Option<String>,
    /// Return before the workers have prepared the code.
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub quiet: Quiet,
}

/// Options of `fl fn logs`.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub function: FunctionName,
    /// Stream new lines until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Show at most this many of the latest lines. Default: all that the workers keep.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: Option<u32>,
    /// Show only the lines of this trace.
    #[arg(long, value_name = "TRACE_ID")]
    pub trace: Option<String>,
    /// Print JSON, one object per line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fl fn invoke`.
#[derive(Debug, Args)]
pub struct Invoke {
    #[command(flatten)]
    pub function: FunctionName,
    /// Argument whose value is a string. Repeatable. Or any JSON value, as with --json.
    #[arg(long, short, value_name = "KEY=VALUE|JSON")]
    pub args: Vec<String>,
    /// Arguments: any JSON value.
    #[arg(long, short, conflicts_with = "args")]
    pub json: Option<String>,
    /// APP script to schedule with. Default: the function's own.
    #[arg(long, value_name = "NAME")]
    pub script: Option<String>,
    /// Use the default policy instead of the function's own script.
    #[arg(long, conflicts_with = "script")]
    pub no_script: bool,
    /// Print the id of the scheduling decision to standard error.
    #[arg(long)]
    pub decision: bool,
    /// Print the receipt to standard error: where the time went, CPU time and memory.
    #[arg(long)]
    pub trace: bool,
}
