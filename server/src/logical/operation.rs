//! What a request asks for.

use std::fmt;

/// The operation of a request, named as audit records name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A write to something that does not exist yet.
    Create,
    /// A write to something that exists, or to a path without an existence check.
    Update,
    /// A JSON merge patch.
    Patch,
    /// A read.
    #[default]
    Read,
    /// A listing of keys.
    List,
    /// A removal.
    Delete,
    /// What there is at a path; every token may ask that.
    Help,
}

impl Operation {
    /// The lower-case name used in audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Help => "help",
        }
    }

    /// Whether this is a create or an update: backends that make no difference match on it.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
