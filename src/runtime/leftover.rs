//! What can be removed without anybody missing it.

use std::path::{Path, PathBuf};

/// Something that no lab uses (any more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// Its name, for people.
    pub name: String,
    /// Bytes on disk; `None` where that cannot be told.
    pub bytes: Option<u64>,
    pub(super) place: Place,
}

/// What a [`Leftover`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverKind {
    /// Initialised data that no lab was made from.
    Template,
    /// The folder of a builder of templates that was killed.
    Build,
    /// The folder of a service whose removal was cut off.
    Removal,
    /// A container of a lab that is gone.
    Container,
    /// A volume of a lab that is gone.
    Volume,
    /// A network of a lab that is gone.
    Network,
}

impl LeftoverKind {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Build => "build",
            Self::Removal => "removal",
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Network => "network",
        }
    }
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder of this host.
    Folder(PathBuf),
    /// A template of the container engine: its image, and the folder with its password.
    Image { image: Option<String>, folder: PathBuf },
    /// Something else of the container engine, by id or name.
    Engine(String),
}

/// Bytes that the files below a folder take on disk.
pub(super) fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // Of a link, the link itself.
            let meta = entry.metadata()?;
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}
