//! MariaDB for tests.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::server::{Server, account, find, prepared_dir, run};
use super::{ADMIN, ADMIN_PASSWORD, Unavailable};

pub(super) fn start() -> Result<Server, Unavailable> {
    let installer = find(&["mariadb-install-db", "/opt/homebrew/bin/mariadb-install-db"])
        .ok_or(Unavailable::Missing("mariadb-install-db"))?;
    let program = find(&["mariadbd", "/usr/sbin/mariadbd", "/opt/homebrew/bin/mariadbd"])
        .ok_or(Unavailable::Missing("mariadbd"))?;
    let account = account("mysql");
    let dir = prepared_dir("mariadb", account, |dir| {
        let mut command = Command::new(&installer);
        command
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .arg("--innodb-log-file-size=4M")
            .arg(format!("--datadir={}", dir.join("data").display()))
            .current_dir(dir);
        if let Some((uid, gid)) = account {
            command.uid(uid).gid(gid);
        }
        run(&mut command)
    })?;
    let admin = format!(
        "CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY '{ADMIN_PASSWORD}';\n\
         GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n\
         CREATE DATABASE IF NOT EXISTS notes;\n\
         CREATE TABLE IF NOT EXISTS notes.notes (id INT PRIMARY KEY, text VARCHAR(100));\n"
    );
    fs::write(dir.path().join("init.sql"), admin).map_err(|e| Unavailable::Failed(e.to_string()))?;
    Server::start(program, account, dir, |dir, port| {
        let path = |name: &str| dir.join(name).display().to_string();
        vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", path("data")),
            format!("--socket={}", path("socket")),
            format!("--pid-file={}", path("pid")),
            format!("--init-file={}", path("init.sql")),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--skip-log-bin".to_owned(),
            "--performance-schema=OFF".to_owned(),
            "--innodb-log-file-size=4M".to_owned(),
            "--innodb-buffer-pool-size=16M".to_owned(),
            // Commits reach the operating system, so that they survive the process, but not the disk.
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
        ]
    })
}
