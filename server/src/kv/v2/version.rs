//! What is kept about a key and its versions, apart from the values.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::Settings;
use crate::duration;

/// Versions kept where neither key nor mount says otherwise.
const DEFAULT_MAX_VERSIONS: u32 = 10;

/// One version's dates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct VersionInfo {
    /// When it was written.
    pub created: Timestamp,
    /// From when on it counts as deleted; may lie in the future.
    pub deletion: Option<Timestamp>,
    /// Whether its value is gone for good.
    pub destroyed: bool,
}

impl VersionInfo {
    /// Whether it cannot be read at `now`.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.destroyed || self.deletion.is_some_and(|time| time < now)
    }

    fn describe(&self) -> Value {
        json!({
            "created_time": self.created.to_string(),
            "deletion_time": self.deletion.map(|time| time.to_string()).unwrap_or_default(),
            "destroyed": self.destroyed,
        })
    }
}

/// Everything about a key but its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeyInfo {
    /// Its versions by number; old ones are dropped.
    pub versions: BTreeMap<u64, VersionInfo>,
    /// Number of the newest version; 0 before the first.
    pub current: u64,
    /// Number of the oldest version kept; 0 until there are as many as are kept.
    pub oldest: u64,
    /// When the key came to be.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Versions to keep; 0 leaves it to the mount.
    pub max_versions: u32,
    /// Whether writes must name the version they replace.
    pub cas_required: bool,
    /// Life of a version; zero leaves it to the mount.
    pub delete_version_after: Duration,
    /// The user's own remarks; none were ever set.
    pub custom_metadata: Option<BTreeMap<String, String>>,
}

impl KeyInfo {
    /// A key without versions.
    pub fn new(now: Timestamp) -> Self {
        Self {
            versions: BTreeMap::new(),
            current: 0,
            oldest: 0,
            created: now,
            updated: now,
            max_versions: 0,
            cas_required: false,
            delete_version_after: Duration::ZERO,
            custom_metadata: None,
        }
    }

    /// Adds a version and returns the numbers of those that are no longer kept.
    pub fn add_version(&mut self, now: Timestamp, settings: &Settings) -> Vec<u64> {
        self.current += 1;
        self.updated = now;
        let version =
            VersionInfo { created: now, deletion: self.deletion_time(now, settings), destroyed: false };
        self.versions.insert(self.current, version);
        let keep = match self.max_versions.max(settings.max_versions) {
            0 => DEFAULT_MAX_VERSIONS,
            given => given,
        };
        let Some(last_dropped) = self.current.checked_sub(u64::from(keep)) else {
            return Vec::new();
        };
        let kept = self.versions.split_off(&(last_dropped + 1));
        let dropped = std::mem::replace(&mut self.versions, kept);
        self.oldest = self.oldest.max(last_dropped + 1);
        dropped.into_keys().collect()
    }

    /// When a version that begins its life at `now` ends it: the shorter of what key and mount say.
    pub fn deletion_time(&self, now: Timestamp, settings: &Settings) -> Option<Timestamp> {
        let mount = settings.delete_version_after()?;
        let life = [self.delete_version_after, mount].into_iter().filter(|life| !life.is_zero()).min()?;
        Some(now.saturating_add(life).unwrap_or(Timestamp::MAX))
    }

    /// The user's remarks; Vault tells none from empty ones no longer once they are stored.
    fn remarks(&self) -> Option<&BTreeMap<String, String>> {
        self.custom_metadata.as_ref().filter(|remarks| !remarks.is_empty())
    }

    /// The `metadata` of an answer about one version.
    pub fn describe_version(&self, number: u64) -> Option<Value> {
        let mut data = self.versions.get(&number)?.describe();
        data["custom_metadata"] = json!(self.remarks());
        data["version"] = json!(number);
        Some(data)
    }

    /// What a read of the key's metadata answers.
    pub fn describe(&self) -> Value {
        let versions: serde_json::Map<String, Value> =
            self.versions.iter().map(|(number, version)| (number.to_string(), version.describe())).collect();
        json!({
            "cas_required": self.cas_required,
            "created_time": self.created.to_string(),
            "current_version": self.current,
            "custom_metadata": self.remarks(),
            "delete_version_after": duration::format(self.delete_version_after),
            "max_versions": self.max_versions,
            "oldest_version": self.oldest,
            "updated_time": self.updated.to_string(),
            "versions": versions,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_shorter_life_wins() {
        let mut key = KeyInfo::new(at(0));
        let mut settings = Settings::default();
        assert_eq!(key.deletion_time(at(0), &settings), None);
        key.delete_version_after = Duration::from_mins(1);
        assert_eq!(key.deletion_time(at(0), &settings), Some(at(60)));
        settings.set_delete_version_after(30);
        assert_eq!(key.deletion_time(at(0), &settings), Some(at(30)));
        key.delete_version_after = Duration::ZERO;
        assert_eq!(key.deletion_time(at(0), &settings), Some(at(30)));
        settings.set_delete_version_after(-1);
        key.delete_version_after = Duration::from_mins(1);
        assert_eq!(key.deletion_time(at(0), &settings), None, "switched off for the mount");
    }

    #[test]
    fn a_version_is_gone_after_its_deletion_time() {
        let mut version = VersionInfo { created: at(0), deletion: Some(at(10)), destroyed: false };
        assert!(!version.is_gone(at(10)));
        assert!(version.is_gone(at(11)));
        version.deletion = None;
        assert!(!version.is_gone(at(11)));
        version.destroyed = true;
        assert!(version.is_gone(at(0)));
    }

    #[test]
    fn lowering_the_limit_drops_several_at_once() {
        let mut key = KeyInfo::new(at(0));
        let settings = Settings::default();
        for second in 1..=5 {
            assert!(key.add_version(at(second), &settings).is_empty());
        }
        key.max_versions = 2;
        assert_eq!(key.add_version(at(6), &settings), [1, 2, 3, 4]);
        assert_eq!((key.oldest, key.current), (5, 6));
        assert_eq!(key.versions.keys().copied().collect::<Vec<_>>(), [5, 6]);
    }

    proptest! {
        #[test]
        fn the_newest_versions_are_kept(limit in 0_u32..12, writes in 1_u64..40) {
            let mut key = KeyInfo::new(at(0));
            key.max_versions = limit;
            let mut dropped = Vec::new();
            for second in 0..writes {
                dropped.extend(key.add_version(at(second as i64), &Settings::default()));
            }
            let keep = if limit == 0 { 10 } else { u64::from(limit) };
            prop_assert_eq!(key.current, writes);
            prop_assert_eq!(key.versions.len() as u64, writes.min(keep));
            prop_assert_eq!(dropped, (1..=writes.saturating_sub(keep)).collect::<Vec<_>>());
            prop_assert!(key.versions.contains_key(&writes));
        }
    }
}
