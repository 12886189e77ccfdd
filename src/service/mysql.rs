//! MySQL and MariaDB, wherever they run.

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
    "innodb-buffer-pool-size=32M",
    "loose-innodb-doublewrite=0",
    "loose-performance-schema=OFF",
    "max-allowed-packet=16M",
    "character-set-server=utf8mb4",
    "default-time-zone=+00:00",
];
