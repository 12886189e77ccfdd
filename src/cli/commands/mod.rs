//! One file per command; each takes plain values and calls the library.

mod agent;
mod bench;
mod creds;
mod demo;
mod doctor;
mod env;
mod events;
mod exec;
mod init;
mod leases;
mod logs;
mod prune;
mod server;
mod status;
mod supervise;
mod up;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use clap::CommandFactory as _;

use super::args::{Cli, Command, Common, Demo, LabArgs, LabArgsLong, ProgressMode, PullArg, RuntimeArg};
use super::printer::{Printer, write_out};
use super::prompt;
use crate::lab::{EventsWanted, ExecOptions, KeeperChoice, Lab, LabError, LabOptions};
use crate::report::{Failures, JsonLines, Plain, Progress, Report, Reporter};
use crate::runtime::docker::PullPolicy;
use crate::shell::{quote, quote_path};
use crate::spec::model::RuntimeChoice;
use crate::state::Unlock;

/// Which lab, and how to talk about it: what was typed before and after the command, as one.
struct Settings {
    file: Option<PathBuf>,
    common: Common,
}

impl Settings {
    fn new(outer: LabArgs, inner: LabArgs) -> Self {
        Self { file: inner.file.or(outer.file), common: inner.common.or(outer.common) }
    }

    /// As [`selector`], for what a command itself suggests.
    fn selector(&self) -> String {
        selector_of(self.file.as_deref(), self.common.name.as_deref())
    }

    fn printer(&self) -> Printer {
        Printer::new(self.common.output)
    }

    fn report(&self) -> Report {
        let reporter: Box<dyn Reporter> = match self.common.progress.unwrap_or_default() {
            ProgressMode::Auto if std::io::stderr().is_terminal() => Box::new(Progress::new()),
            ProgressMode::Tty => Box::new(Progress::new()),
            ProgressMode::Auto | ProgressMode::Plain => Box::new(Plain::new(std::io::stderr())),
            ProgressMode::Json => Box::new(JsonLines::new(std::io::stderr())),
            ProgressMode::Quiet => Box::new(Failures(Plain::new(std::io::stderr()))),
        };
        Report::new(vec![reporter])
    }

    fn options(&self) -> LabOptions {
        LabOptions {
            file: self.file.clone(),
            name: self.common.name.clone().or_else(|| self.name_from_environment()),
            runtime: self.common.runtime.map(|runtime| match runtime {
                RuntimeArg::Auto => RuntimeChoice::Auto,
                RuntimeArg::Docker => RuntimeChoice::Docker,
                RuntimeArg::Process => RuntimeChoice::Process,
            }),
            timeout: self.common.timeout,
            // This very program serves the embedded server, whatever its file is called.
            program: std::env::var_os("VAULTLAB_BIN")
                .map(Into::into)
                .or_else(|| std::env::current_exe().ok()),
            unlock: Unlock::asking(prompt::passphrase),
            ..LabOptions::default()
        }
    }

    /// `VAULTLAB_NAME`, unless a lab file is named: that says which lab is meant.
    fn name_from_environment(&self) -> Option<String> {
        let name = std::env::var("VAULTLAB_NAME").ok().filter(|name| !name.is_empty());
        name.filter(|_| self.file.is_none())
    }

    fn lab(&self) -> Result<Lab, LabError> {
        Lab::with(self.options(), self.report())
    }

    /// The lab to look at or to stop: its file may be gone or wrong by now.
    fn known_lab(&self) -> Result<Lab, LabError> {
        Lab::with(LabOptions { tolerant: true, ..self.options() }, self.report())
    }

    fn lab_retaining(&self, retain: bool) -> Result<Lab, LabError> {
        Lab::with(LabOptions { retain, ..self.options() }, self.report())
    }
}

impl From<PullArg> for PullPolicy {
    fn from(pull: PullArg) -> Self {
        match pull {
            PullArg::Missing => Self::Missing,
            PullArg::Always => Self::Always,
            PullArg::Never => Self::Never,
        }
    }
}

impl From<LabArgsLong> for LabArgs {
    fn from(LabArgsLong { file, common }: LabArgsLong) -> Self {
        Self { file, common }
    }
}

