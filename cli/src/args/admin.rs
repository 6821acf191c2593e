//! `fl admin`.

use clap::Subcommand;

use super::deploy::Deploy;
use super::output::{Listing, Quiet};

#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Manage users, which the API calls subjects.
    #[command(subcommand, visible_alias = "u")]
    User(Users),
    /// Run a mesh in containers.
    #[command(subcommand)]
    Deploy(Deploy),
}

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Create a user and print its token, which is shown only once.
    #[command(visible_alias = "c")]
    Create {
        /// Name: letters, digits and underscores.
        name: String,
        /// Print only the token.
        #[arg(long, short)]
        quiet: bool,
    },
    /// List the users.
    #[command(visible_alias = "l", visible_alias = "ls")]
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// Give a user a new token and print it. The one before ends at once, or after --grace.
    #[command(visible_alias = "r")]
    Rotate {
        /// Name of the user.
        name: String,
        /// How long the token before remains valid: seconds, or a number with a unit such as 15m, 12h, 7d; at most 30d.
        #[arg(long, value_name = "TIME")]
        grace: Option<String>,
        /// Print only the token.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Delete a user, whose tokens end with it.
    #[command(visible_alias = "d")]
    Delete {
        /// Name of the user.
        name: String,
        #[command(flatten)]
        quiet: Quiet,
    },
}
