//! Finding the programs of this host.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::runtime::{RuntimeError, install_hint};
use crate::service::ServiceKind;
use crate::spec::model::{Flavour, MysqlFlavour, VaultSpec};

/// Folders in which server programs are besides `PATH`; `*` stands for a version. Within a line,
/// newest first.
const POSTGRES_FOLDERS: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/local/lib/postgresql*/bin",
    "/usr/local/pgsql/bin",
];

const MYSQL_FOLDERS: &[&str] = &[
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/opt/homebrew/opt/mariadb*/bin",
    "/opt/homebrew/opt/mysql*/bin",
    "/usr/local/opt/mariadb*/bin",
    "/usr/local/opt/mysql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/mariadb*/bin",
    "/home/linuxbrew/.linuxbrew/opt/mysql*/bin",
    "/usr/local/mysql/bin",
    "/opt/local/lib/mariadb*/bin",
];

const VAULT_FOLDERS: &[&str] = &["/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];

/// Where to look for programs.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// Folder of, or path to, `postgres` (`VAULTLAB_POSTGRES_BIN`). When set, nothing else is looked at.
    pub postgres: Option<PathBuf>,
    /// Folder of, or path to, `mariadbd` or `mysqld` (`VAULTLAB_MYSQL_BIN`). When set, nothing else
    /// is looked at.
    pub mysql: Option<PathBuf>,
    /// Path to `vault` or `bao` (`VAULTLAB_VAULT_BIN`). When set, nothing else is looked at.
    pub vault: Option<PathBuf>,
    /// Path to `vaultlab`, whose `server` command is the embedded server (`VAULTLAB_BIN`). Needed
    /// where the running program is another one: in a test suite that uses the library.
    pub vaultlab: Option<PathBuf>,
    /// The search path, as in `PATH`.
    pub path: Option<OsString>,
    /// Whether to look in the folders where distributions put servers.
    pub usual_folders: bool,
}

impl Programs {
    /// As the environment says.
    pub fn from_env() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            postgres: var("VAULTLAB_POSTGRES_BIN").map(Into::into),
            mysql: var("VAULTLAB_MYSQL_BIN").map(Into::into),
            vault: var("VAULTLAB_VAULT_BIN").map(Into::into),
            vaultlab: var("VAULTLAB_BIN").map(Into::into),
            path: var("PATH"),
            usual_folders: true,
        }
    }

    /// Existing files called one of `names`, best first, each once.
    fn candidates(&self, given: Option<&PathBuf>, names: &[&str], usual: &[&str]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut add = |path: PathBuf| {
            // A distribution's wrapper or link stands for what it leads to.
            let path = path.canonicalize().unwrap_or(path);
            if path.is_file() && !found.contains(&path) {
                found.push(path);
            }
        };
        if let Some(given) = given {
            if given.is_dir() {
                for name in names {
                    add(given.join(name));
                }
            } else {
                add(given.clone());
            }
            return found;
        }
        for folder in self.path.iter().flat_map(std::env::split_paths) {
            for name in names {
                add(folder.join(name));
            }
        }
        if self.usual_folders {
            for folder in usual.iter().flat_map(|pattern| matching(pattern)) {
                for name in names {
                    add(folder.join(name));
                }
            }
        }
        found
    }
}

/// Existing folders that match a pattern with at most one `*`, highest version first.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_by_key(|name| Reverse(numbers(&name[prefix.len()..])));
    names.iter().map(|name| PathBuf::from(format!("{parent}/{name}{after}"))).collect()
}

/// The numbers in a version text: `10.11.6-MariaDB` is 10, 11, 6.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    let end = version
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or_default();
    end.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Whether `version` is what a lab file means by `wanted`: `1.20` means every 1.20.x.
fn fits(version: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| numbers(version).starts_with(&numbers(wanted)))
}

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostgresProgram {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    /// As in `15.10`.
    pub version: String,
}

/// A MySQL or MariaDB server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MysqlProgram {
    pub server: PathBuf,
    pub mariadb: bool,
    /// As in `10.11.6-MariaDB`.
    pub version: String,
}

impl MysqlProgram {
    /// Name and version, as in `MariaDB 10.11.6`.
    pub fn product(&self) -> String {
        if !self.mariadb {
            return format!("MySQL {}", self.version);
        }
        let numbers: Vec<String> = numbers(&self.version).iter().map(u32::to_string).collect();
        format!("MariaDB {}", numbers.join("."))
    }

    /// What to do where this one was found and the lab file wants the other flavour.
    fn instead_of(&self, wanted: MysqlFlavour) -> String {
        let install = match wanted {
            MysqlFlavour::Mysql => {
                "install MySQL's own (mysql-community-server, https://dev.mysql.com/downloads) and name it in VAULTLAB_MYSQL_BIN"
            }
            _ => install_hint(ServiceKind::Mysql),
        };
        let flavour = if self.mariadb { "mariadb" } else { "mysql" };
        let (product, server) = (self.product(), self.server.display());
        format!("found {product} ({server}): write `flavour: {flavour}`, or {install}")
    }
}

