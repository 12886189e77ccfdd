//! The shipped lab inside the program: what `up` uses without a lab file and `init` writes.

/// Name of the shipped lab file inside the shipped tree.
pub const LAB_FILE: &str = "lab/vaultlab.yaml";

macro_rules! shipped {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../", $path)))),*]
    };
}

/// The shipped tree.
const FILES: &[(&str, &str)] = shipped![
    "lab/vaultlab.yaml",
    "lab/lab.schema.json",
    "policies/notes-read.hcl",
    "policies/notes-write.hcl",
    "sql/postgres/admin.sql",
    "sql/postgres/schema.sql",
    "sql/postgres/seed.sql",
    "sql/postgres/create-reader.sql",
    "sql/postgres/create-writer.sql",
    "sql/postgres/revoke.sql",
    "sql/mysql/admin.sql",
    "sql/mysql/schema.sql",
    "sql/mysql/seed.sql",
    "sql/mysql/create-reader.sql",
    "sql/mysql/create-writer.sql",
    "sql/mysql/revoke.sql",
];

/// The shipped lab file, its policies, SQL and schema: path inside the tree, and text.
pub fn builtin_files() -> &'static [(&'static str, &'static str)] {
    FILES
}

/// One of them.
pub(super) fn file(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::spec::LabSpec;
    use crate::spec::model::{Engine, Origin};

    /// Every file of the shipped folders is in the program, except labs other than the main one.
    #[test]
    fn the_whole_tree_ships() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut on_disk = BTreeSet::from(["lab/vaultlab.yaml", "lab/lab.schema.json"].map(str::to_owned));
        for folder in ["policies", "sql/postgres", "sql/mysql"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                on_disk.insert(format!("{folder}/{name}"));
            }
        }
        let shipped: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(on_disk, shipped);
    }

    /// What `init` writes and what `up` uses without a lab file are the same lab.
    #[test]
    fn written_out_it_is_the_same_lab() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in builtin_files() {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let written = LabSpec::load(&folder.path().join(LAB_FILE)).unwrap();
        let builtin = LabSpec::builtin().unwrap();
        assert_eq!(builtin.origin, Origin::BuiltIn);

        // The origins differ by the folder; all else is equal.
        let prefix = format!("{}/", folder.path().canonicalize().unwrap().display());
        let strip = |text: &str| text.replace(&prefix, "");
        let mut expected = written.clone();
        expected.origin = Origin::BuiltIn;
        for policy in &mut expected.policies {
            policy.origin = strip(&policy.origin);
        }
        for database in &mut expected.databases {
            let roles = database.roles.iter_mut().flat_map(|role| {
                [Some(&mut role.creation_statements), role.revocation_statements.as_mut()]
                    .into_iter()
                    .chain([role.renew_statements.as_mut(), role.rollback_statements.as_mut()])
                    .flatten()
            });
            for sql in roles
                .chain(database.schema.iter_mut())
                .chain(database.seed.iter_mut())
                .chain([&mut database.admin])
            {
                sql.origin = strip(&sql.origin);
            }
        }
        assert_eq!(strip(&format!("{expected:?}")), format!("{builtin:?}"));
    }

    #[test]
    fn the_shipped_lab_is_the_notes_application() {
        let lab = LabSpec::builtin().unwrap();
        assert_eq!(lab.name, "notes");
        let engines: Vec<_> = lab.databases.iter().map(|d| d.engine.as_str()).collect();
        assert_eq!(engines, ["postgres", "mysql"]);
        let roles: Vec<_> = lab.roles().map(|(_, role)| role.name.as_str()).collect();
        assert_eq!(roles, ["pg-read", "pg-write", "mysql-read", "mysql-write"]);
        let names: Vec<_> = lab.approles.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["webapp", "reports"]);
        for (database, role) in lab.roles() {
            assert!(!role.proof.allows.is_empty() && !role.proof.refuses.is_empty());
            // A policy grants exactly this path, and tokens outlive the credentials they ask for.
            let path = format!("path \"database/creds/{}\"", role.name);
            let granting: Vec<_> = lab.policies.iter().filter(|p| p.text.contains(&path)).collect();
            assert_eq!(granting.len(), 1, "{path}");
            for approle in lab.approles.iter().filter(|a| a.policies.contains(&granting[0].name)) {
                assert!(approle.token_ttl > role.default_ttl && approle.token_max_ttl > role.max_ttl);
            }
            assert_eq!(database.mount, "database");
        }
        let mysql = lab.databases.iter().find(|d| d.engine != Engine::Postgres).unwrap();
        assert!(!mysql.schema[0].text.to_uppercase().contains("DELIMITER"));
    }

    #[test]
    fn every_lab_in_the_folder_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                LabSpec::load(&path).unwrap_or_else(|error| panic!("{error}"));
                seen += 1;
            }
        }
        assert!(seen >= 2);
    }
}
