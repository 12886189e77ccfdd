//! Servers that run in a service's folder although no record tells of them: the lab's manifest was
//! lost, or was never written.

use std::ffi::{OsStr, OsString};
use std::fs;

use super::identity::{self, Identity};
use super::{Places, ProcessRuntime, vault};
use crate::service::ServiceKind;
use crate::state::ServiceRecord;

impl ProcessRuntime {
    /// Such a server, by its command line, with as much of a record as it shows.
    pub(super) fn stray(&self, service: &str) -> Option<ServiceRecord> {
        let places = self.places(service);
        let mut config = OsString::from("-config=");
        config.push(places.root.join(vault::CONFIG));
        let servers: [(_, &[&str], &OsStr); 3] = [
            (ServiceKind::Postgres, &["postgres"], places.data.as_os_str()),
            (ServiceKind::Mysql, &["mariadbd", "mysqld"], places.data.as_os_str()),
            // Whatever the program is called that was named for it.
            (ServiceKind::Vault, &[], &config),
        ];
        servers.into_iter().find_map(|(kind, programs, argument)| {
            let identity = identity::find(programs, argument).into_iter().next()?;
            Some(ServiceRecord {
                kind: kind.as_str().into(),
                program: programs.first().copied().unwrap_or(kind.as_str()).into(),
                program_version: String::new(),
                port: port(kind, &places, identity).unwrap_or_default(),
                pid: Some(identity.pid),
                started: Some(identity.started),
                template: None,
                data: None,
            })
        })
    }
}

/// The port the server was told to listen on: in a Vault's configuration, else among the arguments.
fn port(kind: ServiceKind, places: &Places, server: Identity) -> Option<u16> {
    if kind == ServiceKind::Vault {
        let config = fs::read_to_string(places.root.join(vault::CONFIG)).ok()?;
        return config.split("127.0.0.1:").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    }
    let line = fs::read_to_string(format!("/proc/{}/cmdline", server.pid)).ok()?;
    line.split('\0')
        .find_map(|argument| argument.trim_start_matches("--").strip_prefix("port=")?.parse().ok())
}
