//! Running a role's statements in one transaction.
//!
//! Statements are sent together and their answers read together: a round trip each would cost more than most of
//! them take. Transactions that grant privileges on the same object collide on PostgreSQL; such are repeated, and
//! from then on take turns for the part that can collide.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_postgres::CancelToken;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgreSql;
use super::connection::{Connector, Session, is_conflict, query_error};
use crate::database::plugin::pool::Taken;
use crate::database::plugin::{CANCEL_LIMIT, redact, within_limit};
use crate::database::statements::Statement;
use crate::database::{OPERATION, PluginError};

/// How often a transaction that collided with others is tried.
pub const MAX_ATTEMPTS: u32 = 20;
/// Statements that are sent together.
const MAX_TOGETHER: usize = 16;
/// Words that begin or end a transaction. Statements with one of them are sent one by one: what follows a
/// failed one must not reach the server.
const CONTROL_WORDS: [&str; 7] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"];

/// A failed transaction.
struct Failure {
    error: PluginError,
    /// Whether it only collided with another.
    conflict: bool,
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self { error, conflict: false }
    }
}

impl PostgreSql {
    /// Runs all statements in one transaction, again when it collided with another.
    pub(super) async fn transaction(
        &self,
        statements: &[Statement],
        secrets: &[&str],
    ) -> Result<(), PluginError> {
        let mut session = None;
        let work = async {
            let mut attempt = 1;
            loop {
                match self.attempt(statements, secrets, &mut session).await {
                    Err(Failure { conflict: true, .. }) if attempt < MAX_ATTEMPTS => attempt += 1,
                    result => return result.map_err(|failure| failure.error),
                }
            }
        };
        let result = within_limit(OPERATION, work).await;
        if result.as_ref().is_err_and(PluginError::is_unanswered)
            && let Some(session) = session
        {
            self.cancel(&session).await;
        }
        result
    }

    /// Tells the server to end what a session is doing: one that waits for a lock does not notice that its
    /// client is gone, and would still commit.
    async fn cancel(&self, session: &CancelToken) {
        let tls = MakeRustlsConnect::new(self.pool.connector().tls.clone());
        match timeout(CANCEL_LIMIT, session.cancel_query(tls)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an abandoned operation could not be cancelled"),
            Err(_) => tracing::warn!("an abandoned operation could not be cancelled in time"),
        }
    }

    async fn attempt(
        &self,
        statements: &[Statement],
        secrets: &[&str],
        session: &mut Option<CancelToken>,
    ) -> Result<(), Failure> {
        let taken = self.begin().await?;
        *session = Some(taken.connection.client.cancel_token());
        let result = self.run_all(&taken.connection, statements, secrets).await;
        match &result {
            Ok(()) => taken.put_back(),
            Err(failure) if failure.error.is_lost() => drop(taken),
            Err(_) => {
                // The statement's error counts; a connection that does not roll back is not kept.
                if taken.connection.client.batch_execute("ROLLBACK").await.is_ok() {
                    taken.put_back();
                }
            }
        }
        result
    }

    /// Takes a connection and begins a transaction on it. A pooled connection that died shows here, where
    /// nothing has been executed yet, and is replaced.
    async fn begin(&self) -> Result<Taken<'_, Connector>, PluginError> {
        let taken = self.pool.take().await.map_err(|e| e.during("unable to start transaction"))?;
        let begun = taken.connection.client.batch_execute("BEGIN").await;
        let Err(error) = begun else {
            return Ok(taken);
        };
        if !taken.reused {
            return Err(query_error(&error, &[]).during("unable to start transaction"));
        }
        drop(taken);
        let fresh = self.pool.take_new().await.map_err(|e| e.during("unable to start transaction"))?;
        match fresh.connection.client.batch_execute("BEGIN").await {
            Ok(()) => Ok(fresh),
            Err(error) => Err(query_error(&error, &[]).during("unable to start transaction")),
        }
    }

    async fn run_all(
        &self,
        session: &Session,
        statements: &[Statement],
        secrets: &[&str],
    ) -> Result<(), Failure> {
        let texts: Vec<&str> = statements.iter().map(|s| s.sql.as_str()).chain(["COMMIT"]).collect();
        let together =
            statements.len() <= MAX_TOGETHER && !statements.iter().any(|s| controls_transaction(&s.template));
        let contended = self.contended.load(Ordering::Relaxed);
        let creating = statements.iter().take_while(|s| creates_role(&s.sql)).count();
        let mut turn = None;
        let mut start = 0;
        while start < texts.len() {
            if contended && start >= creating && turn.is_none() {
                turn = self.turn.acquire().await.ok();
            }
            let end = match (together, contended && start < creating) {
                (false, _) => start + 1,
                (true, true) => creating,
                (true, false) => texts.len(),
            };
            if let Err((at, error)) = send(session, &texts[start..end]).await {
                return Err(self.failure(statements, start + at, &error, secrets));
            }
            start = end;
        }
        Ok(())
    }

    fn failure(
        &self,
        statements: &[Statement],
        at: usize,
        error: &tokio_postgres::Error,
        secrets: &[&str],
    ) -> Failure {
        let conflict = is_conflict(error);
        if conflict {
            self.contended.store(true, Ordering::Relaxed);
        }
        let error = match (query_error(error, secrets), statements.get(at)) {
            (PluginError::Query(message), Some(statement)) => {
                let statement = redact(&statement.template, secrets);
                PluginError::Statement { message, number: at + 1, statement }
            }
            (other, _) => other,
        };
        Failure { error: error.during("failed to execute query"), conflict }
    }
}

/// Sends texts one after the other without waiting, and returns the first that failed with its error: in a
/// transaction the server refuses all after it.
async fn send(session: &Session, texts: &[&str]) -> Result<(), (usize, tokio_postgres::Error)> {
    let results = join_all(texts.iter().map(|text| session.client.batch_execute(text))).await;
    for (index, result) in results.into_iter().enumerate() {
        result.map_err(|error| (index, error))?;
    }
    Ok(())
}

/// Whether the statement makes a new role. That is the slow part of a creation, as the server derives the
/// password's verifier, and it collides with nothing.
fn creates_role(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    words.next().is_some_and(|w| w.eq_ignore_ascii_case("CREATE"))
        && words.next().is_some_and(|w| w.eq_ignore_ascii_case("ROLE") || w.eq_ignore_ascii_case("USER"))
}

/// Whether the statement may begin or end a transaction: it holds one of the words, wherever.
fn controls_transaction(template: &str) -> bool {
    template
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| CONTROL_WORDS.iter().any(|control| word.eq_ignore_ascii_case(control)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_recognised_wherever_they_stand() {
        assert!(creates_role(" create\n USER \"x\""));
        assert!(!creates_role("CREATE TABLE role"));
        assert!(controls_transaction("SELECT 1; commit"));
        assert!(controls_transaction("/**/END"));
        assert!(!controls_transaction("GRANT committers TO backend"));
    }
}
