//! Databases and their roles.

use std::time::Duration;

use super::sql::{Use, role_statements, script};
use super::{Input, declared, lookup, port, ttl_pair};
use crate::spec::decode::{At, Problems};
use crate::spec::load::Node;
use crate::spec::model::{
    ADMIN_USER, DatabaseSpec, Engine, MysqlFlavour, Proof, RoleSpec, RootRotation, SqlText, StaticRoleSpec,
};
use crate::spec::names;
use crate::spec::wire::{self, Database, LabFile, Role, Rotation, StaticRole};

/// What the account `vault` may do where the lab file says nothing.
///
/// The shipped labs name the privileges they need; other schemas may need any. Vault's default
/// revocation statements, too, take the right to revoke what the account was granted.
const POSTGRES_ADMIN: &str = r#"ALTER ROLE "{{name}}" CREATEROLE;
GRANT pg_signal_backend TO "{{name}}";
GRANT ALL ON DATABASE "{{database}}" TO "{{name}}" WITH GRANT OPTION;
GRANT ALL ON SCHEMA public TO "{{name}}" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO "{{name}}" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "{{name}}" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO "{{name}}" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO "{{name}}" WITH GRANT OPTION;
"#;
const MYSQL_ADMIN: &str = "GRANT CREATE USER ON *.* TO '{{name}}'@'%';
GRANT ALL PRIVILEGES ON `{{database}}`.* TO '{{name}}'@'%' WITH GRANT OPTION;
";

const DEFAULT_TTL: Duration = Duration::from_hours(1);
const MAX_TTL: Duration = Duration::from_hours(24);
const ROTATION_PERIOD: Duration = Duration::from_hours(24);

/// Vault looks for due rotations that often.
const SHORTEST_PERIOD: Duration = Duration::from_secs(5);
const SHORTEST_ROTATION: Duration = Duration::from_secs(1);

/// The databases, still without their roles.
pub(super) fn resolve(file: &LabFile, input: &Input<'_>, problems: &mut Problems<'_>) -> Vec<DatabaseSpec> {
    file.databases.iter().filter_map(|given| database(given, input, problems)).collect()
}

fn database(given: &Database, input: &Input<'_>, problems: &mut Problems<'_>) -> Option<DatabaseSpec> {
    if given.name.value.0 == "vault" {
        let help = format!("write `{}`", given.engine.value.as_str());
        problems.add_help(given.name.place, "the name `vault` belongs to the Vault", help);
    }
    let engine = match (given.engine.value, &given.flavour) {
        (Engine::Mysql(_), Some(flavour)) => Engine::Mysql(flavour.value),
        (Engine::Postgres, Some(flavour)) if flavour.value != MysqlFlavour::Auto => {
            let message = "`flavour` is for `engine: mysql` only";
            problems.add_help(flavour.place, message, "remove it, or write `engine: mysql`");
            Engine::Postgres
        }
        (engine, _) => engine,
    };
    let database = if let Some(name) = &given.database {
        name.value.0.clone()
    } else {
        let name = given.name.value.0.replace('-', "_");
        if let Err((message, _)) = names::check_database(&name) {
            let help = "the database takes the name of the server; add `database: app`";
            problems.add_help(given.name.place, message, help);
        }
        name
    };

    let mut scripts = |list: &[_]| -> Vec<SqlText> {
        list.iter().filter_map(|sql| script(sql, engine, input, problems)).collect()
    };
    let schema = scripts(&given.schema);
    let seed = scripts(&given.seed);
    let admin = match &given.admin {
        Some(sql) => script(sql, engine, input, problems),
        None => Some(SqlText {
            origin: format!("the built-in admin.sql for {}", engine.as_str()),
            text: if engine == Engine::Postgres { POSTGRES_ADMIN } else { MYSQL_ADMIN }.to_owned(),
        }),
    };
    Some(DatabaseSpec {
        name: given.name.value.0.clone(),
        engine,
        image: given.image.as_ref().map(|image| image.value.0.clone()),
        port: port(given.port.as_ref()),
        mount: given.mount.as_ref().map_or("database", |mount| &mount.value.0).to_owned(),
        admin: admin.map(|sql| filled_in(&sql, ADMIN_USER, &database))?,
        database,
        schema,
        seed,
        roles: Vec::new(),
        static_roles: Vec::new(),
        break_glass: given.break_glass.is_some_and(|switch| switch.0),
        root_rotation: rotation(given, problems),
    })
}

fn filled_in(sql: &SqlText, account: &str, database: &str) -> SqlText {
    let text = sql.text.replace("{{name}}", account).replace("{{database}}", database);
    SqlText { origin: sql.origin.clone(), text }
}

