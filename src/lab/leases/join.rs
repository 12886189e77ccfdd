//! Leases beside accounts.

use jiff::{SignedDuration, Timestamp};

use super::LedgerState;
use crate::database::DynamicAccount;
use crate::spec::model::{DatabaseSpec, Engine};
use crate::vault::LeaseInfo;

/// An account is made, and then its lease: at most so much later.
const LAG: SignedDuration = SignedDuration::from_secs(3);

/// An account younger than this may be one whose lease is not written yet.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);

/// A lease of a role.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub role: String,
    pub info: LeaseInfo,
}

/// An account that Vault made.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub name: String,
    pub created: Option<Timestamp>,
    /// The roles that the name can speak of: Vault cuts it.
    pub roles: Vec<String>,
    /// What the name tells of who asked.
    pub display_name: Option<String>,
    /// Its lease, where the audit log tells.
    pub lease_id: Option<String>,
}

impl Account {
    /// Reads `v-DISPLAY-ROLE-RANDOM-TIME`, of which Vault cuts display name and role to 8 characters on
    /// PostgreSQL and to 10 on MySQL.
    pub fn new(account: DynamicAccount, spec: &DatabaseSpec) -> Self {
        let length = match spec.engine {
            Engine::Postgres => 8,
            Engine::Mysql(_) => 10,
        };
        let cut = |role: &str| -> String { role.chars().take(length).collect() };
        let rest = account.name.strip_prefix("v-").unwrap_or(&account.name);
        let at = |role: &str| rest.find(&format!("-{}-", cut(role)));
        let mut roles: Vec<(usize, String)> =
            spec.roles.iter().filter_map(|role| Some((at(&role.name)?, role.name.clone()))).collect();
        roles.sort();
        let display_name = roles.first().map(|(end, _)| rest[..*end].to_owned());
        let roles = roles.into_iter().map(|(_, role)| role).collect();
        Self { name: account.name, created: account.created, roles, display_name, lease_id: None }
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined<'a> {
    pub lease: Option<&'a Lease>,
    pub account: Option<&'a Account>,
    pub state: LedgerState,
}

impl<'a> Joined<'a> {
    /// A lease whose account cannot be looked for.
    pub fn unknown(lease: &'a Lease) -> Self {
        Self { lease: Some(lease), account: None, state: LedgerState::Unknown }
    }
}

/// Joins the leases and accounts of one database: by the audit log where it tells, else by role and
/// time. Nearest pairs first, so that no lease takes the account of another.
pub(super) fn join<'a>(leases: &'a [Lease], accounts: &'a [Account], now: Timestamp) -> Vec<Joined<'a>> {
    let mut account_of: Vec<Option<usize>> = vec![None; leases.len()];
    let mut taken = vec![false; accounts.len()];
    for (index, account) in accounts.iter().enumerate() {
        let Some(id) = &account.lease_id else { continue };
        if let Some(lease) = leases.iter().position(|lease| lease.info.id == *id) {
            account_of[lease] = Some(index);
        }
        // Where the log tells, nothing else decides: a lease that is gone was revoked.
        taken[index] = true;
    }
    let mut pairs: Vec<(SignedDuration, usize, usize)> = Vec::new();
    for (lease, found) in leases.iter().enumerate().filter(|(index, _)| account_of[*index].is_none()) {
        for (account, candidate) in accounts.iter().enumerate().filter(|(index, _)| !taken[*index]) {
            let Some(created) = candidate.created.filter(|_| candidate.roles.contains(&found.role)) else {
                continue;
            };
            // Names and servers count in whole seconds.
            let apart = found.info.issue_time.duration_since(created);
            if apart > SignedDuration::from_secs(-2) && apart <= LAG {
                pairs.push((apart.abs(), lease, account));
            }
        }
    }
    pairs.sort();
    for (_, lease, account) in pairs {
        if account_of[lease].is_none() && !taken[account] {
            account_of[lease] = Some(account);
            taken[account] = true;
        }
    }
    let joined = leases.iter().zip(&account_of).map(|(lease, account)| Joined {
        lease: Some(lease),
        account: account.map(|index| &accounts[index]),
        state: if account.is_some() { LedgerState::Live } else { LedgerState::LeaseWithoutAccount },
    });
    let alone = accounts.iter().enumerate().filter(|(index, _)| !account_of.contains(&Some(*index)));
    let alone = alone.map(|(_, account)| {
        let young = account.created.is_none_or(|created| now.duration_since(created) < YOUNG);
        let state = if young { LedgerState::New } else { LedgerState::AccountWithoutLease };
        Joined { lease: None, account: Some(account), state }
    });
    joined.chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn lease(role: &str, id: &str, second: i64) -> Lease {
        let id = format!("database/creds/{role}/{id}");
        Lease {
            role: role.into(),
            info: LeaseInfo { id, issue_time: at(second), expire_time: None, ttl: 60 },
        }
    }

    fn account(role: &str, name: &str, second: i64) -> Account {
        Account {
            name: format!("v-token-{role}-{name}"),
            created: Some(at(second)),
            roles: vec![role.into()],
            display_name: None,
            lease_id: None,
        }
    }

    fn told(joined: &[Joined<'_>]) -> Vec<String> {
        joined
            .iter()
            .map(|one| {
                let lease = one.lease.map_or("-", |lease| lease.info.id.rsplit('/').next().unwrap());
                let account = one.account.map_or("-", |account| account.name.rsplit('-').next().unwrap());
                format!("{lease} {account} {}", one.state.as_str())
            })
            .collect()
    }

    #[test]
    fn role_and_time_decide_and_the_nearest_are_joined_first() {
        let leases = [lease("a", "l1", 10), lease("a", "l2", 11), lease("b", "l3", 10), lease("a", "l4", 60)];
        let accounts =
            [account("a", "x2", 11), account("a", "x1", 10), account("b", "x3", 9), account("a", "x5", 30)];
        assert_eq!(
            told(&join(&leases, &accounts, at(100))),
            [
                "l1 x1 live",
                "l2 x2 live",
                "l3 x3 live",
                "l4 - lease without account",
                "- x5 account without lease"
            ]
        );
        // One that is made at this moment is no orphan.
        assert_eq!(told(&join(&[], &accounts[3..], at(35))), ["- x5 new"]);
    }

    #[test]
    fn the_audit_log_decides_over_the_time() {
        let leases = [lease("a", "l1", 10), lease("a", "l2", 10)];
        let mut accounts = [account("a", "x1", 10), account("a", "x2", 10), account("a", "x3", 10)];
        accounts[0].lease_id = Some("database/creds/a/l2".into());
        accounts[1].lease_id = Some("database/creds/a/l1".into());
        // Its lease was revoked, and it is still there: no other lease is taken for its own.
        accounts[2].lease_id = Some("database/creds/a/gone".into());
        assert_eq!(
            told(&join(&leases, &accounts, at(100))),
            ["l1 x2 live", "l2 x1 live", "- x3 account without lease"]
        );
    }

    #[test]
    fn names_are_read_as_vault_makes_them() {
        let spec = crate::spec::LabSpec::builtin().unwrap();
        let read = |database: usize, name: &str| {
            let account = DynamicAccount { name: name.into(), created: None };
            Account::new(account, &spec.databases[database])
        };
        let pg = read(0, "v-approle-pg-write-aBcDeFgHiJkLmNoPqRsT-1700000000");
        assert_eq!((pg.roles, pg.display_name.as_deref()), (vec!["pg-write".to_owned()], Some("approle")));
        let mysql = read(1, "v-token-vaul-mysql-writ-aBcDeFg");
        assert_eq!(
            (mysql.roles, mysql.display_name.as_deref()),
            (vec!["mysql-write".to_owned()], Some("token-vaul"))
        );
        assert!(read(0, "v-somebody-else").roles.is_empty());
    }
}
