//! Torn tails are cut off, other damage is reported.

use std::fs;

use super::*;

/// The bytes of a log with the entries `a`, `b` and `c` and the offset of the last frame.
async fn sample() -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(put("a", b"first")).await.unwrap();
    store.commit(put("b", b"second")).await.unwrap();
    let last = fs::metadata(dir.path().join("store.log")).unwrap().len();
    store.commit(put("c", b"third")).await.unwrap();
    drop(store);
    let bytes = fs::read(dir.path().join("store.log")).unwrap();
    (bytes, last as usize)
}

fn open_bytes(bytes: &[u8]) -> (tempfile::TempDir, Result<Store, StorageError>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.log"), bytes).unwrap();
    let opened = Store::open(dir.path(), &FileOptions::default());
    (dir, opened)
}

#[tokio::test]
async fn a_last_record_torn_at_any_byte_is_cut_off() {
    let (bytes, last) = sample().await;
    for length in last..bytes.len() {
        let (dir, store) = open_bytes(&bytes[..length]);
        let store = store.unwrap();
        assert!(!dir.path().join("store.log.cut").exists(), "{length}");
        assert_eq!(*store.keys(""), ["a".into(), "b".into()], "{length}");
        // The store goes on from there, and what it writes is found again.
        store.commit(put("d", b"after")).await.unwrap();
        drop(store);
        let store = open(dir.path());
        assert_eq!(store.count(""), 3, "{length}");
        assert_eq!(store.get("d").as_deref(), Some(&b"after"[..]));
    }
}

/// A power cut can leave the file longer than what was written to it.
#[tokio::test]
async fn a_last_record_of_zeros_is_cut_off() {
    let (mut bytes, last) = sample().await;
    bytes[last..].fill(0);
    bytes.resize(bytes.len() + 5000, 0);
    let (_dir, store) = open_bytes(&bytes);
    assert_eq!(store.unwrap().count(""), 2);
}

/// It cannot be told from a power cut during the write, so the store opens, but what was cut
/// off is kept.
#[tokio::test]
async fn a_damaged_last_record_is_kept_aside() {
    let (bytes, last) = sample().await;
    for at in last..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let (dir, store) = open_bytes(&changed);
        assert_eq!(store.unwrap().count(""), 2, "byte {at}");
        let kept = fs::read(dir.path().join("store.log.cut")).unwrap();
        assert!(kept == changed[last..], "byte {at}");
    }
}

#[tokio::test]
async fn any_flipped_bit_before_the_last_record_is_an_error() {
    let (bytes, last) = sample().await;
    for at in 0..last {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let (dir, store) = open_bytes(&changed);
        let error = store.unwrap_err();
        assert!(
            matches!(error, StorageError::Corrupt { .. } | StorageError::NotAStore(_)),
            "byte {at}: {error}"
        );
        let untouched = fs::read(dir.path().join("store.log")).unwrap();
        assert!(untouched == changed, "byte {at}: the file was changed");
    }
}

#[tokio::test]
async fn the_error_says_where_the_damage_is() {
    let (mut bytes, _) = sample().await;
    bytes[format::HEADER_LEN + format::FRAME_HEAD_LEN + 3] ^= 1;
    let (_dir, store) = open_bytes(&bytes);
    let text = store.unwrap_err().to_string();
    assert!(text.contains("damaged at byte 20") && text.contains("valid data follows"), "{text}");
}

#[tokio::test]
async fn a_file_of_a_later_format_is_refused_by_name() {
    let (mut bytes, _) = sample().await;
    bytes[8] = 3;
    bytes[12] = 2;
    let crc = crc32fast::hash(&bytes[..16]).to_le_bytes();
    bytes[16..20].copy_from_slice(&crc);
    let (_dir, store) = open_bytes(&bytes);
    let text = store.unwrap_err().to_string();
    assert!(text.contains("format 3") && text.contains("reader of version 2"), "{text}");
}

/// The oldest format this version must read, byte for byte as version 1 wrote it.
#[tokio::test]
async fn a_store_of_format_1_opens() {
    let (_dir, store) = open_bytes(include_bytes!("../testdata/format-1.log"));
    let store = store.unwrap();
    assert_eq!(
        everything(&store),
        [
            ("core/mounts".into(), b"[]".to_vec()),
            ("logical/x/kept".into(), vec![0, 1, 2, 255]),
            ("logical/x/replaced".into(), b"new".to_vec()),
        ]
    );
}

/// Writes the fixture of the current format anew; to be run once per format.
#[tokio::test]
#[ignore = "writes the fixture of a new format"]
async fn write_the_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = put("core/mounts", b"[]");
    batch.put("logical/x/replaced", &b"old"[..]);
    store.commit(batch).await.unwrap();
    store.commit(put("logical/x/gone", b"gone")).await.unwrap();
    let mut batch = put("logical/x/replaced", b"new");
    batch.delete("logical/x/gone");
    batch.put("logical/x/kept", &[0, 1, 2, 255][..]);
    store.commit(batch).await.unwrap();
    drop(store);
    let name = format!("src/storage/testdata/format-{}.log", format::FORMAT);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(dir.path().join("store.log"), target).unwrap();
}
