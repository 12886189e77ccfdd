//! Everything done *through* Vault's API once it answers.
//!
//! Each resource is a [`Step`]: read what is there, compare, write only the difference. The same
//! code serves every flavour of Vault; running it again changes nothing.

mod approle;
mod audit;
mod break_glass;
mod connection;
mod delivery;
mod keeper;
mod mount;
mod open;
mod operator;
mod policy;
mod proof;
mod role;
mod root;
mod rotation;
mod static_role;
mod wrapped;

pub use approle::AppRoleStep;
pub use audit::AuditStep;
pub use break_glass::{as_superuser, ensure_break_glass};
pub use connection::{ConnectionStep, DatabaseTarget};
pub use delivery::{Courier, Delivered, Predecessor, deliver};
pub use keeper::{KEEPER_POLICY, ensure_keeper};
pub use mount::{AuthStep, EngineStep};
pub use open::{Opened, open_vault, unseal, until_active};
pub use operator::{ensure_operator, keep_root};
pub use policy::PolicyStep;
pub use proof::{AccessProof, prove_approle, prove_role};
pub use role::RoleStep;
pub use root::{regain_root, revoke_root};
pub use rotation::{
    ensure_first_password, login_of_vault, password_digest, recover_rotation, rotate_root, rotate_root_again,
    rotate_root_in_use,
};
pub use static_role::{StaticRoleStep, ensure_static_role, is_refused, log_in, repair_static_role};
pub use wrapped::WrappedDelivery;

use std::future::Future;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::database::DatabaseError;
use crate::report::Outcome;
use crate::state::StateError;
use crate::vault::{Client, VaultError};

/// Why provisioning stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Vault refused or did not answer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Vault refused something about a named resource.
    #[error("{what}: {source}")]
    On {
        /// The resource and where it is declared.
        what: String,
        /// Vault's answer.
        source: VaultError,
    },
    /// Vault could not make a credential.
    #[error("a credential of {what}: {source}{statements}")]
    Credential {
        /// The role and where its statements are.
        what: String,
        /// Vault's answer.
        source: VaultError,
        /// The creation statements, each line after a line break.
        statements: String,
    },
    /// The state on disk could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A direct connection to a database failed.
    #[error("database {database}: {source}")]
    Database {
        /// The database service.
        database: String,
        /// What the connection says.
        source: DatabaseError,
    },
    /// Vault is initialised, but its keys are not in the lab's key store.
    #[error("Vault is already initialised, but its unseal keys are not in {}", store.display())]
    KeysMissing {
        /// Where they should be.
        store: PathBuf,
    },
    /// A vaultlab died between `sys/init` and saving the keys: that Vault can never be unsealed.
    #[error("the initialisation of Vault was cut off before its unseal keys were saved")]
    KeysLost,
    /// The saved keys do not unseal this Vault.
    #[error("the unseal keys in {} do not unseal this Vault: {cause}", store.display())]
    WrongKeys {
        /// The key store.
        store: PathBuf,
        /// Vault's answer.
        cause: String,
    },
    /// Something of another kind sits where the lab wants to put its own.
    #[error("{path} in Vault is of type {found}, the lab needs {wanted} there")]
    Occupied {
        /// Mount path.
        path: String,
        /// What is there.
        found: String,
        /// What the lab wants.
        wanted: &'static str,
    },
    /// Something of the user's own is where something is to be delivered.
    #[error(
        "cannot deliver for AppRole {approle} to {}: what is there was not delivered by vaultlab, and is left alone",
        path.display()
    )]
    NotOurs {
        /// The AppRole.
        approle: String,
        /// The file.
        path: PathBuf,
    },
    /// A proof failed: something that was reported done does not hold.
    #[error("proof failed for {subject}: {cause}")]
    NotProven {
        /// What was to be proven, of what.
        subject: String,
        /// What was seen instead.
        cause: String,
    },
}

