//! Database servers as programs of this host: making their data, and starting them on it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::programs::{MysqlProgram, PostgresProgram, Programs, numbers};
use super::spawn::{Launch, RunAs, describe};
use crate::database::{Database, DatabaseError, postgres_name};
use crate::runtime::{RuntimeError, folder};
use crate::service::{ServiceKind, mysql, postgres};
use crate::spec::model::{DatabaseSpec, Engine};
use crate::state::Credentials;

/// Options of the server that depend on where it runs and on what its data looks like.
const MARIADB_OPTIONS: &[&str] = &[
    // A small redo log: it is part of every copy of the data.
    "innodb-log-file-size=4M",
    "skip-ssl",
];
const MYSQL8_OPTIONS: &[&str] = &[
    // With less, making the data stalls for a minute.
    "loose-innodb-redo-log-capacity=33554432",
    // Its second protocol would take a second, fixed port.
    "loose-mysqlx=OFF",
];

/// What `initdb` is asked for. Every line of `pg_hba.conf` demands a password: a loopback that trusts
/// would let any password pass, and prove nothing.
const INITDB_OPTIONS: &[&str] = &[
    "--no-sync",
    "--no-instructions",
    "--encoding=UTF8",
    "--locale=C",
    "--auth=scram-sha-256",
    // Less to write and to copy than with 16 MB.
    "--wal-segsize=1",
];

/// A database server found on this host.
#[derive(Debug, Clone)]
pub(super) enum DatabaseProgram {
    Postgres(PostgresProgram),
    Mysql(MysqlProgram),
}

/// Everything an initialisation works with.
pub(super) struct Initialise<'a> {
    pub service: &'a str,
    /// The folder to fill.
    pub data: &'a Path,
    /// Folder for files that are needed meanwhile.
    pub scratch: &'a Path,
    pub log: &'a Path,
    pub user: &'a RunAs,
    /// The superuser to make.
    pub superuser: &'a Credentials,
}

impl DatabaseProgram {
    pub async fn find(programs: &Programs, spec: &DatabaseSpec) -> Result<Self, RuntimeError> {
        match spec.engine {
            Engine::Postgres => programs.postgres(&spec.name).await.map(Self::Postgres),
            Engine::Mysql(flavour) => programs.mysql(&spec.name, flavour).await.map(Self::Mysql),
        }
    }

    /// Name and version, as in `PostgreSQL 15.10`.
    pub fn product(&self) -> String {
        match self {
            Self::Postgres(program) => format!("PostgreSQL {}", program.version),
            Self::Mysql(program) => program.product(),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Postgres(program) => &program.postgres,
            Self::Mysql(program) => &program.server,
        }
    }

    /// What a template's data depends on besides the program and the lab file.
    pub fn flags(&self) -> Vec<String> {
        match self {
            Self::Postgres(_) => {
                let settings = postgres::SETTINGS.iter().map(|(name, value)| format!("{name}={value}"));
                INITDB_OPTIONS.iter().map(ToString::to_string).chain(settings).collect()
            }
            Self::Mysql(program) => program.options(),
        }
    }

    /// What made data that this one cannot use: another product, or a PostgreSQL of another major
    /// version.
    pub fn refuses(&self, data: &Path) -> Option<String> {
        let has = |file: &str| data.join(file).exists();
        match (fs::read_to_string(data.join("PG_VERSION")), self) {
            (Ok(made_by), Self::Postgres(program)) => {
                let same = numbers(&made_by).first() == numbers(&program.version).first();
                (!same).then(|| format!("PostgreSQL {}", made_by.trim()))
            }
            (Ok(made_by), Self::Mysql(_)) => Some(format!("PostgreSQL {}", made_by.trim())),
            (Err(_), Self::Mysql(program)) => match program.mariadb {
                true if has("mysql.ibd") => Some("MySQL".into()),
                false if has("aria_log_control") => Some("MariaDB".into()),
                _ => None,
            },
            (Err(_), Self::Postgres(_)) => has("ibdata1").then(|| "MySQL or MariaDB".into()),
        }
    }

    /// Makes an empty server's data.
    pub async fn initialise(&self, to: &Initialise<'_>) -> Result<(), RuntimeError> {
        match self {
            Self::Postgres(program) => program.initialise(to).await,
            Self::Mysql(program) => program.initialise(to).await,
        }
    }

    /// Whether the first start, with the SQL of [`Self::first`], makes the data.
    pub fn first_start_makes_data(&self) -> bool {
        matches!(self, Self::Mysql(program) if program.system_tables().is_some())
    }

