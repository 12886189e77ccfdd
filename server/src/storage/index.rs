use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Op, format};

/// Every live entry, ordered by key.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// What the entries take in a log without any garbage.
    live_bytes: u64,
}

impl Index {
    pub(super) fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        self.entries.get(key).cloned()
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Everything, for a compaction; the values are shared, not copied.
    pub(super) fn snapshot(&self) -> Vec<(Arc<str>, Arc<[u8]>)> {
        self.entries.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value))).collect()
    }

    pub(super) fn apply(&mut self, ops: Vec<Op>) {
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    self.live_bytes += format::put_size(&key, &value);
                    if let Some(old) = self.entries.insert(Arc::clone(&key), value) {
                        self.live_bytes -= format::put_size(&key, &old);
                    }
                }
                Op::Delete(key) => {
                    if let Some(old) = self.entries.remove(&key) {
                        self.live_bytes -= format::put_size(&key, &old);
                    }
                }
            }
        }
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<Arc<str>> {
        self.below(prefix).cloned().collect()
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        self.below(prefix).count()
    }

    /// One level below `prefix`. Whole subtrees are stepped over, so the cost is that of
    /// what is listed, not of what lies beneath.
    pub(super) fn list(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut from = prefix.to_owned();
        let mut start = Bound::Included(from.as_str());
        while let Some((key, _)) = self.entries.range::<str, _>((start, Bound::Unbounded)).next() {
            let Some(rest) = key.strip_prefix(prefix) else {
                break;
            };
            if let Some((folder, _)) = rest.split_once('/') {
                names.push(format!("{folder}/"));
                // '0' is the character after '/': the first key beyond the subtree.
                from = format!("{prefix}{folder}0");
                start = Bound::Included(from.as_str());
            } else {
                if !rest.is_empty() {
                    names.push(rest.to_owned());
                }
                from = key.to_string();
                start = Bound::Excluded(from.as_str());
            }
        }
        // A subtree sorts after entries like "a-b" although "a/" comes first by name.
        names.sort_unstable();
        names
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(move |key| key.starts_with(prefix))
    }
}