impl ProvisionError {
    pub(crate) fn not_proven(subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::NotProven { subject: subject.into(), cause: cause.into() }
    }

    /// A failed proof that also names the statements which made the account.
    pub(crate) fn of_accounts_made_by(self, origin: &str) -> Self {
        match self {
            Self::NotProven { subject, cause } => {
                Self::NotProven { subject, cause: format!("{cause}; its accounts are made by {origin}") }
            }
            other => other,
        }
    }

    /// A login that had to succeed and did not: a failed proof, unless there is no server.
    pub(crate) fn login(subject: &str, database: &str, error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unreachable { .. } => Self::database(database)(error),
            refused => Self::not_proven(subject, refused.to_string()),
        }
    }

    pub(crate) fn database(name: &str) -> impl FnOnce(DatabaseError) -> Self {
        let database = name.to_owned();
        move |source| Self::Database { database, source }
    }
}

/// One resource of Vault as the lab declares it.
pub trait Step: Sync {
    /// What Vault has now.
    type Actual: Send;

    /// The resource, for messages: `policy notes-read (policies/notes-read.hcl)`.
    fn what(&self) -> String;

    /// Reads what is there.
    fn read(&self, vault: &Client) -> impl Future<Output = Result<Self::Actual, VaultError>> + Send;

    /// What has to be written; `None` when Vault has it as declared.
    ///
    /// # Errors
    /// [`ProvisionError::Occupied`] when something else is in the way.
    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError>;

    /// Writes the difference.
    fn apply(&self, vault: &Client, change: &Value) -> impl Future<Output = Result<(), VaultError>> + Send;
}

/// Brings each resource to what is declared, and says how many had to be written.
pub async fn converge<S: Step>(
    vault: &Client,
    steps: impl IntoIterator<Item = S>,
) -> Result<Outcome, ProvisionError> {
    let (mut written, mut all) = (0, 0);
    for step in steps {
        let on = |source| ProvisionError::On { what: step.what(), source };
        let actual = step.read(vault).await.map_err(on)?;
        if let Some(change) = step.diff(&actual)? {
            step.apply(vault, &change).await.map_err(on)?;
            written += 1;
        }
        all += 1;
    }
    Ok(match (written, all) {
        (0, _) => Outcome::Unchanged,
        (_, 1) => Outcome::changed(""),
        (written, all) if written == all => Outcome::changed(format!("{written} written")),
        (written, all) => Outcome::changed(format!("{written} of {all} written")),
    })
}

/// The members of `wanted` that `actual` does not have with that value. Lists compare as sets:
/// Vault sorts some of them.
fn differences(actual: &Map<String, Value>, wanted: &Value) -> bool {
    let Value::Object(wanted) = wanted else { return true };
    wanted.iter().any(|(key, value)| !same(actual.get(key).unwrap_or(&Value::Null), value))
}

fn same(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && b.iter().all(|wanted| a.iter().any(|actual| same(actual, wanted)))
        }
        (Value::Null, Value::Array(b)) => b.is_empty(),
        (Value::String(a), Value::String(b)) => a.trim() == b.trim(),
        (Value::Object(a), Value::Object(_)) => !differences(a, wanted),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_declared_members_are_compared_and_lists_as_sets() {
        let Value::Object(actual) = json!({"a": ["y", "x"], "ttl": 60, "sql": ["SELECT 1;\n"], "more": true, "in": {"url": "u", "extra": 1}})
        else {
            unreachable!()
        };
        assert!(!differences(
            &actual,
            &json!({"a": ["x", "y"], "ttl": 60, "sql": ["SELECT 1;"], "in": {"url": "u"}})
        ));
        for wanted in
            [json!({"a": ["x"]}), json!({"ttl": 61}), json!({"new": 1}), json!({"in": {"url": "v"}})]
        {
            assert!(differences(&actual, &wanted), "{wanted}");
        }
        assert!(!differences(&actual, &json!({"absent": []})), "an absent list is an empty one");
    }
}
