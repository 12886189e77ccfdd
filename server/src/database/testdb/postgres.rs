//! PostgreSQL for tests.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::server::{Server, account, find, prepared_dir, run};
use super::{ADMIN, ADMIN_PASSWORD, Unavailable};

/// A program of PostgreSQL's own folder: the newest version of Debian's layout, Homebrew's, or the PATH.
fn program(name: &str) -> Option<PathBuf> {
    let mut versions: Vec<u32> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    let debian = format!("/usr/lib/postgresql/{}/bin/{name}", versions.last().copied().unwrap_or_default());
    find(&[&debian, &format!("/opt/homebrew/bin/{name}"), name])
}

pub(super) fn start() -> Result<Server, Unavailable> {
    let initdb = program("initdb").ok_or(Unavailable::Missing("initdb"))?;
    let postgres = program("postgres").ok_or(Unavailable::Missing("postgres"))?;
    let account = account("postgres");
    let dir = prepared_dir("postgres", account, |dir| {
        let password = dir.join("password");
        fs::write(&password, ADMIN_PASSWORD).map_err(|e| Unavailable::Failed(e.to_string()))?;
        let mut command = Command::new(&initdb);
        command
            .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"])
            .arg(format!("--username={ADMIN}"))
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(dir.join("data"))
            .current_dir(dir);
        if let Some((uid, gid)) = account {
            command.uid(uid).gid(gid);
        }
        run(&mut command)
    })?;
    Server::start(postgres, account, dir, |dir, port| {
        let data = dir.join("data").display().to_string();
        let port = port.to_string();
        let sockets = format!("unix_socket_directories={}", dir.display());
        let mut arguments = vec!["-D", &data, "-p", &port, "-c", &sockets];
        // Commits reach the operating system, so that they survive the process, but not the disk.
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            "max_connections=60",
        ] {
            arguments.extend(["-c", setting]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    })
}
