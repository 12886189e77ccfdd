//! MySQL 8+ and MariaDB.

use async_trait::async_trait;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, Error, OptsBuilder, Row, ServerError, Value};

use super::error::{DatabaseError, Refusal, ScriptError, shorten};
use super::quote::{mysql_name, mysql_text};
use super::script::{Dialect, locate};
use super::{CONNECT_TIMEOUT, Check, Database, DynamicAccount, Target};
use crate::secret::Secret;
use crate::service::Endpoint;
use crate::spec::model::SqlText;
use crate::state::Credentials;

/// The account or its password is refused: ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
/// ER_HOST_NOT_PRIVILEGED, ER_MUST_CHANGE_PASSWORD_LOGIN, and an account that is locked (MySQL, MariaDB).
const LOGIN_REFUSED: [u16; 6] = [1045, 1698, 1130, 1862, 3118, 4151];

/// A privilege is missing, in the server's words "denied": for a database, a table, a column, a
/// global privilege, a routine; "not allowed to create a user with GRANT"; KILL of another's session.
const PRIVILEGE_MISSING: [u16; 8] = [1044, 1142, 1143, 1227, 1370, 1410, 1095, 1211];

/// Too many connections; shutting down. The server will answer later, or another one will.
const NOT_NOW: [u16; 3] = [1040, 1053, 1203];

pub(super) struct Mysql {
    conn: Conn,
    endpoint: Endpoint,
    user: String,
}

impl Mysql {
    pub(super) async fn connect(target: &Target, account: &Credentials) -> Result<Self, DatabaseError> {
        let opts = OptsBuilder::default()
            .ip_or_hostname(&target.endpoint.host)
            .tcp_port(target.endpoint.port)
            .user(Some(&account.username))
            .pass(Some(account.password.expose()))
            .db_name(Some(&target.database).filter(|name| !name.is_empty()))
            // A socket would authenticate another account than TCP does.
            .prefer_socket(false)
            // Given here, they need not be asked for.
            .max_allowed_packet(Some(16 * 1024 * 1024))
            .wait_timeout(Some(600));
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, Conn::new(opts)).await;
        let conn = connecting
            .map_err(|_| DatabaseError::silent(&target.endpoint))?
            .map_err(|e| login_error(target, &account.username, e))?;
        Ok(Self { conn, endpoint: target.endpoint.clone(), user: account.username.clone() })
    }

    /// Runs `sql`; `label` stands for it in errors. Gives the first row and the number of rows changed.
    async fn run(&mut self, label: &str, sql: &str) -> Result<(Option<Row>, u64), DatabaseError> {
        let result = async {
            let mut result = self.conn.query_iter(sql).await?;
            let changed = result.affected_rows();
            let row = result.next().await?;
            result.drop_result().await?;
            Ok((row, changed))
        }
        .await;
        result.map_err(|e| self.error(label, e))
    }

    fn error(&self, statement: &str, error: Error) -> DatabaseError {
        let endpoint = self.endpoint.clone();
        let server = match error {
            Error::Server(server) => server,
            other => return DatabaseError::Unreachable { endpoint, cause: other.to_string() },
        };
        let (code, refusal) = (server.code, refusal(server));
        let statement = shorten(statement);
        if PRIVILEGE_MISSING.contains(&code) {
            return DatabaseError::Denied { endpoint, user: self.user.clone(), statement, refusal };
        }
        DatabaseError::Statement { endpoint, statement, refusal }
    }

    /// Runs a statement that holds a password, which an error must not show.
    async fn run_secret(&mut self, label: &str, sql: &str, secret: &Secret) -> Result<(), DatabaseError> {
        let mut result = self.run(label, sql).await.map(drop);
        if let Err(DatabaseError::Statement { refusal, .. } | DatabaseError::Denied { refusal, .. }) =
            &mut result
        {
            // A syntax error quotes the statement, or the beginning of it.
            refusal.message =
                vaultlab_server::redact::hide(&refusal.message, &[secret.expose()], "[redacted]");
        }
        result
    }
}

