//! `fl template`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Templates {
    /// List the templates.
    List {
        /// Folder whose folder `template` has templates beside those of fl.
        #[arg(long, short = 'd', value_name = "DIR", default_value = ".")]
        template_dir: PathBuf,
    },
    /// Copy templates into the folder `template`.
    Pull {
        /// Git repository or folder with a folder `template`. Default: the templates of fl.
        repository: Option<String>,
        /// Folder for the folder `template`.
        #[arg(long, short, value_name = "DIR", default_value = ".")]
        out_dir: PathBuf,
        /// Replace templates that are there.
        #[arg(long, short)]
        force: bool,
    },
}
