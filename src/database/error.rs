//! Why a database did not do what it was asked.

use std::fmt;

use crate::service::Endpoint;

/// The answer of a server that refuses: its code (SQLSTATE on PostgreSQL, error number on MySQL)
/// and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As in `28P01` or `1045`.
    pub code: String,
    /// As the server put it.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// A failed operation on a database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No server answers, or the connection broke.
    #[error("cannot reach the database at {endpoint}: {cause}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Endpoint,
        /// What happened.
        cause: String,
    },
    /// The server refuses the account or its password.
    #[error("the database at {endpoint} refuses the login of {user}: {refusal}")]
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        user: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// The account lacks a privilege.
    #[error("the database at {endpoint} denies {user} `{statement}`: {refusal}")]
    Denied {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        user: String,
        /// The statement, without secrets.
        statement: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// A statement failed.
    #[error("`{statement}` failed on the database at {endpoint}: {refusal}")]
    Statement {
        /// Where.
        endpoint: Endpoint,
        /// The statement, without secrets.
        statement: String,
        /// Its answer.
        refusal: Refusal,
    },
}

impl DatabaseError {
    /// A server that accepts a connection and then says nothing.
    pub(super) fn silent(endpoint: &Endpoint) -> Self {
        let cause = format!("no answer to a login within {} s", super::CONNECT_TIMEOUT.as_secs());
        Self::Unreachable { endpoint: endpoint.clone(), cause }
    }
}

/// A text of several statements that did not run to its end.
#[derive(Debug, thiserror::Error)]
#[error("{origin}:{line}: statement {number} failed: {message}\n  {statement}")]
pub struct ScriptError {
    /// The file.
    pub origin: String,
    /// Line in it where the failing statement begins, from 1.
    pub line: usize,
    /// Which statement, from 1.
    pub number: usize,
    /// The statement, shortened.
    pub statement: String,
    /// What the database said, with its code.
    pub message: String,
}

/// A statement cut to a length that fits a message.
pub(super) fn shorten(statement: &str) -> String {
    const LONGEST: usize = 200;
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST).chain(['…']).collect()
}
