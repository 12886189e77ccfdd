//! Containers: made from a plan, found by label, and watched while they start.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HostConfig,
    Mount, MountType, NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::engine::Engine;
use super::error::{DockerError, unless_absent};
use super::names::{KIND, Labels, Names, SPEC_HASH, digest, has_all};
use super::{BUSY_INTERVAL, BUSY_PATIENCE};
use crate::service::ServiceKind;

/// Everything a container is made from.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub service: String,
    pub kind: ServiceKind,
    /// Digest of the image.
    pub image: String,
    pub env: Vec<String>,
    pub cmd: Vec<String>,
    /// Volume and folder in the container.
    pub mounts: Vec<(String, String)>,
    /// Folders the image declares as volumes. Those that nothing is mounted on are kept in memory:
    /// else the engine would make a volume without a name, which nobody removes.
    pub declared: Vec<String>,
    /// Path in the container and content.
    pub files: Vec<(String, String)>,
    /// Variables and files for the first start only; not part of the digest.
    pub first: First,
    /// The port it listens on.
    pub inner_port: u16,
}

/// What only a container that initialises its data gets.
#[derive(Debug, Clone, Default)]
pub(super) struct First {
    pub env: Vec<String>,
    pub files: Vec<(String, crate::secret::Secret)>,
}

impl Plan {
    /// Changes with everything that makes a running container unfit.
    pub fn digest(&self) -> String {
        let kind = self.kind.as_str();
        let pairs = self.mounts.iter().chain(&self.files).flat_map(|(a, b)| [a, b]);
        let parts = [&self.image].into_iter().chain(&self.env).chain(&self.cmd).chain(pairs);
        digest([kind.as_bytes()].into_iter().chain(parts.map(String::as_bytes)))
    }

