//! One of the two databases, for tests that hold for both.

use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tokio_postgres::{Client, NoTls};

use super::{ADMIN, ADMIN_PASSWORD, Server};

/// A test server and how to talk to it.
#[derive(Clone)]
pub struct Target {
    /// The server.
    pub server: Arc<Server>,
    /// Plugin for it.
    pub plugin: &'static str,
    is_postgres: bool,
}

impl Target {
    /// The servers this process's tests share, as far as the programs are installed.
    pub fn shared() -> Vec<Self> {
        Self::both(super::postgres(), super::mariadb())
    }

    /// Servers of the caller's own, to kill and restart.
    pub fn own() -> Vec<Self> {
        Self::both(super::own_postgres(), super::own_mariadb())
    }

    fn both(postgres: Option<Arc<Server>>, mariadb: Option<Arc<Server>>) -> Vec<Self> {
        let postgres =
            postgres.map(|server| Self { server, plugin: "postgresql-database-plugin", is_postgres: true });
        let mariadb =
            mariadb.map(|server| Self { server, plugin: "mysql-database-plugin", is_postgres: false });
        postgres.into_iter().chain(mariadb).collect()
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.is_postgres
    }

    /// A `connection_url` with placeholders.
    pub fn url(&self) -> String {
        let port = self.server.port;
        if self.is_postgres {
            format!(
                "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"
            )
        } else {
            format!("{{{{username}}}}:{{{{password}}}}@tcp(127.0.0.1:{port})/")
        }
    }

    /// Creation statements of a role that may log in.
    pub fn creation(&self) -> &'static str {
        if self.is_postgres {
            "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        } else {
            "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON notes.* TO '{{name}}'@'%'"
        }
    }

    /// A statement that fails after a user was created.
    pub fn failing_grant(&self) -> &'static str {
        if self.is_postgres {
            "GRANT SELECT ON missing TO \"{{name}}\""
        } else {
            "GRANT SELECT ON missing.t TO '{{name}}'@'%'"
        }
    }

    /// Makes an account; an administrator when `admin` is set.
    pub async fn make_user(&self, user: &str, password: &str, admin: bool) {
        if self.is_postgres {
            let kind = if admin { "SUPERUSER" } else { "NOSUPERUSER" };
            self.execute(&format!("DROP ROLE IF EXISTS \"{user}\"")).await;
            self.execute(&format!("CREATE ROLE \"{user}\" LOGIN {kind} PASSWORD '{password}'")).await;
        } else {
            self.execute(&format!("CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY '{password}'")).await;
            if admin {
                self.execute(&format!("GRANT ALL ON *.* TO '{user}'@'%' WITH GRANT OPTION")).await;
            }
        }
    }

    /// Changes a password behind the engine's back.
    pub async fn set_password(&self, user: &str, password: &str) {
        self.execute(&if self.is_postgres {
            format!("ALTER ROLE \"{user}\" PASSWORD '{password}'")
        } else {
            format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'")
        })
        .await;
    }

    /// Whether a login over TCP succeeds.
    pub async fn can_login(&self, user: &str, password: &str) -> bool {
        if self.is_postgres {
            login_postgres(&self.server, user, password).await.is_ok()
        } else {
            login_mariadb(&self.server, user, password).await.is_ok()
        }
    }

    /// Whether an account exists.
    pub async fn has_user(&self, user: &str) -> bool {
        !self.users_like(user).await.is_empty()
    }

    /// Accounts whose name is like an SQL pattern.
    pub async fn users_like(&self, pattern: &str) -> Vec<String> {
        if self.is_postgres {
            let admin = login_postgres(&self.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
            let rows =
                admin.query("SELECT rolname::text FROM pg_roles WHERE rolname LIKE $1", &[&pattern]).await;
            rows.unwrap().iter().map(|row| row.get(0)).collect()
        } else {
            let mut admin = login_mariadb(&self.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
            admin.exec("SELECT user FROM mysql.user WHERE user LIKE ?", (pattern,)).await.unwrap()
        }
    }

    /// Runs a statement as administrator.
    pub async fn execute(&self, sql: &str) {
        if self.is_postgres {
            let admin = login_postgres(&self.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
            admin.batch_execute(sql).await.unwrap();
        } else {
            let mut admin = login_mariadb(&self.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
            admin.query_drop(sql).await.unwrap();
        }
    }
}

/// Logs in to PostgreSQL over TCP.
pub async fn login_postgres(
    server: &Server,
    user: &str,
    password: &str,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::Config::new()
        .host("127.0.0.1")
        .port(server.port)
        .user(user)
        .password(password)
        .dbname("postgres")
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Logs in to MariaDB over TCP.
pub async fn login_mariadb(server: &Server, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port)
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(false);
    Conn::new(options).await
}
