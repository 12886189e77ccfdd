//! Initialised data, kept as local images that labs start from.
//!
//! A template is an image that holds nothing but a data folder, taken from a database that was just
//! filled, with all its processes frozen: what a crash at that moment would leave, which both
//! database systems recover from. The password of the superuser in it is kept beside the lab's
//! other secrets; every lab replaces it with one of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, BufWriter, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder, RemoveImageOptions,
};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::DockerRuntime;
use super::archive;
use super::engine::Engine;
use super::error::{DockerError, unless_absent};
use super::names::TEMPLATE;
use crate::report::{Outcome, Report};
use crate::runtime::RuntimeError;
use crate::runtime::origin::{ORIGIN, Origin};
use crate::state::{Credentials, Home, StateError};

/// Repository of all templates.
pub(super) const REPOSITORY: &str = "vaultlab/template";

/// The folder of the data inside a template; the last part of the path it had in its container.
const FOLDER: &str = "/data";

/// The tag of a template; it tells homes apart.
pub(super) fn tag(key: &str, home_id: &str) -> String {
    format!("{key}-{home_id}")
}

/// Folder with the passwords of a home's templates.
pub(super) fn origins(home: &Home) -> PathBuf {
    home.root().join("templates-docker")
}

/// Folder with the password of one template.
pub(super) fn origin_folder(home: &Home, key: &str) -> PathBuf {
    origins(home).join(key)
}

impl DockerRuntime {
    fn template_tag(&self, key: &str) -> String {
        tag(key, &self.home_id)
    }

    /// The superuser of a template that is there; `None` when there is none to use.
    pub(super) async fn template(
        &self,
        key: &str,
        report: &Report,
    ) -> Result<Option<Credentials>, RuntimeError> {
        let origin = match Origin::load(&origin_folder(&self.home, key)) {
            Err(error @ StateError::Damaged { .. }) => {
                report.warn(format!("the template {key} is discarded and made anew: {error}"));
                self.forget_template(key)?;
                return Ok(None);
            }
            origin => origin?,
        };
        let Some(origin) = origin else { return Ok(None) };
        let name = format!("{REPOSITORY}:{}", self.template_tag(key));
        let found = self.engine.docker.inspect_image(&name).await;
        let found =
            unless_absent(found.map_err(DockerError::operation(format!("look for the image {name}"))))?;
        Ok(found.map(|_| origin.superuser))
    }

