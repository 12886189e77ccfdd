mod crash;
mod damage;
mod full;
mod model;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

fn open(dir: &Path) -> Store {
    Store::open(dir, &FileOptions::default()).unwrap()
}

fn put(key: &str, value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    batch
}

fn everything(store: &Store) -> Vec<(String, Vec<u8>)> {
    store.keys("").iter().map(|key| (key.to_string(), store.get(key).unwrap().to_vec())).collect()
}

#[tokio::test]
async fn entries_come_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(put("a", b"1")).await.unwrap();
    store.commit(put("b", b"2")).await.unwrap();
    let mut batch = put("c", b"3");
    batch.put("a", &b"4"[..]);
    batch.delete("b");
    batch.delete("never was");
    store.commit(batch).await.unwrap();
    let before = everything(&store);
    drop(store);
    let store = open(dir.path());
    assert_eq!(before, [("a".into(), b"4".to_vec()), ("c".into(), b"3".to_vec())]);
    assert_eq!(everything(&store), before);
    assert_eq!(store.kind(), "file");
    assert_eq!(Store::memory().kind(), "inmem");
}

#[tokio::test]
async fn listing_shows_one_level() {
    let store = Store::memory();
    for key in ["a", "a/b", "a/c/d", "a-b/x", "a0", "b/c", "é/x"] {
        store.commit(put(key, b"")).await.unwrap();
    }
    assert_eq!(store.list(""), ["a", "a-b/", "a/", "a0", "b/", "é/"]);
    assert_eq!(store.list("a/"), ["b", "c/"]);
    assert_eq!(store.list("a/c/"), ["d"]);
    assert!(store.list("nothing/").is_empty());
    assert_eq!(store.keys("a/").len(), 2);
    assert_eq!(store.count(""), 7);
}

#[tokio::test]
async fn a_second_server_is_told_who_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), &FileOptions::default()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, StorageError::Locked { pid: Some(holder), .. } if holder == pid));
    assert!(error.to_string().ends_with(&format!("(pid {pid})")));
    store.close().await;
    open(dir.path());
}

#[tokio::test]
async fn a_closed_store_reads_but_does_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(put("a", b"1")).await.unwrap();
    store.close().await;
    store.close().await;
    assert_eq!(store.get("a").as_deref(), Some(&b"1"[..]));
    let error = store.commit(put("b", b"2")).await.unwrap_err();
    assert!(matches!(error, StorageError::Closed), "{error}");
    assert_eq!(store.get("b"), None);
}

#[tokio::test]
async fn files_are_for_the_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new/store");
    let _store = open(&dir);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("store.log")), 0o600);
    assert_eq!(mode(&dir.join("store.lock")), 0o600);
}

#[tokio::test]
async fn a_folder_of_another_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("core")).unwrap();
    fs::write(dir.path().join("core/_keyring"), "{}").unwrap();
    let error = Store::open(dir.path(), &FileOptions::default()).unwrap_err();
    assert!(matches!(error, StorageError::ForeignStore(_)), "{error}");

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.log"), "a log of something else").unwrap();
    let error = Store::open(dir.path(), &FileOptions::default()).unwrap_err();
    assert!(matches!(error, StorageError::NotAStore(_)), "{error}");
    assert_eq!(fs::read(dir.path().join("store.log")).unwrap(), b"a log of something else");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("store");
    let error = Store::open(&dir, &FileOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot create") && text.contains(&*dir.to_string_lossy()), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_all_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..200 {
                    let key = format!("{task}/{n}");
                    store.commit(put(&key, key.as_bytes())).await.unwrap();
                    // What was acknowledged is visible at once.
                    assert_eq!(store.get(&key).as_deref(), Some(key.as_bytes()));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    drop(store);
    assert_eq!(open(dir.path()).count(""), 1600);
}

#[tokio::test]
async fn garbage_is_compacted_away_while_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = dir.path().join("store.log");
    for n in 0..100 {
        store.commit(put(&format!("keep/{n}"), &[7; 100])).await.unwrap();
    }
    for n in 0..400_u32 {
        let mut batch = put("changing", &vec![0; 32 << 10]);
        batch.put("counter", n.to_le_bytes().as_slice());
        store.commit(batch).await.unwrap();
    }
    // 13 MB were written. Compaction goes on by itself until little more than the minimum
    // of garbage is left.
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(&log).unwrap().len() > 3 << 20 {
        assert!(Instant::now() < deadline, "not compacted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = everything(&store);
    drop(store);
    assert!(!dir.path().join("store.log.tmp").exists());
    let store = open(dir.path());
    assert_eq!(everything(&store), before);
    assert_eq!(store.get("counter").as_deref(), Some(&399_u32.to_le_bytes()[..]));
    assert_eq!(store.count("keep/"), 100);
}

#[tokio::test]
async fn every_sync_policy_keeps_what_was_acknowledged() {
    for sync in [SyncPolicy::Always, SyncPolicy::Critical, SyncPolicy::Never] {
        let dir = tempfile::tempdir().unwrap();
        let options = FileOptions { sync };
        let store = Store::open(dir.path(), &options).unwrap();
        let mut batch = put("a", b"1");
        batch.durable();
        store.commit(batch).await.unwrap();
        store.commit(put("b", b"2")).await.unwrap();
        drop(store);
        let store = Store::open(dir.path(), &options).unwrap();
        assert_eq!(store.count(""), 2, "{sync:?}");
    }
}

#[tokio::test]
async fn a_batch_above_the_limit_is_refused_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let huge = vec![0; format::MAX_BODY];
    let error = store.commit(put("huge", &huge)).await.unwrap_err();
    assert!(matches!(error, StorageError::TooLarge { .. }), "{error}");
    store.commit(put("small", b"1")).await.unwrap();
    assert_eq!(store.count(""), 1);
}

#[tokio::test]
async fn commits_go_on_when_compaction_is_impossible() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // A folder where the new file should be.
    let obstacle = dir.path().join("store.log.tmp");
    fs::create_dir(&obstacle).unwrap();
    for n in 0..150_u32 {
        let mut batch = put("changing", &vec![0; 32 << 10]);
        batch.put("counter", n.to_le_bytes().as_slice());
        store.commit(batch).await.unwrap();
    }
    assert!(fs::metadata(dir.path().join("store.log")).unwrap().len() > 4 << 20);
    drop(store);
    fs::remove_dir(&obstacle).unwrap();
    let store = open(dir.path());
    assert_eq!(store.get("counter").as_deref(), Some(&149_u32.to_le_bytes()[..]));
}
