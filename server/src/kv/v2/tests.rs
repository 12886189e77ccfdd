//! Version 2 as a client of its paths sees it, on storage in memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::kv::KvV1;
use crate::logical::testing::{TestSystem, context, request};

struct Bench {
    kv: KvV2,
    view: View,
    system: Arc<TestSystem>,
}

impl Bench {
    fn new() -> Self {
        let (context, system) = context("secret/", "kv");
        Self { view: context.storage.clone(), kv: KvV2::new(context), system }
    }

    async fn call(&self, operation: Operation, path: &str, data: Value) -> Answer {
        self.kv.handle(&request(operation, path, data)).await
    }

    async fn ok(&self, operation: Operation, path: &str, data: Value) -> Option<Response> {
        self.call(operation, path, data).await.unwrap()
    }

    /// Writes a version and returns the answer's data.
    async fn put(&self, key: &str, data: Value) -> Value {
        let answer = self.ok(Operation::Update, &format!("data/{key}"), json!({"data": data})).await;
        Value::Object(answer.unwrap().data.unwrap())
    }

    async fn post(&self, path: &str, data: Value) {
        assert!(self.ok(Operation::Update, path, data).await.is_none());
    }

    /// Status and data of a read.
    async fn get(&self, path: &str, query: Value) -> (u16, Value) {
        match self.ok(Operation::Read, path, query).await {
            None => (404, Value::Null),
            Some(answer) => (answer.status.unwrap_or(200), Value::Object(answer.data.unwrap())),
        }
    }

    /// Status and text of a refused write.
    async fn refused(&self, operation: Operation, path: &str, data: Value) -> (u16, String) {
        let error = self.call(operation, path, data).await.unwrap_err();
        (error.status(), error.client_text())
    }
}

#[tokio::test]
async fn numbers_are_read_as_float64() {
    let bench = Bench::new();
    let sent = json!({"a": 9_007_199_254_740_993_i64, "b": [{"c": 1.0}], "d": u64::MAX, "e": -3, "f": 0.1, "g": 1e30});
    bench.put("n", sent).await;
    let read = bench.get("data/n", json!({})).await.1["data"].to_string();
    assert_eq!(
        read,
        r#"{"a":9007199254740992,"b":[{"c":1}],"d":1.8446744073709552e+19,"e":-3,"f":0.1,"g":1e+30}"#
    );
}

#[tokio::test]
async fn every_write_makes_a_version() {
    let bench = Bench::new();
    let first = bench.put("app/db", json!({"a": 1})).await;
    assert_eq!(
        first,
        json!({
            "created_time": "2026-01-01T00:00:00Z", "custom_metadata": null, "deletion_time": "",
            "destroyed": false, "version": 1,
        })
    );
    assert_eq!(bench.put("app/db", json!({"a": 2})).await["version"], 2);
    let (status, data) = bench.get("data/app/db", json!({})).await;
    assert_eq!((status, &data["data"], &data["metadata"]["version"]), (200, &json!({"a": 2}), &json!(2)));
    for version in [json!(1), json!("1")] {
        let (_, data) = bench.get("data/app/db", json!({"version": version})).await;
        assert_eq!(data["data"], json!({"a": 1}));
    }
    assert_eq!(bench.get("data/app/db", json!({"version": 3})).await, (404, Value::Null));
    assert_eq!(bench.get("data/never", json!({})).await, (404, Value::Null));
    let keys = |answer: Option<Response>| answer.unwrap().data.unwrap()["keys"].clone();
    assert_eq!(keys(bench.ok(Operation::List, "metadata/", json!({})).await), json!(["app/"]));
    assert_eq!(keys(bench.ok(Operation::List, "metadata/app", json!({})).await), json!(["db"]));
    assert!(bench.ok(Operation::List, "metadata/none/", json!({})).await.is_none());
}

