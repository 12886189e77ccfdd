//! Starting programs: as an unprivileged user, in a session of their own, with a clean environment.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::unistd::User;
use process_wrap::std::ChildWrapper;

use crate::detached;
use crate::service::ServiceKind;

/// How often a program that is waited for is looked at.
pub(super) const POLL: Duration = Duration::from_millis(3);

/// The user a service runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunAs {
    /// User and group id; `None` for the user we are.
    ids: Option<(u32, u32)>,
}

impl RunAs {
    /// Root's services run as the user their package made, or as `nobody`: servers refuse to run as
    /// root, rightly. Other users' services run as themselves.
    pub fn for_kind(kind: ServiceKind) -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self { ids: None };
        }
        let packaged: &[&str] = match kind {
            ServiceKind::Postgres => &["postgres", "_postgres"],
            ServiceKind::Mysql => &["mysql", "_mysql"],
            ServiceKind::Vault => &["vault", "openbao"],
        };
        let user = packaged
            .iter()
            .chain(&["nobody"])
            .find_map(|name| User::from_name(name).ok().flatten())
            .map_or((65534, 65534), |user| (user.uid.as_raw(), user.gid.as_raw()));
        Self { ids: Some(user) }
    }

    /// Whether the program runs as another user than we do.
    pub fn switches(&self) -> bool {
        self.ids.is_some()
    }

    /// Gives a file or folder to that user.
    pub fn own(&self, path: &Path) -> std::io::Result<()> {
        match self.ids {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Gives an open file to that user.
    pub fn own_file(&self, file: &File) -> std::io::Result<()> {
        match self.ids {
            Some((uid, gid)) => std::os::unix::fs::fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Makes a folder that only the service may enter; an existing one is given to it.
    pub fn make_folder(&self, path: &Path) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        self.own(path)
    }

    /// Writes a file that only the service may read.
    pub fn write_file(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        use std::io::Write as _;
        match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        self.own_file(&file)
    }
}

/// Makes a folder that other users may pass through but not list.
fn make_passable(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
    // The mode above is cut by the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
}

/// Makes the folders that lead to a service's own passable: that of all labs, which a lab in containers
/// makes for itself alone, the lab's, and the service's.
pub(super) fn make_way(lab: &Path, service: &Path) -> std::io::Result<()> {
    lab.parent().into_iter().chain([lab, service]).try_for_each(make_passable)
}

/// A program with everything needed to start it.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Added to an otherwise almost empty environment.
    pub env: Vec<(&'static str, OsString)>,
    /// Working folder; `tmp` beside it is for temporary files.
    pub folder: PathBuf,
    pub user: RunAs,
    /// It may use one processor only, where the system can keep it to that.
    pub one_cpu: bool,
}

impl Launch {
    fn command(&self) -> std::io::Result<Command> {
        // A MariaDB that starts removes what look like its temporary tables from there, and so
        // those of every other server: each needs a folder of its own.
        let temporary = self.folder.with_file_name("tmp");
        self.user.make_folder(&temporary)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .env("HOME", &self.folder)
            .env("TMPDIR", &temporary)
            .env("LANG", "C")
            .env("LC_ALL", "C")
            // With it, `initdb` need not compare every time zone file with the host's.
            .env("TZ", "UTC")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        if let Some((uid, gid)) = self.user.ids {
            // For root, the standard library drops the supplementary groups along with this.
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    /// Starts it detached from our terminal and session, appending its output to `log`.
    pub fn spawn(&self, log: &Path) -> std::io::Result<Box<dyn ChildWrapper>> {
        let output = open_log(log)?;
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let spawn = || detached::spawn(command);
        if self.one_cpu { on_one_cpu(spawn) } else { spawn() }
    }

    /// Runs it to its end and gives its exit status and the lines it wrote. It is killed when the
    /// future is dropped.
    pub async fn run(&self, log: &Path) -> std::io::Result<(ExitStatus, Vec<String>)> {
        let output = open_log(log)?;
        let from = output.metadata()?.len();
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = detached::spawn(command)?;
        let mut child = KillOnDrop(child);
        loop {
            if let Some(status) = child.0.try_wait()? {
                return Ok((status, super::log::since(log, from, 20)));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What is started meanwhile may use one processor only: it inherits that from this thread.
#[cfg(target_os = "linux")]
fn on_one_cpu<T>(start: impl FnOnce() -> T) -> T {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let this = nix::unistd::Pid::from_raw(0);
    let before = sched_getaffinity(this);
    let narrowed = before.and_then(|all| {
        let last = (0..CpuSet::count()).rev().find(|cpu| all.is_set(*cpu).unwrap_or(false));
        let mut one = CpuSet::new();
        one.set(last.unwrap_or(0))?;
        sched_setaffinity(this, &one)
    });
    let started = start();
    if let (Ok(all), Ok(())) = (before, narrowed) {
        // What was allowed before is allowed again.
        let _ = sched_setaffinity(this, &all);
    }
    started
}

#[cfg(not(target_os = "linux"))]
fn on_one_cpu<T>(start: impl FnOnce() -> T) -> T {
    start()
}

fn open_log(log: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(log)
}

/// A process that does not outlive this value.
#[derive(Debug)]
pub(super) struct KillOnDrop(pub Box<dyn ChildWrapper>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Its end is all that is wanted; there is nobody to tell if it has ended by itself.
            drop(self.0.start_kill());
            drop(self.0.wait());
        }
    }
}

/// How a program ended, for people.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or("an unknown signal", |s| s.as_str());
            format!("ended by {name} ({signal})")
        }
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::working_in;
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap().join("data");
        fs::create_dir(&folder).unwrap();
        (dir, folder)
    }

    fn launch(script: &str, folder: &Path) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("EXTRA", "yes".into())],
            folder: folder.to_owned(),
            user: RunAs { ids: None },
            one_cpu: false,
        }
    }

    #[test]
    fn the_way_to_a_service_is_passable_though_it_was_made_private() {
        let (_dir, folder) = folder();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let (lab, service) = (folder.join("lab"), folder.join("lab/vault"));
        make_way(&lab, &service).unwrap();
        for passed in [&folder, &lab, &service] {
            assert_eq!(fs::metadata(passed).unwrap().permissions().mode() & 0o777, 0o711, "{passed:?}");
        }
    }

    #[tokio::test]
    async fn a_program_gets_a_clean_environment_and_its_output_is_kept_private() {
        let (dir, folder) = folder();
        let log = dir.path().join("log");
        let (status, lines) = launch("env; exit 3", &folder).run(&log).await.unwrap();
        assert_eq!(describe(status), "exit status 3");
        let allowed =
            ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "EXTRA", "PWD", "OLDPWD", "SHLVL", "_"];
        for line in &lines {
            let name = line.split('=').next().unwrap();
            assert!(allowed.contains(&name), "{line} leaked into the environment");
        }
        assert!(lines.contains(&"EXTRA=yes".to_owned()));
        assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_may_be_kept_to_one_processor_and_its_starter_is_not() {
        let (dir, folder) = folder();
        let own = || nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let before = own();
        for one_cpu in [true, false] {
            let log = dir.path().join(format!("log-{one_cpu}"));
            let mut child = Launch { one_cpu, ..launch("nproc", &folder) }.spawn(&log).unwrap();
            assert!(child.wait().unwrap().success());
            let told: usize = fs::read_to_string(&log).unwrap().trim().parse().unwrap();
            let all = (0..nix::sched::CpuSet::count()).filter(|cpu| before.is_set(*cpu).unwrap()).count();
            assert_eq!(told, if one_cpu { 1 } else { all });
        }
        assert_eq!(own(), before);
    }

    #[tokio::test]
    async fn a_dropped_run_takes_its_processes_along() {
        let (dir, folder) = folder();
        let log = dir.path().join("log");
        let marker = dir.path().join("marker");
        let script = format!("touch {0}; sleep 30", marker.display());
        let launch = launch(&script, &folder);
        let run = launch.run(&log);
        tokio::select! {
            _ = run => panic!("it ended"),
            () = async { while !marker.exists() { tokio::time::sleep(POLL).await } } => {}
        }
        // The shell's own child is not ours to wait for.
        let began = std::time::Instant::now();
        while !working_in(&folder).is_empty() && began.elapsed().as_secs() < 10 {
            tokio::time::sleep(POLL).await;
        }
        assert!(working_in(&folder).is_empty());
    }
}
