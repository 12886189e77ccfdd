//! Telling processes apart: a pid alone may by now belong to someone else.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Pause between two looks at a process whose end the system does not tell of.
const LOOK: Duration = Duration::from_secs(1);

/// A process, by pid *and* start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub pid: u32,
    /// Clock ticks since boot on Linux, a digest of `ps`' start time elsewhere.
    pub started: u64,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none or it is a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let started = if Path::new("/proc/self/stat").exists() {
            started_from_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?
        } else {
            started_from_ps(pid)?
        };
        Some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Completes when the process has ended: at once where the system tells of it.
    pub async fn end(self) {
        #[cfg(target_os = "linux")]
        if let Some(told) = self.told() {
            told.happened().await;
        }
        while self.is_alive() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A file that can be read from when the process has ended; `None` where the system has none to give.
    #[cfg(target_os = "linux")]
    fn told(self) -> Option<crate::told::Told> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let told = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // It is of whoever has the pid. Who is alive now has had it all the time.
        if !self.is_alive() {
            return None;
        }
        crate::told::Told::by(told)
    }

    /// Since when it runs, where the system tells.
    pub fn since(self) -> Option<Timestamp> {
        /// `USER_HZ`, which is 100 on every Linux that runs in user space's sight.
        const TICKS_PER_SECOND: i64 = 100;
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let boot: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Timestamp::from_second(boot + i64::try_from(self.started).ok()? / TICKS_PER_SECOND).ok()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(self, signal: Signal) -> std::io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).map_err(std::io::Error::other)?;
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)), unless the state in field 3 says that the process is dead.
fn started_from_stat(stat: &str) -> Option<u64> {
    // Field 2, the name, may itself hold blanks and brackets.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn started_from_ps(pid: u32) -> Option<u64> {
    use sha2::Digest as _;
    let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let (state, start) = line.trim().split_once(char::is_whitespace)?;
    if state.starts_with('Z') {
        return None;
    }
    let digest = sha2::Sha256::digest(start.trim().as_bytes());
    digest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Processes that were started as one of `programs` (by file name; as any when it is empty) with an argument that is, or
/// ends in `=` and then is, `argument`: how a service is found whose pid was never written down.
pub(super) fn find(programs: &[&str], argument: &OsStr) -> Vec<Identity> {
    let argument = argument.as_encoded_bytes();
    let fits = |argv: &[&[u8]]| {
        let program = argv.first().and_then(|p| p.rsplit(|b| *b == b'/').next());
        let named =
            programs.is_empty() || program.is_some_and(|name| programs.iter().any(|p| p.as_bytes() == name));
        let ours = |arg: &&[u8]| {
            arg.strip_suffix(argument).is_some_and(|before| before.is_empty() || before.ends_with(b"="))
        };
        named && argv.iter().skip(1).any(ours)
    };
    let mut found = Vec::new();
    if let Ok(entries) = std::fs::read_dir("/proc") {
        for pid in entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
            let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
            let argv: Vec<&[u8]> = line.split(|b| *b == 0).collect();
            if fits(&argv) {
                found.extend(Identity::of(pid));
            }
        }
    } else if let Ok(output) = Command::new("ps").args(["-axww", "-o", "pid=,command="]).output() {
        for line in output.stdout.split(|b| *b == b'\n') {
            let argv: Vec<&[u8]> = line.split(|b| *b == b' ').filter(|part| !part.is_empty()).collect();
            let Some((pid, argv)) = argv.split_first() else { continue };
            if fits(argv) {
                found.extend(
                    std::str::from_utf8(pid).ok().and_then(|p| p.parse().ok()).and_then(Identity::of),
                );
            }
        }
    }
    found
}

pub(super) fn signal_program(pid: u32, argument: &str, signal: Signal) -> std::io::Result<bool> {
    let found = find(&[], OsStr::new(argument)).into_iter().find(|process| process.pid == pid);
    found.map_or(Ok(false), |process| process.signal(signal).map(|()| true))
}

/// Processes whose standard input is the file at `path`. Empty where the system does not tell.
pub(super) fn reading(path: &Path) -> Vec<Identity> {
    linking("fd/0", path)
}

/// Processes whose standard input is the file that was at `path` before it was removed. Empty where the
/// system does not tell.
pub(super) fn reading_removed(path: &Path) -> Vec<Identity> {
    let mut removed = path.as_os_str().to_owned();
    // proc_pid_fd(5)
    removed.push(" (deleted)");
    linking("fd/0", Path::new(&removed))
}

/// Processes whose working folder is `folder`: what a database server leaves behind when its first
/// process is killed. Empty where the system does not tell.
pub(super) fn working_in(folder: &Path) -> Vec<Identity> {
    linking("cwd", folder)
}

/// Processes one of whose links in `/proc` leads there.
fn linking(link: &str, to: &Path) -> Vec<Identity> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|found| found == to))
        .filter_map(Identity::of)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_read_past_a_strange_name() {
        let stat = "77 (a) b) (c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 9 9";
        assert_eq!(started_from_stat(stat), Some(4242));
        assert_eq!(started_from_stat(&stat.replace(") S ", ") Z ")), None);
        assert_eq!(started_from_stat("77"), None);
    }

    #[test]
    fn a_recycled_pid_is_another_process() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = Identity { started: me.started + 1, ..me };
        assert!(!other.is_alive());
        // Were it sent, this test would end here.
        other.signal(Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_process_is_found_by_its_argument_and_its_working_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let marker = folder.join("marker");
        let mut child = Command::new("tail")
            .args(["-f", "/dev/null"])
            .arg(format!("--pid={}", std::process::id()))
            .arg(&marker)
            .current_dir(&folder)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let until = |done: &dyn Fn() -> bool| {
            let began = std::time::Instant::now();
            while !done() && began.elapsed().as_secs() < 10 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        };
        until(&|| !find(&["tail"], marker.as_os_str()).is_empty());
        let found = find(&["tail"], marker.as_os_str());
        let missed = find(&["head"], marker.as_os_str());
        let inside = working_in(&folder);
        child.kill().unwrap();
        // Nobody has asked for its end yet: it is a zombie, and counts as ended.
        until(&|| Identity::of(child.id()).is_none());
        let zombie = Identity::of(child.id());
        child.wait().unwrap();
        assert_eq!(found.iter().map(|i| i.pid).collect::<Vec<_>>(), [child.id()]);
        assert!(missed.is_empty());
        if cfg!(target_os = "linux") {
            assert_eq!(inside, found);
        }
        assert_eq!(zombie, None);
    }
}
