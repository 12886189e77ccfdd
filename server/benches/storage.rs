//! Commits per second of the file store, alone and through the barrier, entries per second of
//! an audit log, and the memory 10,000 entries take. Prints one line per figure.
//!
//! `cargo bench -p vaultlab-server --bench storage`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vaultlab_server::audit::{Broker, LogInput};
use vaultlab_server::barrier::{Barrier, Key, SealConfig};
use vaultlab_server::logical::{Object, Operation, Request, Write};
use vaultlab_server::storage::{FileOptions, Store, SyncPolicy, WriteBatch};

const TIME: Duration = Duration::from_secs(2);
/// About what a lease with its token index takes.
const VALUE: usize = 700;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        for (name, sync) in
            [("never", SyncPolicy::Never), ("critical", SyncPolicy::Critical), ("always", SyncPolicy::Always)]
        {
            for tasks in [1, 8] {
                let dir = tempfile::tempdir()?;
                let store = Store::open(dir.path(), &FileOptions { sync })?;
                let rate = rate(tasks, move |key| {
                    let store = store.clone();
                    async move {
                        let mut batch = WriteBatch::new();
                        batch.put(key, vec![7_u8; VALUE]);
                        Ok(store.commit(batch).await?)
                    }
                })
                .await?;
                println!("store, sync = {name:?}, {tasks} tasks: {rate} commits/s");
            }
        }
        for tasks in [1, 8] {
            let dir = tempfile::tempdir()?;
            let barrier = open_barrier(Store::open(dir.path(), &FileOptions::default())?).await?;
            let rate = rate(tasks, move |key| {
                let barrier = barrier.clone();
                async move {
                    let write = Write::Put(key, vec![7_u8; VALUE].into());
                    Ok(barrier.commit(vec![write], false).await?)
                }
            })
            .await?;
            println!("barrier, {tasks} tasks: {rate} commits/s");
        }
        reads().await?;
        audit().await?;
        memory().await
    })
}

/// Calls `work` from so many tasks for [`TIME`]; calls per second.
async fn rate<F, W>(tasks: usize, work: F) -> Result<u64, Failure>
where
    F: Fn(String) -> W + Send + Sync + 'static,
    W: Future<Output = Result<(), Failure>> + Send,
{
    let work = Arc::new(work);
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let work = Arc::clone(&work);
            tokio::spawn(async move {
                let mut done = 0_u64;
                while start.elapsed() < TIME {
                    // The same 1,000 keys again and again, so that compactions happen too.
                    work(format!("sys/expire/{task}/{}", done % 1000)).await?;
                    done += 1;
                }
                Ok::<u64, Failure>(done)
            })
        })
        .collect();
    let mut total = 0;
    for task in running {
        total += task.await??;
    }
    Ok((total as f64 / start.elapsed().as_secs_f64()) as u64)
}

async fn open_barrier(store: Store) -> Result<Barrier, Failure> {
    let barrier = Barrier::new(store);
    let key = Key::generate();
    let config = SealConfig { secret_shares: 1, secret_threshold: 1 };
    barrier.initialise(&key, &config).await?;
    barrier.unseal(&key).await?;
    Ok(barrier)
}

async fn reads() -> Result<(), Failure> {
    let barrier = open_barrier(Store::memory()).await?;
    let view = barrier.view("");
    view.put("key", vec![7; VALUE]).await?;
    let start = Instant::now();
    let mut done = 0_u64;
    while start.elapsed() < TIME {
        view.get("key")?;
        done += 1;
    }
    let rate = done as f64 / start.elapsed().as_secs_f64();
    println!("barrier, 1 thread: {} reads/s", rate as u64);
    Ok(())
}

async fn audit() -> Result<(), Failure> {
    for tasks in [1, 8] {
        let dir = tempfile::tempdir()?;
        let barrier = open_barrier(Store::memory()).await?;
        let file = dir.path().join("audit.log").to_string_lossy().into_owned();
        let options = BTreeMap::from([("file_path".to_owned(), file)]);
        let broker = Arc::new(Broker::new());
        broker.enable("file/", &options, &barrier.view("audit/")).await?;
        let request = Arc::new(Request {
            operation: Operation::Update,
            path: "auth/approle/login".to_owned(),
            data: Object::from_iter([
                ("role_id".to_owned(), "0123456789".into()),
                ("secret_id".to_owned(), "9876543210".into()),
            ]),
            ..Request::default()
        });
        let rate = rate(tasks, move |_| {
            let (broker, request) = (Arc::clone(&broker), Arc::clone(&request));
            async move { Ok(broker.log_request(&LogInput::new(&request)).await?) }
        })
        .await?;
        println!("audit log, {tasks} tasks: {rate} entries/s");
    }
    Ok(())
}

async fn memory() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let barrier = open_barrier(Store::open(dir.path(), &FileOptions::default())?).await?;
    let before = resident_kib()?;
    for n in 0..10_000 {
        let key = format!("sys/expire/id/database/creds/readonly/{n:024}");
        let write = Write::Put(key, vec![7_u8; VALUE].into());
        barrier.commit(vec![write], false).await?;
    }
    println!("10,000 entries of {VALUE} bytes: {} KiB more resident", resident_kib()? - before);
    Ok(())
}

fn resident_kib() -> Result<i64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
