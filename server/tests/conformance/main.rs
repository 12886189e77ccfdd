//! What clients of Vault may rely on, checked over HTTP against any server: the embedded one, a real Vault or
//! OpenBao (`VAULTLAB_VAULT_BIN` names the program), or one that runs already
//! (`VAULTLAB_CONFORMANCE_ADDR` and `VAULTLAB_CONFORMANCE_TOKEN`; a fresh one).
//!
//! The cases are the files in `cases/`, requests with the answers to expect; `script.rs` explains their form,
//! `expect.rs` how answers are compared. Where flavours differ, a case has an answer for each and says why.
#![allow(clippy::expect_used, reason = "a failed expectation fails the test")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod databases;
mod expect;
mod level;
mod play;
mod script;
mod shared;
#[path = "../support/mod.rs"]
mod support;
mod target;
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
#[path = "../../src/database/testdb/mod.rs"]
mod testdb;

use std::collections::BTreeMap;

use play::play;
use target::{INMEM, RAFT, Target};

/// Plays a file of cases against a server of its own.
async fn cases(text: &str) {
    let target = Target::start().await;
    play(&target, text, BTreeMap::new()).await;
    target.stop().await;
}

/// The same for cases that begin with a server nobody has initialised, or that seal it.
async fn cases_of_a_whole_life(text: &str) {
    if let Some(target) = blank(INMEM).await {
        play(&target, text, BTreeMap::new()).await;
        target.stop().await;
    }
}

async fn blank(storage: &str) -> Option<Target> {
    let target = Target::start_blank(storage).await;
    if target.is_none() {
        eprintln!("skipped: needs a server of its own, not one that runs already");
    }
    target
}

macro_rules! areas {
    ($run:ident: $($name:ident $file:literal),+ $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            $run(include_str!(concat!("cases/", $file))).await;
        })+
    };
}

areas! { cases_of_a_whole_life:
    ceremonies "ceremonies.txt",
    life "life.txt",
}

areas! { cases:
    approle "approle.txt",
    approle_fields "approle-fields.txt",
    audited_headers "audited-headers.txt",
    cubbyhole "cubbyhole.txt",
    identity "identity.txt",
    kv1 "kv1.txt",
    kv2 "kv2.txt",
    leases "leases.txt",
    misc "misc.txt",
    mount_fields "mount-fields.txt",
    mounts "mounts.txt",
    pki "pki.txt",
    policies "policies.txt",
    routing "routing.txt",
    token_policies "token-policies.txt",
    token_roles "token-roles.txt",
    tokens "tokens.txt",
    userpass "userpass.txt",
    wrapping "wrapping.txt",
}

#[tokio::test]
async fn database() {
    for database in databases::available().await {
        let target = Target::start().await;
        play(&target, include_str!("cases/database.txt"), database.variables).await;
        target.stop().await;
    }
}

#[tokio::test]
async fn raft() {
    if let Some(target) = blank(RAFT).await {
        let target = target.initialised().await;
        play(&target, include_str!("cases/raft.txt"), BTreeMap::new()).await;
        target.stop().await;
    }
}