    /// Writes the SQL that a new MySQL or MariaDB runs before it answers anyone.
    pub fn first(
        &self,
        service: &str,
        scratch: &Path,
        superuser: &Credentials,
        user: &RunAs,
    ) -> Result<Option<PathBuf>, RuntimeError> {
        let Self::Mysql(program) = self else { return Ok(None) };
        let path = scratch.join("first.sql");
        let mut sql = program.system_tables_sql(service)?;
        sql.extend(MysqlProgram::first_sql(superuser).into_bytes());
        user.write_file(&path, &sql).map_err(folder(service, "write", &path))?;
        Ok(Some(path))
    }

    /// The server on this data and port; `first` are files of SQL to run before it answers anyone
    /// (MySQL only).
    pub fn launch(&self, data: &Path, port: u16, user: &RunAs, first: &[PathBuf]) -> Launch {
        let args = match self {
            Self::Postgres(_) => {
                let own = [
                    ("listen_addresses", "127.0.0.1".to_owned()),
                    ("port", port.to_string()),
                    ("unix_socket_directories", String::new()),
                ];
                let shared = postgres::SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
                let mut args: Vec<OsString> = vec!["-D".into(), data.into()];
                for (name, value) in own.into_iter().chain(shared) {
                    args.extend(["-c".into(), format!("{name}={value}").into()]);
                }
                args
            }
            Self::Mysql(program) => {
                let mut args = program.server_args(data);
                args.extend([format!("--port={port}").into(), "--bind-address=127.0.0.1".into()]);
                args.extend(first.iter().map(|file| with_path("--init-file=", file)));
                if !first.is_empty() && self.first_start_makes_data() {
                    // The tables of the grants are only made by that file, which turns them on.
                    args.push("--skip-grant-tables".into());
                }
                args
            }
        };
        Launch {
            program: self.path().into(),
            args,
            env: Vec::new(),
            folder: data.into(),
            user: user.clone(),
            // On two, InnoDB's page cleaner often misses that it is waited for while new data is made, and
            // looks again only a second later (`buf_flush_page_cleaner` of MariaDB 10.11).
            one_cpu: !first.is_empty() && self.first_start_makes_data(),
        }
    }

    /// Makes the lab's database in a new server. On PostgreSQL `postgres`, which is as empty, takes its
    /// name: making another would double the time, and every later copy of the data.
    pub async fn make_database(
        &self,
        connection: &mut dyn Database,
        name: &str,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(_) if name != "postgres" => {
                let name = postgres_name(name);
                connection.execute(&format!("ALTER DATABASE postgres RENAME TO {name}")).await?;
                connection.execute(&format!("COMMENT ON DATABASE {name} IS NULL")).await.map(drop)
            }
            _ => connection.ensure_database(name).await,
        }
    }

    /// The database to log in to before the lab's own is there.
    pub fn first_database(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "template1",
            Self::Mysql(_) => "mysql",
        }
    }

    /// Removes every way in that an initialisation leaves open besides the superuser's.
    pub async fn close_back_doors(&self, connection: &mut dyn Database) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Mysql(_) => {
                // Others called root, some without a password, and the anonymous users.
                let find = "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user \
                            WHERE user IN ('', 'root') AND host <> '127.0.0.1' LIMIT 1";
                while let Some(account) = connection.scalar(find).await? {
                    connection.execute(&format!("DROP USER {account}")).await?;
                }
                Ok(())
            }
        }
    }
}

/// The signal that ends a service in an orderly way without waiting for its clients.
pub(super) fn stop_signal(kind: ServiceKind) -> Signal {
    match kind {
        // "Fast shutdown"; SIGTERM would wait for every client to leave.
        ServiceKind::Postgres => Signal::SIGINT,
        ServiceKind::Mysql | ServiceKind::Vault => Signal::SIGTERM,
    }
}

impl PostgresProgram {
    async fn initialise(&self, to: &Initialise<'_>) -> Result<(), RuntimeError> {
        let password = to.scratch.join("password");
        to.user
            .write_file(&password, to.superuser.password.expose().as_bytes())
            .map_err(folder(to.service, "write", &password))?;
        let mut args: Vec<OsString> = INITDB_OPTIONS.iter().map(Into::into).collect();
        args.push(format!("--username={}", to.superuser.username).into());
        args.push(with_path("--pwfile=", &password));
        args.push(with_path("--pgdata=", to.data));
        let result = run(&self.initdb, args, to).await;
        fs::remove_file(&password).map_err(folder(to.service, "remove", &password))?;
        result
    }
}

