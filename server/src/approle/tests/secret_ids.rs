use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_secret_id_is_made_looked_up_and_destroyed() {
    let bench = Bench::new();
    bench.role("web", json!({"secret_id_ttl": "10m", "secret_id_num_uses": 3})).await;
    let answer = bench.set("role/web/secret-id", json!({"metadata": "{\"host\": \"a\"}"})).await;
    let data = answer.unwrap().data.unwrap();
    assert_eq!((&data["secret_id_ttl"], &data["secret_id_num_uses"]), (&json!(600), &json!(3)));
    let (secret_id, accessor) = (&data["secret_id"], &data["secret_id_accessor"]);

    let looked_up = bench.set("role/web/secret-id/lookup", json!({"secret_id": secret_id})).await;
    let described = looked_up.unwrap().data.unwrap();
    assert_eq!(&described["secret_id_accessor"], accessor);
    assert_eq!(described["metadata"], json!({"host": "a"}));
    assert_eq!(described["creation_time"], "2026-01-01T00:00:00Z");
    assert_eq!(described["expiration_time"], "2026-01-01T00:10:00Z");
    assert_eq!((&described["cidr_list"], &described["token_bound_cidrs"]), (&json!([]), &json!([])));
    let by_accessor =
        bench.set("role/web/secret-id-accessor/lookup", json!({"secret_id_accessor": accessor})).await;
    assert_eq!(by_accessor.unwrap().data.unwrap(), described);

    assert_eq!(bench.list("role/web/secret-id/").await, [accessor.as_str().unwrap()]);
    let destroy = bench.set("role/web/secret-id/destroy", json!({"secret_id": secret_id})).await;
    assert!(destroy.is_none());
    assert!(bench.set("role/web/secret-id/destroy", json!({"secret_id": secret_id})).await.is_none());
    assert!(bench.set("role/web/secret-id/lookup", json!({"secret_id": secret_id})).await.is_none());
    assert!(bench.list("role/web/secret-id").await.is_empty());
}

#[tokio::test]
async fn unknown_accessors_answer_as_in_vault() {
    let bench = Bench::new();
    bench.role("web", json!({})).await;
    let lookup =
        bench.write("role/web/secret-id-accessor/lookup", json!({"secret_id_accessor": "nope"})).await;
    let message = "failed to find accessor entry for secret_id_accessor: \"nope\"";
    let answer = lookup.unwrap().unwrap();
    assert_eq!(answer.status, Some(404));
    assert_eq!(Value::Object(answer.data.unwrap()), json!({ "error": message }));
    let destroy =
        bench.write("role/web/secret-id-accessor/destroy", json!({"secret_id_accessor": "nope"})).await;
    assert_eq!(seen(destroy), (500, format!("1 error occurred:\n\t* {message}\n\n")));
    let missing = bench.write("role/web/secret-id-accessor/lookup", json!({})).await;
    assert_eq!(seen(missing), (400, "missing secret_id_accessor".into()));
}

#[tokio::test]
async fn accessors_of_another_role_do_not_reach_its_secret_ids() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({})).await;
    bench.role("other", json!({})).await;
    let (secret_id, accessor) = bench.secret_id("web", json!({})).await;
    let body = json!({"secret_id_accessor": accessor});
    assert!(bench.set("role/other/secret-id-accessor/lookup", body.clone()).await.is_none());
    let destroy = bench.write("role/other/secret-id-accessor/destroy", body.clone()).await;
    assert_eq!(seen(destroy), (403, "invalid secret id accessor".into()));
    bench.login(&role_id, &secret_id).await.unwrap();
    assert!(bench.set("role/web/secret-id-accessor/destroy", body).await.is_none());
    assert!(bench.login(&role_id, &secret_id).await.is_err());
}

