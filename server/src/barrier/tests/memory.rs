//! Keys are gone from memory once the barrier is sealed.

use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::FileExt;

use super::*;
use crate::child_test;
use crate::storage::FileOptions;

/// A key as it is kept for the search: not in its own bytes.
struct Needle([u8; KEY_LEN]);

impl Needle {
    fn of(key: &[u8; KEY_LEN]) -> Self {
        let mut hidden = [0; KEY_LEN];
        for (out, byte) in hidden.iter_mut().zip(key) {
            *out = !byte;
        }
        Self(hidden)
    }

    fn count(&self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        // The first byte is searched for by the standard library, which is fast in every build.
        while bytes.skip_until(!self.0[0]).is_ok_and(|skipped| skipped > 0) {
            let rest = &bytes[..bytes.len().min(KEY_LEN - 1)];
            let hidden = &self.0[1..];
            if rest.len() == hidden.len() && rest.iter().zip(hidden).all(|(byte, h)| *byte == !h) {
                count += 1;
            }
        }
        count
    }
}

/// How often each key lies in this process's writable memory, apart from the mapping with
/// the address `stack`.
fn count_in_memory(needles: &[Needle], stack: u64) -> Vec<usize> {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut counts = vec![0; needles.len()];
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, access) = line.split_once(' ').unwrap();
        if !access.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        if (start..end).contains(&stack) {
            continue;
        }
        let mut bytes = vec![0; (end - start) as usize];
        // Some special mappings cannot be read this way.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            for (needle, count) in needles.iter().zip(&mut counts) {
                *count += needle.count(&bytes);
            }
        }
        bytes.fill(0);
    }
    counts
}

/// Opens the barrier and uses it; the keys to search for and an address of this thread's
/// stack. What calls left there is overwritten by later ones, which come at no certain time.
fn open_and_use(barrier: &Barrier) -> (Vec<Needle>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let needles = runtime.block_on(async {
        let root_key = Key::generate();
        barrier.initialise(&root_key, &CONFIG).await.unwrap();
        barrier.unseal(&root_key).await.unwrap();
        barrier.rotate().await.unwrap();
        let view = barrier.view("");
        view.put("a", vec![1; 100]).await.unwrap();
        assert_eq!(view.get("a").unwrap().unwrap().len(), 100);
        let keyring = barrier.keyring().unwrap();
        let keys = keyring.term_keys().chain([&root_key]);
        keys.map(|key| Needle::of(key.expose())).collect()
    });
    (needles, std::ptr::from_ref(&runtime).addr() as u64)
}

/// Not a test of its own: other tests in the same process would disturb the search.
#[test]
#[ignore = "run as a child process by sealing_wipes_the_keys"]
fn child_that_seals() {
    let Some(dir) = child_test::dir() else { return };
    let store = Store::open(&dir, &FileOptions::default()).unwrap();
    let barrier = Barrier::new(store);
    let (needles, stack) = std::thread::scope(|scope| scope.spawn(|| open_and_use(&barrier)).join().unwrap());
    assert_eq!(needles.len(), 3);
    let open = count_in_memory(&needles, stack);
    assert!(open.iter().all(|&count| count > 0), "{open:?}: the search finds nothing");
    barrier.seal();
    assert_eq!(count_in_memory(&needles, stack), [0, 0, 0]);
}

#[test]
fn sealing_wipes_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let name = "barrier::tests::memory::child_that_seals";
    child_test::run(child_test::command(name, dir.path(), None));
}
