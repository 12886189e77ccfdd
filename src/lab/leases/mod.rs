//! The ledger of leases: what Vault has leased out beside the accounts that are really there.
//!
//! Vault does not tell which account a lease stands for. Its audit log does, by a hash that Vault makes of
//! any name it is given; where there is no log to read, role and time of issue decide.

mod audit;
mod join;

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{LabError, RunningLab};
use crate::database::Target;
use crate::provision;
use crate::service::VAULT;
use crate::spec::model::DatabaseSpec;
use crate::state::Accounts;
use crate::vault::LeaseInfo;
use audit::AuditLog;
use join::{Account, Joined, Lease, join};

/// Requests to Vault at a time.
const AT_ONCE: usize = 8;

/// Every lease of a lab's roles, and every account in its databases that Vault made.
#[derive(Debug, Clone, Serialize)]
pub struct LeaseLedger {
    /// The lab.
    pub lab: String,
    /// Leases with their accounts, then orphans of either side; by database.
    pub entries: Vec<LedgerEntry>,
    /// What could not be looked at, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A lease, an account, or both.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerEntry {
    /// The database.
    pub database: String,
    /// How the two stand to each other.
    pub state: LedgerState,
    /// The role; for an account alone, the one its name speaks of.
    pub role: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// The lease.
    pub lease_id: Option<String>,
    /// Seconds the lease has left, or the password of a static role; negative when Vault could not revoke
    /// it in time.
    pub ttl: Option<i64>,
    /// When it was issued, or the password of a static role set.
    pub issued: Option<Timestamp>,
    /// Who asked for it: `AppRole webapp`, or the display name of the token.
    pub who: Option<String>,
}

/// How a lease and an account stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerState {
    /// Both are there.
    Live,
    /// An account that was made just now: its lease may still be written.
    New,
    /// The account of a static role: it stays, and there is no lease to revoke.
    Static,
    /// The account of a static role is not there: somebody dropped it.
    StaticWithoutAccount,
    /// The database does not answer, so nobody knows about the account.
    Unknown,
    /// A lease without an account: somebody dropped it.
    LeaseWithoutAccount,
    /// An account without a lease: nothing will ever remove it.
    AccountWithoutLease,
}

impl LedgerState {
    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::New => "new",
            Self::Static => "static role",
            Self::StaticWithoutAccount => "static role without account",
            Self::Unknown => "unknown",
            Self::LeaseWithoutAccount => "lease without account",
            Self::AccountWithoutLease => "account without lease",
        }
    }

    /// Whether one side is missing.
    pub fn is_orphan(self) -> bool {
        matches!(self, Self::LeaseWithoutAccount | Self::AccountWithoutLease)
    }
}

impl Serialize for LedgerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl LeaseLedger {
    /// Entries of which one side is missing.
    pub fn orphans(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().filter(|entry| entry.state.is_orphan())
    }
}

impl RunningLab {
    /// The ledger as it is now.
    pub async fn leases(&self) -> Result<LeaseLedger, LabError> {
        let lab = self.lab();
        let mut ledger = LeaseLedger { lab: lab.name().into(), entries: Vec::new(), unknown: Vec::new() };
        let log = self.audit_log().await?;
        for spec in &lab.spec().databases {
            // Accounts first: a credential made in between has a lease by the time those are listed.
            let accounts = match self.accounts_in(spec).await {
                Ok(names) => Some(names),
                Err(error @ LabError::Database(_)) => {
                    ledger.unknown.push(format!("the accounts of {}: {error}", spec.name));
                    None
                }
                Err(error) => return Err(error),
            };
            let leases = self.leases_of(spec).await?;
            let accounts = match accounts {
                Some(accounts) => Some(self.identified(accounts, &log).await?),
                None => None,
            };
            let joined = match &accounts {
                Some(accounts) => join(&leases, accounts, Timestamp::now()),
                None => leases.iter().map(Joined::unknown).collect(),
            };
            let entries = joined.into_iter().map(|joined| entry(spec, joined, &log));
            ledger.entries.extend(entries);
            ledger.entries.extend(self.static_entries(spec, accounts.is_some()).await?);
        }
        Ok(ledger)
    }

