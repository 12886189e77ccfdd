//! The break-glass account of a database: it needs no Vault.

use super::{DatabaseInfo, Lab, LabError, RoleCredential};
use crate::runtime::ServiceState;
use crate::state::Accounts;

impl Lab {
    /// The account that the lab keeps in a database outside Vault. Vault need not run.
    ///
    /// # Errors
    /// [`LabError::NoBreakGlass`] when it keeps none there; [`LabError::NotRunning`] when the database is
    /// down.
    pub async fn break_glass(&self, database: &str) -> Result<RoleCredential, LabError> {
        let kept = Accounts::load(&self.dir)?.databases.remove(database).and_then(|kept| kept.break_glass);
        let spec = self.spec.databases.iter().find(|spec| spec.name == database);
        let (Some(account), Some(spec)) = (kept, spec) else {
            let known = self.spec.databases.iter().filter(|spec| spec.break_glass);
            return Err(LabError::NoBreakGlass {
                lab: self.name().into(),
                database: database.into(),
                known: known.map(|spec| spec.name.clone()).collect(),
            });
        };
        let ServiceState::Running { endpoint, .. } = self.runtime().await?.state(database).await? else {
            return Err(LabError::NotRunning {
                lab: self.name().into(),
                detail: format!(": {database} is down"),
            });
        };
        Ok(RoleCredential::lasting(&DatabaseInfo::new(spec, &endpoint), spec.engine, account))
    }
}
