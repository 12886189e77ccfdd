//! Errors a request ends with, and the status and text a client sees for each.

use super::Object;

/// How a request failed.
///
/// Vault makes a difference between an *error response* of a backend, whose text reaches the
/// client as it is, and a raw error, which the core wraps as `1 error occurred:\n\t* …\n\n`.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum Error {
    /// An error response: status 400 and the plain text.
    #[error("{0}")]
    BadRequest(String),
    /// An error response with another status and the plain text.
    #[error("{message}")]
    Coded {
        /// HTTP status.
        status: u16,
        /// Plain text for the client.
        message: String,
    },
    /// An error that carries a full envelope with `data` instead of `errors`
    /// (AppRole answers an unknown accessor this way).
    #[error("request failed with a response of status {status}")]
    WithData {
        /// HTTP status.
        status: u16,
        /// The envelope's `data`.
        data: Object,
    },
    /// A raw error: status 500, wrapped text.
    #[error("{0}")]
    Internal(String),
    /// A raw error the client caused: status 400, wrapped text.
    #[error("{0}")]
    RawBadRequest(String),
    /// Raw `invalid request`: status 400, wrapped text.
    #[error("invalid request")]
    InvalidRequest,
    /// The policies do not allow it: status 403, wrapped text.
    #[error("permission denied")]
    PermissionDenied,
    /// The token is missing, unknown or expired: status 403.
    #[error("permission denied")]
    InvalidToken,
    /// The path exists but not for this operation: status 405, wrapped text.
    #[error("unsupported operation")]
    UnsupportedOperation,
    /// The backend has no such path: status 404, wrapped text.
    #[error("unsupported path")]
    UnsupportedPath,
    /// No mount covers the path: status 404.
    #[error("no handler for route \"{0}\". route entry not found.")]
    NoRoute(String),
    /// The server is sealed: status 503.
    #[error("Vault is sealed")]
    Sealed,
}

impl Error {
    /// An error response of status 400 with this text.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    /// An error response with a status and this text.
    pub fn coded(status: u16, message: impl Into<String>) -> Self {
        Self::Coded { status, message: message.into() }
    }

    /// A raw error of status 400 with this text, which the client sees wrapped.
    pub fn raw_bad_request(message: impl Into<String>) -> Self {
        Self::RawBadRequest(message.into())
    }

    /// The same error with its text as it is: logins answer without wrapping.
    #[must_use]
    pub fn unwrapped(self) -> Self {
        match self {
            Self::Internal(_)
            | Self::RawBadRequest(_)
            | Self::InvalidRequest
            | Self::PermissionDenied
            | Self::UnsupportedOperation
            | Self::UnsupportedPath => Self::Coded { status: self.status(), message: self.to_string() },
            other => other,
        }
    }

    /// A raw error (status 500) with this text.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::RawBadRequest(_) | Self::InvalidRequest => 400,
            Self::Coded { status, .. } | Self::WithData { status, .. } => *status,
            Self::Internal(_) => 500,
            Self::PermissionDenied | Self::InvalidToken => 403,
            Self::UnsupportedOperation => 405,
            Self::UnsupportedPath | Self::NoRoute(_) => 404,
            Self::Sealed => 503,
        }
    }

    /// The one string of the body's `errors` list.
    pub fn client_text(&self) -> String {
        match self {
            Self::InvalidToken => {
                "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n".to_owned()
            }
            Self::Internal(_)
            | Self::RawBadRequest(_)
            | Self::InvalidRequest
            | Self::PermissionDenied
            | Self::UnsupportedOperation
            | Self::UnsupportedPath => format!("1 error occurred:\n\t* {self}\n\n"),
            Self::BadRequest(_)
            | Self::Coded { .. }
            | Self::WithData { .. }
            | Self::NoRoute(_)
            | Self::Sealed => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_errors_are_plain_and_raw_errors_are_wrapped() {
        let plain = Error::bad_request("unknown role: x");
        assert_eq!((plain.status(), plain.client_text()), (400, "unknown role: x".into()));
        let raw = Error::internal("boom");
        assert_eq!((raw.status(), raw.client_text()), (500, "1 error occurred:\n\t* boom\n\n".into()));
    }

    #[test]
    fn denial_and_bad_tokens_read_as_in_vault() {
        assert_eq!(Error::PermissionDenied.client_text(), "1 error occurred:\n\t* permission denied\n\n");
        assert_eq!(
            Error::InvalidToken.client_text(),
            "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
        );
        assert_eq!(
            Error::NoRoute("x".into()).client_text(),
            "no handler for route \"x\". route entry not found."
        );
    }
}
