//! Initialised data folders that no lab was made from, and what was left by those who were killed while
//! they built one or removed a service.

use std::collections::BTreeSet;
use std::fs;

use super::template;
use crate::runtime::leftover::{Leftover, LeftoverKind, Place, bytes_below};
use crate::runtime::{RuntimeError, folder};
use crate::state::Home;

/// What a home has of these; `used` are the keys of templates that stay.
pub fn leftovers(home: &Home, used: &BTreeSet<String>) -> Result<Vec<Leftover>, RuntimeError> {
    let templates = home.templates();
    let failed = || folder("templates", "list", &templates);
    let entries = match fs::read_dir(&templates) {
        Ok(entries) => Some(entries),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed()(e)),
    };
    let mut found = Vec::new();
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(failed())?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = match template::is_abandoned(&name) {
            Some(true) => LeftoverKind::Build,
            // Somebody builds in it right now.
            Some(false) => continue,
            None if used.contains(&name) || !entry.path().is_dir() => continue,
            None => LeftoverKind::Template,
        };
        let path = entry.path();
        found.push(Leftover { kind, bytes: bytes_below(&path).ok(), name, place: Place::Folder(path) });
    }
    for path in home.half_removed()? {
        let name = path.strip_prefix(home.services()).unwrap_or(&path).display().to_string();
        found.push(Leftover {
            kind: LeftoverKind::Removal,
            bytes: bytes_below(&path).ok(),
            name,
            place: Place::Folder(path),
        });
    }
    found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(found)
}

/// Removes one. One that is gone is no error.
pub fn remove(leftover: &Leftover) -> Result<(), RuntimeError> {
    let Place::Folder(path) = &leftover.place else { return Ok(()) };
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(folder(&leftover.name, "remove", path)(e)),
        _ => Ok(()),
    }
}
