//! The container engine and its images.

use futures_util::future::join_all;

use super::host::disk;
use super::{Check, Way};
use crate::report::human_size as size;
use crate::runtime::docker::{DockerError, Engine, EngineFacts, ImageState, OLDEST_API};
use crate::service::Service;

/// Below this much memory a lab's containers get in each other's way.
const LITTLE_MEMORY: u64 = 1 << 30;

/// How containers would do.
pub(super) async fn look(services: &[Service]) -> Way {
    let failed =
        |checks| Way { checks, now: vec![false; services.len()], later: vec![false; services.len()] };
    let engine = match Engine::connect().await {
        Ok(engine) => engine,
        Err(error) => return failed(vec![unreachable(&error)]),
    };
    let facts = match engine.facts().await {
        Ok(facts) => facts,
        Err(error) => return failed(vec![unreachable(&error)]),
    };
    let mut checks = vec![reached(&engine, &facts)];
    let usable = checks.iter().all(|check| check.level < super::Level::Fail);
    checks.push(Check::ok("cgroups", format!("{}, {}", facts.cgroups, memory_lock())));
    checks.extend(memory(&facts));
    checks.extend(names(&engine, &facts));
    // A folder of that name on this machine is the engine's only when the engine is here.
    if let Some(folder) = facts.data_folder.as_ref().filter(|folder| engine.is_local() && folder.exists()) {
        checks.push(disk("engine's disk", folder, &facts.storage_driver));
    }
    let states = join_all(services.iter().map(|service| engine.image_state(service))).await;
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for (service, state) in services.iter().zip(states) {
        now.push(usable && matches!(state, Ok(ImageState::Present { .. })));
        later.push(
            usable
                && matches!(
                    state,
                    Ok(ImageState::Present { .. } | ImageState::Pullable { .. } | ImageState::Unasked { .. })
                ),
        );
        checks.push(image(service, state));
    }
    Way { checks, now, later }
}

fn unreachable(error: &DockerError) -> Check {
    match error {
        DockerError::Unreachable { host, cause, hint } => {
            Check::fail("engine", format!("none answers at {host}: {cause}"), *hint)
        }
        other => Check::fail("engine", other.to_string(), "check DOCKER_HOST and `docker context ls`"),
    }
}

fn reached(engine: &Engine, facts: &EngineFacts) -> Check {
    let EngineFacts { product, api_version, platform, rootless, .. } = facts;
    let rootless = if *rootless { ", without root" } else { "" };
    let found = format!(
        "{product} (API {api_version}, {platform}{rootless}) at {} ({})",
        engine.host(),
        engine.origin()
    );
    if !facts.new_enough {
        let (major, minor) = OLDEST_API;
        let advice = format!("upgrade it: labs need API {major}.{minor}, that of Docker Engine 20.10");
        return Check::fail("engine", found, advice);
    }
    if !engine.is_local() {
        let advice = "it is on another machine, and ports are published on its 127.0.0.1 only: run vaultlab \
                      there, or point DOCKER_HOST at an engine of this machine";
        return Check::fail("engine", found, advice);
    }
    Check::ok("engine", found)
}

/// How much memory a program may lock. Vault is configured not to, so that no limit is in its way.
fn memory_lock() -> String {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let limit = limit.and_then(|line| line.split_whitespace().next()).and_then(|soft| match soft {
        "unlimited" => Some("no limit on locked memory".to_owned()),
        bytes => bytes.parse().ok().map(|bytes| format!("{} of memory may be locked", size(bytes))),
    });
    format!("{} (labs lock none)", limit.as_deref().unwrap_or("the limit of locked memory is not known"))
}

fn memory(facts: &EngineFacts) -> Option<Check> {
    let memory = facts.memory.filter(|memory| *memory < LITTLE_MEMORY)?;
    let found = format!("{} for all containers together", size(memory));
    Some(Check::warn("engine's memory", found, "give the engine's machine 1 GiB or more"))
}

/// Podman's containers know each other by name only with a program beside it.
fn names(engine: &Engine, facts: &EngineFacts) -> Option<Check> {
    const PLACES: &[&str] = &[
        "/usr/lib/podman/aardvark-dns",
        "/usr/libexec/podman/aardvark-dns",
        "/usr/local/lib/podman/aardvark-dns",
        "/usr/local/libexec/podman/aardvark-dns",
        "/usr/lib/cni/dnsname",
        "/usr/libexec/cni/dnsname",
        "/opt/cni/bin/dnsname",
    ];
    // Of a machine that only looks like this one, such as Podman's own, nothing can be told.
    let looks = facts.is_podman && engine.is_local() && std::path::Path::new("/usr/bin/podman").exists();
    if !looks || PLACES.iter().any(|place| std::path::Path::new(place).exists()) {
        return None;
    }
    let found = "there is no aardvark-dns: Vault cannot find databases in containers by their names";
    Some(Check::warn(
        "engine's names",
        found,
        "install netavark and aardvark-dns, then `podman system reset`",
    ))
}

fn image(service: &Service, state: Result<ImageState, DockerError>) -> Check {
    let name = format!("image of {}", service.name());
    match state {
        Ok(ImageState::Present { image, version, size: bytes }) => {
            // A tag says the version already, mostly.
            let tagged = image.rsplit_once(':').is_some_and(|(_, tag)| version.is_empty() || tag == version);
            let version = if tagged { String::new() } else { format!(", version {version}") };
            Check::ok(name, format!("{image}{version}, {}", size(bytes)))
        }
        Ok(ImageState::Pullable { image }) => Check::warn(
            name,
            format!("{image} is not here yet; its registry has it"),
            format!("`docker pull {image}`, or `vaultlab up --runtime docker`, which pulls it"),
        ),
        Ok(ImageState::Unasked { image }) => Check::warn(
            name,
            format!("{image} is not here; whether its registry has it, Podman does not tell"),
            format!("`podman pull {image}`, or `vaultlab up --runtime docker`, which pulls it"),
        ),
        Ok(ImageState::Missing { image, cause, hint }) => {
            let cause = if cause.is_empty() {
                "is in no registry".into()
            } else {
                format!("cannot be pulled: {cause}")
            };
            Check::fail(name, format!("{image} is not here and {cause}"), hint)
        }
        Err(error) => Check::fail(name, error.to_string(), ""),
    }
}
