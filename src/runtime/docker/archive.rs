//! Tar archives that carry files into a container.

/// An archive of text files with absolute paths, readable by all in the container: it belongs to one
/// service alone. `None` for no files.
pub(super) fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> std::io::Result<Option<Vec<u8>>> {
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
