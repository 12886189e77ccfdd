//! The rules of docs/architecture.md that can be read off the sources.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                found.push((path.strip_prefix(&root).expect("below").to_path_buf(), text));
            }
        }
    }
    assert!(found.len() > 20, "{} sources", found.len());
    found
}

/// Lines of code of a file that use `name::`.
fn uses<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let used = |line: &&str| {
        let code = line.split("//").next().unwrap_or_default();
        code.match_indices(&format!("{name}::")).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    };
    text.lines().find(used)
}

#[test]
fn each_outside_library_has_one_home() {
    let homes: &[(&str, &[&str])] = &[
        ("clap", &["cli"]),
        ("clap_complete", &["cli"]),
        ("indicatif", &["report/progress.rs"]),
        ("textwrap", &["report/progress.rs", "cli/layout.rs"]),
        ("bollard", &["runtime/docker"]),
        ("serde_saphyr", &["spec/load.rs", "spec/load"]),
        ("reqwest", &["vault/transport.rs"]),
        ("httparse", &["bench/http/answer.rs"]),
        ("tokio_rustls", &["bench/http.rs"]),
        ("age", &["state/encryption.rs"]),
        ("tokio_postgres", &["database"]),
        ("mysql_async", &["database"]),
    ];
    for (path, text) in sources("src") {
        for (library, allowed) in homes {
            if let Some(line) = uses(&text, library) {
                assert!(
                    allowed.iter().any(|home| path.starts_with(home)),
                    "{library} is used in src/{}: `{}`; its home is {allowed:?}",
                    path.display(),
                    line.trim()
                );
            }
        }
    }
    for (path, text) in sources("server/src") {
        for library in ["tokio_postgres", "mysql_async"] {
            assert!(
                path.starts_with("database") || uses(&text, library).is_none(),
                "{library} in {}",
                path.display()
            );
        }
        assert!(uses(&text, "vaultlab").is_none(), "the server knows nothing of labs: {}", path.display());
    }
}

#[test]
fn nothing_points_back_up() {
    // From the top: a layer may use those to its right.
    let layers: &[(&str, &[&str])] = &[
        ("bench", &["cli", "demo", "keeper"]),
        ("lab", &["cli", "bench"]),
        ("provision", &["cli", "bench", "lab", "demo", "keeper"]),
        ("keeper", &["cli", "bench", "lab", "demo"]),
        ("service", &["cli", "lab", "demo", "keeper", "provision", "runtime", "vault"]),
        ("runtime", &["cli", "lab", "demo", "keeper", "provision", "vault"]),
        ("vault", &["cli", "lab", "demo", "keeper", "provision", "runtime", "service", "database", "spec"]),
        ("database", &["cli", "lab", "demo", "keeper", "provision", "runtime", "vault"]),
        (
            "state",
            &["cli", "lab", "demo", "keeper", "provision", "runtime", "vault", "service", "database", "spec"],
        ),
        ("spec", &["cli", "lab", "demo", "keeper", "provision", "runtime", "vault", "service", "database"]),
        ("report", &["cli", "lab", "demo", "keeper", "provision", "runtime", "vault", "service", "database"]),
    ];
    for (path, text) in sources("src") {
        for (layer, above) in layers {
            if !path.starts_with(layer) {
                continue;
            }
            for upper in *above {
                let found = text.lines().find(|line| line.contains(&format!("crate::{upper}::")));
                assert!(found.is_none(), "src/{} uses {upper}, which is above it: {found:?}", path.display());
            }
        }
    }
}

#[test]
fn only_the_command_line_and_reporters_print() {
    for (path, text) in sources("src") {
        if path.starts_with("cli") || path.starts_with("report") || path == Path::new("main.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for print in ["println!", "eprintln!", "print!(", "dbg!"] {
                assert!(!code.contains(print), "src/{}:{} prints: {line}", path.display(), number + 1);
            }
        }
    }
}
