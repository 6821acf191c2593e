//! `fl cfg`.

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Cfg {
    /// Print a value of the profile.
    #[command(visible_alias = "g")]
    Get {
        /// Key.
        key: ProfileKey,
    },
    /// Set a value in the profile of --config, or else in ~/.fl/config.
    #[command(visible_alias = "s")]
    Set {
        /// Key.
        key: ProfileKey,
        /// New value, or `-` to read it from the standard input.
        value: String,
    },
}

/// A key of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ProfileKey {
    /// Address of the REST API.
    ApiHost,
    /// Token of a subject.
    ApiToken,
    /// Token of an administrator.
    AdminToken,
    /// The secret of a published FunLess. Nothing here uses it.
    SecretKeyBase,
}

impl ProfileKey {
    /// The key as it is in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiHost => "api_host",
            Self::ApiToken => "api_token",
            Self::AdminToken => "admin_token",
            Self::SecretKeyBase => "secret_key_base",
        }
    }
}
