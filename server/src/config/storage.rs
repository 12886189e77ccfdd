//! `storage "file" { … }`: where the server keeps its data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{Fault, Warnings};
use super::values;
use crate::hcl::Item;
use crate::storage::SyncPolicy;

/// Where data is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// The kind, with what it needs.
    pub kind: StorageKind,
    /// All attributes of the stanza as texts.
    pub options: BTreeMap<String, String>,
}

/// The kinds of storage this server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageKind {
    /// Memory, lost with the process.
    Inmem,
    /// Files in a folder.
    File {
        /// The folder.
        path: PathBuf,
        /// When a write waits for the disk itself: `sync = "always"`, `"critical"` (the
        /// default) or `"never"`. This server's own addition to Vault's syntax.
        sync: SyncPolicy,
    },
    /// Raft, kept by this one node in files.
    Raft {
        /// The folder.
        path: PathBuf,
        /// As for [`StorageKind::File`].
        sync: SyncPolicy,
    },
}

impl StorageKind {
    /// The type as written in the stanza.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Inmem => "inmem",
            Self::File { .. } => "file",
            Self::Raft { .. } => "raft",
        }
    }
}

/// Reads a `storage` or (older) `backend` stanza.
pub(super) fn read(item: &Item, warnings: &mut Warnings) -> Result<Storage, Fault> {
    let body = values::block(item)?;
    let type_name = values::stanza_type(item, body)?;
    let sync = match body.named("sync").last() {
        Some(item) => sync_policy(item)?,
        None => SyncPolicy::default(),
    };
    let path = || {
        match body.named("path").last() {
            Some(path) => values::optional_path(path),
            None => Ok(None),
        }
        .and_then(|path| {
            path.ok_or_else(|| {
                Fault::new(item.key_span(), format!("storage \"{type_name}\": 'path' must be set"))
            })
        })
    };
    let kind = match type_name.as_str() {
        "inmem" | "inmem_ha" | "inmem_transactional" | "inmem_transactional_ha" => StorageKind::Inmem,
        "file" | "file_transactional" => StorageKind::File { path: path()?, sync },
        "raft" => {
            let message = "storage raft is kept by this one node: there is no cluster".to_owned();
            warnings.add(item.key_span(), message);
            StorageKind::Raft { path: path()?, sync }
        }
        other => {
            let span = item.labels().first().map_or(item.key_span(), |label| label.span);
            return Err(Fault::new(
                span,
                format!(
                    "unsupported storage type {other:?}: this server has file, inmem and raft (one node)"
                ),
            ));
        }
    };
    Ok(Storage { kind, options: values::options(body) })
}

fn sync_policy(item: &Item) -> Result<SyncPolicy, Fault> {
    match values::string(item)?.as_str() {
        "always" => Ok(SyncPolicy::Always),
        "critical" => Ok(SyncPolicy::Critical),
        "never" => Ok(SyncPolicy::Never),
        other => Err(Fault::new(
            item.value.span,
            format!("sync: expected always, critical or never, found {other:?}"),
        )),
    }
}
