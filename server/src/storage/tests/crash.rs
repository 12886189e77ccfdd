//! A server killed while it writes: everything it acknowledged is there.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::*;
use crate::child_test;

const TASKS: usize = 4;

/// Not a test of its own: the process that [`kill_9_loses_nothing_acknowledged`] kills. Each
/// task counts up under its own key, beside values large enough to make compactions happen,
/// and says on stdout what was acknowledged.
#[test]
#[ignore = "run as a child process by kill_9_loses_nothing_acknowledged"]
fn child_that_writes() {
    let Some(dir) = child_test::dir() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = open(&dir);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            runtime.spawn(async move {
                let counter = format!("counter/{task}");
                let start = store.get(&counter).map_or(0, |v| u64::from_le_bytes((*v).try_into().unwrap()));
                for n in start + 1.. {
                    let mut batch = put(&counter, &n.to_le_bytes());
                    batch.put(format!("ballast/{task}"), vec![n as u8; 2000]);
                    batch.put(format!("checked/{task}"), &n.to_le_bytes()[..]);
                    store.commit(batch).await.unwrap();
                    println!("ack {task} {n}");
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = [0_u64; TASKS];
    for round in 0..8_u64 {
        let name = "storage::tests::crash::child_that_writes";
        let mut child = child_test::command(name, dir.path(), None)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed at a different point of its work each time.
        let enough = 300 + 777 * round as usize;
        let mut seen = 0;
        let mut read_line = |line: &str| {
            let mut words = line.split(' ');
            if words.next() == Some("ack") {
                let task: usize = words.next().unwrap().parse().unwrap();
                // The last line may be cut in the middle of its number.
                if let Some(Ok(n)) = words.next().map(str::parse) {
                    acknowledged[task] = acknowledged[task].max(n);
                }
            }
        };
        for line in lines.by_ref() {
            read_line(&line.unwrap());
            seen += 1;
            if seen == enough {
                child.kill().unwrap();
                break;
            }
        }
        assert_eq!(seen, enough, "the child ended by itself");
        // What it said before it died counts too.
        for line in lines.map_while(Result::ok) {
            read_line(&line);
        }
        child.wait().unwrap();

        let store = open(dir.path());
        for (task, &acknowledged) in acknowledged.iter().enumerate() {
            let read = |name: &str| {
                // A task may have been killed before its first write.
                let value = store.get(&format!("{name}/{task}"));
                value.map_or(0, |value| u64::from_le_bytes((*value).try_into().unwrap()))
            };
            let found = read("counter");
            assert!(
                found >= acknowledged,
                "round {round}, task {task}: {acknowledged} was acknowledged, {found} is there"
            );
            assert_eq!(read("checked"), found, "a batch was applied in part");
            let ballast = store.get(&format!("ballast/{task}"));
            assert_eq!(ballast.is_some(), found > 0, "a batch was applied in part");
            assert!(ballast.is_none_or(|bytes| bytes.iter().all(|&byte| byte == found as u8)));
        }
    }
}
