//! The log files of services.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::runtime::{LogLines, RuntimeError};

/// A log larger than this is set aside (as `.1`) before a service starts.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(100);

/// The last `most` lines of what was written to a log after its first `from` bytes. A log that
/// cannot be read has none.
pub(super) fn since(log: &Path, from: u64, most: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let end = file.seek(SeekFrom::End(0))?;
        // The last lines are at the end, however much was written.
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(64 * 1024)).min(end)))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return Vec::new();
    }
    let lines: Vec<String> = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(most)..].to_vec()
}

/// Length of a log; 0 when there is none.
pub(super) fn length(log: &Path) -> u64 {
    log.metadata().map_or(0, |meta| meta.len())
}

/// Sets a log aside that has grown too large.
pub(super) fn rotate(log: &Path) -> std::io::Result<()> {
    if length(log) <= LARGEST {
        return Ok(());
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".1");
    std::fs::rename(log, old)
}

struct Follower {
    path: PathBuf,
    service: String,
    at: u64,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
    lines: VecDeque<String>,
    follow: bool,
    ended: bool,
}

/// The last `tail` lines of a log, then, with `follow`, every new one as it is written.
pub(super) fn lines(service: &str, path: PathBuf, tail: Option<usize>, follow: bool) -> LogLines {
    let start = Follower {
        path,
        service: service.into(),
        at: 0,
        partial: Vec::new(),
        lines: VecDeque::new(),
        follow,
        ended: false,
    };
    let mut first = Some(tail);
    stream::unfold(start, move |mut state| {
        let tail = first.take();
        async move {
            if let Some(tail) = tail {
                if let Err(e) = state.read() {
                    state.ended = true;
                    return Some((Err(e), state));
                }
                let surplus = state.lines.len().saturating_sub(tail.unwrap_or(usize::MAX));
                state.lines.drain(..surplus);
            }
            loop {
                if let Some(line) = state.lines.pop_front() {
                    return Some((Ok(line), state));
                }
                if state.ended {
                    return None;
                }
                if !state.follow {
                    state.ended = true;
                    let last = std::mem::take(&mut state.partial);
                    if !last.is_empty() {
                        state.lines.push_back(String::from_utf8_lossy(&last).into_owned());
                    }
                    continue;
                }
                tokio::time::sleep(FOLLOW).await;
                if let Err(e) = state.read() {
                    state.ended = true;
                    return Some((Err(e), state));
                }
            }
        }
    })
    .boxed()
}

impl Follower {
    /// Reads what is new. A log that is gone for a moment (set aside, or not written yet) is read
    /// from its beginning when it is there again.
    fn read(&mut self) -> Result<(), RuntimeError> {
        let mut read = || -> std::io::Result<Vec<u8>> {
            let mut file = match File::open(&self.path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    self.at = 0;
                    return Ok(Vec::new());
                }
                file => file?,
            };
            if file.metadata()?.len() < self.at {
                self.at = 0;
            }
            file.seek(SeekFrom::Start(self.at))?;
            let mut bytes = Vec::new();
            self.at += file.read_to_end(&mut bytes)? as u64;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| RuntimeError::Folder {
            service: self.service.clone(),
            operation: "read",
            path: self.path.clone(),
            source,
        })?;
        self.partial.extend(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.lines.push_back(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn all(lines: LogLines) -> Vec<String> {
        lines.map(Result::unwrap).collect().await
    }

    #[tokio::test]
    async fn the_tail_is_cut_and_an_unfinished_line_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree\nfo").unwrap();
        assert_eq!(all(lines("x", path.clone(), Some(2), false)).await, ["two", "three", "fo"]);
        assert_eq!(all(lines("x", path.clone(), None, false)).await.len(), 4);
        assert_eq!(since(&path, 4, 2), ["three", "fo"]);
        assert!(since(&dir.path().join("none"), 0, 2).is_empty());
    }

    #[tokio::test]
    async fn following_gives_whole_lines_as_they_come_and_survives_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\nhal").unwrap();
        let mut lines = lines("x", path.clone(), Some(0), true);
        let writer = tokio::spawn({
            let path = path.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(150)).await;
                let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
                file.write_all(b"f\nnext\n").unwrap();
                tokio::time::sleep(Duration::from_millis(250)).await;
                std::fs::write(&path, "a\n").unwrap();
            }
        });
        for expected in ["half", "next", "a"] {
            assert_eq!(lines.next().await.unwrap().unwrap(), expected);
        }
        writer.await.unwrap();
    }
}
