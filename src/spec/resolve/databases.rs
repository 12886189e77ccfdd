//! Databases and their roles.

use std::time::Duration;

use super::sql::{Use, role_statements, script};
use super::{Input, check_declared, declared, port, ttl_pair};
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
    let engine = engine(given, problems);
    if let Some(name) = given.name.as_ref().filter(|name| name.value.0 == "vault") {
        let help = format!("write `{}`", engine.map_or("db", |engine| engine.as_str()));
        problems.add_help(name.place, "the name `vault` belongs to the Vault", help);
    }
    let database = match (&given.database, given.name.as_ref()) {
        (Some(database), _) => Some(database.value.0.clone()),
        (None, Some(server)) => {
            let name = server.value.0.replace('-', "_");
            // One problem of a name is enough.
            if names::check_service(&server.value.0).is_ok()
                && let Err((message, _)) = names::check_database(&name)
            {
                let help = "the database takes the name of the server; add `database: app`";
                problems.add_help(server.place, message, help);
            }
            Some(name)
        }
        (None, None) => None,
    };

    let mut scripts = |list: &[_]| -> Vec<SqlText> {
        list.iter().filter_map(|sql| script(sql, engine, input, problems)).collect()
    };
    let schema = scripts(&given.schema);
    let seed = scripts(&given.seed);
    let admin = match &given.admin {
        Some(sql) => script(sql, engine, input, problems),
        None => engine.map(built_in_admin),
    };
    let root_rotation = rotation(given, problems);
    // Nothing is given up before everything is checked.
    let database = database?;
    Some(DatabaseSpec {
        name: given.name.as_ref()?.value.0.clone(),
        engine: engine?,
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
        root_rotation,
    })
}

fn engine(given: &Database, problems: &mut Problems<'_>) -> Option<Engine> {
    let engine = given.engine.as_ref()?.value;
    match (engine, &given.flavour) {
        (Engine::Mysql(_), Some(flavour)) => return Some(Engine::Mysql(flavour.value)),
        (Engine::Postgres, Some(flavour)) if flavour.value != MysqlFlavour::Auto => {
            let message = "`flavour` is for `engine: mysql` only";
            problems.add_help(flavour.place, message, "remove it, or write `engine: mysql`");
        }
        _ => {}
    }
    Some(engine)
}

fn built_in_admin(engine: Engine) -> SqlText {
    SqlText {
        origin: format!("the built-in admin.sql for {}", engine.as_str()),
        text: if engine == Engine::Postgres { POSTGRES_ADMIN } else { MYSQL_ADMIN }.to_owned(),
    }
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
        let database = database_of(given.database.as_ref(), declared.as_deref(), databases, problems);
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
    wanted: Option<&At<String>>,
    declared: Option<&[At<String>]>,
    databases: &'a mut [DatabaseSpec],
    problems: &mut Problems<'_>,
) -> Option<&'a mut DatabaseSpec> {
    let wanted = wanted?;
    let message = format!("there is no database `{}`", wanted.value);
    check_declared(wanted, declared, "databases", &message, problems);
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
        let database = database_of(given.database.as_ref(), declared.as_deref(), databases, problems);
        let others = database.as_ref().map_or(&[][..], |database| &database.static_roles);
        if let Some(username) = given.username.as_ref()
            && let Some(other) = others.iter().find(|other| other.username == username.value.0)
        {
            let message = format!("two static roles have the account `{}`", other.username);
            let help = format!("the other is `{}`; each would replace the other's password", other.name);
            problems.add_help(username.place, message, help);
        }
        let role = static_role(given, database.as_deref(), input, problems);
        if let (Some(database), Some(role)) = (database, role) {
            database.static_roles.push(role);
        }
    }
}

fn static_role(
    given: &StaticRole,
    database: Option<&DatabaseSpec>,
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
    let engine = database.map_or(Engine::Postgres, |database| database.engine);
    let grants = given.grants.as_ref().map(|sql| script(sql, Some(engine), input, problems));
    let rotation_statements = given
        .rotation_statements
        .as_ref()
        .map(|sql| role_statements(sql, Use::Rotate, engine, input, problems));
    let username = given.username.as_ref()?.value.0.clone();
    let grants = match grants {
        Some(sql) => Some(filled_in(&sql?, &username, &database?.database)),
        None => None,
    };
    Some(StaticRoleSpec {
        name: given.name.as_ref()?.value.0.clone(),
        username,
        rotation_period,
        grants,
        rotation_statements: match rotation_statements {
            Some(sql) => Some(sql?),
            None => None,
        },
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
    let creation = given.creation_statements.as_ref();
    let creation = creation.and_then(|sql| role_statements(sql, Use::Create, engine, input, problems));
    Some(RoleSpec {
        name: given.name.as_ref()?.value.0.clone(),
        creation_statements: creation?,
        revocation_statements: revocation_statements?,
        renew_statements: renew_statements?,
        rollback_statements: rollback_statements?,
        default_ttl,
        max_ttl,
        proof: proof(given.proof.as_ref()),
    })
}
