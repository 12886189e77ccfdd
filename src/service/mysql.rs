//! MySQL and MariaDB, wherever they run.

use std::ffi::OsStr;
use std::path::Path;

/// Its superuser.
pub const SUPERUSER: &str = "root";

/// Options of a lab's server that MySQL 8+ and MariaDB share, without the leading `--`.
///
/// As with PostgreSQL, a lab trades durability after a crash of the machine for speed.
/// `loose-` options are skipped by a server that does not know them.
pub const OPTIONS: &[&str] = &[
    "skip-name-resolve",
    "skip-log-bin",
    // Written at every commit, so that a crash of the server alone loses nothing; never synced.
    "innodb-flush-log-at-trx-commit=2",
    "loose-innodb-flush-method=nosync",
    "loose-debug-no-sync",
    // Its threads wait for work half a second at a time, and a stop for them; and the machine has a
    // limited number of requests (`fs.aio-max-nr`), which labs side by side use up.
    "innodb-use-native-aio=OFF",
    "innodb-buffer-pool-size=32M",
    "loose-innodb-doublewrite=0",
    "loose-performance-schema=OFF",
    "max-allowed-packet=16M",
    "character-set-server=utf8mb4",
    "default-time-zone=+00:00",
];

/// Whether a server makes this file of its data folder anew at every start, whatever it holds: temporary
/// tables, and redo log files of MySQL 8.0.30+ that are kept ready for later
/// (<https://dev.mysql.com/doc/refman/8.4/en/innodb-redo-log.html>).
pub fn is_made_anew(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name == "ibtmp1" || (name.starts_with("#ib_redo") && name.ends_with("_tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_back_by_itself_is_made_anew() {
        for (path, anew) in [
            ("data/ibtmp1", true),
            ("data/#innodb_redo/#ib_redo20_tmp", true),
            ("data/#innodb_redo/#ib_redo19", false),
            ("data/ibdata1", false),
            ("data/notes/notes_tmp.ibd", false),
        ] {
            assert_eq!(is_made_anew(Path::new(path)), anew, "{path}");
        }
    }
}
