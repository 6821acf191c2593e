//! `fl admin`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Manage users, which the API calls subjects.
    #[command(subcommand, visible_alias = "u")]
    User(Users),
}

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Create a user and print its token, which is shown only once.
    #[command(visible_alias = "c")]
    Create {
        /// Name: letters, digits and underscores.
        name: String,
    },
    /// List the users.
    #[command(visible_alias = "l", visible_alias = "ls")]
    List,
    /// Delete a user, whose tokens end with it.
    #[command(visible_alias = "d")]
    Delete {
        /// Name of the user.
        name: String,
    },
}
