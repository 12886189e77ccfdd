use super::*;

#[tokio::test]
async fn a_role_is_made_read_changed_listed_and_removed() {
    let bench = Bench::new();
    bench.set("role/Web", json!({"token_policies": "a,b", "token_ttl": "1h", "secret_id_ttl": "10m"})).await;
    let data = bench.read("role/web").await;
    assert_eq!(data["token_policies"], json!(["a", "b"]));
    assert_eq!(data["token_ttl"], 3600);
    assert_eq!(data["secret_id_ttl"], 600);
    assert_eq!(data["bind_secret_id"], true);
    bench.set("role/WEB", json!({"token_policies": ["c"]})).await;
    let data = bench.read("role/web").await;
    assert_eq!((&data["token_policies"], &data["token_ttl"]), (&json!(["c"]), &json!(3600)));
    bench.set("role/reports", json!({})).await;
    assert_eq!(bench.list("role/").await, ["reports", "web"]);
    bench.delete("role/web").await;
    bench.delete("role/web").await;
    assert_eq!(bench.list("role").await, ["reports"]);
    let gone = bench.call(Operation::Read, "role/web", json!({})).await.unwrap();
    assert!(gone.is_none());
}

#[tokio::test]
async fn writing_tells_new_from_existing() {
    let bench = Bench::new();
    let exists = |path: &str| bench.backend.exists(&request(Operation::Update, path, json!({}))).unwrap();
    assert_eq!(exists("role/web"), Some(false));
    bench.set("role/web", json!({})).await;
    assert_eq!(exists("role/WEB"), Some(true));
    assert_eq!(exists("role/web/secret-id"), None);
    assert_eq!(exists("login"), None);
}

#[tokio::test]
async fn every_field_is_written_read_and_reset_at_its_own_path() {
    let bench = Bench::new();
    bench.role("web", json!({"token_bound_cidrs": "127.0.0.0/8"})).await;
    for (path, name, sent, want, default) in [
        ("policies", "token_policies", json!("a,b"), json!(["a", "b"]), json!([])),
        (
            "secret-id-bound-cidrs",
            "secret_id_bound_cidrs",
            json!("127.0.0.0/8"),
            json!(["127.0.0.0/8"]),
            Value::Null,
        ),
        ("bound-cidr-list", "bound_cidr_list", json!("127.0.0.0/8"), json!(["127.0.0.0/8"]), Value::Null),
        ("token-bound-cidrs", "token_bound_cidrs", json!(["10.0.0.1"]), json!(["10.0.0.1"]), json!([])),
        ("bind-secret-id", "bind_secret_id", json!("true"), json!(true), json!(true)),
        ("secret-id-num-uses", "secret_id_num_uses", json!(5), json!(5), json!(0)),
        ("secret-id-ttl", "secret_id_ttl", json!("5m"), json!(300), json!(0)),
        ("period", "token_period", json!("1h"), json!(3600), json!(0)),
        ("token-num-uses", "token_num_uses", json!("7"), json!(7), json!(0)),
        ("token-ttl", "token_ttl", json!(60), json!(60), json!(0)),
        ("token-max-ttl", "token_max_ttl", json!("2h"), json!(7200), json!(0)),
    ] {
        let full = format!("role/web/{path}");
        assert!(bench.set(&full, json!({name: sent})).await.is_none(), "{path}");
        assert_eq!(bench.read(&full).await[name], want, "{path}");
        bench.delete(&full).await;
        assert_eq!(bench.read(&full).await[name], default, "{path}");
        let nothing = bench.write(&full, json!({})).await;
        let (status, text) = seen(nothing);
        assert_eq!(status, 400, "{path}");
        assert!(text.starts_with("missing "), "{text}");
        let (status, _) = seen(bench.write(&full.replace("web", "absent"), json!({name: want})).await);
        assert_eq!(status, 404, "{path}");
    }
    assert_eq!(bench.read("role/web/local-secret-ids").await["local_secret_ids"], false);
    let (status, _) = seen(bench.write("role/web/local-secret-ids", json!({})).await);
    assert_eq!(status, 405);
}

