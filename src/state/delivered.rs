//! What was delivered for an AppRole to places outside the lab's folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{LabDir, StateError, Visibility, read_json, write_json_unsynced};

const VERSION: u32 = 1;

/// Contents of a file that are remembered: what is in it, and what it is about to be replaced with.
const REMEMBERED: usize = 2;

/// The files (`delivered/APPROLE.json`), with digests of what was last put into them: by those it is
/// told whether a file is still the lab's to remove. It holds no secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeliveredFiles {
    version: u32,
    files: BTreeMap<PathBuf, Vec<String>>,
}

impl Default for DeliveredFiles {
    fn default() -> Self {
        Self { version: VERSION, files: BTreeMap::new() }
    }
}

impl DeliveredFiles {
    /// What is known; nothing when nothing was delivered yet.
    pub fn load(lab: &LabDir, approle: &str) -> Result<Self, StateError> {
        Ok(read_json(&file(lab, approle), VERSION)?.unwrap_or_default())
    }

    /// Whether something was delivered to this place before.
    pub fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Notes what is about to be put into a file.
    pub fn note(
        &mut self,
        lab: &LabDir,
        approle: &str,
        path: &Path,
        content: &[u8],
    ) -> Result<(), StateError> {
        let (digest, digests) = (digest(content), self.files.entry(path.into()).or_default());
        if digests.last() == Some(&digest) {
            return Ok(());
        }
        digests.push(digest);
        digests.drain(..digests.len().saturating_sub(REMEMBERED));
        write_json_unsynced(&file(lab, approle), self, Visibility::Private)
    }

    /// Removes every file that still holds what the lab delivered. Gives what could not be removed, or
    /// not be known, with the reason.
    pub fn remove_all(lab: &LabDir) -> Vec<StateError> {
        let records = fs::read_dir(lab.delivered()).into_iter().flatten().flatten();
        records.flat_map(|record| remove_recorded(&record.path())).collect()
    }

    /// The same for one AppRole. What could not be removed is still known.
    pub fn remove(lab: &LabDir, approle: &str) -> Vec<StateError> {
        remove_recorded(&file(lab, approle))
    }
}

/// Removes the files of a record, then the record.
fn remove_recorded(record: &Path) -> Vec<StateError> {
    let files = match read_json::<DeliveredFiles>(record, VERSION) {
        Ok(Some(known)) => known.files,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![error],
    };
    let mut failures: Vec<_> =
        files.iter().filter_map(|(path, digests)| remove(path, digests).err()).collect();
    if failures.is_empty() {
        failures.extend(fs::remove_file(record).map_err(StateError::io("remove", record)).err());
    }
    failures
}

fn file(lab: &LabDir, approle: &str) -> PathBuf {
    lab.delivered().join(format!("{approle}.json"))
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remove(path: &Path, digests: &[String]) -> Result<(), StateError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StateError::io("read", path)(e)),
    };
    if digests.contains(&digest(&content)) {
        fs::remove_file(path).map_err(StateError::io("remove", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Home;

    #[test]
    fn only_files_that_still_hold_what_was_delivered_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(&dir.path().join("home")).unwrap().lab("x").unwrap();
        let [kept, changed, gone] = ["kept", "changed", "gone"].map(|name| dir.path().join(name));
        let mut known = DeliveredFiles::load(&lab, "app").unwrap();
        assert!(!known.knows(&kept));
        for content in ["one", "two", "three"] {
            for path in [&kept, &changed, &gone] {
                known.note(&lab, "app", path, content.as_bytes()).unwrap();
            }
        }
        // Killed before the third was in place.
        fs::write(&kept, "two").unwrap();
        fs::write(&changed, "one").unwrap();
        assert!(DeliveredFiles::load(&lab, "app").unwrap().knows(&kept));
        let text = fs::read_to_string(lab.delivered().join("app.json")).unwrap();
        assert!(!text.contains("three"), "digests only");
        assert!(DeliveredFiles::remove_all(&lab).is_empty());
        assert!(!kept.exists() && changed.exists());
    }

    #[test]
    fn one_approle_s_files_go_and_what_stays_is_still_known() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(&dir.path().join("home")).unwrap().lab("x").unwrap();
        let [gone, others, folder] = ["gone", "others", "folder"].map(|name| dir.path().join(name));
        let mut known = DeliveredFiles::default();
        known.note(&lab, "app", &gone, b"one").unwrap();
        // Delivered there before, and now another AppRole's.
        known.note(&lab, "app", &others, b"one").unwrap();
        known.note(&lab, "app", &folder, b"one").unwrap();
        DeliveredFiles::default().note(&lab, "other", &others, b"two").unwrap();
        fs::write(&gone, "one").unwrap();
        fs::write(&others, "two").unwrap();
        fs::create_dir(&folder).unwrap();

        assert_eq!(DeliveredFiles::remove(&lab, "app").len(), 1, "a folder cannot be read");
        assert!(!gone.exists() && others.exists());
        assert!(DeliveredFiles::load(&lab, "app").unwrap().knows(&folder));
        fs::remove_dir(&folder).unwrap();
        for _ in 0..2 {
            assert!(DeliveredFiles::remove(&lab, "app").is_empty());
            assert!(!DeliveredFiles::load(&lab, "app").unwrap().knows(&folder));
        }
        assert!(DeliveredFiles::remove_all(&lab).is_empty());
        assert!(!others.exists());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(&dir.path().join("home")).unwrap().lab("x").unwrap();
        assert!(DeliveredFiles::remove_all(&lab).is_empty());
        let path = dir.path().join("secret_id");
        DeliveredFiles::default().note(&lab, "app", &path, b"one").unwrap();
        fs::write(&path, "one").unwrap();
        fs::write(lab.delivered().join("broken.json"), "{").unwrap();
        assert_eq!(DeliveredFiles::remove_all(&lab).len(), 1);
        assert!(!path.exists());
    }
}