#[tokio::test]
async fn a_missing_role_is_told_apart_by_path() {
    let bench = Bench::new();
    let create = bench.write("role/no/secret-id", json!({})).await;
    assert_eq!(seen(create), (404, "role \"no\" does not exist".into()));
    let list = bench.call(Operation::List, "role/no/secret-id/", json!({})).await;
    assert_eq!(seen(list), (400, "role \"no\" does not exist".into()));
    for path in ["secret-id/lookup", "secret-id/destroy"] {
        let answer = bench.write(&format!("role/no/{path}"), json!({"secret_id": "x"})).await;
        assert_eq!(seen(answer), (500, "1 error occurred:\n\t* role \"no\" does not exist\n\n".into()));
    }
}

#[tokio::test]
async fn a_chosen_secret_id_works_once_registered() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({})).await;
    let answer = bench.set("role/web/custom-secret-id", json!({"secret_id": "correct horse"})).await;
    assert_eq!(answer.unwrap().data.unwrap()["secret_id"], "correct horse");
    bench.login(&role_id, "correct horse").await.unwrap();
    let again = bench.write("role/web/custom-secret-id", json!({"secret_id": "correct horse"})).await;
    let text = "1 error occurred:\n\t* failed to store secret_id: SecretID is already registered\n\n";
    assert_eq!(seen(again), (500, text.into()));
    let empty = bench.write("role/web/custom-secret-id", json!({})).await;
    assert_eq!(seen(empty), (400, "missing secret_id".into()));
    let long = bench.write("role/web/custom-secret-id", json!({"secret_id": "x".repeat(4097)})).await;
    assert_eq!(seen(long).0, 400);
}

#[tokio::test]
async fn storage_never_holds_a_secret_id() {
    let bench = Bench::new();
    bench.role("web", json!({})).await;
    let (secret_id, _) = bench.secret_id("web", json!({})).await;
    for key in bench.context.storage.keys("").unwrap() {
        assert!(!key.contains(&secret_id), "{key}");
        let value = bench.context.storage.get(&key).unwrap().unwrap();
        let text = String::from_utf8_lossy(&value);
        assert!(!text.contains(&secret_id), "{key}");
    }
}

#[tokio::test]
async fn expired_ones_are_tidied_away_with_their_accessors() {
    let bench = Bench::new();
    bench.role("web", json!({})).await;
    bench.secret_id("web", json!({"ttl": 30})).await;
    let (_, kept) = bench.secret_id("web", json!({"ttl": 300})).await;
    bench.system.advance(Duration::from_secs(31));
    bench.backend.tick().await;
    assert_eq!(bench.list("role/web/secret-id/").await.len(), 2, "too early for a tidy");
    bench.system.advance(Duration::from_secs(30));
    bench.backend.tick().await;
    assert_eq!(bench.list("role/web/secret-id/").await, [kept]);
    assert_eq!(bench.context.storage.keys("accessor/").unwrap().len(), 1);
}

#[tokio::test]
async fn tidy_runs_on_demand() {
    let bench = Bench::new();
    bench.role("web", json!({})).await;
    bench.secret_id("web", json!({"ttl": 1})).await;
    bench.system.advance(Duration::from_secs(2));
    let answer = bench.set("tidy/secret-id", json!({})).await.unwrap();
    assert_eq!(answer.status, Some(202));
    assert!(answer.warnings[0].starts_with("Tidy operation successfully started."));
    while bench.backend.tidying.load(std::sync::atomic::Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    assert!(bench.context.storage.keys("secret_id/").unwrap().is_empty());
}

#[tokio::test]
async fn removing_a_role_removes_its_secret_ids_for_good() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({})).await;
    let (secret_id, _) = bench.secret_id("web", json!({})).await;
    bench.delete("role/web").await;
    assert!(bench.context.storage.keys("").unwrap().is_empty());
    bench.role("web", json!({"role_id": role_id})).await;
    assert_eq!(seen(bench.login(&role_id, &secret_id).await), (400, "invalid role or secret ID".into()));
}
