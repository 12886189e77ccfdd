mod format;
mod memory;

use super::*;
use crate::logical::{Storage as _, Write};

const CONFIG: SealConfig = SealConfig { secret_shares: 5, secret_threshold: 3 };

async fn open() -> (Barrier, Key) {
    let barrier = Barrier::new(Store::memory());
    let root_key = Key::generate();
    barrier.initialise(&root_key, &CONFIG).await.unwrap();
    barrier.unseal(&root_key).await.unwrap();
    (barrier, root_key)
}

#[tokio::test]
async fn values_come_back_and_lie_encrypted() {
    let (barrier, _) = open().await;
    let view = barrier.view("logical/x/");
    view.put("secret", b"hunter2-hunter2".to_vec()).await.unwrap();
    assert_eq!(**view.get("secret").unwrap().unwrap(), *b"hunter2-hunter2");
    assert_eq!(view.get("other").unwrap(), None);
    let stored = barrier.store().get("logical/x/secret").unwrap();
    assert!(!stored.windows(7).any(|window| window == b"hunter2"));
}

#[tokio::test]
async fn sealed_means_no_access_of_any_kind() {
    let (barrier, root_key) = open().await;
    let view = barrier.view("");
    view.put("a", vec![1]).await.unwrap();
    barrier.seal();
    assert!(barrier.is_sealed());
    let sealed = logical::StorageError::Sealed;
    assert_eq!(view.get("a").unwrap_err(), sealed);
    assert_eq!(view.list("").unwrap_err(), sealed);
    assert_eq!(view.keys("").unwrap_err(), sealed);
    assert_eq!(view.put("a", vec![2]).await.unwrap_err(), sealed);
    assert_eq!(view.delete("a").await.unwrap_err(), sealed);
    assert!(matches!(barrier.rotate().await, Err(BarrierError::Sealed)));
    assert!(matches!(barrier.key_info(), Err(BarrierError::Sealed)));
    assert!(matches!(barrier.rekey(&root_key, &CONFIG).await, Err(BarrierError::Sealed)));
    barrier.unseal(&root_key).await.unwrap();
    assert_eq!(**view.get("a").unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn initialising_twice_or_unsealing_too_early_or_wrongly_is_refused() {
    let barrier = Barrier::new(Store::memory());
    let root_key = Key::generate();
    assert!(!barrier.is_initialised());
    assert_eq!(barrier.seal_config().unwrap(), None);
    assert!(matches!(barrier.unseal(&root_key).await, Err(BarrierError::NotInitialised)));
    barrier.initialise(&root_key, &CONFIG).await.unwrap();
    assert!(barrier.is_initialised() && barrier.is_sealed());
    assert_eq!(barrier.seal_config().unwrap(), Some(CONFIG));
    assert!(matches!(barrier.initialise(&root_key, &CONFIG).await, Err(BarrierError::AlreadyInitialised)));
    assert!(matches!(barrier.unseal(&Key::generate()).await, Err(BarrierError::WrongKey)));
    assert!(barrier.is_sealed());
    assert!(matches!(Key::from_bytes(&[0; 31]), Err(BarrierError::KeyLength(31))));
}

#[tokio::test]
async fn a_value_moved_to_another_path_or_changed_is_refused() {
    let (barrier, _) = open().await;
    let view = barrier.view("");
    view.put("admin", vec![1]).await.unwrap();
    view.put("guest", vec![2]).await.unwrap();
    let stolen = barrier.store().get("admin").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("guest", Arc::clone(&stolen));
    barrier.store().commit(batch).await.unwrap();
    let error = view.get("guest").unwrap_err().to_string();
    assert!(error.contains("belongs to another path"), "{error}");

    for at in 0..stolen.len() {
        let mut changed = stolen.to_vec();
        changed[at] ^= 1;
        let mut batch = WriteBatch::new();
        batch.put("admin", changed);
        barrier.store().commit(batch).await.unwrap();
        let error = view.get("admin").unwrap_err();
        assert!(matches!(error, logical::StorageError::Damaged { .. }), "byte {at}: {error}");
    }
    for length in 0..stolen.len() {
        let mut batch = WriteBatch::new();
        batch.put("admin", &stolen[..length]);
        barrier.store().commit(batch).await.unwrap();
        assert!(view.get("admin").is_err(), "cut to {length}");
    }
}

#[tokio::test]
async fn rotation_keeps_old_values_readable_and_uses_the_new_key() {
    let (barrier, root_key) = open().await;
    let view = barrier.view("");
    view.put("old", vec![1]).await.unwrap();
    assert_eq!(barrier.key_info().unwrap().encryptions, 1);
    let info = barrier.rotate().await.unwrap();
    assert_eq!((info.term, info.encryptions), (2, 0));
    view.put("new", vec![2]).await.unwrap();
    assert_eq!(&barrier.store().get("old").unwrap()[1..5], [0, 0, 0, 1]);
    assert_eq!(&barrier.store().get("new").unwrap()[1..5], [0, 0, 0, 2]);

    barrier.seal();
    barrier.unseal(&root_key).await.unwrap();
    assert_eq!(**view.get("old").unwrap().unwrap(), [1]);
    assert_eq!(**view.get("new").unwrap().unwrap(), [2]);
    assert_eq!(barrier.key_info().unwrap().term, 2);
}

#[tokio::test]
async fn rekeying_replaces_the_root_key_and_its_split() {
    let (barrier, old) = open().await;
    let view = barrier.view("");
    view.put("a", vec![1]).await.unwrap();
    let new = Key::generate();
    let config = SealConfig { secret_shares: 1, secret_threshold: 1 };
    barrier.rekey(&new, &config).await.unwrap();
    assert_eq!(barrier.seal_config().unwrap(), Some(config));
    assert!(matches!(barrier.verify_root_key(&old), Err(BarrierError::WrongKey)));
    // Rotating afterwards must not bring the old root key back.
    barrier.rotate().await.unwrap();
    barrier.seal();
    assert!(matches!(barrier.unseal(&old).await, Err(BarrierError::WrongKey)));
    barrier.unseal(&new).await.unwrap();
    assert_eq!(**view.get("a").unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn the_barriers_own_entries_are_out_of_reach() {
    let (barrier, root_key) = open().await;
    let view = barrier.view("");
    view.put("a/b", vec![1]).await.unwrap();
    assert_eq!(view.list("").unwrap(), ["a/"]);
    assert_eq!(view.keys("").unwrap(), ["a/b"]);
    assert!(view.get(KEYRING).is_err());
    assert!(view.delete(KEYRING).await.is_err());
    assert!(view.put(SEAL_CONFIG, vec![]).await.is_err());
    assert!(view.list(RESERVED).is_err());
    // A view cleared as a whole leaves them alone.
    view.clear().await.unwrap();
    barrier.verify_root_key(&root_key).unwrap();
}

#[tokio::test]
async fn a_batch_with_one_refused_write_does_nothing() {
    let (barrier, _) = open().await;
    let writes = vec![Write::put_json("a", &1).unwrap(), Write::delete("barrier/keyring")];
    assert!(barrier.apply(writes).await.is_err());
    assert_eq!(barrier.get("a").unwrap(), None);
}

#[tokio::test]
async fn keys_and_barriers_do_not_show_secrets() {
    let (barrier, root_key) = open().await;
    assert_eq!(format!("{root_key:?}"), "Key(redacted)");
    let shown = format!("{barrier:?}");
    assert!(shown.contains("sealed: false"), "{shown}");
}
