//! A server that runs already: one file of cases after the other, each after what others left is removed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use super::support::Client;

/// Holds the server for as long as it lives, against the other tests, in whichever process they are.
pub struct Held(#[allow(dead_code, reason = "unlocked when it is dropped")] File);

/// Waits for the server and removes what cases left on it.
pub async fn take(root: &Client) -> Held {
    let name: String =
        root.address.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let path = std::env::temp_dir().join(format!("vaultlab-conformance-{name}.lock"));
    let mut file = tokio::task::spawn_blocking(move || locked(&path)).await.expect("the lock");
    let mut known = String::new();
    file.read_to_string(&mut known).expect("the lock file");
    let status = root.get("sys/seal-status").await.expect(200).body;
    let id = status["cluster_id"].as_str().unwrap_or_default();
    if id.is_empty() || known != id {
        // Whatever somebody keeps on it stays there.
        let used = mounts(root, "sys/mounts").await.iter().any(|path| path != "secret/")
            || !mounts(root, "sys/auth").await.is_empty()
            || !names(root, "secret/metadata").await.is_empty();
        assert!(!used, "{} is in use: the conformance cases want a fresh server", root.address);
        file.set_len(0).and_then(|()| file.rewind()).expect("the lock file");
        file.write_all(id.as_bytes()).expect("the lock file");
    }
    clean(root).await;
    Held(file)
}

fn locked(path: &Path) -> File {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let file = file.expect("a lock file");
    file.lock().expect("the lock");
    file
}

/// Names below a path.
async fn names(root: &Client, path: &str) -> Vec<String> {
    let answer = root.list(path).await;
    let keys = answer.data()["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Mounts of a table, without those every server has.
async fn mounts(root: &Client, table: &str) -> Vec<String> {
    let builtin = ["cubbyhole/", "identity/", "sys/", "token/", "agent-registry/"];
    let answer = root.get(table).await.expect(200);
    let all = answer.data().as_object().cloned().unwrap_or_default();
    all.keys().filter(|path| !builtin.contains(&path.as_str())).cloned().collect()
}

async fn clean(root: &Client) {
    for table in ["sys/mounts", "sys/auth", "sys/audit"] {
        for path in mounts(root, table).await {
            let path = path.trim_end_matches('/');
            if table == "sys/mounts" {
                root.post(&format!("sys/leases/revoke-force/{path}"), json!({})).await;
            }
            root.delete(&format!("{table}/{path}")).await;
        }
    }
    root.post("sys/leases/revoke-prefix/auth/token/create", json!({})).await;
    for (list, kept) in [
        ("sys/policies/acl", &["default", "root", "default-ceiling"][..]),
        ("sys/policies/password", &[]),
        ("auth/token/roles", &[]),
        ("identity/group/id", &[]),
        ("identity/entity/id", &[]),
    ] {
        for name in names(root, list).await {
            if !kept.contains(&name.as_str()) {
                root.delete(&format!("{list}/{name}")).await;
            }
        }
    }
}
