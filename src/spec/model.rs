//! The lab as plain, checked values: what everything after loading works with.
//!
//! A [`LabSpec`] holds no path that still has to be read and no name that still has to be resolved:
//! SQL and policies are text, durations are durations, every role sits in its database, and all the
//! rules of the lab file hold (see [`super::load`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::state::Protection;

/// The account through which Vault reaches every database.
///
/// Whoever starts a database creates it *before* the schema runs, with a password of its own and
/// the privileges of [`DatabaseSpec::admin`], so a schema may say `GRANT … TO vault`.
/// On MySQL and MariaDB it is `'vault'@'%'`.
pub const ADMIN_USER: &str = "vault";

/// The account that the lab keeps outside Vault where [`DatabaseSpec::break_glass`] asks for it.
pub const BREAK_GLASS_USER: &str = "break_glass";

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabSpec {
    /// Name of the lab: lowercase letters, digits and `-`, at most 40 characters.
    pub name: String,
    /// Where the services run.
    pub runtime: RuntimeChoice,
    /// The services for which the lab file says another place, by name; never [`RuntimeChoice::Auto`].
    pub runtimes: BTreeMap<String, RuntimeChoice>,
    /// The Vault.
    pub vault: VaultSpec,
    /// The databases, in the order of the file.
    pub databases: Vec<DatabaseSpec>,
    /// The policies, in the order of the file.
    pub policies: Vec<PolicySpec>,
    /// The AppRoles, in the order of the file.
    pub approles: Vec<AppRoleSpec>,
    /// Whether `up` leaves a keeper behind: secret_ids are replaced before they end, Vault is unsealed.
    pub keeper: bool,
    /// Where the description came from.
    pub origin: Origin,
}

impl LabSpec {
    /// Every role of every database, with its database.
    pub fn roles(&self) -> impl Iterator<Item = (&DatabaseSpec, &RoleSpec)> {
        self.databases.iter().flat_map(|database| database.roles.iter().map(move |role| (database, role)))
    }

    /// Every static role of every database, with its database.
    pub fn static_roles(&self) -> impl Iterator<Item = (&DatabaseSpec, &StaticRoleSpec)> {
        self.databases
            .iter()
            .flat_map(|database| database.static_roles.iter().map(move |role| (database, role)))
    }

    /// The static role of that name and its database; no role has the same name.
    pub fn static_role(&self, name: &str) -> Option<(&DatabaseSpec, &StaticRoleSpec)> {
        self.static_roles().find(|(_, role)| role.name == name)
    }

    /// The path in Vault and the name of everything that credentials are had from: roles, then static
    /// roles.
    pub fn credential_paths(&self) -> impl Iterator<Item = (String, &str)> {
        let dynamic = self.roles().map(|(d, role)| (format!("{}/creds/{}", d.mount, role.name), &*role.name));
        let fixed = self.static_roles().map(|(d, role)| (role.credential_path(d), &*role.name));
        dynamic.chain(fixed)
    }

    /// The role of that name and its database; role names are unique in a lab.
    pub fn role(&self, name: &str) -> Option<(&DatabaseSpec, &RoleSpec)> {
        self.roles().find(|(_, role)| role.name == name)
    }
}

/// Where a lab's description came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A lab file; the path is absolute.
    File(PathBuf),
    /// The lab that is part of the program.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::BuiltIn => f.write_str("the built-in lab"),
        }
    }
}

/// Where the services of a lab run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// Containers when an engine and the images are there, programs of this host otherwise.
    #[default]
    Auto,
    /// Containers.
    Docker,
    /// Programs of this host.
    Process,
}

