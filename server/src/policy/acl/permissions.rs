//! What the rules for one path allow together.

use std::time::Duration;

use indexmap::IndexSet;

use super::{Capabilities, Request};
use crate::policy::capability::has_parameters;
use crate::policy::{Parameters, Rule};

/// The rules for one path, merged.
#[derive(Debug, Clone)]
pub(super) struct Permissions {
    pub capabilities: Capabilities,
    pub min_wrapping_ttl: Option<Duration>,
    pub max_wrapping_ttl: Option<Duration>,
    pub allowed: Parameters,
    pub denied: Parameters,
    /// Lower case.
    pub required: IndexSet<String>,
    /// Which policy gave which capabilities.
    granted_by: Vec<(String, Capabilities)>,
}

impl Permissions {
    pub fn new(policy: &str, rule: &Rule) -> Self {
        Self {
            capabilities: rule.capabilities,
            min_wrapping_ttl: rule.min_wrapping_ttl,
            max_wrapping_ttl: rule.max_wrapping_ttl,
            allowed: rule.allowed_parameters.clone(),
            denied: rule.denied_parameters.clone(),
            required: rule.required_parameters.iter().map(|name| name.to_lowercase()).collect(),
            granted_by: vec![(policy.to_owned(), rule.capabilities)],
        }
    }

    /// Adds another rule for the same path: a denial wins, capabilities and
    /// parameters add up, and of two TTL bounds the shorter counts.
    pub fn merge(&mut self, other: &Self) {
        if self.capabilities.denies() {
            return;
        }
        if other.capabilities.denies() {
            *self = other.clone();
            return;
        }
        self.capabilities |= other.capabilities;
        self.min_wrapping_ttl = shorter(self.min_wrapping_ttl, other.min_wrapping_ttl);
        self.max_wrapping_ttl = shorter(self.max_wrapping_ttl, other.max_wrapping_ttl);
        self.allowed.merge(&other.allowed);
        self.denied.merge(&other.denied);
        self.required.extend(other.required.iter().cloned());
        self.granted_by.extend_from_slice(&other.granted_by);
    }

    /// Whether the request's wrapping and fields are allowed, its operation being so.
    pub fn allow(&self, request: &Request<'_>) -> bool {
        self.allow_wrapping(request.wrap_ttl)
            && (!has_parameters(request.operation) || self.allow_fields(request))
    }

    fn allow_wrapping(&self, asked: Option<Duration>) -> bool {
        if self.min_wrapping_ttl.is_none() && self.max_wrapping_ttl.is_none() {
            return true;
        }
        // Bounds that exclude each other (after a merge) allow no TTL at all.
        asked.is_some_and(|ttl| {
            self.max_wrapping_ttl.is_none_or(|max| ttl <= max)
                && self.min_wrapping_ttl.is_none_or(|min| ttl >= min)
        })
    }

    fn allow_fields(&self, request: &Request<'_>) -> bool {
        match request.data {
            Some(data) if !data.is_empty() => {
                self.required.iter().all(|name| data.contains_key(name))
                    && !self.denied.deny(data)
                    && self.allowed.allow(data)
            }
            _ => self.required.is_empty(),
        }
    }

    /// The policies that give `capability`.
    pub fn granting(&self, capability: Capabilities) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, capabilities) in &self.granted_by {
            if capabilities.contains(capability) && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
