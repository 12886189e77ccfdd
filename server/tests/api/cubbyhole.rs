//! Every token's own storage, on the mount a new server has.

use serde_json::json;

use crate::support::{anonymous, file_lab, lab, start_on};

const ANY: &str = "path \"sys/mounts\" { capabilities = [\"read\"] }";

#[tokio::test]
async fn two_tokens_see_their_own_values_only() {
    let lab = lab().await;
    let (one, two) = (lab.token_with(ANY).await, lab.token_with(ANY).await);
    one.post("cubbyhole/app/x", json!({"of": "one"})).await.expect(204);
    two.get("cubbyhole/app/x").await.expect(404);
    two.post("cubbyhole/app/x", json!({"of": "two"})).await.expect(204);
    assert_eq!(*one.get("cubbyhole/app/x").await.expect(200).data(), json!({"of": "one"}));
    assert_eq!(*two.get("cubbyhole/app/x").await.expect(200).data(), json!({"of": "two"}));
    assert_eq!(*one.list("cubbyhole").await.expect(200).data(), json!({"keys": ["app/"]}));
    lab.root.list("cubbyhole/app").await.expect(404);
    one.delete("cubbyhole/app/x").await.expect(204);
    one.get("cubbyhole/app/x").await.expect(404);
    two.get("cubbyhole/app/x").await.expect(200);
    let empty = one.post("cubbyhole/app/x", json!({})).await.expect(500);
    assert_eq!(empty.error(), "1 error occurred:\n\t* missing data fields\n\n");
    anonymous(&lab.server).get("cubbyhole/app/x").await.expect(403);
    lab.server.stop().await;
}

#[tokio::test]
async fn values_outlive_the_process_and_end_with_their_token() {
    let folder = tempfile::tempdir().unwrap();
    let lab = file_lab(folder.path()).await;
    let one = lab.token_with(ANY).await;
    one.post("cubbyhole/x", json!({"a": [1, {"b": true}]})).await.expect(204);
    lab.server.stop().await;

    let server = start_on(folder.path()).await;
    let anyone = anonymous(&server);
    anyone.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    let one = anyone.with_token(&one.token);
    assert_eq!(*one.get("cubbyhole/x").await.expect(200).data(), json!({"a": [1, {"b": true}]}));
    let accessor = one.get("auth/token/lookup-self").await.expect(200).data()["accessor"].clone();
    let root = anyone.with_token(&lab.root.token);
    root.post("auth/token/revoke-accessor", json!({ "accessor": accessor })).await.expect(204);
    one.get("cubbyhole/x").await.expect(403);
    server.stop().await;
}
