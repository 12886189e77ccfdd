//! Ports of 127.0.0.1.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A port that stays ours while this value lives; dropped just before the service binds it.
#[derive(Debug)]
pub(super) struct PortHold {
    pub port: u16,
    _listener: TcpListener,
}

/// Ports given to services of this lab that may not have bound them yet.
#[derive(Debug, Default)]
pub(super) struct Ports {
    given: Mutex<HashSet<u16>>,
}

impl Ports {
    /// Holds the first free one of `wished`, else one that the system chooses. No two services
    /// get the same, even between the drop of a hold and the service's own bind.
    pub fn pick(&self, wished: impl IntoIterator<Item = u16>) -> std::io::Result<PortHold> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        for port in wished.into_iter().filter(|port| *port != 0).chain([0; 16]) {
            if port != 0 && given.contains(&port) {
                continue;
            }
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => {
                    let port = listener.local_addr()?.port();
                    if given.insert(port) {
                        return Ok(PortHold { port, _listener: listener });
                    }
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::other("no port is free")))
    }

    /// Holds exactly this port.
    pub fn claim(&self, port: u16) -> std::io::Result<PortHold> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        Ok(PortHold { port, _listener: listener })
    }

    /// The service on this port has ended: others may have it.
    pub fn release(&self, port: u16) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }
}

/// Whether something listens on the port.
pub(super) fn is_taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// Who listens on a port, as in `postgres (pid 1234)`.
pub(super) fn holder(port: u16) -> String {
    let found =
        if Path::new("/proc/net/tcp").exists() { holder_from_proc(port) } else { holder_from_lsof(port) };
    found.unwrap_or_else(|| "another program (it belongs to another user, so it cannot be named)".into())
}

/// Whether process `pid` itself listens on the port; `None` where the system does not tell.
pub(super) fn listens(pid: u32, port: u16) -> Option<bool> {
    let sockets = listening_sockets(port);
    if sockets.is_empty() {
        return None;
    }
    let mut told = true;
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        match fs::read_link(descriptor.path()) {
            Ok(to) if to.to_str().is_some_and(|to| sockets.contains(to)) => return Some(true),
            // In a container even root may list another user's descriptors and not see where they lead.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => told = false,
            _ => {}
        }
    }
    told.then_some(false)
}

/// The sockets that listen on a port, as links in `/proc/PID/fd` show them.
fn listening_sockets(port: u16) -> HashSet<String> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect()
}

fn holder_from_proc(port: u16) -> Option<String> {
    let sockets = listening_sockets(port);
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let listens = |fd: fs::DirEntry| {
            fs::read_link(fd.path()).is_ok_and(|to| to.to_str().is_some_and(|to| sockets.contains(to)))
        };
        if descriptors.flatten().any(listens) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// Inodes of the sockets in a `/proc/net/tcp` table that listen (state 0A) on `port`.
fn listeners(table: &str, port: u16) -> Vec<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
            (local == port && *fields.get(3)? == "0A")
                .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .collect()
}

fn holder_from_lsof(port: u16) -> Option<String> {
    let output =
        Command::new("lsof").args(["-nP", "-sTCP:LISTEN", "-Fpc", &format!("-iTCP:{port}")]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |letter| text.lines().find_map(|line| line.strip_prefix(letter));
    Some(format!("{} (pid {})", field('c')?, field('p')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_not_given_twice_and_its_holder_is_named() {
        let ports = Ports::default();
        let first = ports.pick([]).unwrap();
        assert!(is_taken(first.port));
        let second = ports.pick([first.port]).unwrap();
        assert_ne!(first.port, second.port);
        assert!(ports.claim(first.port).is_err());
        if cfg!(target_os = "linux") {
            assert_eq!(listens(std::process::id(), first.port), Some(true));
            assert!(!listens(1, first.port).unwrap_or(false));
        }
        assert!(holder(first.port).contains(&format!("(pid {})", std::process::id())));

        let port = first.port;
        drop(first);
        assert_ne!(ports.pick([port]).unwrap().port, port, "its service may be about to bind it");
        ports.release(port);
        assert_eq!(ports.pick([port]).unwrap().port, port);
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 1 0 777 1\n\
                     1: 0100007F:1F90 0100007F:A000 01 0:0 0:0 0 1 0 778 1\n";
        assert_eq!(listeners(table, 8080), ["777"]);
        assert!(listeners(table, 8081).is_empty());
    }
}
