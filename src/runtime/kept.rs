//! Whether data that was kept is of what the lab file asks for now: the same for every runtime.

use super::RuntimeError;
use crate::service::ServiceKind;
use crate::spec::model::{DatabaseSpec, Engine, MysqlFlavour};
use crate::state::{DataRecord, ServiceRecord};

/// The names of a database's product that do, the first for people.
fn products(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => &["PostgreSQL"],
        Engine::Mysql(MysqlFlavour::Mysql) => &["MySQL"],
        Engine::Mysql(MysqlFlavour::Mariadb) => &["MariaDB"],
        Engine::Mysql(MysqlFlavour::Auto) => &["MySQL", "MariaDB"],
    }
}

/// A record of data that is about to be made, by a server that calls itself `product`.
pub(super) fn record(spec: &DatabaseSpec, product: &str) -> DataRecord {
    let product = product.split(' ').next().unwrap_or_default().to_owned();
    DataRecord { product, database: spec.database.clone() }
}

/// Refuses the data of a service, by its record, when the lab file now names another engine, flavour or
/// database: a server would not start on it, or find nothing in it.
///
/// # Errors
/// [`RuntimeError::DataOfAnother`].
pub(crate) fn check(spec: &DatabaseSpec, record: &ServiceRecord) -> Result<(), RuntimeError> {
    let refuse = |made_for: &str, wanted: &str| {
        let (made_for, wanted) = (made_for.to_owned(), wanted.to_owned());
        Err(RuntimeError::DataOfAnother { service: spec.name.clone(), made_for, wanted })
    };
    let products = products(spec.engine);
    let other_kind = ServiceKind::parse(&record.kind).filter(|kind| kind.as_str() != spec.engine.as_str());
    match (other_kind, &record.data) {
        (_, Some(data)) if !products.contains(&data.product.as_str()) => refuse(&data.product, products[0]),
        (Some(ServiceKind::Postgres), None) => refuse("PostgreSQL", products[0]),
        (Some(_), None) => refuse("MySQL or MariaDB", products[0]),
        (_, Some(data)) if data.database != spec.database => {
            let named = |database: &str| format!("a database called {database:?}");
            refuse(&named(&data.database), &named(&spec.database))
        }
        _ => Ok(()),
    }
}

/// Refuses data of another product than the one that is found for it, where the lab file leaves open
/// which.
///
/// # Errors
/// [`RuntimeError::DataOfAnother`].
pub(super) fn same(service: &str, made: Option<&DataRecord>, found: &DataRecord) -> Result<(), RuntimeError> {
    match made {
        Some(made) if made.product != found.product => Err(RuntimeError::DataOfAnother {
            service: service.into(),
            made_for: made.product.clone(),
            wanted: found.product.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::{RootRotation, SqlText};

    fn spec(engine: Engine, database: &str) -> DatabaseSpec {
        DatabaseSpec {
            name: "db".into(),
            engine,
            image: None,
            port: None,
            database: database.into(),
            mount: "database".into(),
            admin: SqlText { origin: "x".into(), text: String::new() },
            schema: Vec::new(),
            seed: Vec::new(),
            roles: Vec::new(),
            static_roles: Vec::new(),
            break_glass: false,
            root_rotation: RootRotation::Off,
        }
    }

    fn kept(kind: &str, product: Option<&str>) -> ServiceRecord {
        ServiceRecord {
            kind: kind.into(),
            program: "p".into(),
            program_version: String::new(),
            port: 1,
            pid: None,
            started: None,
            template: None,
            data: product.map(|product| super::record(&spec(Engine::Postgres, "notes"), product)),
        }
    }

    #[test]
    fn only_data_of_the_same_product_and_database_does() {
        const AUTO: Engine = Engine::Mysql(MysqlFlavour::Auto);
        const MYSQL: Engine = Engine::Mysql(MysqlFlavour::Mysql);
        let refused = |engine, database: &str, record: ServiceRecord| {
            check(&spec(engine, database), &record).err().map(|error| error.to_string())
        };
        assert_eq!(refused(Engine::Postgres, "notes", kept("postgres", Some("PostgreSQL 15.1"))), None);
        assert_eq!(refused(AUTO, "notes", kept("mysql", Some("MariaDB 10.11.6"))), None);
        assert_eq!(refused(AUTO, "notes", kept("mysql", None)), None);
        for (engine, record, made_for) in [
            (AUTO, kept("postgres", Some("PostgreSQL 15.1")), "made for PostgreSQL, "),
            (AUTO, kept("postgres", None), "made for PostgreSQL, "),
            (Engine::Postgres, kept("mysql", Some("MariaDB 10.11.6")), "made for MariaDB, "),
            (Engine::Postgres, kept("mysql", None), "made for MySQL or MariaDB, "),
            (
                MYSQL,
                kept("mysql", Some("MariaDB 10.11.6")),
                "made for MariaDB, and the lab file now says MySQL",
            ),
        ] {
            let error = refused(engine, "notes", record).unwrap();
            assert!(error.contains(made_for) && error.contains("down --volumes"), "{error}");
        }
        let error = refused(Engine::Postgres, "notes2", kept("postgres", Some("PostgreSQL 15.1"))).unwrap();
        assert!(error.contains("\"notes\"") && error.contains("\"notes2\""), "{error}");
    }
}
