//! The store against a plain map, with reopening and torn ends in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(String, Option<Vec<u8>>)>),
    Reopen,
    TearAndReopen(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let op = (
        "[ab]{1,2}(/[ab]{1,2}){0,2}",
        prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40)),
    );
    prop_oneof![
        8 => prop::collection::vec(op, 1..5).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Step::TearAndReopen),
    ]
}

fn children(model: &BTreeMap<String, Vec<u8>>, prefix: &str) -> BTreeSet<String> {
    model
        .keys()
        .filter_map(|key| key.strip_prefix(prefix))
        .map(|rest| match rest.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => rest.to_owned(),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let memory = Store::memory();
        let mut store = Some(open(dir.path()));
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Commit(ops) => {
                    let mut batch = WriteBatch::new();
                    for (key, value) in ops {
                        if let Some(value) = value {
                            batch.put(key.as_str(), value.as_slice());
                            model.insert(key, value);
                        } else {
                            batch.delete(key.as_str());
                            model.remove(&key);
                        }
                    }
                    runtime.block_on(memory.commit(batch.clone())).unwrap();
                    runtime.block_on(store.as_ref().unwrap().commit(batch)).unwrap();
                }
                Step::Reopen => {
                    store = None;
                    store.replace(open(dir.path()));
                }
                Step::TearAndReopen(garbage) => {
                    store = None;
                    let mut log = OpenOptions::new()
                        .append(true)
                        .open(dir.path().join("store.log"))
                        .unwrap();
                    log.write_all(&garbage).unwrap();
                    store.replace(open(dir.path()));
                }
            }
            let expected: Vec<_> = model.clone().into_iter().collect();
            let store = store.as_ref().unwrap();
            prop_assert_eq!(&everything(store), &expected);
            prop_assert_eq!(&everything(&memory), &expected);
            for prefix in ["", "a/", "ab/b/", "b/"] {
                let listed: Vec<String> = children(&model, prefix).into_iter().collect();
                prop_assert_eq!(store.list(prefix), listed);
                prop_assert_eq!(
                    store.count(prefix),
                    model.keys().filter(|key| key.starts_with(prefix)).count()
                );
            }
        }
    }
}