    /// The accounts of the static roles of a database; `answers` says whether it can be asked for them.
    async fn static_entries(&self, spec: &DatabaseSpec, answers: bool) -> Result<Vec<LedgerEntry>, LabError> {
        let mut entries = Vec::new();
        for role in &spec.static_roles {
            let credential = self.vault().static_credential(&spec.mount, &role.name).await?;
            let state = if answers {
                let mut database = self.as_superuser(spec).await?;
                let exists = database.account_exists(&credential.username).await;
                database.close().await;
                if exists? { LedgerState::Static } else { LedgerState::StaticWithoutAccount }
            } else {
                LedgerState::Unknown
            };
            entries.push(LedgerEntry {
                database: spec.name.clone(),
                state,
                role: Some(role.name.clone()),
                account: Some(credential.username),
                lease_id: None,
                ttl: i64::try_from(credential.ttl).ok(),
                issued: Some(credential.last_vault_rotation),
                who: None,
            });
        }
        Ok(entries)
    }

    async fn accounts_in(&self, spec: &DatabaseSpec) -> Result<Vec<Account>, LabError> {
        let mut database = self.as_superuser(spec).await?;
        let accounts = database.dynamic_accounts().await;
        database.close().await;
        Ok(accounts?.into_iter().map(|account| Account::new(account, spec)).collect())
    }

    pub(super) async fn as_superuser(
        &self,
        spec: &DatabaseSpec,
    ) -> Result<Box<dyn crate::database::Database>, LabError> {
        let all = Accounts::load(self.lab().dir())?;
        let not_running = |what: &str| LabError::NotRunning {
            lab: self.lab().name().into(),
            detail: format!(": {what} of {} is not known", spec.name),
        };
        let accounts = all.databases.get(&spec.name).ok_or_else(|| not_running("the superuser"))?;
        let info = self.databases().iter().find(|info| info.name == spec.name);
        let endpoint = info.ok_or_else(|| not_running("the address"))?.endpoint();
        let target = Target { engine: spec.engine, endpoint, database: spec.database.clone() };
        Ok(provision::as_superuser(&target, accounts).await?)
    }

    async fn leases_of(&self, spec: &DatabaseSpec) -> Result<Vec<Lease>, LabError> {
        let mut leases = Vec::new();
        for role in &spec.roles {
            let ids = self.vault().leases_below(&format!("{}/creds/{}", spec.mount, role.name)).await?;
            let found: Vec<Option<LeaseInfo>> = stream::iter(ids)
                .map(|id| async move { self.vault().lease(&id).await })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            leases.extend(found.into_iter().flatten().map(|info| Lease { role: role.name.clone(), info }));
        }
        Ok(leases)
    }

    /// The accounts, with the lease that the audit log has for each.
    async fn identified(&self, accounts: Vec<Account>, log: &AuditLog) -> Result<Vec<Account>, LabError> {
        let Some(device) = &self.lab().spec().vault.audit else { return Ok(accounts) };
        if log.is_empty() {
            return Ok(accounts);
        }
        let identified = stream::iter(accounts).map(|account| async move {
            let hash = self.vault().audit_hash(&device.path, &account.name).await?;
            Ok::<_, LabError>(Account { lease_id: log.lease_of(&hash), ..account })
        });
        identified.buffered(AT_ONCE).try_collect().await
    }

    async fn audit_log(&self) -> Result<AuditLog, LabError> {
        let lab = self.lab();
        let Some(audit) = &lab.spec().vault.audit else { return Ok(AuditLog::default()) };
        let Some(folder) = lab.runtime().await?.log_folder(VAULT) else { return Ok(AuditLog::default()) };
        AuditLog::read(&folder.join(&audit.file))
    }

