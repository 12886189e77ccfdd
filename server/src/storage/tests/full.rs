//! A disk without room: the write is refused, everything else goes on.

use std::fs;
use std::process::Command;

use super::*;

const DIR: &str = "VAULTLAB_TEST_FULL_DIR";

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

/// Not a test of its own: run with a limit on the size of files.
#[test]
#[ignore = "run as a child process by a_refused_write_is_undone"]
fn child_with_a_file_size_limit() {
    let dir = std::env::var_os(DIR).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(fill_and_recover(Path::new(&dir), || {
        // Raises its own soft limit again.
        let raised = Command::new("prlimit")
            .args(["--fsize=unlimited:unlimited", "--pid"])
            .arg(std::process::id().to_string())
            .status()
            .unwrap();
        assert!(raised.success());
    }));
}

#[test]
fn a_refused_write_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    // The signal that comes with the limit is ignored so that the write fails instead.
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -S -f 256; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["storage::tests::full::child_with_a_file_size_limit"])
        .args(["--exact", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