/// The Vault of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSpec {
    /// Which implementation.
    pub flavour: Flavour,
    /// The version asked for, as written (`1.20`, `2.4.1`); `None` takes what there is.
    pub version: Option<String>,
    /// Container image with tag or digest; `None` follows from flavour and version.
    pub image: Option<String>,
    /// What Vault keeps its data in.
    pub storage: Storage,
    /// Number of unseal keys made at initialisation, 1 to 255.
    pub key_shares: u8,
    /// Number of unseal keys needed to unseal: 1 if there is one key, else 2 to `key_shares`.
    pub key_threshold: u8,
    /// The audit device; `None` runs without one.
    pub audit: Option<AuditSpec>,
    /// Whether the root token stays; otherwise it is revoked at the end of every `up`.
    pub keep_root_token: bool,
    /// How the unseal keys are kept.
    pub key_store: Protection,
    /// Port on 127.0.0.1; `None` takes the service's usual port or, if that is taken, a free one.
    pub port: Option<u16>,
}

/// Which Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// HashiCorp Vault or OpenBao if there is one, the embedded server otherwise.
    #[default]
    Auto,
    /// HashiCorp Vault.
    Vault,
    /// OpenBao.
    OpenBao,
    /// This program's own server.
    Embedded,
}

/// What Vault keeps its data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// Files in the lab's folder (`raft` is used instead where a flavour no longer has it).
    #[default]
    File,
    /// Integrated storage.
    Raft,
    /// Memory: everything is gone when Vault stops.
    Inmem,
}

/// The file audit device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSpec {
    /// Where it is mounted under `sys/audit/`.
    pub path: String,
    /// File name inside the log folder the runtime gives to Vault; never a path.
    pub file: String,
}

/// A database server with one database in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSpec {
    /// Name of the service and of the connection in Vault.
    pub name: String,
    /// Which database system.
    pub engine: Engine,
    /// Container image with tag or digest; `None` takes the engine's default.
    pub image: Option<String>,
    /// Port on 127.0.0.1; `None` takes the engine's usual port or, if that is taken, a free one.
    pub port: Option<u16>,
    /// The database inside the server. It is created empty before [`admin`](Self::admin) runs.
    pub database: String,
    /// Path of the database secrets engine in Vault, without slashes at the ends.
    pub mount: String,
    /// Statements that give [`ADMIN_USER`] its privileges, run by the server's superuser right
    /// after the bare account (with its password, without any privilege) was created.
    /// `{{name}}` and `{{database}}` are already filled in.
    pub admin: SqlText,
    /// Run once, in order, by the server's superuser inside [`database`](Self::database).
    ///
    /// Each text goes to the server as one multi-statement query: for MySQL the client's
    /// `DELIMITER` lines are already resolved.
    pub schema: Vec<SqlText>,
    /// Like [`schema`](Self::schema), after it.
    pub seed: Vec<SqlText>,
    /// The dynamic roles that Vault issues credentials for.
    pub roles: Vec<RoleSpec>,
    /// The accounts that stay, whose passwords Vault replaces.
    pub static_roles: Vec<StaticRoleSpec>,
    /// Whether an account is kept outside Vault, [`BREAK_GLASS_USER`].
    pub break_glass: bool,
    /// Whether and how often Vault replaces the password of [`ADMIN_USER`].
    pub root_rotation: RootRotation,
}

/// A database system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// PostgreSQL 14 or newer.
    Postgres,
    /// MySQL or MariaDB.
    Mysql(MysqlFlavour),
}

impl Engine {
    /// The `scheme` of this engine's URLs, and the folder of its SQL: `postgres` or `mysql`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql(_) => "mysql",
        }
    }
}

/// Which of the two servers that speak MySQL's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MysqlFlavour {
    /// Whichever is there.
    #[default]
    Auto,
    /// MySQL 8 or newer.
    Mysql,
    /// MariaDB.
    Mariadb,
}

/// SQL and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqlText {
    /// File (absolute, or relative inside the built-in lab) or `FILE:LINE` of an inline text;
    /// for messages only.
    pub origin: String,
    /// The statements, separated by `;`. Never blank.
    pub text: String,
}

/// Whether Vault replaces the password of its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootRotation {
    /// Never: the first password stays.
    Off,
    /// Once, when the lab is provisioned.
    #[default]
    Once,
    /// When the lab is provisioned and then at this interval.
    Every(Duration),
}

