//! Tar archives that carry files into and out of a container.

use std::io::{Read, Result, Write};
use std::path::Path;

/// Every part of an archive is filled up to a multiple of this, in bytes.
const BLOCK: u64 = 512;

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

/// Copies an archive without the files that `unwanted` names; what stays is copied to the letter.
pub(super) fn without(
    unwanted: impl Fn(&Path) -> bool,
    archive: impl Read,
    mut to: impl Write,
) -> Result<()> {
    for entry in tar::Archive::new(archive).entries()?.raw(true) {
        let mut entry = entry?;
        if unwanted(&entry.path()?) {
            continue;
        }
        to.write_all(entry.header().as_bytes())?;
        let length = std::io::copy(&mut entry, &mut to)?;
        std::io::copy(&mut std::io::repeat(0).take(length.next_multiple_of(BLOCK) - length), &mut to)?;
    }
    // Two empty blocks are the end.
    std::io::copy(&mut std::io::repeat(0).take(2 * BLOCK), &mut to)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_left_out_and_the_rest_is_as_it_was() {
        let long = format!("data/{}", "x".repeat(150));
        let files = [("data/ibtmp1", "gone"), ("data/kept", "kept"), (long.as_str(), "a long name")];
        let archive = of(files.into_iter()).unwrap().unwrap();
        let mut kept = Vec::new();
        without(|path| path == Path::new("data/ibtmp1"), archive.as_slice(), &mut kept).unwrap();
        assert_eq!(kept, of(files[1..].iter().copied()).unwrap().unwrap());
        without(|_| false, &archive[..600], Vec::new()).unwrap_err();
    }
}
