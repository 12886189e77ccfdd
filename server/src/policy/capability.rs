//! Capabilities and the operations that need them.

use std::ops::{BitOr, BitOrAssign};

use crate::logical::Operation;

/// Every capability a policy may name, `deny` included.
///
/// `subscribe` and `recover` are of current Vault, `scan` is OpenBao's.
pub const CAPABILITY_NAMES: &[&str] =
    &["create", "read", "update", "patch", "delete", "list", "sudo", "deny", "subscribe", "recover", "scan"];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// An explicit `deny`.
    pub const DENY: Self = Self(1);
    /// `create`
    pub const CREATE: Self = Self(1 << 1);
    /// `read`
    pub const READ: Self = Self(1 << 2);
    /// `update`
    pub const UPDATE: Self = Self(1 << 3);
    /// `delete`
    pub const DELETE: Self = Self(1 << 4);
    /// `list`
    pub const LIST: Self = Self(1 << 5);
    /// `sudo`
    pub const SUDO: Self = Self(1 << 6);
    /// `patch`
    pub const PATCH: Self = Self(1 << 7);
    /// `subscribe`
    pub const SUBSCRIBE: Self = Self(1 << 8);
    /// `recover`
    pub const RECOVER: Self = Self(1 << 9);
    /// `scan`
    pub const SCAN: Self = Self(1 << 10);

    /// In alphabetical order, as Vault answers `sys/capabilities`.
    const NAMES: [(Self, &'static str); 10] = [
        (Self::CREATE, "create"),
        (Self::DELETE, "delete"),
        (Self::LIST, "list"),
        (Self::PATCH, "patch"),
        (Self::READ, "read"),
        (Self::RECOVER, "recover"),
        (Self::SCAN, "scan"),
        (Self::SUBSCRIBE, "subscribe"),
        (Self::SUDO, "sudo"),
        (Self::UPDATE, "update"),
    ];

    /// The capability of that name, `deny` included.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "deny" {
            return Some(Self::DENY);
        }
        Self::NAMES.iter().find_map(|(capability, known)| (*known == name).then_some(*capability))
    }

    /// The capabilities that the older `policy = "…"` attribute stands for.
    pub(super) fn from_legacy(policy: &str) -> Option<Self> {
        let read = Self::READ | Self::LIST;
        let write = read | Self::CREATE | Self::UPDATE | Self::DELETE;
        match policy {
            "deny" => Some(Self::DENY),
            "read" => Some(read),
            "write" => Some(write),
            "sudo" => Some(write | Self::SUDO),
            _ => None,
        }
    }

    /// Whether all of `other` is in here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in here.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this denies explicitly.
    #[must_use]
    pub const fn denies(self) -> bool {
        self.contains(Self::DENY)
    }

    /// The names, in alphabetical order as Vault shows them; `["deny"]` if nothing is
    /// allowed.
    pub fn names(self) -> Vec<&'static str> {
        if self.denies() || self.is_empty() {
            return vec!["deny"];
        }
        Self::NAMES
            .iter()
            .filter(|(capability, _)| self.contains(*capability))
            .map(|(_, name)| *name)
            .collect()
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// The capability that `operation` needs.
pub(super) const fn needed(operation: Operation) -> Capabilities {
    match operation {
        Operation::Create => Capabilities::CREATE,
        Operation::Read => Capabilities::READ,
        Operation::Update => Capabilities::UPDATE,
        Operation::Patch => Capabilities::PATCH,
        Operation::Delete => Capabilities::DELETE,
        Operation::List => Capabilities::LIST,
        Operation::Help => Capabilities::NONE,
    }
}

/// Whether a policy's parameter rules apply to `operation`.
pub(super) const fn has_parameters(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Read | Operation::Update | Operation::Patch)
}