/// A dynamic role of the database secrets engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// Name in Vault, unique in the lab.
    pub name: String,
    /// Makes an account: `{{name}}`, `{{password}}` and, on PostgreSQL, `{{expiration}}` are
    /// filled in by Vault.
    pub creation_statements: SqlText,
    /// Removes an account; `None` leaves it to Vault's default for the engine.
    pub revocation_statements: Option<SqlText>,
    /// Extends an account; `None` leaves it to Vault's default for the engine.
    pub renew_statements: Option<SqlText>,
    /// Undoes a creation that failed half-way; `None` leaves it to Vault's default for the engine.
    pub rollback_statements: Option<SqlText>,
    /// Lifetime of a credential unless renewed. At least a second, at most `max_ttl`.
    pub default_ttl: Duration,
    /// Longest lifetime of a credential, renewals included.
    pub max_ttl: Duration,
    /// What a fresh credential must and must not be able to do.
    pub proof: Proof,
}

/// A static role of the database secrets engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoleSpec {
    /// Name in Vault, unique in the lab, among dynamic roles too.
    pub name: String,
    /// The account: lowercase letters, digits, `_` and `-`.
    pub username: String,
    /// Time between two rotations, at least 5 s.
    pub rotation_period: Duration,
    /// What the account may do, run by the server's superuser; `{{name}}` and `{{database}}` are filled in.
    pub grants: Option<SqlText>,
    /// Replaces the password; `None` leaves it to Vault's default for the engine.
    pub rotation_statements: Option<SqlText>,
    /// What the account must and must not be able to do.
    pub proof: Proof,
}

impl StaticRoleSpec {
    /// Where in Vault its account and password are.
    pub fn credential_path(&self, database: &DatabaseSpec) -> String {
        format!("{}/static-creds/{}", database.mount, self.name)
    }
}

/// Statements that prove what a credential is worth, each run on its own inside a transaction that
/// is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// Must succeed.
    pub allows: Vec<String>,
    /// The database must refuse these for lack of privilege; any other error is no proof.
    pub refuses: Vec<String>,
}

/// An ACL policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySpec {
    /// Name in Vault, lowercase.
    pub name: String,
    /// HCL, already parsed once without errors.
    pub text: String,
    /// The file it was read from; for messages only.
    pub origin: String,
}

/// A role of the AppRole auth method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRoleSpec {
    /// Name in Vault, lowercase.
    pub name: String,
    /// Names out of [`LabSpec::policies`].
    pub policies: Vec<String>,
    /// Lifetime of a login's token unless renewed.
    pub token_ttl: Duration,
    /// Longest lifetime of a token. Database credentials die with the token that asked for them.
    pub token_max_ttl: Duration,
    /// Lifetime of a secret_id; zero never expires.
    pub secret_id_ttl: Duration,
    /// Logins per secret_id; zero is without limit.
    pub secret_id_num_uses: u32,
    /// Where role_id and secret_id are written for the application.
    pub deliver: Delivery,
}

/// How an application gets its role_id and secret_id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The files.
    pub place: Place,
    /// Whose the files are; `None` leaves them to whoever writes them.
    pub owner: Option<Owner>,
    /// The secret_id's file holds a wrapping token that lives so long; `None`: the secret_id itself.
    pub wrap_ttl: Option<Duration>,
}

/// Where the role_id and the secret_id of an AppRole are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// `delivery/<approle>/role_id` and `…/secret_id` in the lab's state folder.
    #[default]
    LabState,
    /// Two files; the paths are absolute and differ.
    Files {
        /// File of the role_id.
        role_id: PathBuf,
        /// File of the secret_id.
        secret_id: PathBuf,
    },
}

/// A user and a group of this host, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Delivery {
    /// The two files, `role_id` first, for the AppRole of this name in a lab whose state is kept
    /// in `state_dir`.
    pub fn paths(&self, approle: &str, state_dir: &Path) -> (PathBuf, PathBuf) {
        match &self.place {
            Place::LabState => {
                let dir = state_dir.join("delivery").join(approle);
                (dir.join("role_id"), dir.join("secret_id"))
            }
            Place::Files { role_id, secret_id } => (role_id.clone(), secret_id.clone()),
        }
    }
}
