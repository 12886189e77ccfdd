//! Tar archives that carry files into a container, and out of it.

use std::io::{Read, Result, Write};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

/// An archive of text files with absolute paths, readable by all in the container: it belongs to one
/// service alone. `None` for no files.
pub(super) fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Option<Vec<u8>>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut empty = true;
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path.trim_start_matches('/'), text.as_bytes())?;
        empty = false;
    }
    let bytes = archive.into_inner()?;
    Ok(if empty { None } else { Some(bytes) })
}

/// Writes an archive anew, without the files that are `unwanted`, whose entries are all below `folder`, as
/// Docker gives them. Podman leaves out the folder's own name while the container's processes are frozen.
pub(super) fn below(
    folder: &str,
    unwanted: impl Fn(&Path) -> bool,
    from: impl Read,
    to: impl Write,
) -> Result<()> {
    let mut archive = tar::Archive::new(from);
    let mut built = tar::Builder::new(to);
    for entry in archive.entries()? {
        let entry = entry?;
        let mut header = entry.header().clone();
        let path = place(folder, &entry.path()?);
        if unwanted(&path) {
            continue;
        }
        match header.entry_type() {
            EntryType::Symlink | EntryType::Link => {
                let Some(target) = entry.link_name()?.map(std::borrow::Cow::into_owned) else { continue };
                let hard = header.entry_type() == EntryType::Link;
                let target = if hard { place(folder, &target) } else { target };
                built.append_link(&mut header, path, target)?;
            }
            EntryType::Directory | EntryType::Regular | EntryType::Continuous => {
                built.append_data(&mut header, path, entry)?;
            }
            // A server makes its sockets and pipes anew.
            _ => {}
        }
    }
    built.into_inner()?.flush()
}

fn place(folder: &str, path: &Path) -> PathBuf {
    let parts: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if parts.starts_with(folder) { parts } else { Path::new(folder).join(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_put_below_a_folder_whichever_way_the_engine_names_it() {
        for root in ["data/", "/"] {
            let mut archive = tar::Builder::new(Vec::new());
            for (name, kind, text) in [
                ("", EntryType::Directory, ""),
                ("base", EntryType::Directory, ""),
                ("base/1", EntryType::Regular, "one"),
                ("mysql.sock", EntryType::Symlink, "/run/x"),
                ("pipe", EntryType::Fifo, ""),
                ("ibtmp1", EntryType::Regular, "made anew"),
            ] {
                let mut header = tar::Header::new_gnu();
                // As Podman writes it: the library itself refuses an absolute path.
                let path = format!("{root}{name}");
                header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
                header.set_entry_type(kind);
                header.set_mode(0o640);
                let content = if kind == EntryType::Symlink { "" } else { text };
                if kind == EntryType::Symlink {
                    header.set_link_name(text).unwrap();
                }
                header.set_size(content.len() as u64);
                header.set_cksum();
                archive.append(&header, content.as_bytes()).unwrap();
            }
            let mut built = Vec::new();
            let archive = archive.into_inner().unwrap();
            below("data", |path| path == Path::new("data/ibtmp1"), archive.as_slice(), &mut built).unwrap();
            let mut built = tar::Archive::new(built.as_slice());
            let found: Vec<_> = built
                .entries()
                .unwrap()
                .map(|entry| {
                    let mut entry = entry.unwrap();
                    let mut text = String::new();
                    entry.read_to_string(&mut text).unwrap();
                    let link = entry.link_name().unwrap().map(|link| link.display().to_string());
                    assert_eq!(entry.header().mode().unwrap(), 0o640);
                    (entry.path().unwrap().display().to_string(), link.unwrap_or(text))
                })
                .collect();
            let found: Vec<_> =
                found.iter().map(|(path, text)| (path.trim_end_matches('/'), text.as_str())).collect();
            let wanted =
                [("data", ""), ("data/base", ""), ("data/base/1", "one"), ("data/mysql.sock", "/run/x")];
            assert_eq!(found, wanted, "{root}");
        }
    }
}
