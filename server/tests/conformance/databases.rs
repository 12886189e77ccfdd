//! Real databases for the cases of the database secrets engine.

use super::play::Variables;
use super::testdb::{ADMIN, ADMIN_PASSWORD, Target as Database};

/// A database and what the cases need to know of it.
pub struct Available {
    /// `$PLUGIN`, `$URL`, `$CREATION` and so on.
    pub variables: Variables,
}

/// PostgreSQL and MariaDB, as far as they are installed.
pub async fn available() -> Vec<Available> {
    let mut found = Vec::new();
    for database in Database::shared() {
        // One case makes a static role of the first and rotates the second.
        database.make_user("conform-static", "before", false).await;
        database.make_user("conform-root", "first-Passw0rd", true).await;
        let port = format!(":{}", database.server.port);
        let literal = database.url().replace("{{username}}", ADMIN).replace("{{password}}", ADMIN_PASSWORD);
        let values = [
            ("PLUGIN", database.plugin.to_owned()),
            ("URL", database.url()),
            ("LITERAL", literal.clone()),
            ("HIDDEN", literal.replace(ADMIN_PASSWORD, "<*>")),
            ("ADMIN", ADMIN.to_owned()),
            ("PASSWORD", ADMIN_PASSWORD.to_owned()),
            ("CREATION", database.creation().to_owned()),
            ("BADURL", database.url().replace(&port, ":1")),
            ("STU", "conform-static".to_owned()),
            ("RTU", "conform-root".to_owned()),
        ];
        let variables = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        found.push(Available { variables });
    }
    found
}
