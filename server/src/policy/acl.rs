//! Many policies compiled into one table that answers requests.

mod pattern;
mod permissions;
mod resultant;

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::capability::needed;
use super::template::{self, Identity};
use super::{Capabilities, Policy, ROOT_POLICY_NAME};
use crate::logical::Operation;
use pattern::{Pattern, Priority, Segments};
use permissions::Permissions;
use std::time::Duration;

/// A request to be allowed or refused.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What it does.
    pub operation: Operation,
    /// The path below `/v1/`.
    pub path: &'a str,
    /// Its fields: the body's, or the query's for a read.
    pub data: Option<&'a Map<String, Json>>,
    /// The TTL of the response wrapping it asks for.
    pub wrap_ttl: Option<Duration>,
}

impl<'a> Request<'a> {
    /// A request without fields or wrapping.
    pub const fn new(operation: Operation, path: &'a str) -> Self {
        Self { operation, path, data: None, wrap_ttl: None }
    }
}

/// The answer for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Whether it may also use paths that need `sudo`.
    pub sudo: bool,
    /// Whether the `root` policy allowed it.
    pub root: bool,
}

/// The merged rules of a token's policies.
#[derive(Debug, Clone, Default)]
pub struct Acl {
    root: bool,
    exact: HashMap<Box<str>, Permissions>,
    prefixes: HashMap<Box<str>, Permissions>,
    /// The lengths of the prefixes, longest first.
    prefix_lengths: Vec<usize>,
    segments: Vec<(Segments, Permissions)>,
}

impl Acl {
    /// Merges policies. Templated paths are filled in for `identity`; a rule whose
    /// template has no value for it does not apply.
    ///
    /// A policy named `root` allows everything.
    pub fn compile<'p>(policies: impl IntoIterator<Item = &'p Policy>, identity: Option<&Identity>) -> Self {
        let mut acl = Self::default();
        let mut places = HashMap::new();
        for policy in policies {
            acl.root |= policy.name == ROOT_POLICY_NAME;
            for rule in &policy.rules {
                let Some(path) = template::resolve(&rule.path, identity) else {
                    continue;
                };
                // One leading slash does not count.
                let path = path.strip_prefix('/').unwrap_or(&path);
                let permissions = Permissions::new(&policy.name, rule);
                acl.insert(Pattern::new(path), permissions, &mut places);
            }
        }
        acl.prefix_lengths = acl.prefixes.keys().map(|prefix| prefix.len()).collect();
        acl.prefix_lengths.sort_unstable_by(|a, b| b.cmp(a));
        acl.prefix_lengths.dedup();
        acl
    }

    /// Adds a rule; `places` tells where in `segments` each pattern is.
    fn insert(
        &mut self,
        pattern: Pattern<'_>,
        permissions: Permissions,
        places: &mut HashMap<Segments, usize>,
    ) {
        let table = match pattern {
            Pattern::Exact(path) => self.exact.entry(path.into()),
            Pattern::Prefix(prefix) => self.prefixes.entry(prefix.into()),
            Pattern::Segments(segments) => {
                let known = places.get(&segments).and_then(|at| self.segments.get_mut(*at));
                if let Some((_, mine)) = known {
                    mine.merge(&permissions);
                } else {
                    places.insert(segments.clone(), self.segments.len());
                    self.segments.push((segments, permissions));
                }
                return;
            }
        };
        table.and_modify(|mine| mine.merge(&permissions)).or_insert(permissions);
    }

    /// Whether the `root` policy is among them.
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// Decides about a request.
    pub fn check(&self, request: &Request<'_>) -> Decision {
        if self.root {
            return Decision { allowed: true, sudo: true, root: true };
        }
        if request.operation == Operation::Help {
            return Decision { allowed: true, ..Decision::default() };
        }
        let Some(permissions) = self.find(request.operation, request.path) else {
            return Decision::default();
        };
        Decision {
            allowed: permissions.capabilities.contains(needed(request.operation))
                && permissions.allow(request),
            sudo: permissions.capabilities.contains(Capabilities::SUDO),
            root: false,
        }
    }

    /// The capabilities on a path as `sys/capabilities` shows them: `["root"]` for
    /// root, `["deny"]` if there are none.
    pub fn capabilities(&self, path: &str) -> Vec<&'static str> {
        if self.root {
            return vec!["root"];
        }
        // Vault looks paths up as a list does, so that a folder's rule is found
        // with and without its slash.
        self.find(Operation::List, path)
            .map_or(Capabilities::NONE, |permissions| permissions.capabilities)
            .names()
    }

    /// The policies that grant what `operation` needs on `path`: what an audit
    /// record names.
    pub fn granting_policies(&self, operation: Operation, path: &str) -> Vec<&str> {
        if self.root {
            return vec![ROOT_POLICY_NAME];
        }
        self.find(operation, path)
            .map(|permissions| permissions.granting(needed(operation)))
            .unwrap_or_default()
    }

    /// Whether anything at `mount` (a mount's path with its slash) or below it is
    /// allowed: what decides whether a mount is shown to a token.
    pub fn reaches(&self, mount: &str) -> bool {
        let grants = |permissions: &Permissions| {
            !permissions.capabilities.denies() && !permissions.capabilities.is_empty()
        };
        let bare = mount.strip_suffix('/').unwrap_or(mount);
        self.root
            || self.exact.iter().any(|(path, p)| grants(p) && (path.starts_with(mount) || **path == *bare))
            || self
                .prefixes
                .iter()
                .any(|(prefix, p)| grants(p) && (prefix.starts_with(mount) || mount.starts_with(&**prefix)))
            || self.segments.iter().any(|(segments, p)| grants(p) && segments.may_reach(mount))
    }

    /// The permissions of the rule that has priority for `path`.
    fn find(&self, operation: Operation, path: &str) -> Option<&Permissions> {
        let path = path.trim_start_matches('/');
        if let Some(permissions) = self.exact.get(path) {
            return Some(permissions);
        }
        // A list is also covered by rules for the folder without its slash: `a/b`,
        // `a/+` and `a/b*` cover the list of `a/b/`.
        let folder = match operation {
            Operation::List => path.strip_suffix('/'),
            _ => None,
        };
        folder
            .and_then(|folder| self.exact.get(folder).or_else(|| self.find_pattern(folder)))
            .or_else(|| self.find_pattern(path))
    }

    fn find_pattern(&self, path: &str) -> Option<&Permissions> {
        let prefix = self.longest_prefix(path);
        if self.segments.is_empty() {
            return prefix.map(|(_, permissions)| permissions);
        }
        let prefix = prefix.map(|(prefix, permissions)| (Priority::of_prefix(prefix), permissions));
        let count = path.split('/').count();
        self.segments
            .iter()
            .filter(|(segments, _)| segments.matches(path, count))
            .map(|(segments, permissions)| (segments.priority(), permissions))
            .chain(prefix)
            .max_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, permissions)| permissions)
    }

    fn longest_prefix<'p>(&self, path: &'p str) -> Option<(&'p str, &Permissions)> {
        self.prefix_lengths.iter().find_map(|length| {
            let prefix = path.get(..*length)?;
            Some((prefix, self.prefixes.get(prefix)?))
        })
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