impl MysqlProgram {
    fn options(&self) -> Vec<String> {
        let own = if self.mariadb { MARIADB_OPTIONS } else { MYSQL8_OPTIONS };
        mysql::OPTIONS.iter().chain(own).map(|option| format!("--{option}")).collect()
    }

    fn server_args(&self, data: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--no-defaults".into(), with_path("--datadir=", data)];
        args.extend(self.options().into_iter().map(Into::into));
        // Relative to the data, so that a deep folder does not exceed a socket's longest name.
        args.extend(["--socket=server.sock".into(), "--pid-file=server.pid".into()]);
        args
    }

    async fn initialise(&self, to: &Initialise<'_>) -> Result<(), RuntimeError> {
        if !self.mariadb {
            let mut args = self.server_args(to.data);
            args.push("--initialize-insecure".into());
            return run(&self.server, args, to).await;
        }
        if self.system_tables().is_some() { Ok(()) } else { self.install_db(to).await }
    }

    /// What makes MariaDB's system tables in an empty folder, for the first start to run: what
    /// `mariadb-install-db` does, without the help texts and the `sys` schema, which take most of its
    /// time, and without a server of its own (`--bootstrap`), whose end often takes a second.
    /// Empty where [`Self::initialise`] makes them.
    fn system_tables_sql(&self, service: &str) -> Result<Vec<u8>, RuntimeError> {
        let Some(tables) = self.system_tables() else { return Ok(Vec::new()) };
        let mut sql = b"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n".to_vec();
        for file in tables {
            sql.extend(fs::read(&file).map_err(folder(service, "read", &file))?);
            sql.push(b'\n');
        }
        sql.extend(b"FLUSH PRIVILEGES;\n");
        Ok(sql)
    }

    /// The SQL files with which MariaDB makes its system tables, where the distribution has them:
    /// named after MySQL up to 10.x, after MariaDB since.
    fn system_tables(&self) -> Option<[PathBuf; 2]> {
        if !self.mariadb {
            return None;
        }
        let prefix = self.server.parent()?.parent()?;
        ["share/mysql", "share/mariadb", "share"].iter().map(|share| prefix.join(share)).find_map(|share| {
            ["mariadb", "mysql"].iter().find_map(|name| {
                let files = ["", "_data"].map(|part| share.join(format!("{name}_system_tables{part}.sql")));
                files.iter().all(|file| file.is_file()).then_some(files)
            })
        })
    }

    async fn install_db(&self, to: &Initialise<'_>) -> Result<(), RuntimeError> {
        let prefix = self.server.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
        let script = ["bin", "scripts"]
            .iter()
            .flat_map(|folder| {
                ["mariadb-install-db", "mysql_install_db"].map(|name| prefix.join(folder).join(name))
            })
            .find(|path| path.is_file())
            .ok_or_else(|| RuntimeError::ProgramUnusable {
                service: to.service.into(),
                program: self.server.clone(),
                cause: "neither its system_tables.sql nor mariadb-install-db is there".into(),
            })?;
        let mut args: Vec<OsString> = vec!["--no-defaults".into(), with_path("--datadir=", to.data)];
        args.extend(["--auth-root-authentication-method=normal".into(), "--skip-test-db".into()]);
        args.extend(self.options().into_iter().map(OsString::from));
        run(&script, args, to).await
    }

    /// SQL, a statement a line, that gives `root` of the loopback its password before the server
    /// answers anyone for the first time.
    pub fn first_sql(superuser: &Credentials) -> String {
        // Generated passwords hold letters and digits only: nothing to quote.
        let (name, password) = (&superuser.username, superuser.password.expose());
        format!(
            "CREATE USER IF NOT EXISTS '{name}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
             ALTER USER '{name}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
             GRANT ALL PRIVILEGES ON *.* TO '{name}'@'127.0.0.1' WITH GRANT OPTION;\n"
        )
    }
}

async fn run(program: &Path, args: Vec<OsString>, to: &Initialise<'_>) -> Result<(), RuntimeError> {
    let launch = Launch {
        program: program.into(),
        args,
        env: Vec::new(),
        folder: to.data.into(),
        user: to.user.clone(),
        one_cpu: false,
    };
    let (status, output) = launch.run(to.log).await.map_err(|source| RuntimeError::Process {
        service: to.service.into(),
        operation: "start",
        program: program.display().to_string(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(RuntimeError::Initialise { service: to.service.into(), program, status: describe(status), output })
}

fn with_path(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}
