//! Any bytes in place of a store's log are opened or refused: never a panic, and never a part of a write. What a
//! write cut short left is cut off, and nothing before it is lost.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use vaultlab_server::storage::{FileOptions, StorageError, Store, SyncPolicy};

#[derive(Arbitrary, Debug)]
struct Input {
    log: Log,
    damage: Vec<Damage>,
}

#[derive(Arbitrary, Debug)]
enum Log {
    Bytes(Vec<u8>),
    /// A header and frames with sums that fit.
    Frames {
        reader: u8,
        frames: Vec<Frame>,
    },
}

#[derive(Arbitrary, Debug)]
enum Frame {
    Operations(Vec<Operation>),
    Body(Vec<u8>),
    /// A head that claims another length than the body has.
    Claims(u32, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Put(u8, Vec<u8>),
    PutAt(String, Vec<u8>),
    Delete(u8),
}

#[derive(Arbitrary, Debug)]
enum Damage {
    Flip(u16, u8),
    Cut(u16),
    Append(Vec<u8>),
    Zeros(u8),
}

type State = BTreeMap<String, Vec<u8>>;

fn key(at: u8) -> String {
    format!("k/{}/{at}", at % 4)
}

fn put(body: &mut Vec<u8>, key: &str, value: &[u8]) {
    body.push(1);
    body.extend_from_slice(&(key.len() as u32).to_le_bytes());
    body.extend_from_slice(&(value.len() as u32).to_le_bytes());
    body.extend_from_slice(key.as_bytes());
    body.extend_from_slice(value);
}

fn frame(log: &mut Vec<u8>, length: u32, body: &[u8]) {
    let mut head = Vec::new();
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let sum = crc32fast::hash(&head);
    head.extend_from_slice(&sum.to_le_bytes());
    log.extend_from_slice(&head);
    log.extend_from_slice(body);
}

/// The bytes, and where each frame ends with what the store then holds; nothing for bytes that may be anything.
fn build(log: &Log) -> (Vec<u8>, Option<Vec<(usize, State)>>) {
    let (reader, frames) = match log {
        Log::Bytes(bytes) => return (bytes.clone(), None),
        Log::Frames { reader, frames } => (*reader, frames),
    };
    let mut bytes = b"VLABLOG\n".to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&u32::from(reader % 8 == 1).wrapping_add(1).to_le_bytes());
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let mut known = reader % 8 != 1;
    let mut states = vec![(bytes.len(), State::new())];
    for part in frames {
        let mut state = states.last().map(|(_, state)| state.clone()).unwrap_or_default();
        match part {
            Frame::Operations(operations) => {
                let mut body = Vec::new();
                for operation in operations {
                    match operation {
                        Operation::Put(at, value) => {
                            put(&mut body, &key(*at), value);
                            state.insert(key(*at), value.clone());
                        }
                        Operation::PutAt(name, value) => {
                            put(&mut body, name, value);
                            state.insert(name.clone(), value.clone());
                        }
                        Operation::Delete(at) => {
                            let name = key(*at);
                            body.push(2);
                            body.extend_from_slice(&(name.len() as u32).to_le_bytes());
                            body.extend_from_slice(name.as_bytes());
                            state.remove(&name);
                        }
                    }
                }
                frame(&mut bytes, body.len() as u32, &body);
            }
            Frame::Body(body) => {
                known = false;
                frame(&mut bytes, body.len() as u32, body);
            }
            Frame::Claims(length, body) => {
                known = false;
                frame(&mut bytes, *length, body);
            }
        }
        states.push((bytes.len(), state));
    }
    (bytes, known.then_some(states))
}

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("fuzz-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    })
}

/// What the store in the folder holds.
async fn open() -> Result<State, StorageError> {
    let store = Store::open(folder(), &FileOptions { sync: SyncPolicy::Never })?;
    let keys = store.keys("");
    assert_eq!(store.count(""), keys.len());
    let listed = store.list("");
    assert!(listed.is_sorted());
    let state = keys.iter().map(|key| (key.to_string(), store.get(key).expect("a value").to_vec())).collect();
    store.close().await;
    Ok(state)
}

fuzz_target!(|input: Input| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let (mut bytes, states) = build(&input.log);
    let whole = bytes.len();
    // Up to where nothing was changed.
    let mut intact = whole;
    let mut only_cut = true;
    for damage in &input.damage {
        match damage {
            Damage::Flip(at, bits) if !bytes.is_empty() && *bits != 0 => {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= bits;
                intact = intact.min(at);
                only_cut = false;
            }
            Damage::Flip(..) => {}
            Damage::Cut(at) => {
                bytes.truncate(usize::from(*at));
                intact = intact.min(bytes.len());
            }
            Damage::Append(more) => {
                bytes.extend_from_slice(more);
                only_cut &= more.is_empty();
            }
            Damage::Zeros(count) => {
                bytes.resize(bytes.len() + usize::from(*count), 0);
                only_cut &= *count == 0;
            }
        }
    }
    std::fs::write(folder().join("store.log"), &bytes).expect("written");
    runtime.block_on(async {
        let opened = open().await;
        if let Some(states) = &states {
            let header = states[0].0;
            if let Ok(opened) = &opened {
                // One of the states there were, and none before the last that was left whole.
                let kept = states.iter().rev().find(|(end, _)| *end <= intact);
                if let Some((end, _)) = kept {
                    let later = states.iter().filter(|(other, _)| other >= end);
                    let appended =
                        input.damage.iter().any(|d| matches!(d, Damage::Append(more) if more.len() > 12));
                    assert!(appended || later.into_iter().any(|(_, state)| state == opened), "{opened:?}");
                }
            } else {
                assert!(!only_cut || intact < header, "a log cut short is refused: {opened:?}");
            }
        }
        // Opening mends once: the second time finds the same.
        if let Ok(first) = opened {
            assert_eq!(open().await.expect("opened before"), first);
        }
    });
});
