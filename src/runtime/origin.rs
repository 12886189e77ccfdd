//! What kept data was made from, and how to get in: the same for every runtime's templates.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::RuntimeError;
use crate::spec::model::DatabaseSpec;
use crate::state::{Credentials, StateError, Visibility, read_json, write_json_unsynced};

/// Raised when what a template holds changes in a way that the key's other parts do not show.
const LAYOUT: u32 = 3;

/// Format of the file of an [`Origin`].
const ORIGIN_VERSION: u32 = 1;

/// File with a template's [`Origin`], 0600.
pub(super) const ORIGIN: &str = "origin.json";

/// What a template was made of, and the password to get in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Origin {
    version: u32,
    /// Key of the template.
    pub key: String,
    /// Superuser with the password it has in the template's data.
    pub superuser: Credentials,
}

/// Whether a server that was started on a copy of a template may have failed because of what is in it:
/// nothing but the template is lost then when another is made.
pub(super) fn data_may_be_why(error: &RuntimeError) -> bool {
    match error {
        RuntimeError::Exited { log, .. } => !log.iter().any(|line| line.contains("No space left on device")),
        // It lets nobody in.
        RuntimeError::Database { .. } | RuntimeError::AccountsLost { .. } => true,
        _ => false,
    }
}

impl Origin {
    pub fn new(key: &str, superuser: Credentials) -> Self {
        Self { version: ORIGIN_VERSION, key: key.into(), superuser }
    }

    pub fn load(folder: &Path) -> Result<Option<Self>, StateError> {
        read_json(&folder.join(ORIGIN), ORIGIN_VERSION)
    }

    pub fn save(&self, folder: &Path) -> Result<(), StateError> {
        write_json_unsynced(&folder.join(ORIGIN), self, Visibility::Private)
    }
}

/// Names a template: `postgres-SERVER-CONTENT`, the first digest over program, version and flags,
/// the second over everything the lab file says about the content.
pub(super) fn key(spec: &DatabaseSpec, program: &str, flags: &[String]) -> String {
    let layout = LAYOUT.to_string();
    let server = digest([layout.as_str(), program].into_iter().chain(flags.iter().map(String::as_str)));
    format!("{}-{server}-{}", spec.engine.as_str(), content_of(spec))
}

/// Digest over everything the lab file says about a database's content.
pub(super) fn content_of(spec: &DatabaseSpec) -> String {
    // Counts are part of it: moving a statement from one list to the other shows.
    let counts = format!("{} {}", spec.schema.len(), spec.seed.len());
    let scripts = [&spec.admin].into_iter().chain(&spec.schema).chain(&spec.seed);
    digest([spec.database.as_str(), &counts].into_iter().chain(scripts.map(|script| script.text.as_str())))
}

/// The part of a key that stands for the lab file's content.
pub(super) fn content(key: &str) -> &str {
    key.rsplit('-').next().unwrap_or_default()
}

fn digest<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let first = hash.finalize().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::{Engine, RootRotation, SqlText};

    fn sql(text: &str) -> SqlText {
        SqlText { origin: "x".into(), text: text.into() }
    }

    fn spec() -> DatabaseSpec {
        DatabaseSpec {
            name: "db".into(),
            engine: Engine::Postgres,
            image: None,
            port: None,
            database: "notes".into(),
            mount: "database".into(),
            admin: sql("A"),
            schema: vec![sql("S")],
            seed: vec![sql("T")],
            roles: Vec::new(),
            static_roles: Vec::new(),
            break_glass: false,
            root_rotation: RootRotation::Off,
        }
    }

    #[test]
    fn the_key_follows_content_version_and_flags_only() {
        let base = key(&spec(), "PostgreSQL 15.1", &["a=b".into()]);
        let other = |change: fn(&mut DatabaseSpec)| {
            let mut spec = spec();
            change(&mut spec);
            key(&spec, "PostgreSQL 15.1", &["a=b".into()])
        };
        assert!(base.starts_with("postgres-"));
        assert_eq!(other(|s| s.port = Some(1)), base);
        assert_eq!(other(|s| s.schema[0].origin = "elsewhere".into()), base);
        for changed in [
            other(|s| s.schema[0].text.push('x')),
            other(|s| s.seed.clear()),
            other(|s| s.admin.text.push('x')),
            other(|s| s.database.push('x')),
            other(|s| {
                let moved = s.schema.remove(0);
                s.seed.insert(0, moved);
            }),
        ] {
            assert_ne!(content(&changed), content(&base));
        }
        for changed in
            [key(&spec(), "PostgreSQL 15.2", &["a=b".into()]), key(&spec(), "PostgreSQL 15.1", &[])]
        {
            assert_ne!(changed, base);
            assert_eq!(content(&changed), content(&base));
        }
    }
}
