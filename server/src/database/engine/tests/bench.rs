//! Credentials per second through the engine against the same statements issued directly.
//!
//! `cargo test --release -p vaultlab-server --lib database::engine::tests::bench -- --ignored --nocapture`

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;

use super::*;
use crate::database::statements::{Blocks, prepare};
use crate::database::testdb::{login_mariadb, login_postgres};
use crate::random;

const WORKERS: usize = 8;
/// Length of one slice; both ways alternate, so that what else the machine does meets them alike.
const SLICE: Duration = Duration::from_millis(1500);
const SLICES: usize = 4;

/// What a read-only role of an application looks like. On PostgreSQL it is a member of a group: a table's
/// privileges are one row, which is full after some hundred users of their own.
fn creation(target: &Target) -> String {
    if target.is_postgres() {
        format!("{}; GRANT readers TO \"{{{{name}}}}\"", target.creation())
    } else {
        target.creation().to_owned()
    }
}

/// The statements for one user, with a password of the engine's form.
fn direct_statements(target: &Target, scram: bool) -> Vec<String> {
    let name = format!("v-bench-{}", random::base62(20));
    let password = random::base62(20);
    let value =
        if scram { postgres_protocol::password::scram_sha_256(password.as_bytes()) } else { password };
    let values = [("name", name.as_str()), ("password", &value), ("expiration", "2031-01-01 00:00:00+0000")];
    let prepared = prepare(&[creation(target)], &values, Blocks::KeepWhole);
    prepared.iter().map(|statement| statement.sql.as_str().to_owned()).collect()
}

/// Issues statements on connections of their own, one per worker, each statement by itself.
async fn direct(target: &Target, scram: bool) -> usize {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let target = target.clone();
        workers.push(tokio::spawn(async move {
            let (mut made, end) = (0, Instant::now() + SLICE);
            if target.is_postgres() {
                let client = login_postgres(&target.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
                while Instant::now() < end {
                    for sql in direct_statements(&target, scram) {
                        client.batch_execute(&sql).await.unwrap();
                    }
                    made += 1;
                }
            } else {
                let mut connection = login_mariadb(&target.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
                while Instant::now() < end {
                    for sql in direct_statements(&target, scram) {
                        connection.query_drop(sql).await.unwrap();
                    }
                    made += 1;
                }
            }
            made
        }));
    }
    let mut total = 0;
    for worker in workers {
        total += worker.await.unwrap();
    }
    total
}

async fn through_engine(mount: &Arc<Mount>) -> usize {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let mount = Arc::clone(mount);
        workers.push(tokio::spawn(async move {
            let (mut made, end) = (0, Instant::now() + SLICE);
            while Instant::now() < end {
                mount.issue("bench").await;
                made += 1;
            }
            made
        }));
    }
    let mut total = 0;
    for worker in workers {
        total += worker.await.unwrap();
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of many seconds"]
async fn credentials_per_second() {
    for target in Target::own() {
        if target.is_postgres() {
            target.execute("CREATE ROLE readers").await;
        }
        for scram in [false, true] {
            if scram && !target.is_postgres() {
                continue;
            }
            let mount = Arc::new(Mount::new());
            mount.connect(&target).await;
            if scram {
                mount.write("config/db", json!({"password_authentication": "scram-sha-256"})).await.unwrap();
            }
            let role =
                json!({"db_name": "db", "creation_statements": creation(&target), "default_ttl": "1h"});
            mount.write("roles/bench", role).await.unwrap();
            let (mut directly, mut engine) = (Vec::new(), Vec::new());
            for _ in 0..SLICES {
                directly.push(direct(&target, scram).await);
                engine.push(through_engine(&mount).await);
            }
            let (directly, engine) = (median(directly), median(engine));
            println!(
                "{} scram={scram}: direct {directly:.0}/s, engine {engine:.0}/s, ratio {:.2}",
                target.plugin,
                engine / directly
            );
        }
    }
}

/// The median of counts of slices, per second.
fn median(mut counts: Vec<usize>) -> f64 {
    counts.sort_unstable();
    counts[counts.len() / 2] as f64 / SLICE.as_secs_f64()
}
