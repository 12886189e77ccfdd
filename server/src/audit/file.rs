//! The file a device writes to, owned by a thread of its own.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::AuditError;
use super::options::Target;
use crate::group_commit::{Closed, GroupCommit, Sink, Waker};

/// Writes whole lines in the order they come; many waiting lines share one write.
pub(super) struct LineWriter {
    queue: GroupCommit<LineSink>,
    waker: Waker<Vec<u8>, AuditError>,
    reopen: Arc<AtomicBool>,
}

impl LineWriter {
    /// Opens the target; a file is created if it is not there.
    pub(super) fn open(target: &Target) -> Result<Self, AuditError> {
        let output = match target {
            Target::File { path, mode } => Output::File(LogFile::open(path, *mode)?),
            Target::Stdout => Output::Stdout,
            Target::Discard => Output::Discard,
        };
        let reopen = Arc::new(AtomicBool::new(false));
        let mut kept_waker = None;
        let queue = GroupCommit::start("vault-audit", |waker| {
            kept_waker = Some(waker.clone());
            LineSink { output, reopen: Arc::clone(&reopen) }
        });
        match (queue, kept_waker) {
            (Ok(queue), Some(waker)) => Ok(Self { queue, waker, reopen }),
            (Err(cause), _) => Err(AuditError::File {
                operation: "start the writer of",
                path: target.path().to_owned(),
                cause,
            }),
            (Ok(_), None) => Err(AuditError::Closed),
        }
    }

    /// Writes a line; when this returns `Ok` the system has it.
    pub(super) async fn write(&self, line: Vec<u8>) -> Result<(), AuditError> {
        match self.queue.write(line).await {
            Ok(outcome) => outcome,
            Err(Closed) => Err(AuditError::Closed),
        }
    }

    /// Opens the file again by its name before anything more is written, for those who
    /// have renamed it.
    pub(super) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Target {
    fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } => path,
            Self::Stdout => Path::new("stdout"),
            Self::Discard => Path::new("discard"),
        }
    }
}

enum Output {
    File(LogFile),
    Stdout,
    Discard,
}

struct LineSink {
    output: Output,
    reopen: Arc<AtomicBool>,
}

impl Sink for LineSink {
    type Item = Vec<u8>;
    type Error = AuditError;

    const GROUP_LIMIT: usize = 1 << 20;

    fn weight(line: &Vec<u8>) -> usize {
        line.len()
    }

    fn write_here(&mut self, line: Vec<u8>) -> Result<Result<(), AuditError>, Vec<u8>> {
        if !self.output.takes_at_once() || self.reopen.load(Ordering::Acquire) {
            return Err(line);
        }
        Ok(self.output.write(&line))
    }

    fn write(&mut self, mut lines: Vec<Vec<u8>>) -> Vec<Result<(), AuditError>> {
        let reopen = self.reopen.swap(false, Ordering::AcqRel);
        if let (true, Output::File(file)) = (reopen, &mut self.output) {
            file.reopen();
        }
        let count = lines.len();
        let together = match count {
            0 => return Vec::new(),
            1 => lines.swap_remove(0),
            _ => lines.concat(),
        };
        (0..count)
            .scan(None, |outcome, _| {
                // One write for all of them: they share its fate, each with its own error.
                let written = outcome.get_or_insert_with(|| self.output.write(&together));
                Some(match written {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.again()),
                })
            })
            .collect()
    }
}

impl Output {
    /// Whether a write ends without anybody reading: not for a pipe, a terminal, or a file yet to be opened.
    fn takes_at_once(&self) -> bool {
        match self {
            Self::File(file) => file.file.is_some() && file.regular,
            Self::Stdout => false,
            Self::Discard => true,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Discard => Ok(()),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|cause| AuditError::File {
                    operation: "write to",
                    path: "stdout".into(),
                    cause,
                })
            }
        }
    }
}

impl AuditError {
    /// The same error for another line of the same write.
    fn again(&self) -> Self {
        match self {
            Self::File { operation, path, cause } => Self::File {
                operation,
                path: path.clone(),
                cause: cause.raw_os_error().map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error),
            },
            _ => Self::Closed,
        }
    }
}

struct LogFile {
    path: PathBuf,
    mode: Option<u32>,
    /// `None` after it could not be opened again; the next write tries.
    file: Option<File>,
    /// It is a file, and no pipe or device.
    regular: bool,
}

impl LogFile {
    fn open(path: &Path, mode: Option<u32>) -> Result<Self, AuditError> {
        let mut this = Self { path: path.to_owned(), mode, file: None, regular: false };
        this.opened()?;
        Ok(this)
    }

    fn error(&self, operation: &'static str, cause: io::Error) -> AuditError {
        AuditError::File { operation, path: self.path.clone(), cause }
    }

    fn opened(&mut self) -> Result<&mut File, AuditError> {
        if self.file.is_none() {
            let file = self.open_now().map_err(|cause| self.error("open", cause))?;
            self.regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
            return Ok(self.file.insert(file));
        }
        self.file.as_mut().ok_or(AuditError::Closed)
    }

    fn open_now(&self) -> io::Result<File> {
        if let Some(parent) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let file =
            OpenOptions::new().append(true).create(true).mode(self.mode.unwrap_or(0o600)).open(&self.path)?;
        // A file that was there may have been open to others; a device has no mode to set.
        let metadata = file.metadata()?;
        if let (Some(mode), true) = (self.mode, metadata.is_file())
            && metadata.permissions().mode() & 0o7777 != mode
        {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(file)
    }

    fn reopen(&mut self) {
        self.file = None;
        if let Err(error) = self.opened() {
            tracing::error!(%error, "requests are refused until the audit log can be opened");
        }
    }

    /// Writes all of it or, as far as the file allows, nothing. A failed write is tried
    /// once more on the file opened anew, as Vault does.
    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        if append(self.opened()?, bytes).is_ok() {
            return Ok(());
        }
        self.file = None;
        append(self.opened()?, bytes).map_err(|cause| self.error("write to", cause))
    }
}

/// Appends `bytes`; when only some could be written they are taken back, so that the next
/// line does not start in the middle of one.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => {
                take_back(file, written);
                return Err(io::ErrorKind::WriteZero.into());
            }
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                take_back(file, written);
                return Err(error);
            }
        }
    }
    Ok(())
}

fn take_back(file: &File, written: usize) {
    if written == 0 {
        return;
    }
    let shortened = file.metadata().and_then(|metadata| {
        if metadata.is_file() { file.set_len(metadata.len().saturating_sub(written as u64)) } else { Ok(()) }
    });
    if let Err(error) = shortened {
        tracing::error!(%error, "a partial line stays in an audit log");
    }
}