    /// Revokes leases, by a lease's id (or the last part of it), an account's name, or for a whole role,
    /// and sees that their accounts are gone.
    ///
    /// # Errors
    /// [`LabError::UnknownLease`] when nothing is meant; [`LabError::NotGone`] when an account is still
    /// there.
    pub async fn revoke_leases(&self, wanted: &str) -> Result<Vec<LedgerEntry>, LabError> {
        let ledger = self.leases().await?;
        let spec = self.lab().spec();
        let is_role = spec.role(wanted).is_some() || spec.static_role(wanted).is_some();
        let meant = |entry: &&LedgerEntry| {
            let id = entry.lease_id.as_deref().unwrap_or_default();
            !id.is_empty()
                && (id == wanted
                    || id.rsplit('/').next() == Some(wanted)
                    || entry.account.as_deref() == Some(wanted)
                    || (is_role && entry.role.as_deref() == Some(wanted)))
        };
        let found: Vec<LedgerEntry> = ledger.entries.iter().filter(meant).cloned().collect();
        if found.is_empty() && !is_role {
            return Err(LabError::UnknownLease { lab: self.lab().name().into(), wanted: wanted.into() });
        }
        for entry in &found {
            self.revoke_entry(entry).await?;
        }
        self.prove_gone(&found).await?;
        Ok(found)
    }

    /// Removes what is left of either side: drops accounts without a lease, revokes leases without an
    /// account, and sees that they are gone. Gives what was removed.
    ///
    /// # Errors
    /// [`LabError::NotGone`] when an account is still there.
    pub async fn clean_leases(&self) -> Result<Vec<LedgerEntry>, LabError> {
        let orphans: Vec<LedgerEntry> = self.leases().await?.orphans().cloned().collect();
        for entry in &orphans {
            match (&entry.lease_id, &entry.account) {
                (Some(_), _) => self.revoke_entry(entry).await?,
                (None, Some(account)) => {
                    let Some(spec) = self.lab().spec().databases.iter().find(|d| d.name == entry.database)
                    else {
                        continue;
                    };
                    let mut database = self.as_superuser(spec).await?;
                    let dropped = database.drop_account(account).await;
                    database.close().await;
                    dropped?;
                }
                (None, None) => {}
            }
        }
        self.prove_gone(&orphans).await?;
        Ok(orphans)
    }

    async fn revoke_entry(&self, entry: &LedgerEntry) -> Result<(), LabError> {
        match &entry.lease_id {
            Some(id) => Ok(self.vault().revoke_lease(id).await?),
            None => Ok(()),
        }
    }

    /// Asks Vault for the leases and the databases' superusers for the accounts.
    async fn prove_gone(&self, entries: &[LedgerEntry]) -> Result<(), LabError> {
        let mut accounts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for entry in entries {
            if let Some(id) = &entry.lease_id
                && self.vault().lease(id).await?.is_some()
            {
                return Err(LabError::NotGone { what: format!("the lease {id}") });
            }
            if let Some(account) = &entry.account {
                accounts.entry(&entry.database).or_default().push(account);
            }
        }
        for spec in &self.lab().spec().databases {
            let Some(names) = accounts.get(spec.name.as_str()) else { continue };
            let mut database = self.as_superuser(spec).await?;
            for name in names {
                if database.account_exists(name).await? {
                    return Err(LabError::NotGone { what: format!("the account {name} in {}", spec.name) });
                }
            }
            database.close().await;
        }
        Ok(())
    }
}

fn entry(spec: &DatabaseSpec, joined: Joined<'_>, log: &AuditLog) -> LedgerEntry {
    let Joined { lease, account, state } = joined;
    let lease_id = lease.map(|lease| lease.info.id.clone());
    let asked_by = lease_id.as_deref().or(account.and_then(|account| account.lease_id.as_deref()));
    let named = account.and_then(|account| account.display_name.clone());
    LedgerEntry {
        database: spec.name.clone(),
        state,
        role: lease
            .map(|lease| lease.role.clone())
            .or_else(|| account.and_then(|a| a.roles.first().cloned())),
        account: account.map(|account| account.name.clone()),
        ttl: lease.map(|lease| lease.info.ttl),
        issued: lease.map(|lease| lease.info.issue_time).or(account.and_then(|account| account.created)),
        who: asked_by.and_then(|id| log.who(id)).or(named),
        lease_id,
    }
}
