//! The default way to remove a user from PostgreSQL.
//!
//! As Vault does it: take back what was granted in the schemas where the user has column or table grants, in
//! schema `public` and on this database, then drop the role. Owned objects and grants elsewhere make the drop fail;
//! sessions of the user live on.

use std::sync::atomic::Ordering;

use super::PostgreSql;
use super::connection::{Session, is_conflict, query_error};
use super::transaction::MAX_ATTEMPTS;
use crate::database::PluginError;
use crate::database::plugin::within_limit;

impl PostgreSql {
    /// Revokes what the user was granted and drops it; a user that does not exist is fine.
    pub(super) async fn default_revoke(&self, username: &str) -> Result<(), PluginError> {
        let work = async {
            let mut taken = self.pool.take().await?;
            let mut exists = role_exists(&taken.connection, username).await;
            if taken.reused && exists.as_ref().is_err_and(PluginError::is_lost) {
                drop(taken);
                taken = self.pool.take_new().await?;
                exists = role_exists(&taken.connection, username).await;
            }
            let result = match exists {
                Ok(true) => {
                    let contended = self.contended.load(Ordering::Relaxed);
                    let _turn = if contended { self.turn.acquire().await.ok() } else { None };
                    revoke_and_drop(&taken.connection, username).await
                }
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if !result.as_ref().is_err_and(PluginError::is_lost) {
                taken.put_back();
            }
            result
        };
        within_limit("the revocation", work).await
    }
}

async fn role_exists(session: &Session, username: &str) -> Result<bool, PluginError> {
    let rows = session
        .client
        .query("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", &[&username])
        .await
        .map_err(|e| query_error(&e, &[]))?;
    Ok(!rows.is_empty())
}

async fn revoke_and_drop(session: &Session, username: &str) -> Result<(), PluginError> {
    let client = &session.client;
    let rows = client
        .query(
            "SELECT DISTINCT table_schema::text, current_database()::text \
             FROM information_schema.role_column_grants WHERE grantee = $1 \
             UNION SELECT NULL, current_database()::text",
            &[&username],
        )
        .await
        .map_err(|e| query_error(&e, &[]))?;
    let user = quote(username);
    let mut statements = Vec::new();
    let mut database = String::new();
    for row in &rows {
        database = row.try_get(1).map_err(|e| query_error(&e, &[]))?;
        let schema: Option<String> = row.try_get(0).map_err(|e| query_error(&e, &[]))?;
        if let Some(schema) = schema.as_deref().map(quote) {
            statements.push(format!("REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA {schema} FROM {user}"));
            statements.push(format!("REVOKE USAGE ON SCHEMA {schema} FROM {user}"));
        }
    }
    statements.push(format!("REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM {user}"));
    statements.push(format!("REVOKE ALL PRIVILEGES ON ALL SEQUENCES IN SCHEMA public FROM {user}"));
    statements.push(format!("REVOKE USAGE ON SCHEMA public FROM {user}"));
    statements.push(format!("REVOKE CONNECT ON DATABASE {} FROM {user}", quote(&database)));
    // Each on its own: what can be taken back is, even if something else cannot.
    let mut last_error = None;
    for statement in &statements {
        match execute(session, statement).await {
            Err(error) if error.is_lost() => return Err(error),
            Err(error) => last_error = Some(error),
            Ok(()) => {}
        }
    }
    if let Some(error) = last_error {
        return Err(error.during("could not perform all revocation statements"));
    }
    execute(session, &format!("DROP ROLE IF EXISTS {user}")).await
}

/// Runs a statement by itself, again when it collided with another transaction.
async fn execute(session: &Session, statement: &str) -> Result<(), PluginError> {
    let mut attempt = 1;
    loop {
        match session.client.batch_execute(statement).await {
            Err(error) if is_conflict(&error) && attempt < MAX_ATTEMPTS => attempt += 1,
            result => return result.map_err(|e| query_error(&e, &[])),
        }
    }
}

/// A quoted identifier.
fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