#[tokio::test]
async fn old_field_names_have_their_paths_too() {
    let bench = Bench::new();
    bench.role("web", json!({})).await;
    bench.set("role/web/policies", json!({"policies": "x"})).await;
    let data = bench.read("role/web/policies").await;
    assert_eq!((&data["policies"], &data["token_policies"]), (&json!(["x"]), &json!(["x"])));
    bench.set("role/web/period", json!({"period": 60})).await;
    let data = bench.read("role/web/period").await;
    assert_eq!((&data["period"], &data["token_period"]), (&json!(60), &json!(60)));
    bench.delete("role/web/period").await;
    assert!(!bench.read("role/web/period").await.contains_key("period"));
    let (status, text) = seen(bench.write("role/web/period", json!({"token_period": "1000h"})).await);
    assert_eq!(status, 400);
    assert!(text.contains("maximum lease TTL"), "{text}");
}

#[tokio::test]
async fn contradicting_ttls_are_refused_at_their_paths() {
    let bench = Bench::new();
    bench.role("web", json!({"token_ttl": 60, "token_max_ttl": 120})).await;
    let too_long = bench.write("role/web/token-ttl", json!({"token_ttl": 121})).await;
    assert_eq!(seen(too_long), (400, "token_ttl should not be greater than token_max_ttl".into()));
    let too_short = bench.write("role/web/token-max-ttl", json!({"token_max_ttl": 59})).await;
    assert_eq!(seen(too_short), (400, "token_max_ttl should be greater than or equal to token_ttl".into()));
    assert_eq!(bench.read("role/web").await["token_ttl"], 60);
}

#[tokio::test]
async fn a_role_id_can_be_chosen_and_is_unique() {
    let bench = Bench::new();
    let old = bench.role("web", json!({})).await;
    bench.set("role/web/role-id", json!({"role_id": "my/web id"})).await;
    assert_eq!(bench.read("role/web/role-id").await["role_id"], "my/web id");
    let (secret_id, _) = bench.secret_id("web", json!({})).await;
    bench.login("my/web id", &secret_id).await.unwrap();
    assert!(bench.login(&old, &secret_id).await.is_err());
    let taken = bench.write("role/other", json!({"role_id": "my/web id"})).await;
    assert_eq!(seen(taken), (400, "1 error occurred:\n\t* role_id already in use\n\n".into()));
    assert!(bench.list("role/").await == ["web"]);
    let empty = bench.write("role/web/role-id", json!({"role_id": ""})).await;
    assert_eq!(seen(empty), (400, "missing role_id".into()));
    // A freed role_id can be taken.
    bench.set("role/other", json!({"role_id": old})).await;
}

#[tokio::test]
async fn a_role_needs_a_constraint() {
    let bench = Bench::new();
    let free = bench.write("role/web", json!({"bind_secret_id": false})).await;
    assert_eq!(
        seen(free),
        (500, "1 error occurred:\n\t* at least one constraint should be enabled on the role\n\n".into())
    );
    bench.set("role/web", json!({"bind_secret_id": false, "token_bound_cidrs": "127.0.0.1"})).await;
    let call = bench.call(Operation::Delete, "role/web/token-bound-cidrs", json!({})).await;
    assert_eq!(seen(call).0, 500);
    assert_eq!(bench.read("role/web/token-bound-cidrs").await["token_bound_cidrs"], json!(["127.0.0.1"]));
}

#[tokio::test]
async fn warnings_and_unsupported_things() {
    let bench = Bench::new();
    let answer = bench.set("role/web", json!({"token_max_ttl": "1000h", "odd": 1})).await;
    assert_eq!(
        answer.unwrap().warnings,
        [
            "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value will be truncated",
            "Endpoint ignored these unrecognized parameters: [odd]",
        ]
    );
    // Without anything else to say the answer stays empty, and so does the warning.
    assert!(bench.set("role/web", json!({"token_max_ttl": 60, "odd": 1})).await.is_none());
    let path = bench.call(Operation::Read, "role/web/nothing", json!({})).await;
    assert_eq!(seen(path), (404, "1 error occurred:\n\t* unsupported path\n\n".into()));
    let operation = bench.call(Operation::Read, "login", json!({})).await;
    assert_eq!(seen(operation), (405, "1 error occurred:\n\t* unsupported operation\n\n".into()));
    let name = bench.write("role/sp ace", json!({})).await;
    assert_eq!(seen(name).0, 404);
}

#[tokio::test]
async fn roles_survive_a_restart() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({"token_policies": "a", "token_ttl": 60})).await;
    let (secret_id, _) = bench.secret_id("web", json!({})).await;
    let backend = bench.restarted().await;
    let data = json!({"role_id": role_id, "secret_id": secret_id});
    let answer = backend.handle(&request(Operation::Update, "login", data)).await.unwrap();
    assert_eq!(answer.unwrap().auth.unwrap().policies, ["a"]);
    backend.unload().await;
    assert!(backend.store.role("web").is_none());
}
