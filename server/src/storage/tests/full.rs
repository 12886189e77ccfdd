//! A disk without room: the write is refused, everything else goes on.

use std::fs;
use std::process::Command;

use super::*;
use crate::child_test;

/// Fills the store in `dir` until a write is refused and checks that it stays usable, then
/// calls `make_room` and checks that writing works again.
async fn fill_and_recover(dir: &Path, make_room: impl FnOnce()) {
    let store = open(dir);
    let log = dir.join("store.log");
    let mut kept = 0;
    let error = loop {
        let before = fs::metadata(&log).unwrap().len();
        // Not a divisor of any block size, so that the refused one is partly written.
        match store.commit(put(&format!("entry/{kept}"), &[7; 3001])).await {
            Ok(()) => kept += 1,
            Err(error) => {
                assert_eq!(fs::metadata(&log).unwrap().len(), before, "not undone");
                break error;
            }
        }
        assert!(kept < 10_000, "the disk never filled up");
    };
    assert!(kept > 0);
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert!(error.to_string().contains("no room to write"), "{error}");
    assert_eq!(store.count("entry/"), kept);
    assert_eq!(store.get(&format!("entry/{kept}")), None);

    // Grouped with one that cannot be written, what fits is still written.
    let big = put("big", &vec![7; 1 << 20]);
    let (big, small) = tokio::join!(store.commit(big), store.commit(put("small", b"1")));
    assert!(matches!(big, Err(StorageError::Full { .. })));
    small.unwrap();

    make_room();
    store.commit(put("later", &[7; 3001])).await.unwrap();
    drop(store);
    let store = open(dir);
    assert_eq!(store.count("entry/"), kept);
    assert_eq!(store.get("small").as_deref(), Some(&b"1"[..]));
    assert_eq!(store.count(""), kept + 2);
}

/// Not a test of its own.
#[test]
#[ignore = "run as a child process by a_refused_write_is_undone"]
fn child_with_a_file_size_limit() {
    let Some(dir) = child_test::dir() else { return };
    block_on(fill_and_recover(&dir, child_test::lift_file_limit));
}

#[test]
fn a_refused_write_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    child_test::run_with_file_limit("storage::tests::full::child_with_a_file_size_limit", dir.path());
}

/// Not a test of its own.
#[test]
#[ignore = "run as a child process by a_full_disk_is_survived"]
fn child_on_a_full_disk() {
    let Some(dir) = child_test::dir() else { return };
    block_on(fill_and_recover(&dir.join("store"), || {
        let status = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&dir).status().unwrap();
        assert!(status.success());
    }));
}

/// On a real file system that runs full, which only root can make.
#[test]
fn a_full_disk_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none"]).arg(dir.path()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a file system cannot be mounted here (needs root)");
        return;
    }
    // The mount is the child's own and goes with it.
    let script = r#"exec unshare -m sh -c 'mount -t tmpfs -o size=512k none "$VAULTLAB_TEST_CHILD_DIR" && exec "$@"' sh "$@""#;
    let name = "storage::tests::full::child_on_a_full_disk";
    child_test::run(child_test::command(name, dir.path(), Some(script)));
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(work);
}
