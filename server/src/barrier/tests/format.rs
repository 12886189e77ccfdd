//! Stores of earlier formats open.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use crate::shamir;
use crate::storage::FileOptions;

/// Unseal keys of the store in `testdata/format-1.log`, a throw-away made for this test.
const UNSEAL_KEYS: [&str; 3] = [
    include_str!("../testdata/format-1.key-1"),
    include_str!("../testdata/format-1.key-2"),
    include_str!("../testdata/format-1.key-3"),
];

/// Byte for byte what the first version wrote: shares, keyring, records and log.
#[tokio::test]
async fn a_store_of_format_1_is_unsealed_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = include_bytes!("../testdata/format-1.log");
    fs::write(dir.path().join("store.log"), log).unwrap();
    let barrier = Barrier::new(Store::open(dir.path(), &FileOptions::default()).unwrap());
    assert_eq!(barrier.seal_config().unwrap(), Some(SealConfig { secret_shares: 3, secret_threshold: 2 }));
    for pair in [[0, 1], [2, 1], [0, 2]] {
        let shares = pair.map(|index| BASE64.decode(UNSEAL_KEYS[index]).unwrap());
        let key = Key::from_bytes(&shamir::combine_unseal_keys(&shares).unwrap()).unwrap();
        barrier.unseal(&key).await.unwrap();
        let view = barrier.view("");
        assert_eq!(view.keys("").unwrap(), ["logical/new", "logical/old"]);
        assert_eq!(**view.get("logical/old").unwrap().unwrap(), *b"first term");
        assert_eq!(**view.get("logical/new").unwrap().unwrap(), *b"second term");
        let info = barrier.key_info().unwrap();
        assert_eq!(info.term, 2);
        assert_eq!(info.install_time.to_string(), "2026-01-02T03:04:05.678Z");
        barrier.seal();
    }
}

/// Writes the fixture of the current format anew; to be run once per format.
#[tokio::test]
#[ignore = "writes the fixture of a new format"]
async fn write_the_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &FileOptions::default()).unwrap();
    let barrier = Barrier::new(store);
    let root_key = Key::generate();
    let config = SealConfig { secret_shares: 3, secret_threshold: 2 };
    barrier.initialise(&root_key, &config).await.unwrap();
    barrier.unseal(&root_key).await.unwrap();
    let view = barrier.view("logical/");
    view.put("old", b"first term".to_vec()).await.unwrap();
    let installed = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let keyring = barrier.keyring().unwrap().with_new_term(installed).unwrap();
    barrier.store_keyring(&keyring, None).await.unwrap();
    barrier.replace_keyring(keyring);
    view.put("new", b"second term".to_vec()).await.unwrap();
    barrier.store().close().await;

    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/barrier/testdata");
    fs::create_dir_all(&target).unwrap();
    let shares = shamir::split_unseal_key(root_key.expose(), 3, 2).unwrap();
    for (index, share) in shares.iter().enumerate() {
        let name = format!("format-1.key-{}", index + 1);
        fs::write(target.join(name), BASE64.encode(&**share)).unwrap();
    }
    fs::copy(dir.path().join("store.log"), target.join("format-1.log")).unwrap();
}
