//! What can be typed after `vaultlab bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{LabArgs, parse_duration};

#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to do; without any, everything that is possible
    #[arg(value_enum)]
    pub loads: Vec<LoadArg>,
    /// Requests under way at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = parse_workers)]
    pub workers: usize,
    /// How long each load lasts
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// What is read
    #[arg(long, value_name = "PATH", default_value = "auth/token/lookup-self")]
    pub path: String,
    /// AppRole to log in with [default: the lab's first]
    #[arg(long, value_name = "NAME")]
    pub approle: Option<String>,
    /// Role to ask credentials of; can be repeated [default: the first of each database]
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Revoke each credential before the next is asked for
    #[arg(long)]
    pub revoke: bool,
    /// Also issue the role's statements directly on the database, in turns, to compare
    #[arg(long)]
    pub direct: bool,
    /// Another Vault than the lab's, as in http://127.0.0.1:8200; its token is in VAULT_TOKEN
    #[arg(long, value_name = "URL", help_heading = "Another Vault")]
    pub address: Option<String>,
    /// File with its token, instead of VAULT_TOKEN
    #[arg(long, value_name = "FILE", requires = "address", help_heading = "Another Vault")]
    pub token_file: Option<PathBuf>,
    /// Certificate of its CA (PEM), for https
    #[arg(
        long,
        value_name = "FILE",
        requires = "address",
        env = "VAULT_CACERT",
        help_heading = "Another Vault"
    )]
    pub ca_cert: Option<PathBuf>,
    /// Where its database secrets engine is mounted
    #[arg(
        long,
        value_name = "PATH",
        requires = "address",
        default_value = "database",
        help_heading = "Another Vault"
    )]
    pub mount: String,
    /// File with the database's URL for --direct, as in postgresql://postgres:PASSWORD@127.0.0.1:5432/app
    #[arg(long, value_name = "FILE", requires_all = ["address", "direct"], help_heading = "Another Vault")]
    pub database_url_file: Option<PathBuf>,
    #[command(flatten)]
    pub lab: LabArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadArg {
    /// Read a path with the token
    Reads,
    /// Log in with an AppRole
    Logins,
    /// Ask for database credentials
    Creds,
}

fn parse_workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers @ 1..=1024) => Ok(workers),
        _ => Err("from 1 to 1024".into()),
    }
}