/// A Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VaultProgram {
    pub program: PathBuf,
    /// Never [`Flavour::Auto`].
    pub flavour: Flavour,
    pub version: String,
}

impl VaultProgram {
    /// This one, if it is of the version that the lab asks for.
    fn of_version(self, service: &str, spec: &VaultSpec) -> Result<Self, RuntimeError> {
        if fits(&self.version, spec.version.as_deref()) {
            return Ok(self);
        }
        let what = if self.flavour == Flavour::Embedded { "its embedded server" } else { "it" };
        let wanted = spec.version.as_deref().unwrap_or_default();
        let cause = format!("{what} is version {}, the lab asks for {wanted}", self.version);
        Err(unusable_program(service, &self.program, cause))
    }
}

impl Programs {
    /// The first PostgreSQL 14 or newer that has its `initdb` beside it.
    pub(super) async fn postgres(&self, service: &str) -> Result<PostgresProgram, RuntimeError> {
        const OLDEST: u32 = 14;
        let mut unusable = None;
        for postgres in self.candidates(self.postgres.as_ref(), &["postgres"], POSTGRES_FOLDERS) {
            let refuse = |cause: String| unusable_program(service, &postgres, cause);
            let initdb = postgres.with_file_name("initdb");
            if !initdb.is_file() {
                unusable.get_or_insert(refuse(format!("{} is not there", initdb.display())));
                continue;
            }
            match first_line(&postgres, "--version").await {
                // `postgres (PostgreSQL) 15.10 (Debian 15.10-0+deb12u1)`
                Ok(line) => match line.split("(PostgreSQL)").nth(1).and_then(|v| v.split_whitespace().next())
                {
                    Some(v) if numbers(v).first().is_some_and(|major| *major >= OLDEST) => {
                        return Ok(PostgresProgram { initdb, version: v.to_owned(), postgres });
                    }
                    Some(v) => {
                        unusable
                            .get_or_insert(refuse(format!("it is version {v}; 14 is the oldest that works")));
                    }
                    None => {
                        unusable.get_or_insert(refuse(format!("it says {line:?} of its version")));
                    }
                },
                Err(cause) => {
                    unusable.get_or_insert(refuse(cause));
                }
            }
        }
        Err(unusable.unwrap_or_else(|| {
            missing(service, ServiceKind::Postgres, "PostgreSQL server", self.postgres.as_ref())
        }))
    }

    /// The first MariaDB 10.5+ or MySQL 8+ of the flavour that is wanted.
    pub(super) async fn mysql(
        &self,
        service: &str,
        wanted: MysqlFlavour,
    ) -> Result<MysqlProgram, RuntimeError> {
        let (mut unusable, mut other) = (None, None);
        for server in self.candidates(self.mysql.as_ref(), &["mariadbd", "mysqld"], MYSQL_FOLDERS) {
            match first_line(&server, "--version").await.and_then(|line| mysql_version(&line)) {
                Ok((mariadb, version)) => {
                    let flavour = if mariadb { MysqlFlavour::Mariadb } else { MysqlFlavour::Mysql };
                    if wanted == MysqlFlavour::Auto || wanted == flavour {
                        return Ok(MysqlProgram { server, mariadb, version });
                    }
                    other.get_or_insert(MysqlProgram { server, mariadb, version });
                }
                Err(cause) => {
                    unusable.get_or_insert(unusable_program(service, &server, cause));
                }
            }
        }
        let what = match wanted {
            MysqlFlavour::Auto => "MySQL or MariaDB server",
            MysqlFlavour::Mysql => "MySQL server",
            MysqlFlavour::Mariadb => "MariaDB server",
        };
        Err(unusable.unwrap_or_else(|| match other {
            Some(other) => RuntimeError::ProgramMissing {
                service: service.into(),
                what: what.into(),
                hint: other.instead_of(wanted),
            },
            None => missing(service, ServiceKind::Mysql, what, self.mysql.as_ref()),
        }))
    }