#[tokio::test]
async fn check_and_set_guards_versions() {
    const MISMATCH: &str = "check-and-set parameter did not match the current version";
    const REQUIRED: &str = "check-and-set parameter required for this call";
    let bench = Bench::new();
    let write = async |cas: Value| {
        let body = json!({"data": {"a": 1}, "options": {"cas": cas}});
        bench.call(Operation::Update, "data/x", body).await
    };
    assert_eq!(write(json!(1)).await.unwrap_err().client_text(), MISMATCH);
    write(json!(0)).await.unwrap();
    let error = write(json!(0)).await.unwrap_err();
    assert_eq!((error.status(), error.client_text()), (400, MISMATCH.into()));
    write(json!("1")).await.unwrap();
    assert_eq!(write(json!(-1)).await.unwrap_err().client_text(), MISMATCH);
    assert_eq!(write(json!("odd")).await.unwrap_err().client_text(), "error parsing check-and-set parameter");

    bench.post("metadata/x", json!({"cas_required": true})).await;
    let body = json!({"data": {}});
    assert_eq!(bench.refused(Operation::Update, "data/x", body.clone()).await, (400, REQUIRED.into()));
    bench.post("config", json!({"cas_required": true})).await;
    assert_eq!(bench.refused(Operation::Update, "data/y", body).await, (400, REQUIRED.into()));
    let answer = bench.ok(Operation::Update, "metadata/y", json!({"cas_required": false})).await;
    assert!(answer.unwrap().warnings[0].contains("mandated by backend config"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_concurrent_writers_wins_each_version() {
    let bench = Arc::new(Bench::new());
    let mut tasks = JoinSet::new();
    for writer in 0..32 {
        let bench = Arc::clone(&bench);
        tasks.spawn(async move {
            let body = json!({"data": {"writer": writer}, "options": {"cas": 0}});
            bench.call(Operation::Update, "data/x", body).await.is_ok()
        });
    }
    let winners = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(winners, 1);
    assert_eq!(bench.get("metadata/x", json!({})).await.1["current_version"], 1);
}

#[tokio::test]
async fn deleted_versions_answer_404_with_everything_but_the_value() {
    let bench = Bench::new();
    bench.put("x", json!({"a": 1})).await;
    bench.put("x", json!({"a": 2})).await;
    bench.ok(Operation::Delete, "data/x", json!({})).await;
    bench.system.advance(Duration::from_secs(1));
    let (status, data) = bench.get("data/x", json!({})).await;
    assert_eq!((status, &data["data"]), (404, &Value::Null));
    assert_eq!(data["metadata"]["deletion_time"], "2026-01-01T00:00:00Z");
    assert_eq!(data["metadata"]["version"], 2);
    bench.post("undelete/x", json!({"versions": [2]})).await;
    assert_eq!(bench.get("data/x", json!({})).await.1["data"], json!({"a": 2}));
    bench.post("delete/x", json!({"versions": "1, 2"})).await;
    bench.system.advance(Duration::from_secs(1));
    assert_eq!(bench.get("data/x", json!({"version": 1})).await.0, 404);
    bench.post("destroy/x", json!({"versions": [1, 7]})).await;
    bench.post("undelete/x", json!({"versions": [1, 2]})).await;
    let (status, data) = bench.get("data/x", json!({"version": 1})).await;
    assert_eq!((status, &data["metadata"]["destroyed"]), (404, &json!(true)));
    assert_eq!(bench.get("data/x", json!({})).await.0, 200);
    assert_eq!(bench.view.keys("version/").unwrap().len(), 1, "the destroyed value is gone");
    for path in ["delete/x", "undelete/x", "destroy/x"] {
        let refused = bench.refused(Operation::Update, path, json!({})).await;
        let what = if path == "destroy/x" { "no" } else { "No" };
        assert_eq!(refused, (400, format!("{what} version number provided")));
        assert_eq!(bench.refused(Operation::Update, path, json!({"versions": ["a"]})).await.0, 400);
        bench.post(&path.replace('x', "never"), json!({"versions": [1]})).await;
    }
}

#[tokio::test]
async fn old_versions_are_dropped_with_their_values() {
    let bench = Bench::new();
    bench.post("config", json!({"max_versions": 2})).await;
    for number in 0..5 {
        bench.put("x", json!({"n": number})).await;
    }
    let (_, data) = bench.get("metadata/x", json!({})).await;
    assert_eq!((&data["oldest_version"], &data["current_version"]), (&json!(4), &json!(5)));
    assert_eq!(data["versions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["4", "5"]);
    assert_eq!(bench.view.keys("version/").unwrap().len(), 2);
    assert_eq!(bench.get("data/x", json!({"version": 3})).await, (404, Value::Null));
}

#[tokio::test]
async fn versions_delete_themselves() {
    let bench = Bench::new();
    bench.post("config", json!({"delete_version_after": "1h"})).await;
    bench.post("metadata/x", json!({"delete_version_after": "1m"})).await;
    let answer = bench.put("x", json!({"a": 1})).await;
    assert_eq!(answer["deletion_time"], "2026-01-01T00:01:00Z");
    assert_eq!(bench.get("data/x", json!({})).await.0, 200);
    bench.system.advance(Duration::from_secs(61));
    assert_eq!(bench.get("data/x", json!({})).await.0, 404);
    assert_eq!(bench.get("metadata/x", json!({})).await.1["delete_version_after"], "1m0s");
    assert_eq!(bench.get("config", json!({})).await.1["delete_version_after"], "1h0m0s");
}

#[tokio::test]
async fn patch_merges_into_the_newest_version() {
    let bench = Bench::new();
    let missing = bench.refused(Operation::Patch, "data/x", json!({"data": {"a": 1}})).await;
    assert_eq!(missing.0, 404);
    bench.put("x", json!({"a": 1, "b": {"c": 2, "d": 3}})).await;
    let patch = json!({"data": {"a": null, "b": {"c": 9}, "e": [1]}, "options": {"cas": 1}});
    let answer = bench.ok(Operation::Patch, "data/x", patch.clone()).await.unwrap();
    assert_eq!(answer.data.unwrap()["version"], 2);
    assert_eq!(bench.get("data/x", json!({})).await.1["data"], json!({"b": {"c": 9, "d": 3}, "e": [1]}));
    assert_eq!(bench.refused(Operation::Patch, "data/x", patch).await.0, 400);
    assert_eq!(bench.refused(Operation::Patch, "data/x", json!({})).await, (400, "no data provided".into()));
    bench.ok(Operation::Delete, "data/x", json!({})).await;
    bench.system.advance(Duration::from_secs(1));
    let answer = bench.ok(Operation::Patch, "data/x", json!({"data": {"a": 1}})).await.unwrap();
    assert_eq!((answer.status, &answer.data.unwrap()["version"]), (Some(404), &json!(2)));
}

#[tokio::test]
async fn metadata_is_written_patched_and_removed() {
    let bench = Bench::new();
    bench.post("metadata/x", json!({"max_versions": 3, "custom_metadata": {"a": "1", "b": 2}})).await;
    let (_, data) = bench.get("metadata/x", json!({})).await;
    assert_eq!(data["custom_metadata"], json!({"a": "1", "b": "2"}));
    assert_eq!((&data["max_versions"], &data["current_version"]), (&json!(3), &json!(0)));
    assert_eq!(bench.get("data/x", json!({})).await, (404, Value::Null), "no version yet");
    let patch = json!({"max_versions": null, "custom_metadata": {"a": null, "c": "3"}});
    assert!(bench.ok(Operation::Patch, "metadata/x", patch).await.is_none());
    let (_, data) = bench.get("metadata/x", json!({})).await;
    assert_eq!(data["custom_metadata"], json!({"b": "2", "c": "3"}));
    assert_eq!(data["max_versions"], 0);
    assert_eq!(bench.put("x", json!({})).await["custom_metadata"], json!({"b": "2", "c": "3"}));
    assert_eq!(bench.refused(Operation::Patch, "metadata/none", json!({"max_versions": 1})).await.0, 404);
    bench.ok(Operation::Delete, "metadata/x", json!({})).await;
    assert_eq!(bench.get("metadata/x", json!({})).await.0, 404);
    assert!(bench.view.keys("version/").unwrap().is_empty());
    assert!(bench.view.keys("metadata/").unwrap().is_empty());
}

#[tokio::test]
async fn custom_metadata_has_limits() {
    let bench = Bench::new();
    let many: Object = (0..65).map(|n| (n.to_string(), json!("v"))).collect();
    for custom in [
        Value::Object(many),
        json!({"": "v"}),
        json!({"k": ""}),
        json!({"k".repeat(129): "v"}),
        json!({"k": "v".repeat(513)}),
        json!({"k": "\u{7}"}),
        json!({"k": ["v"]}),
        json!("k=v"),
    ] {
        let body = json!({"custom_metadata": custom});
        assert_eq!(bench.refused(Operation::Update, "metadata/x", body).await.0, 400, "{custom}");
    }
    assert_eq!(bench.get("metadata/x", json!({})).await.0, 404);
}

#[tokio::test]
async fn subkeys_show_the_shape() {
    let bench = Bench::new();
    bench.put("x", json!({"a": 1, "b": {"c": {"d": 2}, "e": {}}, "f": [1]})).await;
    let (_, data) = bench.get("subkeys/x", json!({})).await;
    assert_eq!(data["subkeys"], json!({"a": null, "b": {"c": {"d": null}, "e": null}, "f": null}));
    assert_eq!(data["metadata"]["version"], 1);
    let (_, data) = bench.get("subkeys/x", json!({"depth": 1})).await;
    assert_eq!(data["subkeys"], json!({"a": null, "b": null, "f": null}));
    let (_, data) = bench.get("subkeys/x", json!({"depth": "2"})).await;
    assert_eq!(data["subkeys"], json!({"a": null, "b": {"c": null, "e": null}, "f": null}));
    bench.ok(Operation::Delete, "data/x", json!({})).await;
    bench.system.advance(Duration::from_secs(1));
    let (status, data) = bench.get("subkeys/x", json!({})).await;
    assert_eq!((status, &data["subkeys"]), (404, &Value::Null));
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let bench = Bench::new();
    for (operation, path, body, status) in [
        (Operation::Update, "data/x", json!({"a": 1}), 400),
        (Operation::Update, "data/x", json!({"data": "text"}), 400),
        (Operation::Update, "data/x", json!({"data": {}, "options": 1}), 400),
        (Operation::Update, "data/", json!({"data": {}}), 400),
        (Operation::Update, "data/a/../b", json!({"data": {}}), 400),
        (Operation::List, "data/", json!({}), 405),
        (Operation::Update, "metadata/x", json!({"delete_version_after": "-1s"}), 400),
        (Operation::Update, "config", json!({"max_versions": 1e12}), 400),
    ] {
        assert_eq!(bench.refused(operation, path, body.clone()).await.0, status, "{operation} {path} {body}");
    }
    let lost = bench.kv.handle(&request(Operation::Read, "x", json!({}))).await.unwrap().unwrap();
    assert_eq!(lost.status, Some(404));
    assert!(lost.warnings[0].contains("use 'vault kv get'"), "{:?}", lost.warnings);
    let exists = |path: &str| bench.kv.exists(&request(Operation::Update, path, json!({}))).unwrap();
    bench.put("x", json!({})).await;
    assert_eq!((exists("data/x"), exists("data/y"), exists("config")), (Some(true), Some(false), None));
}

#[tokio::test]
async fn a_version_1_mount_is_taken_over() {
    let (context, _system) = context("secret/", "kv");
    let plain = KvV1::new(context.clone());
    let write = request(Operation::Update, "app/db", json!({"a": 1}));
    plain.handle(&write).await.unwrap();
    let kv = KvV2::new(context.clone());
    kv.initialize().await.unwrap();
    kv.initialize().await.unwrap();
    let read = request(Operation::Read, "data/app/db", json!({}));
    let data = kv.handle(&read).await.unwrap().unwrap().data.unwrap();
    assert_eq!((&data["data"], &data["metadata"]["version"]), (&json!({"a": 1}), &json!(1)));
    assert!(context.storage.keys("plain/").unwrap().is_empty());
}
