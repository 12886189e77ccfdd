//! What can go wrong between this program and a container engine.

use std::error::Error as _;

use super::context::ContextError;

/// A failed operation on the container engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerError {
    /// Which engine is meant cannot be told.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The engine does not answer.
    #[error("no container engine answers at {host}: {cause}: {hint}")]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// What happened.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The engine refused or failed an operation.
    #[error("the container engine could not {operation}: {cause}")]
    Operation {
        /// What was tried, as in "create the container vaultlab-notes-vault".
        operation: String,
        /// Its answer.
        cause: String,
        /// HTTP status of the answer; `None` when there was none.
        status: Option<u16>,
    },
    /// The image is not there and must not, or cannot, be pulled.
    #[error("the image {image} is not there{}: {hint}", Because(cause))]
    ImageMissing {
        /// The image.
        image: String,
        /// Why it could not be pulled; empty when that was not tried.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The image is there, but was to be pulled all the same.
    #[error("the image {image} cannot be pulled anew ({cause}): {hint}")]
    ImageStale {
        /// The image.
        image: String,
        /// Why it could not be pulled.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The engine is on another machine.
    #[error(
        "the container engine at {host} is on another machine, and a lab's ports are published on 127.0.0.1 only: \
         run vaultlab there, or point DOCKER_HOST at an engine on this machine"
    )]
    Remote {
        /// Where it is.
        host: String,
    },
    /// An image name that cannot be read.
    #[error("{image:?} is not an image name: {cause}")]
    ImageName {
        /// As written.
        image: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The Docker configuration's credentials could not be read.
    #[error("cannot read the credentials for {registry}: {cause}")]
    Credentials {
        /// The registry.
        registry: String,
        /// What happened; never holds a secret.
        cause: String,
    },
}

impl DockerError {
    /// An operation that failed.
    pub(super) fn operation(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> Self {
        let operation = what.into();
        move |error| Self::Operation { operation, cause: explain(&error), status: status(&error) }
    }

    /// An operation that failed on this machine, before or after the engine was asked.
    pub(super) fn local(operation: String, cause: &impl std::fmt::Display) -> Self {
        Self::Operation { operation, cause: cause.to_string(), status: None }
    }

    /// The `docker login` that would help; `None` when none would.
    pub fn login(&self) -> Option<String> {
        let (Self::ImageMissing { image, cause, .. } | Self::ImageStale { image, cause, .. }) = self else {
            return None;
        };
        let image = super::reference::ImageRef::parse(image).ok()?;
        let registry = image.registry();
        super::images::wants_login(cause).then(|| match registry {
            super::reference::DOCKER_HUB => "docker login".to_owned(),
            registry => format!("docker login {registry}"),
        })
    }

    /// Why the engine was not asked for something that is no reason to fail.
    pub fn unasked(&self) -> String {
        match self {
            Self::Unreachable { host, cause, .. } => format!("none answers at {host}: {cause}"),
            other => other.to_string(),
        }
    }

    /// Whether the engine's disk is full: all there is to tell are its words.
    pub fn disk_is_full(&self) -> bool {
        match self {
            Self::Operation { cause, .. }
            | Self::ImageMissing { cause, .. }
            | Self::ImageStale { cause, .. } => says_full(cause),
            _ => false,
        }
    }

    /// Whether what was asked for is not there.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Operation { status: Some(404), .. })
    }

    /// Whether it is there, or in that state, already.
    pub(super) fn is_conflict(&self) -> bool {
        // Podman's status for a name that is taken is 500.
        matches!(self, Self::Operation { status: Some(409), .. }) || self.says("that name is already in use")
    }

    /// Whether containers keep a network from being removed.
    pub(super) fn is_in_use(&self) -> bool {
        // Docker: "has active endpoints".
        matches!(self, Self::Operation { status: Some(403), .. }) || self.says("network is being used")
    }

    fn says(&self, words: &str) -> bool {
        matches!(self, Self::Operation { cause, .. } if cause.contains(words))
    }
}

/// Whether an engine's words are those of a full disk.
pub(super) fn says_full(cause: &str) -> bool {
    cause.to_ascii_lowercase().contains("no space left on device")
}

/// `Ok(None)` for what is not there.
pub(super) fn unless_absent<T>(result: Result<T, DockerError>) -> Result<Option<T>, DockerError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// HTTP status of an engine's refusal.
pub(super) fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// An engine's words, without the library's around them; for faults of the connection, all causes.
pub(super) fn explain(error: &bollard::errors::Error) -> String {
    match error {
        bollard::errors::Error::DockerResponseServerError { message, status_code } => {
            // What is no engine may answer with a status alone.
            let message = message.trim();
            if message.is_empty() { format!("HTTP status {status_code}") } else { message.to_owned() }
        }
        bollard::errors::Error::DockerStreamError { error } => error.trim().to_owned(),
        bollard::errors::Error::RequestTimeoutError => "it does not answer in time".into(),
        other => {
            let mut text = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

struct Because<'a>(&'a str);

impl std::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " and cannot be pulled ({})", self.0) }
    }
}
