//! What happened to a lab, from its `events.jsonl`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{Lab, LabError};
use crate::report::{EventLog, time_of};

/// How often a followed file is looked at.
const FOLLOW: Duration = Duration::from_millis(100);

/// Which events.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventsWanted {
    /// Not those from before.
    pub since: Option<Timestamp>,
    /// The last so many of those that are there.
    pub tail: Option<usize>,
    /// Also those that come.
    pub follow: bool,
}

/// Events, oldest first, each a line of JSON as it was written.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
    lines: VecDeque<String>,
    since: Option<Timestamp>,
    follow: bool,
}

impl Lab {
    /// What happened to the lab. The file may be set aside as `events.jsonl.1` at any time, and that as
    /// `.2`: those events come first, and a new file is followed.
    pub fn events(&self, wanted: &EventsWanted) -> Result<Events, LabError> {
        if !self.dir.try_exists()? {
            return Err(LabError::NotRunning {
                lab: self.name().into(),
                detail: ": nothing has happened".into(),
            });
        }
        Events::open(self.dir.events(), wanted)
    }
}

impl Events {
    fn open(path: PathBuf, wanted: &EventsWanted) -> Result<Self, LabError> {
        let EventsWanted { since, tail, follow } = *wanted;
        let mut events =
            Self { path, file: None, partial: Vec::new(), lines: VecDeque::new(), since, follow };
        // The one that is written first: set aside in between, it is met again under its other name.
        let current = open_if_any(&events.path)?;
        let identity = |file: &File| file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        let newest = current.as_ref().and_then(identity);
        for aside in EventLog::set_aside(&events.path) {
            events.file = open_if_any(&aside)?.filter(|file| identity(file) != newest);
            events.read()?;
            events.partial.clear();
        }
        events.file = current;
        events.read()?;
        let surplus = events.lines.len().saturating_sub(tail.unwrap_or(usize::MAX));
        events.lines.drain(..surplus);
        Ok(events)
    }

    /// The next event; `None` when there is none and none is waited for.
    pub async fn next(&mut self) -> Result<Option<String>, LabError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if !self.follow {
                return Ok(None);
            }
            tokio::time::sleep(FOLLOW).await;
            // To the end of the file that is open, before a new one is looked for.
            self.read()?;
            if self.lines.is_empty() && self.is_replaced() {
                // It may have been written once more before it was set aside.
                self.read()?;
                self.partial.clear();
                self.file = open_if_any(&self.path)?;
                self.read()?;
            }
        }
    }

    /// Whether another file has the name now, or the one that is open was cut.
    fn is_replaced(&self) -> bool {
        let Ok(now) = self.path.metadata() else { return false };
        let Some(open) = &self.file else { return true };
        let position = std::io::Seek::stream_position(&mut &*open).unwrap_or(0);
        open.metadata()
            .is_ok_and(|open| (open.dev(), open.ino()) != (now.dev(), now.ino()) || open.len() < position)
    }

    fn read(&mut self) -> Result<(), LabError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| LabError::File {
            operation: "read",
            path: self.path.clone(),
            source,
        })?;
        self.partial.extend(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let wanted = self.since.is_none_or(|since| time_of(&line).is_some_and(|at| at >= since));
            if wanted && !line.trim().is_empty() {
                self.lines.push_back(line);
            }
        }
        Ok(())
    }
}

fn open_if_any(path: &Path) -> Result<Option<File>, LabError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LabError::File { operation: "read", path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(second: u8) -> String {
        format!(r#"{{"at":"2026-11-22T10:00:{second:02}Z","event":"note","message":"{second}"}}"#)
    }

    fn append(path: &Path, text: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn all(path: &Path, wanted: &EventsWanted) -> Vec<String> {
        let mut events = Events::open(path.into(), wanted).unwrap();
        let mut found = Vec::new();
        while let Some(line) = events.next().await.unwrap() {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn events_are_chosen_by_time_and_number_and_set_aside_ones_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        assert!(all(&path, &EventsWanted::default()).await.is_empty());
        append(&dir.path().join("events.jsonl.1"), &format!("{}\n{{\"at\": hal", line(1)));
        append(&path, &format!("{}\n{}\n{{\"at\"", line(2), line(3)));
        assert_eq!(all(&path, &EventsWanted::default()).await, [line(1), line(2), line(3)]);
        let tail = EventsWanted { tail: Some(2), ..EventsWanted::default() };
        assert_eq!(all(&path, &tail).await, [line(2), line(3)]);
        let since = EventsWanted { since: Some("2026-11-22T10:00:03Z".parse().unwrap()), ..tail };
        assert_eq!(all(&path, &since).await, [line(3)]);
    }

    #[tokio::test]
    async fn following_loses_nothing_when_the_file_is_set_aside_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        append(&path, &format!("{}\n", line(1)));
        let wanted = EventsWanted { follow: true, tail: Some(0), ..EventsWanted::default() };
        let mut events = Events::open(path.clone(), &wanted).unwrap();
        let (head, tail) = (line(2), format!("{}\n", line(3)));
        append(&path, &head[..20]);
        append(&path, &format!("{}\n", &head[20..]));
        // Set aside with an event that was not read yet.
        std::fs::rename(&path, dir.path().join("events.jsonl.1")).unwrap();
        append(&path, &tail);
        assert_eq!(events.next().await.unwrap().unwrap(), line(2));
        assert_eq!(events.next().await.unwrap().unwrap(), line(3));
        std::fs::write(&path, "").unwrap();
        let next = tokio::spawn(async move { events.next().await.unwrap().unwrap() });
        tokio::time::sleep(FOLLOW * 3).await;
        append(&path, &format!("{}\n", line(4)));
        assert_eq!(next.await.unwrap(), line(4));
    }
}
