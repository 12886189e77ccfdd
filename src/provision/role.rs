//! Dynamic roles of the database secrets engine.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::{ProvisionError, Step, differences};
use crate::database::statements;
use crate::spec::model::{DatabaseSpec, Engine, RoleSpec, SqlText};
use crate::vault::{Client, VaultError};

/// One role. Writing it needs no connection: Vault runs no statement before a credential is
/// asked for.
pub struct RoleStep<'a> {
    /// The database it belongs to.
    pub database: &'a DatabaseSpec,
    /// The role.
    pub role: &'a RoleSpec,
}

impl RoleStep<'_> {
    fn wanted(&self) -> Value {
        let role = self.role;
        let list = |text: Option<&SqlText>| -> Vec<String> {
            text.map(|text| for_vault(self.database.engine, &text.text)).into_iter().collect()
        };
        json!({
            "db_name": self.database.name,
            "creation_statements": list(Some(&role.creation_statements)),
            "revocation_statements": list(role.revocation_statements.as_ref()),
            "renew_statements": list(role.renew_statements.as_ref()),
            "rollback_statements": list(role.rollback_statements.as_ref()),
            "default_ttl": role.default_ttl.as_secs(),
            "max_ttl": role.max_ttl.as_secs(),
        })
    }
}

/// The text as Vault takes it. Vault splits at every `;`, inside quotes too, and runs a text with
/// the word `END` whole only in some places of some versions. Where that would tear a statement
/// apart, it is given a base64 JSON array instead, which it takes as split already.
pub(super) fn for_vault(engine: Engine, text: &str) -> String {
    let statements = statements(engine, text);
    if !statements.iter().any(|statement| statement.contains(';')) {
        return text.trim().to_owned();
    }
    BASE64.encode(Value::from(statements).to_string())
}

impl Step for RoleStep<'_> {
    type Actual = Option<Map<String, Value>>;

    fn what(&self) -> String {
        format!("role {} ({})", self.role.name, self.role.creation_statements.origin)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.database_role(&self.database.mount, &self.role.name).await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        let wanted = self.wanted();
        let same = actual.as_ref().is_some_and(|actual| !differences(actual, &wanted));
        Ok((!same).then_some(wanted))
    }

    async fn apply(&self, vault: &Client, change: &Value) -> Result<(), VaultError> {
        vault.write_database_role(&self.database.mount, &self.role.name, change).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_vault_would_tear_apart_are_given_split() {
        let plain = "CREATE ROLE \"{{name}}\";\nGRANT a TO \"{{name}}\";\n";
        assert_eq!(for_vault(Engine::Postgres, plain), plain.trim(), "left readable");
        let block = "DO $$ BEGIN PERFORM 1; END $$; DROP ROLE \"{{name}}\"";
        let decoded = BASE64.decode(for_vault(Engine::Postgres, block)).unwrap();
        let list: Vec<String> = serde_json::from_slice(&decoded).unwrap();
        assert_eq!(list, ["DO $$ BEGIN PERFORM 1; END $$", "DROP ROLE \"{{name}}\""]);
    }
}