    fn body(&self, names: &Names, host_port: u16) -> ContainerCreateBody {
        let port = format!("{}/tcp", self.inner_port);
        let binding =
            PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(host_port.to_string()) };
        let mounts = self.mounts.iter().map(|(volume, target)| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.clone()),
            target: Some(target.clone()),
            ..Mount::default()
        });
        let unused =
            self.declared.iter().filter(|folder| !self.mounts.iter().any(|(_, target)| target == *folder));
        let mut labels = names.labels(Some(&self.service));
        labels.insert(SPEC_HASH.into(), self.digest());
        labels.insert(KIND.into(), self.kind.as_str().into());
        let endpoint =
            EndpointSettings { aliases: Some(vec![self.service.clone()]), ..EndpointSettings::default() };
        ContainerCreateBody {
            image: Some(self.image.clone()),
            hostname: Some(self.service.clone()),
            env: Some(self.env.iter().chain(&self.first.env).cloned().collect()),
            cmd: Some(self.cmd.clone()),
            labels: Some(labels),
            exposed_ports: Some(vec![port.clone()]),
            host_config: Some(HostConfig {
                port_bindings: Some(HashMap::from([(port, Some(vec![binding]))])),
                mounts: Some(mounts.collect()),
                tmpfs: Some(unused.map(|folder| (folder.clone(), String::new())).collect()),
                network_mode: Some(names.network()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(names.network(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        }
    }
}

/// A container as it is.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub id: String,
    pub name: String,
    pub labels: Labels,
    pub running: bool,
    /// Running, with all its processes frozen.
    pub paused: bool,
    /// Whether it was ever started.
    ran: bool,
    pub pid: Option<u32>,
    pub since: Option<Timestamp>,
    /// Exit code and what else is known of its end.
    pub ended: String,
    /// Whether it was killed, which nothing it found in its volumes does.
    pub killed: bool,
    /// Port of 127.0.0.1, as asked for when it was made.
    pub port: Option<u16>,
}

impl Container {
    fn from(found: ContainerInspectResponse) -> Self {
        let state = found.state.unwrap_or_default();
        let running = state.running.unwrap_or(false);
        let mut ended = exit(state.exit_code.unwrap_or(-1));
        if state.oom_killed == Some(true) {
            ended.push_str(", out of memory");
        }
        if let Some(error) = state.error.filter(|error| !error.is_empty()) {
            ended = format!("{ended}: {error}");
        }
        let bindings = found.host_config.and_then(|config| config.port_bindings).unwrap_or_default();
        let port =
            bindings.into_values().flatten().flatten().find_map(|binding| binding.host_port?.parse().ok());
        Self {
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').into(),
            labels: found.config.and_then(|config| config.labels).unwrap_or_default(),
            running,
            paused: state.paused.unwrap_or(false),
            ran: state.status != Some(ContainerStateStatusEnum::CREATED),
            pid: state.pid.filter(|pid| running && *pid > 0).and_then(|pid| u32::try_from(pid).ok()),
            since: state.started_at.filter(|_| running).and_then(|at| at.parse().ok()),
            ended,
            killed: state.exit_code == Some(128 + Signal::SIGKILL as i64),
            port,
        }
    }

    /// Whether it was made from this plan, to its end: one that never ran may lack its files.
    pub fn fits(&self, plan: &Plan) -> bool {
        self.ran && self.labels.get(SPEC_HASH).is_some_and(|hash| *hash == plan.digest())
    }
}

/// An exit code as a shell shows it, with the signal it stands for.
fn exit(code: i64) -> String {
    let signal = i32::try_from(code - 128).ok().and_then(|number| Signal::try_from(number).ok());
    signal.map_or_else(|| format!("exit code {code}"), |signal| format!("exit code {code}, {signal}"))
}

impl Engine {
    /// The container of a lab's service.
    pub(super) async fn find(&self, names: &Names, service: &str) -> Result<Option<Container>, DockerError> {
        let filters = names.filters(Some(service));
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await;
        let found = found.map_err(DockerError::operation(format!("look for the container of {service}")))?;
        let ours = |labels: Option<&Labels>| labels.is_some_and(|labels| has_all(labels, &filters));
        let mut found = found.into_iter().filter(|container| ours(container.labels.as_ref()));
        match found.find_map(|container| container.id) {
            Some(id) => self.inspect(&id).await,
            None => Ok(None),
        }
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<Option<Container>, DockerError> {
        let answer = self.docker.inspect_container(id, None).await;
        let answer = answer.map_err(DockerError::operation(format!("look at the container {id}")));
        Ok(unless_absent(answer)?.map(Container::from))
    }

    /// Makes a container and its files; it does not run yet. One of that name is removed.
    pub(super) async fn create(
        &self,
        plan: &Plan,
        names: &Names,
        host_port: u16,
    ) -> Result<String, DockerError> {
        let name = names.container(&plan.service);
        let made =
            Box::pin(self.create_named(&name, plan.body(names, host_port), "create the container")).await?;
        let first = plan.first.files.iter().map(|(path, secret)| (path.as_str(), secret.expose()));
        let files = plan.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        let archive = super::archive::of(files.chain(first))
            .map_err(|e| DockerError::local(format!("write files into the container {name}"), &e))?;
        if let Some(archive) = archive {
            let options = UploadToContainerOptionsBuilder::new().path("/").build();
            let body = bollard::body_full(archive.into());
            let uploaded = self.docker.upload_to_container(&made, Some(options), body).await;
            uploaded.map_err(DockerError::operation(format!("write files into the container {name}")))?;
        }
        Ok(made)
    }

    /// Makes a container of that name. An engine goes on making the one that a program asked it for which
    /// is dead by now, and tells nobody of it before it is done: it is waited for, and removed.
    pub(super) async fn create_named(
        &self,
        name: &str,
        body: ContainerCreateBody,
        operation: &str,
    ) -> Result<String, DockerError> {
        let patience = Instant::now() + BUSY_PATIENCE;
        loop {
            let options = CreateContainerOptionsBuilder::new().name(name).build();
            let made = self.docker.create_container(Some(options), body.clone()).await;
            match made.map_err(DockerError::operation(format!("{operation} {name}"))) {
                Ok(made) => return Ok(made.id),
                Err(error) if error.is_conflict() && Instant::now() < patience => {
                    match self.inspect(name).await? {
                        Some(container) => self.remove_container(&container.id).await?,
                        None => tokio::time::sleep(BUSY_INTERVAL).await,
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn start(&self, names: &Names, id: &str, name: &str) -> Result<(), DockerError> {
        let start = || async {
            let started = self.docker.start_container(id, None).await;
            started.map_err(DockerError::operation(format!("start the container {name}")))
        };
        match start().await {
            // A program that is dead by now had asked for the lab's network too, and two were made.
            Err(DockerError::Operation { cause, .. }) if cause.contains("is ambiguous") => {
                self.remove_double_networks(names).await?;
                start().await
            }
            result => result,
        }
    }

    /// Lets the processes of a paused container go on.
    pub(super) async fn unpause(&self, id: &str) -> Result<(), DockerError> {
        let unpaused = self.docker.unpause_container(id).await;
        unpaused.map_err(DockerError::operation(format!("resume the container {id}")))
    }

    /// Stops a container in the orderly way its image declares, forcibly after `grace` seconds.
    pub(super) async fn stop(&self, container: &Container, grace: i32) -> Result<(), DockerError> {
        let options = StopContainerOptionsBuilder::new().t(grace).build();
        let stopped = self.docker.stop_container(&container.id, Some(options)).await;
        let name = &container.name;
        unless_absent(stopped.map_err(DockerError::operation(format!("stop the container {name}")))).map(drop)
    }

    /// Waits until the program of a container that runs has ended. The engine tells of it before it takes
    /// the container down and answers who waits for that.
    pub(super) async fn until_dead(&self, id: &str) {
        let filters = HashMap::from([("container", vec![id]), ("event", vec!["die"])]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        drop(Box::pin(self.docker.events(Some(options))).next().await);
    }

    /// Removes a container, running or not, with the volumes that have no name.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), DockerError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.docker.remove_container(id, Some(options)).await;
        match removed.map_err(DockerError::operation(format!("remove the container {id}"))) {
            // It is being removed already.
            Err(error) if error.is_absent() || error.is_conflict() => Ok(()),
            other => other,
        }
    }

    /// The last lines a container wrote.
    pub(super) async fn last_lines(&self, id: &str, count: usize) -> Vec<String> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&count.to_string()).build();
        let mut chunks = self.docker.logs(id, Some(options));
        let mut text = String::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            text.push_str(&chunk.to_string());
        }
        text.lines().map(str::to_owned).collect()
    }

    /// The program of a container's first process, as in `postgres`; `None` when the engine cannot tell.
    pub(super) async fn main_program(&self, container: &Container) -> Option<String> {
        // Podman looks from inside, and for what begins with a dash it needs a `ps` in the image.
        let (columns, pid) = if self.is_podman().await {
            ("pid,comm", "1".to_owned())
        } else {
            ("-eo pid,comm", container.pid?.to_string())
        };
        let options = bollard::query_parameters::TopOptionsBuilder::new().ps_args(columns).build();
        let top = self.docker.top_processes(&container.id, Some(options)).await.ok()?;
        let processes = top.processes?;
        processes.into_iter().find(|process| process.first() == Some(&pid))?.into_iter().nth(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn plan() -> Plan {
        Plan {
            service: "db".into(),
            kind: ServiceKind::Postgres,
            image: "sha256:1".into(),
            env: vec!["A=b".into()],
            cmd: vec!["postgres".into()],
            mounts: vec![("v".into(), "/data".into())],
            declared: vec!["/data".into(), "/unused".into()],
            files: vec![("/a".into(), "b".into())],
            first: First::default(),
            inner_port: 5432,
        }
    }

    #[test]
    fn the_digest_follows_what_a_container_is_made_from_but_not_the_first_password() {
        let base = plan().digest();
        let mut other = plan();
        other.first.files.push(("/p".into(), Secret::new("x")));
        assert_eq!(other.digest(), base);
        for change in [
            (|p: &mut Plan| p.image.push('2')) as fn(&mut Plan),
            |p| p.env.push("C=d".into()),
            |p| p.cmd.push("-c".into()),
            |p| p.files[0].1.push('x'),
            |p| p.mounts[0].0.push('x'),
        ] {
            let mut changed = plan();
            change(&mut changed);
            assert_ne!(changed.digest(), base);
        }
    }

    #[test]
    fn ports_are_published_on_the_loopback_only_and_no_volume_is_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = crate::state::Home::at(dir.path()).unwrap();
        let names = Names::of(&home, &home.lab("x").unwrap());
        let body = plan().body(&names, 4711);
        let host = body.host_config.unwrap();
        let bindings = host.port_bindings.unwrap();
        let binding = &bindings["5432/tcp"].as_ref().unwrap()[0];
        assert_eq!(
            (binding.host_ip.as_deref(), binding.host_port.as_deref()),
            (Some("127.0.0.1"), Some("4711"))
        );
        assert_eq!(bindings.len(), 1);
        assert_eq!(host.tmpfs.unwrap().into_keys().collect::<Vec<_>>(), ["/unused"]);
    }
}