    /// Copies a template into an empty volume: the engine does so when a container is made that
    /// mounts the volume where the image has data.
    pub(super) async fn restore_template(
        &self,
        key: &str,
        service: &str,
        volume: &str,
    ) -> Result<(), RuntimeError> {
        let name = format!("{}-restore", self.names.container(service));
        let labels = self.names.labels(Some(service));
        let mount = Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.into()),
            target: Some(FOLDER.into()),
            ..Mount::default()
        };
        let body = ContainerCreateBody {
            image: Some(format!("{REPOSITORY}:{}", self.template_tag(key))),
            cmd: Some(vec!["none".into()]),
            labels: Some(labels),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                // It never runs, or not for long.
                network_mode: Some("none".into()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let operation = format!("copy the template {key} into the volume {volume} with the container");
        let made = Box::pin(self.engine.create_named(&name, body, &operation)).await?;
        if self.engine.is_podman().await {
            // Podman does so when the container is started, before it finds that there is no program.
            drop(self.engine.docker.start_container(&made, None).await);
        }
        Ok(self.engine.remove_container(&made).await?)
    }

    /// Forgets a template that is of no use: without its password nobody starts from it. Its image goes when
    /// the next one is kept.
    pub(super) fn forget_template(&self, key: &str) -> Result<(), StateError> {
        let path = origin_folder(&self.home, key).join(ORIGIN);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StateError::io("remove", path)(e)),
            _ => Ok(()),
        }
    }

    /// Waits until nobody else is making this template. The caller looks again then: it may be there.
    pub(super) async fn begin_template(
        &self,
        service: &str,
        key: &str,
        report: &Report,
        deadline: Instant,
    ) -> Result<Build, RuntimeError> {
        let folder = origin_folder(&self.home, key);
        std::fs::create_dir_all(&folder).map_err(crate::runtime::folder(service, "create", &folder))?;
        let path = folder.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(crate::runtime::folder(service, "open", &path))?;
        let began = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Build { key: key.into(), _lock: file }),
                Err(TryLockError::Error(e)) => return Err(crate::runtime::folder(service, "lock", &path)(e)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(RuntimeError::Timeout {
                        service: service.into(),
                        waited: began.elapsed(),
                        last: "another lab is still initialising the same data".into(),
                        log: Vec::new(),
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        report.note(format!(
                            "{service}: waiting for another lab that initialises the same data"
                        ));
                        told = true;
                    }
                    // flock has no asynchronous form; this polls.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Copies a folder of a running container, its processes frozen meanwhile, into a file without a
    /// name: a tar archive.
    pub(super) async fn copy_frozen(
        &self,
        container: &str,
        folder: &str,
    ) -> Result<tokio::fs::File, DockerError> {
        let paused = self.engine.docker.pause_container(container).await;
        paused.map_err(DockerError::operation(format!("pause the container {container}")))?;
        let copied = self.download(container, folder).await;
        self.engine.unpause(container).await?;
        copied
    }

    async fn download(&self, container: &str, folder: &str) -> Result<tokio::fs::File, DockerError> {
        let operation = || format!("copy {folder} from the container {container}");
        let failed = |e: std::io::Error| DockerError::local(operation(), &e);
        let mut file = tokio::fs::File::from_std(tempfile::tempfile_in(self.home.root()).map_err(failed)?);
        let options = DownloadFromContainerOptionsBuilder::new().path(folder).build();
        let mut data = self.engine.docker.download_from_container(container, Some(options));
        while let Some(chunk) = data.next().await {
            let chunk = chunk.map_err(DockerError::operation(operation()))?;
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        file.rewind().await.map_err(failed)?;
        Ok(file)
    }

    /// Keeps a copy as a template, but for the files that are `unwanted`, while the lab goes on;
    /// [`settle`](crate::runtime::Runtime::settle) waits for it. Nothing is kept on failure.
    pub(super) async fn keep_template(
        &self,
        service: &str,
        copy: tokio::fs::File,
        unwanted: fn(&Path) -> bool,
        build: Build,
        superuser: Credentials,
        report: &Report,
    ) {
        let (engine, folder) = (self.engine.clone(), origin_folder(&self.home, &build.key));
        let tag = self.template_tag(&build.key);
        let temporary = self.home.root().to_path_buf();
        let (service, report) = (service.to_owned(), report.clone());
        let task = async move {
            let work = async {
                let operation = || format!("keep the template {}", build.key);
                let kept = async {
                    // All of it is copied again for every lab that starts from it.
                    let copy = trimmed(copy, unwanted, &temporary).await;
                    let copy = copy.map_err(|e| DockerError::local(operation(), &e))?;
                    import(&engine, copy, &build.key, &tag).await?;
                    let saved = Origin::new(&build.key, superuser).save(&folder);
                    saved.map_err(|e| DockerError::local(operation(), &e))
                };
                let kept = kept.await;
                let outcome = match kept {
                    Ok(()) => Outcome::changed(""),
                    Err(error) => {
                        report.note(format!("{service}: its data is not kept for the next lab: {error}"));
                        Outcome::Unchanged
                    }
                };
                Ok::<_, DockerError>((outcome, ()))
            };
            let title = format!("Keep the data of {service} for the next lab");
            let after = format!("initialise {service}");
            // It has no failure of its own.
            drop(report.step(&format!("keep {service}"), &title, &[&after], work).await);
            drop(build);
        };
        self.keeping.lock().await.spawn(task);
    }
}

/// The right to make a template, alone; ends with the process at the latest.
#[derive(Debug)]
pub(super) struct Build {
    key: String,
    _lock: File,
}

/// An archive as templates have it, without the files that are `unwanted`: again a file without a name.
async fn trimmed(
    copy: tokio::fs::File,
    unwanted: fn(&Path) -> bool,
    folder: &Path,
) -> std::io::Result<tokio::fs::File> {
    let (copy, mut trimmed) = (copy.into_std().await, tempfile::tempfile_in(folder)?);
    let work = move || {
        let (from, to) =
            (BufReader::with_capacity(1 << 18, copy), BufWriter::with_capacity(1 << 18, &trimmed));
        archive::below(FOLDER.trim_start_matches('/'), unwanted, from, to)?;
        trimmed.rewind()?;
        Ok::<_, std::io::Error>(trimmed)
    };
    let trimmed = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)??;
    Ok(tokio::fs::File::from_std(trimmed))
}

/// Makes an image of a tar archive.
async fn import(engine: &Engine, archive: tokio::fs::File, key: &str, tag: &str) -> Result<(), DockerError> {
    let operation = || format!("keep the template {key}");
    // One whose password was not written down any more would lose its name and stay.
    let name = format!("{REPOSITORY}:{tag}");
    let removed = engine.docker.remove_image(&name, None::<RemoveImageOptions>, None).await;
    unless_absent(removed.map_err(DockerError::operation(format!("remove the image {name}"))))?;
    // Podman reads one change, and a tag only with its repository.
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(&name)
        .changes(vec![format!("LABEL {TEMPLATE}={key}")])
        .build();
    let chunks = futures_util::stream::try_unfold(archive, |mut archive| async {
        let mut chunk = Vec::with_capacity(1 << 18);
        let read = archive.read_buf(&mut chunk).await?;
        Ok::<_, std::io::Error>((read > 0).then_some((chunk.into(), archive)))
    });
    let body = bollard::body_try_stream(Box::pin(chunks));
    let mut answers = engine.docker.create_image(Some(options), Some(body), None);
    while let Some(answer) = answers.next().await {
        answer.map_err(DockerError::operation(operation()))?;
    }
    Ok(())
}
