//! Users that a failed creation left behind and that could not be removed at once: they have no lease that would
//! end, so removing them is tried again until it is done.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::role::Role;
use super::wal::{Entry, Intent};
use crate::database::PluginError;
use crate::logical::Error;

/// After so long nobody will be able to, and only a person can say why.
const GIVE_UP: Duration = Duration::from_hours(24);

impl Engine {
    /// Notes the user that a creation left, if it left one.
    pub(super) async fn note_leaked(&self, role: &Role, error: &PluginError) -> Result<(), Error> {
        let PluginError::Leaked { username, .. } = error else {
            return Ok(());
        };
        let intent = Intent::RemoveUser {
            connection: role.db_name.clone(),
            username: username.clone(),
            statements: role.revocation_statements.clone(),
        };
        self.put_intent(intent).await.map(drop)
    }

    /// Tries to remove all that are left.
    pub(super) async fn remove_leaked(&self) {
        let entries = self.intents().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read write-ahead entries");
            Vec::new()
        });
        for entry in entries {
            if self.is_closed() {
                return;
            }
            if let Err(error) = self.remove_one(&entry).await {
                tracing::warn!(%error, "a user without a lease cannot be removed yet");
            }
        }
    }

    async fn remove_one(&self, entry: &Entry) -> Result<(), Error> {
        let Intent::RemoveUser { connection, username, statements } = &entry.intent else {
            return Ok(());
        };
        if self.find_connection(connection)?.is_none() {
            return self.drop_intent(&entry.id).await;
        }
        let work = Arc::new((username.clone(), statements.clone()));
        let removed = self
            .with_plugin(connection, |plugin| {
                let work = Arc::clone(&work);
                Box::pin(async move { plugin.revoke_user(&work.0, &work.1).await })
            })
            .await;
        let old = self.system.now().duration_since(entry.created).unsigned_abs() >= GIVE_UP;
        if removed.is_err() && !old {
            return removed;
        }
        if let Err(error) = removed {
            tracing::error!(connection, username, %error, "a user without a lease stays in the database");
        }
        self.drop_intent(&entry.id).await
    }
}