#[async_trait]
impl Database for Mysql {
    async fn ping(&mut self) -> Result<(), DatabaseError> {
        self.run("SELECT 1", "SELECT 1").await.map(drop)
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, DatabaseError> {
        Ok(self.run(sql, sql).await?.1)
    }

    async fn scalar(&mut self, sql: &str) -> Result<Option<String>, DatabaseError> {
        let (row, _) = self.run(sql, sql).await?;
        Ok(row.and_then(|row| row.as_ref(0).and_then(as_text)))
    }

    async fn run_script(&mut self, script: &SqlText) -> Result<(), ScriptError> {
        let mut number = 1;
        let result = async {
            let mut result = self.conn.query_iter(script.text.as_str()).await?;
            while !result.is_empty() {
                // Reading to the end of one result reads the head of the next, and so its error.
                number += 1;
                result.for_each(drop).await?;
            }
            result.drop_result().await
        }
        .await;
        result.map_err(|e| {
            let message = match e {
                Error::Server(server) => refusal(server).to_string(),
                other => other.to_string(),
            };
            locate(script, Dialect::Mysql, number, message)
        })
    }

    /// DDL commits by itself on MySQL and is not undone.
    async fn check(&mut self, sql: &str) -> Check {
        if let Err(e) = self.run("START TRANSACTION", "START TRANSACTION").await {
            return Check::Failed(e);
        }
        let result = self.run(sql, sql).await;
        let undone = self.run("ROLLBACK", "ROLLBACK").await;
        match (result, undone) {
            (Ok(_), Ok(_)) => Check::Allowed,
            (Err(DatabaseError::Denied { refusal, .. }), Ok(_)) => Check::Refused(refusal),
            (Err(e), _) | (_, Err(e)) => Check::Failed(e),
        }
    }

    async fn ensure_account(&mut self, account: &Credentials) -> Result<(), DatabaseError> {
        let name = format!("{}@'%'", mysql_text(&account.username));
        let password = mysql_text(account.password.expose());
        for verb in ["CREATE USER IF NOT EXISTS", "ALTER USER"] {
            let label = format!("{verb} {name}");
            let sql = format!("{label} IDENTIFIED BY {password}");
            self.run_secret(&label, &sql, &account.password).await?;
        }
        Ok(())
    }

    /// Every `user`@host gets the password, in one statement.
    async fn set_password(&mut self, user: &str, password: &Secret) -> Result<(), DatabaseError> {
        let label = format!("ALTER USER {}", mysql_text(user));
        let find =
            format!("SELECT GROUP_CONCAT(HEX(host)) FROM mysql.user WHERE user = {}", mysql_text(user));
        let hosts = self.scalar(&find).await?.ok_or_else(|| DatabaseError::Statement {
            endpoint: self.endpoint.clone(),
            statement: label.clone(),
            refusal: Refusal { code: "1396".into(), message: format!("there is no account {user}") },
        })?;
        let accounts: Vec<String> = hosts
            .split(',')
            .map(|hex| {
                let text = mysql_text(password.expose());
                format!("{}@{} IDENTIFIED BY {text}", mysql_text(user), mysql_text(&unhex(hex)))
            })
            .collect();
        self.run_secret(&label, &format!("ALTER USER {}", accounts.join(", ")), password).await
    }

    async fn let_manage(&mut self, _manager: &str, _user: &str) -> Result<(), DatabaseError> {
        // CREATE USER is for every account.
        Ok(())
    }

    async fn ensure_superuser(&mut self, account: &Credentials) -> Result<(), DatabaseError> {
        self.ensure_account(account).await?;
        let name = mysql_text(&account.username);
        self.execute(&format!("GRANT ALL PRIVILEGES ON *.* TO {name}@'%' WITH GRANT OPTION")).await.map(drop)
    }

    async fn ensure_database(&mut self, name: &str) -> Result<(), DatabaseError> {
        self.execute(&format!("CREATE DATABASE IF NOT EXISTS {}", mysql_name(name))).await.map(drop)
    }

    async fn account_exists(&mut self, user: &str) -> Result<bool, DatabaseError> {
        let sql = format!("SELECT 1 FROM mysql.user WHERE user = {} LIMIT 1", mysql_text(user));
        Ok(self.scalar(&sql).await?.is_some())
    }

    async fn dynamic_accounts(&mut self) -> Result<Vec<DynamicAccount>, DatabaseError> {
        // A credential's password is set once, when its account is made.
        let sql = if self.version().await?.contains("MariaDB") {
            "SELECT User, JSON_VALUE(Priv, '$.password_last_changed') FROM mysql.global_priv \
             WHERE User LIKE 'v-%' ORDER BY User"
        } else {
            "SELECT User, UNIX_TIMESTAMP(password_last_changed) FROM mysql.user \
             WHERE User LIKE 'v-%' ORDER BY User"
        };
        let rows: Vec<Row> = self.conn.query(sql).await.map_err(|e| self.error(sql, e))?;
        let account = |row: &Row| {
            let seconds = row.as_ref(1).and_then(as_text).and_then(|text| text.parse().ok());
            let created = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            Some(DynamicAccount { name: row.as_ref(0).and_then(as_text)?, created })
        };
        let mut accounts: Vec<DynamicAccount> = rows.iter().filter_map(account).collect();
        accounts.dedup_by(|a, b| a.name == b.name);
        Ok(accounts)
    }

    async fn drop_account(&mut self, user: &str) -> Result<(), DatabaseError> {
        let text = mysql_text(user);
        let find = format!("SELECT GROUP_CONCAT(HEX(host)) FROM mysql.user WHERE user = {text}");
        for hex in self.scalar(&find).await?.unwrap_or_default().split(',').filter(|hex| !hex.is_empty()) {
            self.execute(&format!("DROP USER IF EXISTS {text}@{}", mysql_text(&unhex(hex)))).await?;
        }
        let sessions =
            format!("SELECT GROUP_CONCAT(id) FROM information_schema.processlist WHERE user = {text}");
        for id in self.scalar(&sessions).await?.unwrap_or_default().split(',').filter(|id| !id.is_empty()) {
            // One that has ended by itself cannot be killed.
            let _ = self.execute(&format!("KILL {id}")).await;
        }
        Ok(())
    }

    async fn password_digest(&mut self, user: &str) -> Result<Option<String>, DatabaseError> {
        let sql = format!(
            "SELECT SHA2(authentication_string, 256) FROM mysql.user WHERE user = {} AND host = '%'",
            mysql_text(user)
        );
        self.scalar(&sql).await
    }

    async fn sessions(&mut self, user: &str) -> Result<u64, DatabaseError> {
        let sql =
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = {}", mysql_text(user));
        Ok(self.scalar(&sql).await?.and_then(|n| n.parse().ok()).unwrap_or(0))
    }

    async fn version(&mut self) -> Result<String, DatabaseError> {
        Ok(self.scalar("SELECT VERSION()").await?.unwrap_or_default())
    }

    async fn close(self: Box<Self>) {
        // A server that is gone must not hold us up.
        drop(tokio::time::timeout(std::time::Duration::from_secs(1), self.conn.disconnect()).await);
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(n) => Some(n.to_string()),
        Value::UInt(n) => Some(n.to_string()),
        Value::Float(n) => Some(n.to_string()),
        Value::Double(n) => Some(n.to_string()),
        other => Some(other.as_sql(false).trim_matches('\'').to_owned()),
    }
}

fn unhex(hex: &str) -> String {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn refusal(server: ServerError) -> Refusal {
    Refusal { code: server.code.to_string(), message: server.message }
}

fn login_error(target: &Target, user: &str, error: Error) -> DatabaseError {
    let endpoint = target.endpoint.clone();
    let server = match error {
        Error::Server(server) => server,
        // MySQL 8+ answers a login of an account that does not exist with any one of its plugins, so
        // that nobody can tell; this one the driver does not speak, and a lab's accounts never have it.
        Error::Driver(DriverError::UnknownAuthPlugin { name }) => {
            let message = format!("there is no such account (the server asks for {name})");
            let refusal = Refusal { code: "1045".into(), message };
            return DatabaseError::Refused { endpoint, user: user.into(), refusal };
        }
        other => return DatabaseError::Unreachable { endpoint, cause: other.to_string() },
    };
    let (code, refusal) = (server.code, refusal(server));
    let statement = || format!("log in to {}", target.database);
    if LOGIN_REFUSED.contains(&code) {
        DatabaseError::Refused { endpoint, user: user.into(), refusal }
    } else if NOT_NOW.contains(&code) {
        DatabaseError::Unreachable { endpoint, cause: refusal.to_string() }
    } else if PRIVILEGE_MISSING.contains(&code) {
        DatabaseError::Denied { endpoint, user: user.into(), statement: statement(), refusal }
    } else {
        DatabaseError::Statement { endpoint, statement: statement(), refusal }
    }
}
