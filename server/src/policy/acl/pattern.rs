//! The paths of rules: exact, prefix (`a/*`) and segment wildcards (`a/+/b`).

use std::cmp::Reverse;

/// A rule's path, by how it is matched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    Exact(&'a str),
    /// Everything that starts with this.
    Prefix(&'a str),
    Segments(Segments),
}

impl<'a> Pattern<'a> {
    pub fn new(path: &'a str) -> Self {
        if path == "+" || path.contains("/+") || path.starts_with("+/") {
            return Self::Segments(Segments::new(path));
        }
        match path.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix),
            None => Self::Exact(path),
        }
    }
}

/// A path with `+` for whole segments, and perhaps a `*` at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Segments {
    /// Without the final `*`.
    path: Box<str>,
    is_prefix: bool,
    count: usize,
    first_wildcard: usize,
    wildcards: usize,
}

impl Segments {
    fn new(path: &str) -> Self {
        let (stem, is_prefix) = match path.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (path, false),
        };
        Self {
            path: stem.into(),
            is_prefix,
            count: stem.split('/').count(),
            first_wildcard: stem.find('+').unwrap_or(stem.len()),
            wildcards: stem.split('/').filter(|segment| *segment == "+").count(),
        }
    }

    /// Whether `path`, which has `count` segments, matches.
    pub fn matches(&self, path: &str, count: usize) -> bool {
        if count < self.count || (!self.is_prefix && count != self.count) {
            return false;
        }
        let last = self.count - 1;
        self.path.split('/').zip(path.split('/')).enumerate().all(|(index, (mine, theirs))| {
            mine == "+" || mine == theirs || (self.is_prefix && index == last && theirs.starts_with(mine))
        })
    }

    /// Whether some path below `mount` (which ends in a slash) can match.
    pub fn may_reach(&self, mount: &str) -> bool {
        let last = self.count - 1;
        let mut mine = self.path.split('/').enumerate();
        for theirs in mount.trim_end_matches('/').split('/') {
            let Some((index, segment)) = mine.next() else {
                return self.is_prefix;
            };
            let matches = segment == "+"
                || segment == theirs
                || (self.is_prefix && index == last && theirs.starts_with(segment));
            if !matches {
                return false;
            }
        }
        true
    }

    /// As it was written.
    pub fn text(&self) -> String {
        format!("{}{}", self.path, if self.is_prefix { "*" } else { "" })
    }

    pub fn priority(&self) -> Priority<'_> {
        Priority {
            first_wildcard: self.first_wildcard,
            is_exact: !self.is_prefix,
            wildcards: Reverse(self.wildcards),
            length: self.path.len(),
            path: &self.path,
        }
    }
}

/// Which of several matching patterns counts: the greatest, compared field by field.
///
/// Vault documents the order: the later first wildcard wins, then a pattern without
/// a final `*`, then the fewer `+`, then the longer, then the alphabetically later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority<'a> {
    first_wildcard: usize,
    is_exact: bool,
    wildcards: Reverse<usize>,
    length: usize,
    path: &'a str,
}

impl<'a> Priority<'a> {
    /// The priority of a rule `prefix*`.
    pub fn of_prefix(prefix: &'a str) -> Self {
        Self {
            first_wildcard: prefix.len(),
            is_exact: false,
            wildcards: Reverse(0),
            length: prefix.len(),
            path: prefix,
        }
    }
}
