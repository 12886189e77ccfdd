//! Where an AppRole's role_id and secret_id go, whose they are, and how.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User, getegid, geteuid};

use super::Input;
use crate::spec::decode::{At, Problems};
use crate::spec::model::{DatabaseSpec, Delivery, Origin, Owner, Place};
use crate::spec::wire::{Deliver, LabFile};

/// How a delivery is made.
pub(super) fn resolve(given: &Deliver, input: &Input<'_>, problems: &mut Problems<'_>) -> Delivery {
    let output = |name: &Option<At<String>>| name.as_ref().and_then(|name| input.files.output(&name.value));
    let place = match (output(&given.role_id), output(&given.secret_id)) {
        (Some(role_id), Some(secret_id)) => Place::Files { role_id, secret_id },
        _ => Place::LabState,
    };
    let alone = match (&given.role_id, &given.secret_id) {
        (Some(role_id), None) => Some((role_id.place, "secret_id")),
        (None, Some(secret_id)) => Some((secret_id.place, "role_id")),
        _ => None,
    };
    if let Some((place, missing)) = alone {
        let help = format!("add `{missing}: ...`; an application needs both");
        problems.add_help(place, format!("`deliver` lacks `{missing}`"), help);
    }
    if let Some(at) = given.owner.as_ref().filter(|_| given.role_id.is_none() && given.secret_id.is_none()) {
        let message = "nobody else may enter the lab's state folder";
        problems.add_help(at.place, message, "add `role_id: ...` and `secret_id: ...`, files elsewhere");
    }
    if let Some(at) = given.wrap_ttl.as_ref().filter(|ttl| ttl.value.0.is_zero()) {
        problems.add_help(at.place, "`wrap_ttl` must be at least 1s", "leave it out for no wrapping");
    }
    Delivery {
        place,
        owner: given.owner.as_ref().and_then(|at| owner(at, problems)),
        wrap_ttl: given.wrap_ttl.as_ref().map(|ttl| ttl.value.0),
    }
}

/// The user and group of this host that `user[:group]` means.
fn owner(at: &At<String>, problems: &mut Problems<'_>) -> Option<Owner> {
    let (user, group) = match at.value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (at.value.as_str(), None),
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let known = match number(user) {
        Some(uid) => User::from_uid(uid.into()),
        None => User::from_name(user),
    };
    let known = known.ok().flatten();
    let Some(uid) = number(user).or(known.as_ref().map(|known| known.uid.as_raw())) else {
        let message = format!("this host has no user `{user}`");
        problems.add_help(at.place, message, "write `user`, `user:group`, or their numbers");
        return None;
    };
    let gid = match group {
        None => known.map(|known| known.gid.as_raw()),
        Some(group) => {
            number(group).or_else(|| Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw()))
        }
    };
    let Some(gid) = gid else {
        let message = match group {
            Some(group) => format!("this host has no group `{group}`"),
            None => format!("the user {uid} has no name on this host, so its group is not known"),
        };
        problems.add_help(at.place, message, "write `user:group`, or their numbers");
        return None;
    };
    let ours = (uid, gid) == (geteuid().as_raw(), getegid().as_raw());
    if !ours && !geteuid().is_root() {
        let message = format!("only root can give files to `{}`", at.value);
        problems.add_help(at.place, message, "run vaultlab as root, or leave `owner` out");
    }
    Some(Owner { uid, gid })
}

/// Notes files that would be written over: by one another, or in place of a folder.
pub(super) fn check(file: &LabFile, input: &Input<'_>, problems: &mut Problems<'_>) {
    let delivers = file.approles.iter().filter_map(|approle| approle.deliver.as_ref());
    let mut taken: HashMap<PathBuf, usize> = HashMap::new();
    for name in delivers.flat_map(|deliver| [&deliver.role_id, &deliver.secret_id].into_iter().flatten()) {
        let Some(path) = input.files.output(&name.value) else { continue };
        if let Some(line) = taken.get(&path) {
            let message = format!("two files are delivered to `{}`", name.value);
            problems.add_help(name.place, message, format!("the other is on line {line}"));
        } else if path.is_dir() || name.value.ends_with('/') {
            let message = format!("`{}` is a folder, not a file", name.value);
            problems.add_help(name.place, message, "name the file in it too");
        }
        taken.entry(path).or_insert(name.place.line);
    }
}

/// Notes deliveries that would write over what the lab is made of: the lab file, and `inputs`.
pub(super) fn check_inputs<'a>(
    file: &LabFile,
    input: &Input<'_>,
    inputs: impl Iterator<Item = &'a Path>,
    problems: &mut Problems<'_>,
) {
    let Origin::File(lab_file) = &input.origin else { return };
    let (lab_file, inputs) = (place_of(lab_file), inputs.map(place_of).collect::<HashSet<_>>());
    let delivers = file.approles.iter().filter_map(|approle| approle.deliver.as_ref());
    for name in delivers.flat_map(|deliver| [&deliver.role_id, &deliver.secret_id].into_iter().flatten()) {
        let Some(path) = input.files.output(&name.value).map(|path| place_of(&path)) else { continue };
        let what = match path == lab_file {
            true => "is this lab file",
            false if inputs.contains(&path) => "is a file the lab is made of",
            false => continue,
        };
        let message = format!("`{}` {what}, which the delivery would write over", name.value);
        problems.add_help(name.place, message, "name another file");
    }
}

/// Where a database's SQL was read from.
pub(super) fn sources(database: &DatabaseSpec) -> impl Iterator<Item = &str> {
    let scripts = [&database.admin].into_iter().chain(&database.schema).chain(&database.seed);
    let of_roles = database.roles.iter().flat_map(|role| {
        let more = [&role.revocation_statements, &role.renew_statements, &role.rollback_statements];
        [&role.creation_statements].into_iter().chain(more.into_iter().flatten())
    });
    let of_static =
        database.static_roles.iter().flat_map(|role| role.grants.iter().chain(&role.rotation_statements));
    scripts.chain(of_roles).chain(of_static).map(|sql| sql.origin.as_str())
}

/// A file's place whatever way leads there. A link in that place is what would be replaced, so it is not
/// followed.
fn place_of(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.into(),
    }
}
