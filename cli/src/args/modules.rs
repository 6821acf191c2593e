//! `fl mod`.

use clap::Subcommand;

use super::output::{Listing, Quiet};

#[derive(Debug, Subcommand)]
pub enum Modules {
    /// List the modules.
    #[command(visible_alias = "l", visible_alias = "ls")]
    List {
        /// Print their number, too.
        #[arg(long, short, conflicts_with_all = ["output", "json", "quiet"])]
        count: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// List the functions of a module.
    #[command(visible_alias = "g")]
    Get {
        /// Name of the module.
        name: String,
        /// Print their number, too.
        #[arg(long, short, conflicts_with_all = ["output", "json", "quiet"])]
        count: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Create a module.
    #[command(visible_alias = "c")]
    Create {
        /// Name: letters, digits and underscores.
        name: String,
        #[command(flatten)]
        quiet: Quiet,
    },
    /// Delete a module and all its functions.
    #[command(visible_alias = "d", visible_alias = "rm")]
    Delete {
        /// Name of the module.
        name: String,
        #[command(flatten)]
        quiet: Quiet,
    },
    /// Rename a module.
    #[command(visible_alias = "u", visible_alias = "up")]
    Update {
        /// Name of the module.
        name: String,
        /// New name.
        new_name: String,
        #[command(flatten)]
        quiet: Quiet,
    },
}
