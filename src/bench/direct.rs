//! A role's statements issued on the database itself: what Vault's credentials are compared with.
//!
//! Each worker has a connection of its own and sends one statement after the other, on PostgreSQL
//! inside a transaction, as Vault does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::watch;
use vaultlab_server::database::statements::{Blocks, prepare};
use vaultlab_server::random;

use super::report::Tally;
use crate::database::{self, Database, DatabaseError, Target};
use crate::lab::LabError;
use crate::secret::Secret;
use crate::service::Endpoint;
use crate::spec::model::{Engine, MysqlFlavour};
use crate::state::Credentials;
use crate::vault::Client;

/// How long an account made here is valid where it can be said; it is dropped long before.
const VALIDITY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Vault's default of `max_open_connections`.
const DEFAULT_CONNECTIONS: usize = 4;

/// PostgreSQL's word for two transactions that changed the privileges of the same thing; Vault's
/// plugins try again.
const CONFLICT: &str = "tuple concurrently updated";

/// Where and as whom a role's statements are issued.
#[derive(Debug, Clone)]
pub struct Direct {
    /// The database.
    pub target: Target,
    /// An account that may make and drop accounts.
    pub account: Credentials,
}

impl Direct {
    /// The database and account of a URL such as `postgresql://user:password@127.0.0.1:5432/app` or
    /// `mysql://…`. Nothing in it is percent-decoded.
    ///
    /// # Errors
    /// [`LabError::DatabaseUrl`] when it is none; the text is not shown, as it holds a password.
    pub fn of_url(url: &Secret) -> Result<Self, LabError> {
        let parsed = || {
            let (scheme, rest) = url.expose().split_once("://")?;
            let engine = match scheme {
                "postgresql" | "postgres" => Engine::Postgres,
                "mysql" | "mariadb" => Engine::Mysql(MysqlFlavour::Auto),
                _ => return None,
            };
            let (account, place) = rest.rsplit_once('@')?;
            let (user, password) = account.split_once(':')?;
            let (place, database) = place.split_once('/').unwrap_or((place, ""));
            let (host, port) = place.rsplit_once(':')?;
            let endpoint = Endpoint::new(host.trim_matches(['[', ']']), port.parse().ok()?);
            let target = Target { engine, endpoint, database: database.to_owned() };
            Some(Self { target, account: Credentials::new(user, password) })
        };
        parsed().ok_or(LabError::DatabaseUrl)
    }
}

/// A role's statements.
pub(super) struct Script {
    engine: Engine,
    creation: Vec<String>,
    revocation: Vec<String>,
    /// Passwords are sent as verifiers made here (`password_authentication`).
    scram: bool,
    /// Connections Vault may have open at a time; none when there is no limit.
    vault_connections: Option<usize>,
}

impl Script {
    /// Reads a role and its connection from Vault.
    pub(super) async fn read(
        vault: &Client,
        mount: &str,
        role: &str,
        direct: &Direct,
    ) -> Result<Self, LabError> {
        let found = vault.database_role(mount, role).await?.unwrap_or_default();
        let connection = found.get("db_name").and_then(Value::as_str).unwrap_or_default();
        let config = vault.database_config(mount, connection).await?.unwrap_or_default();
        let detail = |name: &str| config.get("connection_details").and_then(|details| details.get(name));
        let form = detail("password_authentication");
        Ok(Self {
            engine: direct.target.engine,
            creation: texts(&found, "creation_statements"),
            revocation: texts(&found, "revocation_statements"),
            scram: form.and_then(Value::as_str) == Some("scram-sha-256"),
            vault_connections: connections(detail("max_open_connections")),
        })
    }

    fn blocks(&self) -> Blocks {
        match self.engine {
            Engine::Postgres => Blocks::KeepWhole,
            Engine::Mysql(_) => Blocks::Split,
        }
    }

    fn filled(&self, entries: &[String], values: &[(&str, &str)]) -> Vec<Secret> {
        let prepared = prepare(entries, values, self.blocks());
        prepared.into_iter().map(|statement| Secret::new(statement.sql.as_str())).collect()
    }

    async fn creation(&self, name: &str, password: &Secret) -> Vec<Secret> {
        let value = match (self.engine, self.scram) {
            (Engine::Postgres, true) => {
                let plain = password.clone();
                // Not on the thread that makes the load for all workers.
                let made = tokio::task::spawn_blocking(move || database::scram_verifier(&plain)).await;
                made.unwrap_or_default()
            }
            _ => password.expose().to_owned(),
        };
        let expiration = (jiff::Timestamp::now() + VALIDITY).strftime("%Y-%m-%d %H:%M:%S+0000").to_string();
        let values = [
            ("name", name),
            ("username", name),
            ("password", value.as_str()),
            ("expiration", expiration.as_str()),
        ];
        self.filled(&self.creation, &values)
    }

