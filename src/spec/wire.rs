//! The lab file as it is written, version 1: the keys, their types and their documentation.
//!
//! Each mapping is declared once; its reader, the list of its known keys and its part of the JSON
//! schema come out of that declaration. Leaving a key out and leaving it empty are the same.

use schemars::JsonSchema;

use super::decode::{At, Decode, Fields, Needed, Problems};
use super::load::Node;
use super::model::{Engine, Flavour, MysqlFlavour, RuntimeChoice, Storage};
use super::names::{AccountName, DatabaseName, Image, MountPath, ServiceName, VaultName};
use super::values::{ApiVersion, Number, Protection, Switch, Ttl, Version};

/// Declares mappings of the lab file. The text after the name is what messages call one.
macro_rules! mappings {
    ($(
        $(#[$attr:meta])*
        $name:ident = $what:literal {
            $( $(#[$field_attr:meta])* $field:ident $(as $key:literal)? : $type:ty ),* $(,)?
        }
    )*) => {$(
        $(#[$attr])*
        #[derive(Debug, Clone, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[allow(clippy::struct_field_names, reason = "the keys are named for the lab file")]
        pub(super) struct $name {
            $( $(#[$field_attr])* $(#[schemars(rename = $key)])? pub $field: $type, )*
        }

        impl Decode for $name {
            fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
                const KEYS: &[&str] = &[$( mappings!(@key $field $($key)?) ),*];
                let fields = Fields::open(node, $what, KEYS, problems)?;
                // Everything is read before anything is given up.
                $( let $field = fields
                    .read(mappings!(@key $field $($key)?), problems)
                    .or_else(<$type as Decode>::unreadable); )*
                Some(Self { $( $field: $field? ),* })
            }
        }
    )*};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

mappings! {
    /// A vaultlab lab: one Vault, the databases it issues credentials for, and who may ask for
    /// them. Paths are relative to the lab file.
    LabFile = "the lab file" {
        /// Version of this format: `vaultlab/v1`.
        api_version as "apiVersion": ApiVersion,
        /// Name of the lab: lowercase letters, digits and `-`. Default: the folder's name.
        name: Option<At<ServiceName>>,
        /// Where the services run: `auto` (default), `docker` or `process`.
        runtime: Option<RuntimeChoice>,
        /// The Vault. Left out, all its defaults hold.
        vault: Option<Vault>,
        /// Whether `up` leaves a keeper behind, which replaces secret_ids before they end, unseals
        /// Vault, and starts services again that die: `on` (default) or `off`.
        keeper: Option<Switch>,
        /// The databases.
        #[schemars(default)]
        databases: Vec<Database>,
        /// The dynamic roles: what Vault issues credentials for.
        #[schemars(default)]
        roles: Vec<Role>,
        /// The static roles: accounts that stay, with passwords that Vault replaces.
        #[schemars(default)]
        static_roles: Vec<StaticRole>,
        /// The ACL policies.
        #[schemars(default)]
        policies: Vec<Policy>,
        /// The AppRoles: applications that log in to Vault.
        #[schemars(default)]
        approles: Vec<AppRole>,
    }

    /// The Vault of the lab.
    Vault = "`vault`" {
        /// Where it runs, when that is not what the lab's own `runtime` says: `docker` or `process`.
        runtime: Option<RuntimeChoice>,
        /// `auto` (default: Vault or OpenBao if there is one, else the embedded server), `vault`,
        /// `openbao` or `embedded`.
        flavour: Option<Flavour>,
        /// The version wanted, such as `1.20`. Default: what there is.
        version: Option<At<Version>>,
        /// Container image with tag or digest. Default: `hashicorp/vault:1.20` or `openbao/openbao:2.4`.
        image: Option<At<Image>>,
        /// `file` (default), `raft` or `inmem`. With `inmem` everything is gone when Vault stops.
        storage: Option<Storage>,
        /// Number of unseal keys, 1 to 255. Default: 5.
        key_shares: Option<At<Number<1, 255>>>,
        /// Number of unseal keys needed to unseal. Default: more than half of `key_shares`.
        key_threshold: Option<At<Number<1, 255>>>,
        /// The audit device: `on` (default), `off`, or where it is.
        audit: Option<Audit>,
        /// Whether the root token is kept, and used by `env` and the other commands: `off` (default)
        /// or `on`. Off, it is revoked when provisioning is done; commands have a token that may do
        /// what they need, and `exec --root` makes one through the unseal keys for as long as its
        /// program runs.
        keep_root_token: Option<Switch>,
        /// How the unseal keys are kept: `plain` (default) in a file that only its owner may read,
        /// `passphrase` encrypts it with one, `{recipients: [age1...]}` to the holders of age identities.
        /// The passphrase is taken from the file that VAULTLAB_KEY_PASSPHRASE_FILE names, from
        /// VAULTLAB_KEY_PASSPHRASE, or asked for. The next `up` converts what is there.
        key_store: Option<KeyStore>,
        /// Port on 127.0.0.1. Left out, 8200 or, if that is taken, a free one.
        port: Option<At<Number<1, 65535>>>,
    }

    /// A file audit device.
    AuditDevice = "`audit`" {
        /// Where the device is mounted under `sys/audit/`. Default: `file`.
        path: Option<VaultName>,
        /// Name of the log file, in the folder of Vault's logs. Default: `audit.log`.
        file: Option<VaultName>,
    }

    /// A key store encrypted with age to recipients.
    AgeRecipients = "`key_store`" {
        /// Who can open it, as `age-keygen` prints them.
        recipients: At<Vec<At<String>>>,
        /// File with an identity of one of them, for `up`. Default: the one that
        /// VAULTLAB_KEY_IDENTITY_FILE names.
        identity: Option<At<String>>,
    }

    /// A database server with one database in it.
    Database = "a database" {
        /// Name of the service and of the connection in Vault.
        name: Needed<At<ServiceName>>,
        /// `postgres` or `mysql` (MySQL or MariaDB).
        engine: Needed<At<Engine>>,
        /// Where it runs, when that is not what the lab's own `runtime` says: `docker` or `process`.
        /// On the host it also listens on the network of a Vault in a container, for Vault alone.
        runtime: Option<RuntimeChoice>,
        /// For `engine: mysql` only: `auto` (default), `mysql` or `mariadb`.
        flavour: Option<At<MysqlFlavour>>,
        /// Container image with tag or digest. Default: `postgres:17`, `mysql:8.4` or `mariadb:11.4`.
        image: Option<At<Image>>,
        /// Port on 127.0.0.1. Left out, the engine's own or, if that is taken, a free one.
        port: Option<At<Number<1, 65535>>>,
        /// The database inside the server; it is created. Default: the name with `_` for `-`.
        database: Option<At<DatabaseName>>,
        /// Path of the database secrets engine in Vault. Default: `database`.
        mount: Option<At<MountPath>>,
        /// What Vault's own account `vault` may do, run by the server's superuser before the
        /// schema. `{{name}}` is the account, `{{database}}` the database. Default: make and drop
        /// accounts and, on MySQL, hand on every privilege on the database.
        admin: Option<At<Sql>>,
        /// Run once in the database, in this order, by the server's superuser. May grant to
        /// `vault`.
        #[schemars(default)]
        schema: Vec<At<Sql>>,
        /// Rows to start with, after the schema.
        #[schemars(default)]
        seed: Vec<At<Sql>>,
        /// Whether the lab keeps an account for emergencies, `break_glass`, with everything the superuser
        /// may, made directly in the database: `off` (default) or `on`. It is the way in when Vault's
        /// account is lost; `vaultlab creds --break-glass NAME` shows it, and the lab uses it for repairs.
        break_glass: Option<Switch>,
        /// Whether Vault replaces the password of its own account when the lab is set up, so that
        /// nobody else knows it: `on` (default), `off`, or `{every: 1h}` to repeat it.
        root_rotation: Option<At<Rotation>>,
    }

    /// How often the root password is replaced.
    RotationEvery = "`root_rotation`" {
        /// Interval, at least 1s. The lab's keeper repeats it.
        every: At<Ttl>,
    }

    /// A dynamic role of the database secrets engine.
    Role = "a role" {
        /// Name in Vault, unique in the lab.
        name: Needed<At<VaultName>>,
        /// The database the accounts are made in: the name of one of `databases`.
        database: Needed<At<String>>,
        /// Makes an account. Vault fills in `{{name}}`, `{{password}}` and `{{expiration}}`.
        creation_statements: Needed<At<Sql>>,
        /// Removes an account (`{{name}}`). Must be right when it is run twice. Default: Vault's
        /// own, which ends no sessions and stumbles over objects the account owns.
        revocation_statements: Option<At<Sql>>,
        /// Extends an account (`{{name}}`, `{{expiration}}`). Default: Vault's own.
        renew_statements: Option<At<Sql>>,
        /// Undoes a creation that failed half-way (`{{name}}`). Default: Vault's own.
        rollback_statements: Option<At<Sql>>,
        /// Lifetime of a credential unless it is renewed. Default: 1h.
        default_ttl: Option<At<Ttl>>,
        /// Longest lifetime of a credential. Default: 24h.
        max_ttl: Option<At<Ttl>>,
        /// Statements that prove what a credential can do.
        proof: Option<Proof>,
    }

    /// A static role of the database secrets engine: one account, made by `up`, that keeps its name while
    /// Vault replaces its password. It has no lease; `database/static-creds/NAME` has the password.
    StaticRole = "a static role" {
        /// Name in Vault, unique in the lab, among `roles` too.
        name: Needed<At<VaultName>>,
        /// The database the account is in: the name of one of `databases`.
        database: Needed<At<String>>,
        /// The account. It is made when it is not there.
        username: Needed<At<AccountName>>,
        /// Time between two rotations, at least 5s. Default: 24h.
        rotation_period: Option<At<Ttl>>,
        /// What the account may do, run by the server's superuser when the account is made, and again when
        /// this text has changed: what an earlier one granted stays unless it is revoked here.
        /// `{{name}}` is the account, `{{database}}` the database. Default: log in, and no more.
        grants: Option<At<Sql>>,
        /// Replaces the password (`{{name}}`, `{{password}}`). Default: Vault's own.
        rotation_statements: Option<At<Sql>>,
        /// Statements that prove what the account can do.
        proof: Option<Proof>,
    }

    /// Statements run with a fresh credential, each in a transaction that is rolled back.
    Proof = "`proof`" {
        /// Statements that must succeed.
        #[schemars(default)]
        allows: Vec<String>,
        /// Statements that the database must refuse for lack of privilege.
        #[schemars(default)]
        refuses: Vec<String>,
    }

    /// An ACL policy, from a file or written here.
    Policy = "a policy" {
        /// Name in Vault.
        name: Needed<At<VaultName>>,
        /// File with the policy in HCL or JSON.
        file: Option<At<String>>,
        /// The policy itself, instead of `file`.
        hcl: Option<At<String>>,
    }

    /// An application that logs in with a role_id and a secret_id.
    AppRole = "an AppRole" {
        /// Name in Vault.
        name: Needed<At<VaultName>>,
        /// What it may do: names of `policies`.
        policies: Needed<At<Vec<At<String>>>>,
        /// Lifetime of a token unless it is renewed. Database credentials die with the token that
        /// asked for them: make it longer than their `default_ttl`. Default: 2h.
        token_ttl: Option<At<Ttl>>,
        /// Longest lifetime of a token; longer than the `max_ttl` of the credentials. Default: 48h.
        token_max_ttl: Option<At<Ttl>>,
        /// Lifetime of a secret_id; it is replaced at a third of it. 0 never expires. Default: 1h.
        secret_id_ttl: Option<At<Ttl>>,
        /// Logins per secret_id; 0 is without limit. Default: 0.
        secret_id_num_uses: Option<At<Number<0, 1_000_000>>>,
        /// Where the two are written. Default: `delivery/<name>/` in the lab's state folder.
        deliver: Option<Deliver>,
    }

    /// Files that an application reads (0600), and how the secret_id is in its file.
    Deliver = "`deliver`" {
        /// File for the role_id. Needs `secret_id`. Default: `delivery/<name>/role_id` in the lab's state
        /// folder.
        role_id: Option<At<String>>,
        /// File for the secret_id. Needs `role_id`.
        secret_id: Option<At<String>>,
        /// Whose the files are, and the folders made for them: `user`, `user:group`, or numbers. Needs
        /// root, and files outside of the lab's state folder. Default: whoever runs `up`.
        owner: Option<At<String>>,
        /// Response wrapping: the file holds a wrapping token that lives so long and can be unwrapped once,
        /// for a secret_id. The lab's keeper replaces it when it was unwrapped, and before it ends. What was
        /// unwrapped is good until the next one is: for one application. For a Vault Agent with
        /// `secret_id_response_wrapping_path`.
        wrap_ttl: Option<At<Ttl>>,
    }

    /// SQL written in the lab file.
    InlineSql = "SQL" {
        /// The statements.
        sql: At<String>,
    }
}

/// SQL: the name of a file, or the statements as `{sql: "..."}`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Sql {
    /// Name of a file.
    File(String),
    /// The statements.
    Inline(InlineSql),
}

/// `plain`, `passphrase`, or recipients.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum KeyStore {
    /// `plain` or `passphrase`.
    Word(Protection),
    /// Encrypted to recipients.
    Recipients(AgeRecipients),
}

/// `on`, `off`, or a file audit device.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Audit {
    /// `on` or `off`.
    Switch(Switch),
    /// A file audit device.
    Device(AuditDevice),
}

/// `on`, `off`, or `{every: DURATION}`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Rotation {
    /// `on` or `off`.
    Switch(Switch),
    /// Repeatedly.
    Every(RotationEvery),
}
