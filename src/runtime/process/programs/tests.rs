use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::spec::model::Storage;

fn script(folder: &Path, name: &str, says: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn vault(flavour: Flavour, version: Option<&str>) -> VaultSpec {
    VaultSpec {
        flavour,
        version: version.map(Into::into),
        image: None,
        storage: Storage::File,
        key_shares: 1,
        key_threshold: 1,
        audit: None,
        keep_root_token: false,
        key_store: crate::state::Protection::Plain,
        port: None,
    }
}

#[test]
fn versions_are_read_as_servers_print_them() {
    assert_eq!(
        mysql_version("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"),
        Ok((true, "10.11.19-MariaDB-0+deb12u1".into()))
    );
    assert_eq!(
        mysql_version("/usr/sbin/mysqld  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)"),
        Ok((false, "8.4.3".into()))
    );
    assert!(mysql_version("mysqld  Ver 5.7.44 for Linux on x86_64").unwrap_err().contains("5.7.44"));
    assert!(mysql_version("hello").is_err());
    assert_eq!(vault_version("Vault v1.20.0 (abc), built 2026"), Ok((Flavour::Vault, "1.20.0".into())));
    assert_eq!(vault_version("OpenBao v2.4.1 (abc), built 2026"), Ok((Flavour::OpenBao, "2.4.1".into())));
    assert_eq!(vault_version("Vault v1.20.0-beta1, built 2026"), Ok((Flavour::Vault, "1.20.0-beta1".into())));
    assert!(vault_version("HashiVault 1").is_err());
    assert!(fits("1.20.3", Some("1.20")) && fits("1.20.3", None) && !fits("1.2.0", Some("1.20")));
}

#[tokio::test]
async fn the_newest_folder_wins_and_old_or_broken_programs_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["9", "14", "17", "x"] {
        std::fs::create_dir_all(dir.path().join(version).join("bin")).unwrap();
    }
    let pattern = format!("{}/*/bin", dir.path().display());
    let newest: Vec<PathBuf> = matching(&pattern);
    assert!(newest[0].ends_with("17/bin") && newest[1].ends_with("14/bin"), "{newest:?}");

    let old = script(&dir.path().join("a"), "postgres", "postgres (PostgreSQL) 12.3");
    script(&dir.path().join("a"), "initdb", "");
    let programs = Programs { postgres: Some(dir.path().join("a")), ..Programs::default() };
    let error = programs.postgres("db").await.unwrap_err().to_string();
    assert!(error.contains("version 12.3") && error.contains("14 is the oldest"), "{error}");

    script(&dir.path().join("b"), "postgres", "postgres (PostgreSQL) 16.1 (Debian 16.1-1)");
    let path = std::env::join_paths([dir.path().join("a"), dir.path().join("b")]).unwrap();
    let programs = Programs { path: Some(path), ..Programs::default() };
    assert!(programs.postgres("db").await.is_err(), "no initdb beside it");
    script(&dir.path().join("b"), "initdb", "");
    let found = programs.postgres("db").await.unwrap();
    assert_eq!(found.version, "16.1");
    assert_ne!(found.postgres, old);
}

#[tokio::test]
async fn a_missing_program_names_the_package() {
    let none = Programs::default();
    let error = none.postgres("db").await.unwrap_err().to_string();
    assert!(error.contains("no PostgreSQL server") && error.contains("postgresql"), "{error}");
    let error = none.mysql("db", MysqlFlavour::Auto).await.unwrap_err().to_string();
    assert!(error.contains("mariadb"), "{error}");
    let error = none.vault("vault", &vault(Flavour::OpenBao, None)).await.unwrap_err().to_string();
    assert!(error.contains("VAULTLAB_VAULT_BIN"), "{error}");
    let named = Programs { mysql: Some("/nowhere/mysqld".into()), ..Programs::default() };
    let error = named.mysql("db", MysqlFlavour::Auto).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/mysqld"), "{error}");
}

#[tokio::test]
async fn the_flavour_is_what_the_program_says_not_what_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let bao = script(dir.path(), "vault", "OpenBao v2.4.1 (x), built 2026");
    let vaultlab = script(dir.path(), "vaultlab", "");
    let programs = Programs { vault: Some(bao), vaultlab: Some(vaultlab.clone()), ..Programs::default() };
    let found = programs.vault("vault", &vault(Flavour::Auto, None)).await.unwrap();
    assert_eq!((found.flavour, found.version.as_str()), (Flavour::OpenBao, "2.4.1"));
    assert!(programs.vault("vault", &vault(Flavour::Vault, None)).await.is_err());
    let error = programs.vault("vault", &vault(Flavour::Auto, Some("2.5"))).await.unwrap_err();
    assert!(error.to_string().contains("the lab asks for 2.5"), "{error}");
    let embedded = programs.vault("vault", &vault(Flavour::Embedded, None)).await.unwrap();
    assert_eq!(embedded.program, vaultlab);

    // Found on the search path it is only a candidate: the embedded server steps in where it fits.
    let programs = Programs { path: Some(dir.path().into()), vault: None, ..programs };
    let own = env!("CARGO_PKG_VERSION");
    let found = programs.vault("vault", &vault(Flavour::Auto, Some(own))).await.unwrap();
    assert_eq!(found.flavour, Flavour::Embedded);
}

#[tokio::test]
async fn a_version_that_cannot_be_had_is_an_error_that_names_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let vaultlab = script(dir.path(), "vaultlab", "");
    let programs = Programs { vaultlab: Some(vaultlab), ..Programs::default() };
    for flavour in [Flavour::Auto, Flavour::Embedded] {
        let error = programs.vault("vault", &vault(flavour, Some("9.9"))).await.unwrap_err().to_string();
        let found = format!("its embedded server is version {}", env!("CARGO_PKG_VERSION"));
        assert!(error.contains(&found) && error.contains("the lab asks for 9.9"), "{error}");
    }
    script(dir.path(), "vault", "Vault v1.20.0 (x), built 2026");
    let programs = Programs { path: Some(dir.path().into()), ..programs };
    let error = programs.vault("vault", &vault(Flavour::Auto, Some("9.9"))).await.unwrap_err().to_string();
    assert!(error.contains("it is version 1.20.0, the lab asks for 9.9"), "{error}");
    assert!(programs.vault("vault", &vault(Flavour::Auto, Some("1.20"))).await.is_ok());
}

#[tokio::test]
async fn where_only_the_other_flavour_is_found_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "mariadbd", "mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64");
    let programs = Programs { path: Some(dir.path().into()), ..Programs::default() };
    let error = programs.mysql("db", MysqlFlavour::Mysql).await.unwrap_err().to_string();
    for part in ["no MySQL server", "found MariaDB 10.11.6", "`flavour: mariadb`", "VAULTLAB_MYSQL_BIN"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("apt-get install mariadb-server"), "{error}");
}
