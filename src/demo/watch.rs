//! An application that keeps querying while its credentials are replaced under it.

use std::fmt;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::CheckError;
use super::rotate::{account, target};
use crate::database::{Database, Target, connect};
use crate::lab::{RoleCredential, RunningLab};

/// TTL, in seconds, that every lease of the application is shortened to.
const TTL: u64 = 4;

/// When the successor is asked for: early enough that the old credential has half its life left if
/// something goes wrong.
const REPLACE_AFTER: Duration = Duration::from_secs(TTL / 2);

/// Time between two queries.
const PACE: Duration = Duration::from_millis(20);

/// What the application saw of one database.
#[derive(Debug, Clone, Serialize)]
pub struct Watched {
    /// The database.
    pub database: String,
    /// Queries it ran.
    pub queries: u64,
    /// Queries that failed.
    pub failed: u64,
    /// What the first failure said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Credentials it used, one after the other.
    pub credentials: u64,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, queries, failed, credentials, .. } = self;
        write!(f, "{database}: {queries} queries, {failed} failed, {credentials} credentials")
    }
}

/// Runs the application against every database at once.
pub(super) async fn watch(lab: &RunningLab, duration: Duration) -> Result<Vec<Watched>, CheckError> {
    let end = Instant::now() + duration;
    let specs = lab.lab().spec().databases.iter().filter(|spec| !spec.roles.is_empty());
    let applications = specs.filter_map(|spec| {
        let info = lab.databases().iter().find(|info| info.name == spec.name)?;
        let application = Application {
            lab,
            target: target(spec, info),
            role: &spec.roles[0].name,
            // A proof's statement is one the credential is known to be allowed.
            query: spec.roles[0].proof.allows.first().map_or("SELECT 1", String::as_str),
        };
        Some(application.run(&spec.name, end))
    });
    try_join_all(applications).await
}

struct Application<'a> {
    lab: &'a RunningLab,
    target: Target,
    role: &'a str,
    query: &'a str,
}

/// A credential in use: it is replaced, as a whole, before it ends.
struct Session {
    credential: RoleCredential,
    database: Box<dyn Database>,
    replace_at: Instant,
}

impl Application<'_> {
    async fn run(self, name: &str, end: Instant) -> Result<Watched, CheckError> {
        let mut watched =
            Watched { database: name.into(), queries: 0, failed: 0, first_error: None, credentials: 1 };
        let mut session = self.session().await?;
        let mut pace = tokio::time::interval(PACE);
        while Instant::now() < end {
            pace.tick().await;
            if Instant::now() >= session.replace_at {
                let next = self.session().await?;
                let old = std::mem::replace(&mut session, next);
                // Its lease is left to expire: the application has let go of it before.
                old.database.close().await;
                watched.credentials += 1;
            }
            watched.queries += 1;
            if let Err(error) = session.database.execute(self.query).await {
                watched.failed += 1;
                watched.first_error.get_or_insert_with(|| error.to_string());
            }
        }
        session.database.close().await;
        self.lab.revoke(&session.credential).await?;
        Ok(watched)
    }

    async fn session(&self) -> Result<Session, CheckError> {
        let credential = self.lab.credential(self.role).await?;
        self.lab.vault().renew_lease(credential.lease_id().unwrap_or_default(), Some(TTL)).await?;
        let replace_at = Instant::now() + REPLACE_AFTER;
        let database = connect(&self.target, &account(&credential)).await?;
        Ok(Session { credential, database, replace_at })
    }
}