    /// The Vault that the lab asks for: with [`Flavour::Auto`] the one that is named, else the first
    /// real one that fits, else the embedded server.
    pub(super) async fn vault(&self, service: &str, spec: &VaultSpec) -> Result<VaultProgram, RuntimeError> {
        if spec.flavour == Flavour::Embedded {
            return self.embedded(service).and_then(|found| found.of_version(service, spec));
        }
        let mut unusable = None;
        for program in self.candidates(self.vault.as_ref(), &["vault", "bao"], VAULT_FOLDERS) {
            match first_line(&program, "version").await.and_then(|line| vault_version(&line)) {
                Ok((flavour, version)) => {
                    if spec.flavour != Flavour::Auto && spec.flavour != flavour {
                        continue;
                    }
                    match (VaultProgram { program, flavour, version }).of_version(service, spec) {
                        Ok(found) => return Ok(found),
                        Err(error) => drop(unusable.get_or_insert(error)),
                    }
                }
                Err(cause) => {
                    unusable.get_or_insert(unusable_program(service, &program, cause));
                }
            }
        }
        // A program that was named and does not do is an error, never replaced silently.
        if spec.flavour == Flavour::Auto && self.vault.is_none() {
            let embedded = self.embedded(service).and_then(|found| found.of_version(service, spec));
            return embedded.map_err(|error| unusable.unwrap_or(error));
        }
        let what = match spec.flavour {
            Flavour::Vault => "HashiCorp Vault",
            Flavour::OpenBao => "OpenBao",
            _ => "Vault",
        };
        Err(unusable.unwrap_or_else(|| missing(service, ServiceKind::Vault, what, self.vault.as_ref())))
    }

    /// This program, or the `vaultlab` that stands for it.
    fn embedded(&self, service: &str) -> Result<VaultProgram, RuntimeError> {
        let found = |program: PathBuf| VaultProgram {
            program,
            flavour: Flavour::Embedded,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        if let Some(named) = &self.vaultlab {
            if !named.is_file() {
                return Err(unusable_program(service, named, "there is no such file".into()));
            }
            return Ok(found(named.clone()));
        }
        let own = std::env::current_exe().ok();
        let called_vaultlab = |path: &&PathBuf| path.file_name().is_some_and(|name| name == "vaultlab");
        if let Some(own) = own.as_ref().filter(called_vaultlab) {
            return Ok(found(own.clone()));
        }
        // A test program lies in `target/…/deps`, below the program it tests.
        let beside = own.iter().flat_map(|own| own.ancestors().skip(1).take(2)).map(|f| f.join("vaultlab"));
        let in_path = self.path.iter().flat_map(std::env::split_paths).map(|f| f.join("vaultlab"));
        beside.chain(in_path).find(|path| path.is_file()).map(found).ok_or_else(|| {
            RuntimeError::ProgramMissing {
                service: service.into(),
                what: "program `vaultlab`, which holds the embedded server".into(),
                hint: "name it in VAULTLAB_BIN".into(),
            }
        })
    }
}

fn missing(service: &str, kind: ServiceKind, what: &str, named: Option<&PathBuf>) -> RuntimeError {
    let hint = match named {
        Some(path) => format!("none is at {}, which the environment names", path.display()),
        None => install_hint(kind).to_owned(),
    };
    RuntimeError::ProgramMissing { service: service.into(), what: what.into(), hint }
}

fn unusable_program(service: &str, program: &Path, cause: String) -> RuntimeError {
    RuntimeError::ProgramUnusable { service: service.into(), program: program.into(), cause }
}

/// The first line a program prints when called with one argument.
async fn first_line(program: &Path, argument: &str) -> Result<String, String> {
    let run =
        tokio::process::Command::new(program).arg(argument).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(20), run)
        .await
        .map_err(|_| format!("`{argument}` does not end"))?
        .map_err(|e| format!("it does not run: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) if output.status.success() => Ok(line.to_owned()),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
            Err(format!("`{argument}` fails ({}): {said}", super::spawn::describe(output.status)))
        }
    }
}

/// Flavour and version out of `mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu …` or
/// `/usr/sbin/mysqld  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)`.
fn mysql_version(line: &str) -> Result<(bool, String), String> {
    let version = line
        .split_whitespace()
        .skip_while(|word| *word != "Ver")
        .nth(1)
        .ok_or_else(|| format!("it says {line:?} of its version"))?;
    let mariadb = line.contains("MariaDB");
    let oldest: &[u32] = if mariadb { &[10, 5] } else { &[8, 0] };
    if numbers(version).as_slice() < oldest {
        return Err(format!("it is version {version}; MySQL 8.0 and MariaDB 10.5 are the oldest that work"));
    }
    Ok((mariadb, version.to_owned()))
}

/// Flavour and version out of `Vault v1.20.0 (…), built …` or `OpenBao v2.4.1, built …`: without a revision
/// there are no brackets.
fn vault_version(line: &str) -> Result<(Flavour, String), String> {
    let mut words = line.split_whitespace();
    let flavour = match words.next() {
        Some("Vault") => Flavour::Vault,
        Some("OpenBao") => Flavour::OpenBao,
        _ => return Err(format!("it says {line:?} of its version: it is neither Vault nor OpenBao")),
    };
    let version = words.next().unwrap_or_default().trim_start_matches('v').trim_end_matches(',');
    Ok((flavour, version.to_owned()))
}

#[cfg(test)]
mod tests;
