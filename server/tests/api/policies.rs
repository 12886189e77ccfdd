//! Policies, their enforcement, and capabilities.

use serde_json::json;

use crate::support::lab;

const READ: &str = "path \"kv/*\" { capabilities = [\"read\", \"list\"] }";

#[tokio::test]
async fn policies_are_written_read_and_removed() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/policies/acl/App", json!({ "policy": READ })).await.expect(204);
    let read = root.get("sys/policies/acl/APP").await.expect(200);
    assert_eq!(*read.data(), json!({"name": "app", "policy": READ}));
    let legacy = root.get("sys/policy/app").await.expect(200);
    assert_eq!((&legacy.body["rules"], &legacy.data()["rules"]), (&json!(READ), &json!(READ)));
    let names = json!(["app", "default", "root"]);
    assert_eq!(root.list("sys/policies/acl").await.expect(200).data()["keys"], names);
    let legacy = root.get("sys/policy").await.expect(200);
    assert_eq!((&legacy.body["policies"], &legacy.data()["keys"]), (&names, &names));
    root.delete("sys/policies/acl/app").await.expect(204);
    assert_eq!(root.get("sys/policies/acl/app").await.expect(404).body, json!({"errors": []}));
    root.delete("sys/policies/acl/app").await.expect(204);
    lab.server.stop().await;
}

#[tokio::test]
async fn built_in_policies_are_protected_and_texts_checked() {
    let lab = lab().await;
    let root = &lab.root;
    for name in ["root", "response-wrapping", "control-group"] {
        root.post(&format!("sys/policies/acl/{name}"), json!({ "policy": READ })).await.expect(400);
    }
    assert_eq!(
        root.delete("sys/policies/acl/default").await.expect(400).error(),
        "cannot delete default policy"
    );
    let empty = root.post("sys/policies/acl/x", json!({})).await.expect(400);
    assert_eq!(empty.error(), "'policy' parameter not supplied or empty");
    let bad = root.post("sys/policies/acl/x", json!({"policy": "path {"})).await.expect(400);
    assert!(bad.error().starts_with("failed to parse policy"), "{}", bad.error());
    let encoded = "cGF0aCAia3YvKiIgeyBjYXBhYmlsaXRpZXMgPSBbInJlYWQiLCAibGlzdCJdIH0=";
    root.post("sys/policies/acl/b64", json!({ "policy": encoded })).await.expect(204);
    assert_eq!(root.get("sys/policies/acl/b64").await.data()["policy"], READ);
    lab.server.stop().await;
}

#[tokio::test]
async fn tokens_may_do_what_their_policies_say() {
    let lab = lab().await;
    lab.root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    lab.root.post("kv/a", json!({"x": 1})).await.expect(204);
    let reader = lab.token_with(READ).await;
    reader.get("kv/a").await.expect(200);
    let denied = reader.post("kv/a", json!({"x": 2})).await.expect(403);
    assert_eq!(denied.error(), "1 error occurred:\n\t* permission denied\n\n");
    // A change takes effect at once, for tokens that exist.
    let wider = "path \"kv/*\" { capabilities = [\"create\"] }";
    lab.root.post("sys/policies/acl/test", json!({ "policy": wider })).await.expect(204);
    reader.get("kv/a").await.expect(403);
    reader.post("kv/new", json!({"x": 1})).await.expect(204);
    reader.post("kv/a", json!({"x": 2})).await.expect(403);
    // Where nothing is mounted, being refused comes before not being there.
    reader.get("none/x").await.expect(403);
    assert_eq!(
        lab.root.get("none/x").await.expect(404).error(),
        "no handler for route \"none/x\". route entry not found."
    );
    lab.server.stop().await;
}

#[tokio::test]
async fn root_paths_need_sudo() {
    let lab = lab().await;
    let update = "path \"sys/auth/*\" { capabilities = [\"create\", \"update\"] }";
    let weak = lab.token_with(update).await;
    weak.post("sys/auth/approle", json!({"type": "approle"})).await.expect(403);
    let sudo = "path \"sys/auth/*\" { capabilities = [\"create\", \"update\", \"sudo\"] }";
    let strong = lab.token_with(sudo).await;
    strong.post("sys/auth/approle", json!({"type": "approle"})).await.expect(204);
    lab.server.stop().await;
}

