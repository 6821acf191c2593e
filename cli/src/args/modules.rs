//! `fl mod`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Modules {
    /// List the modules.
    #[command(visible_alias = "l", visible_alias = "ls")]
    List {
        /// Print their number, too.
        #[arg(long, short)]
        count: bool,
    },
    /// List the functions of a module.
    #[command(visible_alias = "g")]
    Get {
        /// Name of the module.
        name: String,
        /// Print their number, too.
        #[arg(long, short)]
        count: bool,
    },
    /// Create a module.
    #[command(visible_alias = "c")]
    Create {
        /// Name: letters, digits and underscores.
        name: String,
    },
    /// Delete a module and all its functions.
    #[command(visible_alias = "d", visible_alias = "rm")]
    Delete {
        /// Name of the module.
        name: String,
    },
    /// Rename a module.
    #[command(visible_alias = "u", visible_alias = "up")]
    Update {
        /// Name of the module.
        name: String,
        /// New name.
        new_name: String,
    },
}
