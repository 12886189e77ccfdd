//! PostgreSQL, wherever it runs.

/// Its superuser.
pub const SUPERUSER: &str = "postgres";

/// Settings of a lab's server, as for `-c NAME=VALUE`.
///
/// A lab trades durability for speed: after a crash of the *machine* its data may be damaged, and
/// the lab is made anew. A crash of the server alone loses nothing: commits still wait until the system
/// has their log.
pub const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_senders", "0"),
    ("shared_buffers", "32MB"),
    ("jit", "off"),
    ("password_encryption", "scram-sha-256"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // A statement that fails may hold a password: it must not be in the log.
    ("log_min_error_statement", "panic"),
    ("log_connections", "off"),
];