#[tokio::test]
async fn capabilities_are_told_sorted() {
    let lab = lab().await;
    let token = lab.token_with("path \"kv/*\" { capabilities = [\"update\", \"create\", \"read\"] }").await;
    let one = token.post("sys/capabilities-self", json!({"paths": ["kv/a"]})).await.expect(200);
    let expected = json!(["create", "read", "update"]);
    assert_eq!((&one.body["kv/a"], &one.body["capabilities"]), (&expected, &expected));
    assert_eq!(one.data()["kv/a"], expected);
    let two = token.post("sys/capabilities-self", json!({"paths": ["kv/a", "none"]})).await.expect(200);
    assert_eq!((&two.body["none"], two.body.get("capabilities")), (&json!(["deny"]), None));
    let body = json!({"token": token.token, "path": "kv/a"});
    assert_eq!(lab.root.post("sys/capabilities", body).await.expect(200).data()["capabilities"], expected);
    let of_root = lab.root.post("sys/capabilities-self", json!({"path": "x"})).await.expect(200);
    assert_eq!(of_root.data()["capabilities"], json!(["root"]));
    let accessor = token.get("auth/token/lookup-self").await.data()["accessor"].clone();
    let body = json!({"accessor": accessor, "paths": ["kv/a"]});
    assert_eq!(lab.root.post("sys/capabilities-accessor", body).await.expect(200).data()["kv/a"], expected);
    assert_eq!(
        lab.root.post("sys/capabilities-self", json!({})).await.expect(400).error(),
        "paths must be supplied"
    );
    lab.server.stop().await;
}

#[tokio::test]
async fn password_policies_make_passwords() {
    let lab = lab().await;
    let root = &lab.root;
    let policy = "length = 12\nrule \"charset\" { charset = \"ab\" }\nrule \"charset\" { charset = \"12\" min-chars = 3 }";
    root.post("sys/policies/password/p", json!({ "policy": policy })).await.expect(204);
    assert_eq!(root.get("sys/policies/password/p").await.expect(200).data()["policy"], policy);
    assert_eq!(root.list("sys/policies/password").await.expect(200).data()["keys"], json!(["p"]));
    let made = root.get("sys/policies/password/p/generate").await.expect(200);
    let password = made.data()["password"].as_str().unwrap();
    assert_eq!(password.len(), 12);
    assert!(password.chars().all(|c| "ab12".contains(c)), "{password}");
    assert!(password.chars().filter(|c| "12".contains(*c)).count() >= 3, "{password}");
    for bad in ["", "length = 0", "length = 2\nrule \"charset\" { charset = \"ab\" min-chars = 3 }", "rule {"]
    {
        root.post("sys/policies/password/bad", json!({ "policy": bad })).await.expect(400);
    }
    root.get("sys/policies/password/none/generate").await.expect(404);
    root.delete("sys/policies/password/p").await.expect(204);
    root.get("sys/policies/password/p").await.expect(404);
    lab.server.stop().await;
}

#[tokio::test]
async fn metrics_count_tokens_and_leases() {
    let lab = lab().await;
    lab.root.post("auth/token/create", json!({"ttl": "1h"})).await.expect(200);
    let metrics = lab.root.get("sys/metrics").await.expect(200);
    let gauges = metrics.body["Gauges"].as_array().unwrap();
    let tokens = gauges.iter().find(|gauge| gauge["Name"] == "vault.token.count").unwrap();
    assert_eq!(tokens["Value"], 2);
    let text = lab.root.get("sys/metrics?format=prometheus").await.expect(200);
    assert!(text.body.as_str().unwrap().contains("\nvault_token_count 2\n"), "{}", text.body);
    lab.root.get("sys/metrics?format=x").await.expect(400);
    lab.root.with_token("").get("sys/metrics").await.expect(403);
    lab.server.stop().await;
}