    fn revocation(&self, name: &str) -> Vec<Secret> {
        let default = match self.engine {
            Engine::Postgres => vec![r#"DROP OWNED BY "{{name}}""#.into(), r#"DROP ROLE "{{name}}""#.into()],
            Engine::Mysql(_) => vec!["DROP USER IF EXISTS '{{name}}'@'%'".into()],
        };
        let entries = if self.revocation.is_empty() { &default } else { &self.revocation };
        self.filled(entries, &[("name", name), ("username", name)])
    }
}

/// What Vault makes of `max_open_connections`: its default for none and 0, no limit below.
fn connections(setting: Option<&Value>) -> Option<usize> {
    let setting = setting.and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
    match setting {
        None | Some(0) => Some(DEFAULT_CONNECTIONS),
        Some(limit) => usize::try_from(limit).ok(),
    }
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = map.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// One connection that makes accounts.
pub(super) struct DirectWorker {
    script: Arc<Script>,
    database: Box<dyn Database>,
    pub(super) made: Tally,
    accounts: Vec<String>,
}

impl DirectWorker {
    pub(super) async fn connect(script: &Arc<Script>, direct: &Direct) -> Result<Self, DatabaseError> {
        let database = database::connect(&direct.target, &direct.account).await?;
        Ok(Self { script: Arc::clone(script), database, made: Tally::default(), accounts: Vec::new() })
    }

    /// Connections Vault may have open at a time to do the same.
    pub(super) fn vault_connections(&self) -> Option<usize> {
        self.script.vault_connections
    }

    /// Makes accounts until `end`, or until `stop` turns true.
    pub(super) async fn run(mut self, end: Instant, stop: watch::Receiver<bool>) -> Self {
        while Instant::now() < end && !*stop.borrow() {
            let began = Instant::now();
            let (name, password) = (format!("v-direct-{}", random::base62(20)), Secret::random(20));
            let statements = self.script.creation(&name, &password).await;
            match self.issue(&statements).await {
                Ok(()) => self.made.succeeded(began.elapsed()),
                Err(error) => {
                    self.made.failed(&said(&error).replace(password.expose(), "[password]"));
                    if matches!(error, DatabaseError::Unreachable { .. }) {
                        break;
                    }
                }
            }
            // MySQL may have made it before a later statement failed.
            self.accounts.push(name);
        }
        self
    }

    async fn issue(&mut self, statements: &[Secret]) -> Result<(), DatabaseError> {
        loop {
            match self.transaction(statements).await {
                Err(error) if said(&error).contains(CONFLICT) => {}
                result => return result,
            }
        }
    }

    async fn transaction(&mut self, statements: &[Secret]) -> Result<(), DatabaseError> {
        let whole = self.script.engine == Engine::Postgres;
        if whole {
            self.database.execute("BEGIN").await?;
        }
        for statement in statements {
            if let Err(error) = self.database.execute(statement.expose()).await {
                if whole {
                    self.database.execute("ROLLBACK").await?;
                }
                return Err(error);
            }
        }
        if whole {
            self.database.execute("COMMIT").await?;
        }
        Ok(())
    }

    /// Drops the accounts; how many were, and how many could not be.
    pub(super) async fn clean(mut self) -> (u64, u64) {
        let (mut dropped, mut failed) = (0, 0);
        for name in std::mem::take(&mut self.accounts) {
            let statements = self.script.revocation(&name);
            match self.issue(&statements).await {
                Ok(()) => dropped += 1,
                Err(_) => failed += 1,
            }
        }
        self.database.close().await;
        (dropped, failed)
    }
}

/// What the database said, without the statement, which holds a password.
fn said(error: &DatabaseError) -> String {
    match error {
        DatabaseError::Statement { refusal, .. } | DatabaseError::Denied { refusal, .. } => {
            refusal.to_string()
        }
        other => other.to_string(),
    }
}

/// How long each side works before the other has its turn: both then meet what else the machine does.
pub(super) const SLICES: u32 = 4;

/// The median of the ratios of slices that took turns.
pub(super) fn median_ratio(vault: &[f64], direct: &[f64]) -> f64 {
    let mut ratios: Vec<f64> =
        vault.iter().zip(direct).filter(|(_, direct)| **direct > 0.0).map(|(a, b)| a / b).collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.len() {
        0 => 0.0,
        n if n % 2 == 1 => ratios[n / 2],
        n => f64::midpoint(ratios[n / 2 - 1], ratios[n / 2]),
    }
}

/// One slice of `whole`.
pub(super) fn slice(whole: Duration) -> Duration {
    whole / SLICES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_database_and_an_account() {
        let direct = |url: &str| Direct::of_url(&url.into());
        let found = direct("postgresql://postgres:p:w@127.0.0.1:5432/app").unwrap();
        assert_eq!(found.target.engine, Engine::Postgres);
        assert_eq!(found.target.endpoint, Endpoint::loopback(5432));
        assert_eq!(found.target.database, "app");
        assert_eq!(found.account, Credentials::new("postgres", "p:w"));
        assert_eq!(direct("mysql://root:x@[::1]:3306").unwrap().target.endpoint, Endpoint::new("::1", 3306));
        for wrong in ["127.0.0.1:5432", "oracle://a:b@c:1/d", "mysql://a@c:1/d", "mysql://secret:b@c/d"] {
            let text = direct(wrong).unwrap_err().to_string();
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn vaults_connections_are_known() {
        use serde_json::json;
        for (setting, limit) in
            [(json!(8), Some(8)), (json!("2"), Some(2)), (json!(0), Some(4)), (json!(-1), None)]
        {
            assert_eq!(connections(Some(&setting)), limit, "{setting}");
        }
        assert_eq!(connections(None), Some(4));
    }

    #[test]
    fn the_ratio_is_that_of_neighbours() {
        assert!((median_ratio(&[90.0, 45.0, 300.0], &[100.0, 50.0, 100.0]) - 0.9).abs() < 1e-9);
        assert!((median_ratio(&[1.0, 3.0], &[1.0, 1.0]) - 2.0).abs() < 1e-9);
        assert!(median_ratio(&[5.0], &[0.0]).abs() < 1e-9);
    }
}
