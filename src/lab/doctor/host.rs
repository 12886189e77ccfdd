//! What this host has: a folder for the labs, disk, memory, programs and ports.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use nix::sys::statvfs::statvfs;

use super::{Check, Way};
use crate::lab::Lab;
use crate::report::human_size as size;
use crate::runtime::process::Programs;
use crate::runtime::{RuntimeError, ServiceState, port_holder};
use crate::service::{Service, ServiceKind};
use crate::state::{Home, StateError};

/// Free disk that is enough for a few labs.
const LITTLE_DISK: u64 = 1 << 30;

/// Free disk that is not enough for one.
const NO_DISK: u64 = 256 << 20;

/// Free memory that is not enough for a Vault and two databases.
const LITTLE_MEMORY: u64 = 512 << 20;

/// The folder of the labs: there, ours, private, and with room.
pub(super) fn state_folder(home: Result<Home, StateError>) -> (Vec<Check>, Option<Home>) {
    const NAME: &str = "state folder";
    const ADVICE: &str = "name a folder you may write in VAULTLAB_HOME";
    let home = match home {
        Ok(home) => home,
        Err(error) => return (vec![Check::fail(NAME, error.to_string(), ADVICE)], None),
    };
    let root = existing(home.root());
    let mut checks = Vec::new();
    checks.push(match (std::fs::metadata(root), tempfile::tempfile_in(root)) {
        (Ok(_), Ok(_)) if root != home.root() => {
            Check::ok(NAME, format!("{}, which the first lab makes", home.root().display()))
        }
        (Ok(meta), Ok(_)) => {
            let mode = meta.permissions().mode() & 0o777;
            let found = format!("{}, mode {mode:04o}", root.display());
            if meta.uid() != nix::unistd::geteuid().as_raw() {
                let advice = format!("it belongs to uid {}: {ADVICE}", meta.uid());
                Check::warn(NAME, found, advice)
            } else if mode & 0o066 != 0 {
                // Passing through (x) is what the services of root need.
                Check::warn(
                    NAME,
                    found,
                    format!("others may look into it: chmod go-rw {}", crate::shell::quote_path(root)),
                )
            } else {
                Check::ok(NAME, found)
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            Check::fail(NAME, format!("cannot write in {}: {error}", root.display()), ADVICE)
        }
    });
    checks.push(disk("disk", root, ""));
    let data = home.templates();
    let data = data.parent().unwrap_or(root);
    if data != home.root() {
        checks.push(disk(
            "disk of the services",
            existing(data),
            "root's services cannot pass through the state folder",
        ));
    }
    (checks, Some(home))
}

/// The folder, or the nearest above it that is there.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder)
}

/// Free space at a folder.
pub(super) fn disk(name: &str, folder: &Path, remark: &str) -> Check {
    let stat = match statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => return Check::warn(name, format!("{}: {error}", folder.display()), ""),
    };
    // The types of both numbers differ from system to system.
    let free = (stat.blocks_available() as u64).saturating_mul(stat.fragment_size() as u64);
    let remark = if remark.is_empty() { String::new() } else { format!(" ({remark})") };
    let found = format!("{} free in {}{remark}", size(free), folder.display());
    let advice = "make room: `vaultlab prune` removes what no lab uses";
    if free < NO_DISK {
        Check::fail(name, found, advice)
    } else if free < LITTLE_DISK {
        Check::warn(name, found, advice)
    } else {
        Check::ok(name, found)
    }
}

/// Memory that programs can have, where the system tells.
pub(super) fn memory() -> Check {
    const NAME: &str = "memory";
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available = available.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let Some(available) = available.map(|kib| kib * 1024) else {
        return Check::ok(NAME, "not told by this system");
    };
    let limit = cgroup_limit().filter(|limit| *limit < available);
    let within = if limit.is_some() { ", the limit of this cgroup" } else { " available" };
    let memory = limit.unwrap_or(available);
    let found = format!("{}{within}", size(memory));
    if memory < LITTLE_MEMORY {
        Check::warn(NAME, found, "a lab takes about 300 MiB: end other programs, or raise the limit")
    } else {
        Check::ok(NAME, found)
    }
}

/// The memory limit of the cgroup this program is in: a container's, in CI.
fn cgroup_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// The programs of this host that would run the services, and the clients `vaultlab connect` calls.
pub(super) async fn programs(services: &[Service], vaultlab: Option<&PathBuf>) -> Way {
    let mut programs = Programs::from_env();
    if let Some(program) = vaultlab {
        programs.vaultlab = Some(program.clone());
    }
    let found = join_all(services.iter().map(|service| programs.find(service))).await;
    let usable: Vec<bool> = found.iter().map(Result::is_ok).collect();
    let mut checks: Vec<Check> = services
        .iter()
        .zip(found)
        .map(|(service, found)| {
            let name = format!("program of {}", service.name());
            match found {
                Ok(found) => Check::ok(name, format!("{} ({})", found.product, found.path.display())),
                Err(RuntimeError::ProgramMissing { what, hint, .. }) => {
                    Check::fail(name, format!("this host has no {what}"), hint)
                }
                Err(error) => Check::fail(name, error.to_string(), ""),
            }
        })
        .collect();
    let has = |kind| services.iter().any(|service| service.kind() == kind);
    for (kind, clients) in
        [(ServiceKind::Postgres, &["psql"][..]), (ServiceKind::Mysql, &["mariadb", "mysql"][..])]
    {
        if has(kind) && !clients.iter().any(|client| which::which(client).is_ok()) {
            let found = format!("there is no {}", clients.join(" or "));
            let advice = "`vaultlab connect` needs it; nothing else does";
            checks.push(Check::warn(format!("client of {kind}"), found, advice));
        }
    }
    Way { checks, now: usable.clone(), later: usable }
}

/// The ports the services ask for, or usually have.
pub(super) async fn ports(services: &[Service], lab: Option<&Lab>) -> Vec<Check> {
    let runtime = match lab {
        // A lab that was never up has nothing on any port.
        Some(lab) if lab.dir().manifest().exists() => lab.runtime().await.ok(),
        _ => None,
    };
    let mut checks = Vec::new();
    for service in services {
        let name = format!("port of {}", service.name());
        let state = match &runtime {
            Some(runtime) => runtime.state(service.name()).await.ok(),
            None => None,
        };
        if let Some(ServiceState::Running { endpoint, .. }) = state {
            checks.push(Check::ok(name, format!("{} (the lab is running)", endpoint.port)));
            continue;
        }
        let port = service.port().unwrap_or(service.kind().usual_port());
        checks.push(match port_holder(port) {
            None => Check::ok(name, format!("{port} is free")),
            Some(holder) if service.port().is_some() => Check::fail(
                name,
                format!("{port}, which the lab file asks for, is taken by {holder}"),
                "end it, or take the `port:` out of the lab file",
            ),
            Some(holder) => Check::ok(name, format!("{port} is taken by {holder}; another one will do")),
        });
    }
    checks
}