/// What has to stand in a suggested command so that it means the same lab.
pub(super) fn selector(cli: &Cli) -> String {
    let settings = Settings::new(cli.lab.clone(), cli.command.lab_args().unwrap_or_default());
    settings.selector()
}

/// Whether standard output carries an error too, as JSON. With `exec` and `connect` it belongs to the
/// program they run.
pub(super) fn errors_as_json(cli: &Cli) -> bool {
    let settings = Settings::new(cli.lab.clone(), cli.command.lab_args().unwrap_or_default());
    settings.printer().is_json() && !matches!(cli.command, Command::Exec { .. } | Command::Connect { .. })
}

fn selector_of(file: Option<&std::path::Path>, name: Option<&str>) -> String {
    let file = file.map(|file| format!("-f {} ", quote_path(file))).unwrap_or_default();
    file + &name.map(|name| format!("--name {} ", quote(name))).unwrap_or_default()
}

pub(super) async fn run(cli: Cli) -> Result<ExitCode, LabError> {
    let outer = cli.lab;
    let settings = |inner: LabArgs| Settings::new(outer, inner);
    match cli.command {
        Command::Init { folder, force, lab } => init::run(&settings(lab), &folder, force),
        Command::Up { retain, pull, no_keeper, foreground, lab } => {
            let settings = settings(lab);
            let keeper = if no_keeper || foreground { KeeperChoice::None } else { KeeperChoice::Detached };
            let options = LabOptions { retain, keeper, pull: pull.map(Into::into), ..settings.options() };
            up::up(&settings, options, foreground).await
        }
        Command::Supervise { lab } => supervise::run(&settings(lab)).await,
        Command::Down { volumes, lab } => up::down(&settings(lab), volumes).await,
        Command::Status { lab } => status::status(&settings(lab)).await,
        Command::Ls { lab } => status::list(&settings(lab)).await,
        Command::Logs { services, follow, tail, lab } => {
            logs::run(&settings(lab.into()), &services, tail, follow).await
        }
        Command::Events { follow, tail, since, lab } => {
            events::run(&settings(lab.into()), &EventsWanted { since, tail, follow }).await
        }
        Command::Leases { revoke, clean, lab } => leases::run(&settings(lab), revoke.as_deref(), clean).await,
        Command::AgentConfig { approle, folder, lab } => {
            agent::run(&settings(lab), approle.as_deref(), folder.as_deref()).await
        }
        Command::Env { format, map, lab } => env::run(&settings(lab), format, &map).await,
        Command::Creds { role, break_glass, lab } => {
            creds::run(&settings(lab), role.as_deref(), break_glass.as_deref()).await
        }
        Command::Exec { approle, root, roles, map, lab, command } => {
            exec::run(&settings(lab), &ExecOptions { approle, root, roles, map }, &command).await
        }
        Command::Connect { role, break_glass, lab, arguments } => {
            exec::connect(&settings(lab), role.as_deref(), break_glass.as_deref(), &arguments).await
        }
        Command::Demo { demo: Demo::Rotate { watch, duration, retain, lab } } => {
            demo::rotate(&settings(lab), watch.then_some(duration), retain).await
        }
        Command::Bench(args) => bench::run(&settings(args.lab.clone()), &args).await,
        Command::Doctor { lab } => doctor::run(&settings(lab)).await,
        Command::Prune { dry_run, yes, lab } => prune::run(&settings(lab), dry_run, yes).await,
        Command::Server { config } => server::run(&config).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vaultlab", &mut script);
            write_out(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Completes at the first Ctrl-C, SIGTERM or SIGHUP. These are caught from the call on, not only
/// once the result is waited for.
fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| {
        let caught = signal(kind);
        async move {
            match caught {
                Ok(mut caught) => drop(caught.recv().await),
                Err(_) => std::future::pending().await,
            }
        }
    };
    let (interrupt, terminate, hangup) =
        (on(SignalKind::interrupt()), on(SignalKind::terminate()), on(SignalKind::hangup()));
    async move {
        tokio::select! {
            () = interrupt => {}
            () = terminate => {}
            () = hangup => {}
        }
    }
}

/// The code a shell would report for a program that ended so.
fn exit_code_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
