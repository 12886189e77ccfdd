//! Audit devices: a record of every request and every response, in Vault's JSON format.
//!
//! The [`Broker`] hands each entry to all devices. It is accepted when at least one has
//! written it; when there are devices and none could, the request must not be served.

mod entry;
mod error;
mod file;
mod mask;
mod options;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

pub use entry::{Format, LogInput, PolicyDecision};
pub use error::AuditError;
pub use mask::Salt;

use crate::logical::View;
use entry::Kind;
use file::LineWriter;
use options::Settings;

/// A device of type `file`.
struct Device {
    format: Format,
    salt: Salt,
    writer: LineWriter,
}

impl Device {
    async fn log(&self, kind: Kind, input: &LogInput<'_>) -> Result<(), AuditError> {
        let line = entry::line(kind, input, &self.format, &self.salt, Timestamp::now())
            .map_err(|error| AuditError::Options(format!("cannot format an entry: {error}")))?;
        self.writer.write(line).await
    }
}

/// Checks the options of a `file` device without opening anything.
///
/// # Errors
/// [`AuditError::Options`] with a text for the client.
pub fn check_options(options: &BTreeMap<String, String>) -> Result<(), AuditError> {
    Settings::parse(options).map(drop)
}

/// All audit devices of a server, by path (`file/`).
#[derive(Default)]
pub struct Broker {
    /// Replaced as a whole when a device comes or goes.
    devices: RwLock<Arc<Devices>>,
}

type Devices = BTreeMap<String, Arc<Device>>;

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("devices", &self.devices().keys()).finish()
    }
}

impl Broker {
    /// A broker without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a file device and adds it at `path`, which ends in `/`. Its salt is kept in
    /// `view`, which is the device's own.
    ///
    /// # Errors
    /// When the path is taken, the options are wrong, or the file cannot be opened.
    pub async fn enable(
        &self,
        path: &str,
        options: &BTreeMap<String, String>,
        view: &View,
    ) -> Result<(), AuditError> {
        if self.devices().contains_key(path) {
            return Err(AuditError::PathInUse);
        }
        let settings = Settings::parse(options)?;
        let salt = Salt::load_or_create(view).await?;
        // Opening a file is short, but it is blocking work.
        let target = settings.target;
        let writer = tokio::task::spawn_blocking(move || LineWriter::open(&target))
            .await
            .map_err(|_| AuditError::Closed)??;
        let device = Arc::new(Device { format: settings.format, salt, writer });
        self.change(|devices| {
            if devices.contains_key(path) {
                return Err(AuditError::PathInUse);
            }
            devices.insert(path.to_owned(), device);
            Ok(())
        })
    }

    /// Removes the device at `path`; whether there was one.
    pub fn disable(&self, path: &str) -> bool {
        // Dropped after the lock: closing a device waits for what it still writes.
        let removed = self.change(|devices| devices.remove(path));
        removed.is_some()
    }

    /// Removes all devices, when the server is sealed.
    pub fn clear(&self) {
        let removed = self.change(std::mem::take);
        drop(removed);
    }

    /// Whether there is no device, so that nothing needs recording.
    pub fn is_empty(&self) -> bool {
        self.devices().is_empty()
    }

    /// Makes every device open its file anew, for log rotation.
    pub fn reopen(&self) {
        for device in self.devices().values() {
            device.writer.reopen();
        }
    }

    /// The hash `text` has in the log of the device at `path`, for `sys/audit-hash`.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn hash(&self, path: &str, text: &str) -> Result<String, AuditError> {
        match self.devices().get(path) {
            Some(device) => Ok(device.salt.hash(text)),
            None => Err(AuditError::UnknownDevice(path.to_owned())),
        }
    }

    /// Records a request. When this returns `Ok` it is written and may be served.
    ///
    /// # Errors
    /// [`AuditError::NoneSucceeded`]: it must not be served.
    pub async fn log_request(&self, input: &LogInput<'_>) -> Result<(), AuditError> {
        self.log(Kind::Request, input).await
    }

    /// Records a response, before the client gets it.
    ///
    /// # Errors
    /// [`AuditError::NoneSucceeded`]: the client must not get it.
    pub async fn log_response(&self, input: &LogInput<'_>) -> Result<(), AuditError> {
        self.log(Kind::Response, input).await
    }

    async fn log(&self, kind: Kind, input: &LogInput<'_>) -> Result<(), AuditError> {
        let devices = self.devices();
        let mut any = devices.is_empty();
        for (path, device) in devices.iter() {
            match device.log(kind, input).await {
                Ok(()) => any = true,
                Err(error) => {
                    tracing::error!(device = path, %error, "an audit device failed");
                }
            }
        }
        if any { Ok(()) } else { Err(AuditError::NoneSucceeded(kind.as_str())) }
    }

    fn devices(&self) -> Arc<Devices> {
        Arc::clone(&self.devices.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Devices) -> T) -> T {
        let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut devices))
    }
}

#[cfg(test)]
mod tests;
