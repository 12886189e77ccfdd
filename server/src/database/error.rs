//! Errors of database plugins.

use thiserror::Error;

/// What timed out when a database took too long over what it was sent.
pub const OPERATION: &str = "the database operation";

/// Why an operation of a database plugin failed.
///
/// The texts follow what Vault's plugins answer, extended by the statement that failed. No variant carries a
/// password: statements are kept as written in the role, before `{{password}}` was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PluginError {
    /// A connection setting is missing or malformed.
    #[error("{0}")]
    Config(String),
    /// The server could not be reached, or spoke no protocol we understand.
    #[error("{0}")]
    Connect(String),
    /// The server refused the stored user name or password.
    #[error("{0}")]
    Authentication(String),
    /// An established connection broke.
    #[error("connection to the database lost: {0}")]
    Lost(String),
    /// The operation took longer than its limit.
    #[error("{operation} timed out after {seconds} s")]
    Timeout {
        /// What was being done.
        operation: &'static str,
        /// The limit in seconds.
        seconds: u64,
    },
    /// A statement of the role or configuration was refused.
    #[error("{message} (statement {number}: {statement})")]
    Statement {
        /// The database's own message with its error code.
        message: String,
        /// Position of the statement, counted from 1 after splitting.
        number: usize,
        /// The statement as written, with placeholders.
        statement: String,
    },
    /// A query of the plugin itself was refused.
    #[error("{0}")]
    Query(String),
    /// A user was asked for with a role that has no creation statements.
    #[error("empty creation statements")]
    EmptyCreationStatements,
    /// The user name template is malformed or failed.
    #[error("{0}")]
    Username(String),
    /// The failed creation left a user behind that could not be removed.
    #[error("{cause}; the half-created user {username:?} could not be removed: {reason}")]
    Leaked {
        /// Why the creation failed.
        cause: Box<PluginError>,
        /// The user that is left.
        username: String,
        /// Why removing it failed.
        reason: String,
    },
    /// A change of a user failed; Vault collects what went wrong in one.
    #[error("1 error occurred:\n\t* {0}\n\n")]
    Collected(Box<PluginError>),
    /// A step of a plugin's operation failed.
    #[error("{step}: {cause}")]
    During {
        /// The step, as Vault names it.
        step: &'static str,
        /// What went wrong in it.
        cause: Box<PluginError>,
    },
}

/// Outside of `config` a plugin's error is a raw error to Vault: status 500.
impl From<PluginError> for crate::logical::Error {
    fn from(error: PluginError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl PluginError {
    /// Whether the database refused the stored credentials (at connecting, before anything was executed).
    pub fn is_authentication(&self) -> bool {
        match self {
            Self::Authentication(_) => true,
            Self::During { cause, .. } | Self::Leaked { cause, .. } | Self::Collected(cause) => {
                cause.is_authentication()
            }
            _ => false,
        }
    }

    /// Whether an established connection broke, so that what was sent last may or may not have been executed.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::During { cause, .. } | Self::Collected(cause) => cause.is_lost(),
            _ => false,
        }
    }

    /// Whether the operation was given up in the middle, with what was sent executed or not.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::Timeout { operation, .. } => *operation == OPERATION,
            Self::During { cause, .. } | Self::Collected(cause) => cause.is_unanswered(),
            _ => self.is_lost(),
        }
    }

    /// Without the statement, where that is not of the role's or the configuration's own.
    #[must_use]
    pub fn without_statement(self) -> Self {
        match self {
            Self::Statement { message, .. } => Self::Query(message),
            Self::During { step, cause } => Self::During { step, cause: Box::new(cause.without_statement()) },
            other => other,
        }
    }

    /// Names the step of an operation this error happened in.
    #[must_use]
    pub fn during(self, step: &'static str) -> Self {
        Self::During { step, cause: Box::new(self) }
    }
}