fn rotation(given: &Database, problems: &mut Problems<'_>) -> RootRotation {
    match given.root_rotation.as_ref().map(|rotation| &rotation.value) {
        None => RootRotation::default(),
        Some(Rotation::Switch(switch)) if switch.0 => RootRotation::Once,
        Some(Rotation::Switch(_)) => RootRotation::Off,
        Some(Rotation::Every(rotation)) => {
            let every = rotation.every.value.0;
            if every < SHORTEST_ROTATION {
                let message = "the root password cannot be replaced more often than every second";
                problems.add_help(rotation.every.place, message, "write 1s or more");
            }
            RootRotation::Every(every)
        }
    }
}

/// Reads the roles and puts each into its database.
pub(super) fn resolve_roles(
    file: &LabFile,
    root: &Node,
    input: &Input<'_>,
    databases: &mut [DatabaseSpec],
    problems: &mut Problems<'_>,
) {
    let declared = declared(root, "databases");
    for given in &file.roles {
        let database = database_of(&given.database, &declared, databases, problems);
        // The engine only decides how comments look; without one the other checks still hold.
        let engine = database.as_ref().map_or(Engine::Postgres, |database| database.engine);
        let role = role(given, engine, input, problems);
        if let (Some(database), Some(role)) = (database, role) {
            database.roles.push(role);
        }
    }
}

/// The database a role names; that it is not there, or not usable, has been told.
fn database_of<'a>(
    wanted: &At<String>,
    declared: &[At<String>],
    databases: &'a mut [DatabaseSpec],
    problems: &mut Problems<'_>,
) -> Option<&'a mut DatabaseSpec> {
    if let Err(help) = lookup(&wanted.value, declared, "databases") {
        problems.add_help(wanted.place, format!("there is no database `{}`", wanted.value), help);
    }
    databases.iter_mut().find(|database| database.name == wanted.value)
}

/// Reads the static roles and puts each into its database.
pub(super) fn resolve_static_roles(
    file: &LabFile,
    root: &Node,
    input: &Input<'_>,
    databases: &mut [DatabaseSpec],
    problems: &mut Problems<'_>,
) {
    let declared = declared(root, "databases");
    for given in &file.static_roles {
        let Some(database) = database_of(&given.database, &declared, databases, problems) else { continue };
        if let Some(other) =
            database.static_roles.iter().find(|other| other.username == given.username.value.0)
        {
            let message = format!("two static roles have the account `{}`", other.username);
            let help = format!("the other is `{}`; each would replace the other's password", other.name);
            problems.add_help(given.username.place, message, help);
        }
        if let Some(role) = static_role(given, database, input, problems) {
            database.static_roles.push(role);
        }
    }
}

fn static_role(
    given: &StaticRole,
    database: &DatabaseSpec,
    input: &Input<'_>,
    problems: &mut Problems<'_>,
) -> Option<StaticRoleSpec> {
    let rotation_period = match &given.rotation_period {
        None => ROTATION_PERIOD,
        Some(period) => {
            if period.value.0 < SHORTEST_PERIOD {
                let message = "Vault does not rotate a static role more often than every 5 seconds";
                problems.add_help(period.place, message, "write 5s or more");
            }
            period.value.0
        }
    };
    let username = given.username.value.0.clone();
    let grants = match &given.grants {
        Some(sql) => {
            Some(filled_in(&script(sql, database.engine, input, problems)?, &username, &database.database))
        }
        None => None,
    };
    let rotation_statements = match &given.rotation_statements {
        Some(sql) => Some(role_statements(sql, Use::Rotate, database.engine, input, problems)?),
        None => None,
    };
    Some(StaticRoleSpec {
        name: given.name.value.0.clone(),
        username,
        rotation_period,
        grants,
        rotation_statements,
        proof: proof(given.proof.as_ref()),
    })
}

fn proof(given: Option<&wire::Proof>) -> Proof {
    given.map_or_else(Proof::default, |proof| Proof {
        allows: proof.allows.clone(),
        refuses: proof.refuses.clone(),
    })
}

fn role(given: &Role, engine: Engine, input: &Input<'_>, problems: &mut Problems<'_>) -> Option<RoleSpec> {
    let (default_ttl, max_ttl) = ttl_pair(
        given.default_ttl.as_ref(),
        given.max_ttl.as_ref(),
        (DEFAULT_TTL, MAX_TTL),
        ("default_ttl", "max_ttl"),
        problems,
    );
    let mut optional = |sql: &Option<_>, usage| match sql {
        Some(sql) => role_statements(sql, usage, engine, input, problems).map(Some),
        None => Some(None),
    };
    let revocation_statements = optional(&given.revocation_statements, Use::Revoke);
    let renew_statements = optional(&given.renew_statements, Use::Renew);
    let rollback_statements = optional(&given.rollback_statements, Use::Revoke);
    let creation = role_statements(&given.creation_statements, Use::Create, engine, input, problems);
    Some(RoleSpec {
        name: given.name.value.0.clone(),
        creation_statements: creation?,
        revocation_statements: revocation_statements?,
        renew_statements: renew_statements?,
        rollback_statements: rollback_statements?,
        default_ttl,
        max_ttl,
        proof: proof(given.proof.as_ref()),
    })
}
