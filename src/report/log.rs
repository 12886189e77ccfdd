//! Events in a lab's `events.jsonl`, which several programs write at the same time and none lets grow
//! without end.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{LabEvent, Reporter};

/// Bytes from which on the file is set aside.
const LARGEST: u64 = 4 * 1024 * 1024;

/// How many that were set aside are kept: `events.jsonl.1` is the youngest.
const KEPT: usize = 2;

/// Adds each event as one line of JSON to a file (0600). One that has grown large is set aside, by
/// whoever wrote last.
pub struct EventLog {
    path: PathBuf,
    largest: u64,
    file: Mutex<File>,
}

impl EventLog {
    /// Adds to `path`, which is made when it is missing.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Self::with_limit(path, LARGEST)
    }

    fn with_limit(path: &Path, largest: u64) -> std::io::Result<Self> {
        Ok(Self { path: path.into(), largest, file: Mutex::new(append(path)?) })
    }

    /// The files that events were set aside in, oldest first; not all of them need be there.
    pub fn set_aside(path: &Path) -> Vec<PathBuf> {
        (1..=KEPT).rev().map(|number| numbered(path, number)).collect()
    }

    fn write(&self, line: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Nobody writes to a file that is set aside: who follows it has read it to its end then.
            file.lock()?;
            if is_at(&file, &self.path) {
                break;
            }
            *file = append(&self.path)?;
        }
        let written = file.write_all(line).and_then(|()| self.turn(&file));
        file.unlock()?;
        written
    }

    /// Sets the file aside once it is large.
    fn turn(&self, file: &File) -> std::io::Result<()> {
        if file.metadata()?.len() < self.largest {
            return Ok(());
        }
        for number in (1..KEPT).rev() {
            match std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))
    }
}

impl Reporter for EventLog {
    fn event(&self, event: &LabEvent) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        // A full disk must not stop the work that is reported on, nor a folder that is gone.
        let _ = self.write(&line);
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Whether the open file is the one that has this name.
fn is_at(file: &File, path: &Path) -> bool {
    let of = |meta: std::io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
    of(file.metadata()) == of(path.metadata())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::EventKind;

    #[test]
    fn what_several_write_is_set_aside_and_none_of_it_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let one = r#"{"at":"2026-11-22T10:00:00Z","event":"note","message":"1000"}"#.len() as u64;
        // As two programs would: each opens the file.
        std::thread::scope(|scope| {
            for writer in 1..=2 {
                let log = EventLog::with_limit(&path, one * 40).unwrap();
                scope.spawn(move || {
                    for number in 0..50 {
                        let message = format!("{}", writer * 1000 + number);
                        log.event(&LabEvent::now(EventKind::Note { message }));
                    }
                });
            }
        });
        let mut files = EventLog::set_aside(&path);
        files.push(path.clone());
        let text: String = files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect();
        let mut seen: Vec<u32> = Vec::new();
        for line in text.lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect("whole lines");
            seen.push(event["message"].as_str().unwrap().parse().unwrap());
        }
        let of = |writer: u32| seen.iter().copied().filter(|n| n / 1000 == writer).collect::<Vec<_>>();
        // In order, and at most what was set aside a third time is gone.
        for writer in 1..=2 {
            assert!(of(writer).is_sorted(), "{:?}", of(writer));
        }
        assert!(files[1].exists(), "it was set aside");
        assert!((60..=100).contains(&seen.len()), "{}", seen.len());
        assert!(!numbered(&path, KEPT + 1).exists());
    }

    #[test]
    fn a_folder_that_is_gone_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lab");
        std::fs::create_dir(&folder).unwrap();
        let log = EventLog::open(&folder.join("events.jsonl")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        log.event(&LabEvent::now(EventKind::Note { message: "n".into() }));
        assert!(!folder.exists());
    }
}
