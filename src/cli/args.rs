//! What can be typed.

mod bench;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;
use vaultlab_server::duration::{self, DurationError};

pub use bench::{BenchArgs, LoadArg};

/// A real Vault with real databases: started, provisioned, root-rotated, and proven by logging in.
#[derive(Debug, Parser)]
#[command(name = "vaultlab", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Start with `vaultlab up`. Exit codes: docs/exit-codes.md.")]
pub struct Cli {
    #[command(flatten)]
    pub lab: LabArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that say which lab and how to talk about it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Lab")]
pub struct LabArgs {
    /// Lab file; without it ./vaultlab.yaml, ./lab/vaultlab.yaml, else the lab inside the program
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

/// [`LabArgs`] where `-f` means something else.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Lab")]
pub struct LabArgsLong {
    /// Lab file; without it ./vaultlab.yaml, ./lab/vaultlab.yaml, else the lab inside the program
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Name of the lab, instead of the one in its file
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where services run, instead of what the lab file says
    #[arg(long, value_enum, env = "VAULTLAB_RUNTIME")]
    pub runtime: Option<RuntimeArg>,
    /// What standard output carries
    #[arg(long, value_enum)]
    pub output: Option<Output>,
    /// How progress is shown on standard error
    #[arg(long, value_enum)]
    pub progress: Option<ProgressMode>,
    /// How long `up` may take, as in 90s or 2m [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

impl Common {
    /// These options, with `outer`'s (typed before the command) where these are not given.
    pub fn or(self, outer: Self) -> Self {
        Self {
            name: self.name.or(outer.name),
            runtime: self.runtime.or(outer.runtime),
            output: self.output.or(outer.output),
            progress: self.progress.or(outer.progress),
            timeout: self.timeout.or(outer.timeout),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuntimeArg {
    /// Containers when an engine and the images are there, else programs of this host
    Auto,
    /// Containers
    Docker,
    /// Programs of this host
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullArg {
    /// When the engine does not have them
    Missing,
    /// Every time
    Always,
    /// Never: no registry is asked for anything
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressMode {
    /// `tty` on a terminal, `plain` otherwise
    #[default]
    Auto,
    /// Spinners and bars
    Tty,
    /// One line per step
    Plain,
    /// One JSON event per line
    Json,
    /// Nothing but errors
    Quiet,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the shipped lab, its policies and SQL into a folder, to edit
    Init {
        /// The folder
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Overwrite files that are there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Bring the lab up, or reconcile one that is up
    Up {
        /// Keep everything as it is when it fails
        #[arg(long)]
        retain: bool,
        /// Whether container images are pulled [default: missing with --runtime docker, else never]
        #[arg(long, value_enum, value_name = "WHEN", env = "VAULTLAB_PULL")]
        pull: Option<PullArg>,
        /// Leave no keeper behind: secret_ids end, and a Vault that restarts stays sealed
        #[arg(long, env = "VAULTLAB_NO_KEEPER", value_parser = clap::builder::FalseyValueParser::new())]
        no_keeper: bool,
        /// Stay, and keep the lab from here; Ctrl-C stops it
        #[arg(long, conflicts_with = "no_keeper")]
        foreground: bool,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Keep the lab until Ctrl-C: replace secret_ids before they end, unseal Vault, start services
    /// again that die. `up` starts one in the background
    Supervise {
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Stop the lab; its data is kept
    Down {
        /// Remove its data and keys too
        #[arg(short, long)]
        volumes: bool,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Show how the lab is; exit code 9 when it is not up
    Status {
        #[command(flatten)]
        lab: LabArgs,
    },
    /// List all labs
    Ls {
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Show the logs of the services
    Logs {
        /// Only these services
        services: Vec<String>,
        /// Go on showing new lines
        #[arg(short, long)]
        follow: bool,
        /// Only so many last lines of each
        #[arg(short = 'n', long, value_name = "LINES")]
        tail: Option<usize>,
        #[command(flatten)]
        lab: LabArgsLong,
    },
    /// Show what happened to the lab (times in UTC); --output json gives the events as they were written
    Events {
        /// Go on showing new events
        #[arg(short, long)]
        follow: bool,
        /// Only so many last events
        #[arg(short = 'n', long, value_name = "EVENTS")]
        tail: Option<usize>,
        /// Only since then: a time as in 2026-11-22T10:00:00Z, or so long ago, as in 10m
        #[arg(long, value_name = "TIME", value_parser = parse_moment)]
        since: Option<Timestamp>,
        #[command(flatten)]
        lab: LabArgsLong,
    },
    /// Show leases beside the accounts that are in the databases; exit code 7 when one lacks the other
    Leases {
        /// Revoke a lease (its id or account), or all of a role, and see the accounts gone
        #[arg(long, value_name = "ID|ROLE", conflicts_with = "clean")]
        revoke: Option<String>,
        /// Drop accounts without a lease, revoke leases without an account, and see them gone
        #[arg(long)]
        clean: bool,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Write agent.hcl and a template with which a Vault Agent logs in as an AppRole
    AgentConfig {
        /// Only for this AppRole
        approle: Option<String>,
        /// Below this folder, in one named for the AppRole, instead of the lab's own
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Print addresses and token as variables: eval "$(vaultlab env)"
    Env {
        /// How to write them
        #[arg(long, value_enum, default_value_t)]
        format: EnvFormatArg,
        /// Also under a name of your own, as in DATABASE_HOST=NOTES_POSTGRES_HOST
        #[arg(long, value_name = "NEW=EXISTING", value_parser = parse_pair)]
        map: Vec<(String, String)>,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Print a fresh credential of a role, or the password of a static role
    Creds {
        /// The role
        #[arg(required_unless_present = "break_glass")]
        role: Option<String>,
        /// Instead, the account that is kept in a database outside Vault; Vault need not run
        #[arg(long, value_name = "DATABASE", conflicts_with = "role")]
        break_glass: Option<String>,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Run a program with address, token and one lease per role in its environment; all are revoked
    /// when it ends
    Exec {
        /// With the token of this AppRole and the leases it may have
        #[arg(long, value_name = "NAME")]
        approle: Option<String>,
        /// With a root token, made through the unseal keys and revoked when the program ends
        #[arg(long, conflicts_with = "approle")]
        root: bool,
        /// Leases of these roles only
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Also under a name of your own, as in DATABASE_URL=PG_READ_URL
        #[arg(long, value_name = "NEW=EXISTING", value_parser = parse_pair)]
        map: Vec<(String, String)>,
        #[command(flatten)]
        lab: LabArgs,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Open psql or mysql with a fresh credential of a role, revoked when it ends
    Connect {
        /// The role
        #[arg(required_unless_present = "break_glass")]
        role: Option<String>,
        /// Instead, with the account that is kept in a database outside Vault; Vault need not run
        #[arg(long, value_name = "DATABASE", conflicts_with = "role")]
        break_glass: Option<String>,
        #[command(flatten)]
        lab: LabArgs,
        /// Arguments for the client, as in -- -c 'SELECT 1'
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Show something happen, each step checked
    Demo {
        #[command(subcommand)]
        demo: Demo,
    },
    /// Put a Vault under load and measure it: reads, logins, database credentials
    Bench(BenchArgs),
    /// Look whether this machine has what the lab needs; exit code 4 when it could not come up
    Doctor {
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Remove templates that no lab was made from and what labs that are gone left in the container
    /// engine. Labs keep everything, running or not
    Prune {
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Remove it without asking
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        lab: LabArgs,
    },
    /// Run the embedded Vault-compatible server; it takes -config as `vault server` does
    Server {
        /// Configuration file or folder (HCL or JSON); can be repeated
        #[arg(long, value_name = "PATH", required = true)]
        config: Vec<PathBuf>,
    },
    /// Print a completion script
    Completions {
        /// For this shell
        shell: Shell,
    },
}

impl Command {
    /// The options after the command that say which lab.
    pub fn lab_args(&self) -> Option<LabArgs> {
        match self {
            Self::Init { lab, .. }
            | Self::Up { lab, .. }
            | Self::Down { lab, .. }
            | Self::Supervise { lab }
            | Self::Status { lab }
            | Self::Ls { lab }
            | Self::Doctor { lab }
            | Self::Prune { lab, .. }
            | Self::Leases { lab, .. }
            | Self::AgentConfig { lab, .. }
            | Self::Env { lab, .. }
            | Self::Creds { lab, .. }
            | Self::Exec { lab, .. }
            | Self::Connect { lab, .. }
            | Self::Bench(BenchArgs { lab, .. })
            | Self::Demo { demo: Demo::Rotate { lab, .. } } => Some(lab.clone()),
            Self::Logs { lab, .. } | Self::Events { lab, .. } => Some(lab.clone().into()),
            Self::Server { .. } | Self::Completions { .. } => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Demo {
    /// Credentials that are issued, revoked, expire and rotate, each proven by a login
    Rotate {
        /// Keep an application querying both databases while its credentials are replaced
        #[arg(long)]
        watch: bool,
        /// How long to watch
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, default_value = "30s", requires = "watch")]
        duration: Duration,
        /// Keep everything as it is when it fails
        #[arg(long)]
        retain: bool,
        #[command(flatten)]
        lab: LabArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EnvFormatArg {
    /// export NAME='value'
    #[default]
    Shell,
    /// NAME=value
    Dotenv,
    /// One JSON object
    Json,
    /// For $GITHUB_ENV; masks for the log go to standard error
    Github,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| match error {
        // The server's words for it are Vault's.
        DurationError::OutOfRange => "out of range".to_owned(),
        error => error.to_string(),
    })?;
    if duration.is_zero() { Err("no time at all".into()) } else { Ok(duration) }
}

/// A time, or how long ago it was.
fn parse_moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let ago = duration::parse(text)
        .map_err(|_| "write a time as in 2026-11-22T10:00:00Z, or how long ago, as in 10m".to_owned())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((new, existing)) if is_variable(new) && !existing.is_empty() => {
            Ok((new.into(), existing.into()))
        }
        Some((new, existing)) if !existing.is_empty() => Err(format!("{new:?} is no name of a variable")),
        _ => Err("write it as NEW=EXISTING, as in DATABASE_URL=PG_READ_URL".into()),
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
