//! Rekey, generate-root, rotate.

use base64::Engine as _;
use serde_json::json;

use crate::support::lab;

#[tokio::test]
async fn a_rekey_replaces_the_keys() {
    let lab = lab().await;
    let root = &lab.root;
    let anyone = root.with_token("");
    assert_eq!(anyone.get("sys/rekey/init").await.expect(200).body["started"], false);
    let early = anyone.post("sys/rekey/update", json!({"key": lab.keys[0], "nonce": "x"})).await.expect(400);
    assert_eq!(early.error(), "no barrier rekey in progress");
    let started =
        anyone.post("sys/rekey/init", json!({"secret_shares": 3, "secret_threshold": 2})).await.expect(200);
    let nonce = started.body["nonce"].as_str().unwrap();
    assert_eq!(
        anyone
            .post("sys/rekey/init", json!({"secret_shares": 1, "secret_threshold": 1}))
            .await
            .expect(400)
            .error(),
        "rekey already in progress"
    );
    let wrong = anyone.post("sys/rekey/update", json!({"key": lab.keys[0], "nonce": "x"})).await.expect(400);
    assert!(wrong.error().starts_with("incorrect nonce supplied"), "{}", wrong.error());
    anyone.post("sys/rekey/update", json!({"key": "ab".repeat(32), "nonce": nonce})).await.expect(500);
    let done = anyone.post("sys/rekey/update", json!({"key": lab.keys[0], "nonce": nonce})).await.expect(200);
    assert_eq!(done.body["complete"], true);
    root.post("sys/seal", json!({})).await.expect(204);
    anyone.get("sys/rekey/init").await.expect(503);
    // The old key, given twice over, opens nothing; two of the new ones do.
    anyone.post("sys/unseal", json!({"key": done.body["keys"][0]})).await.expect(200);
    let open = anyone.post("sys/unseal", json!({"key": done.body["keys_base64"][2]})).await.expect(200);
    assert_eq!(open.body["sealed"], false);
    lab.server.stop().await;
}

#[tokio::test]
async fn a_rekey_waits_for_its_verification() {
    let lab = lab().await;
    let anyone = lab.root.with_token("");
    let wanted = json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": true});
    let started = anyone.post("sys/rekey/init", wanted).await.expect(200);
    let nonce = started.body["nonce"].as_str().unwrap();
    let made = anyone.post("sys/rekey/update", json!({"key": lab.keys[0], "nonce": nonce})).await.expect(200);
    let (keys, nonce) = (&made.body["keys"], &made.body["verification_nonce"]);
    // Until then the old key is the key.
    lab.root.post("sys/seal", json!({})).await.expect(204);
    anyone.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    let gone = anyone.post("sys/rekey/verify", json!({"key": keys[0], "nonce": nonce})).await.expect(400);
    assert_eq!(gone.error(), "no rekey in progress", "sealing gives a rekey up");

    let wanted = json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": true});
    let started = anyone.post("sys/rekey/init", wanted).await.expect(200);
    let update = json!({"key": lab.keys[0], "nonce": started.body["nonce"]});
    let made = anyone.post("sys/rekey/update", update).await.expect(200);
    let (keys, nonce) = (&made.body["keys"], &made.body["verification_nonce"]);
    let verify = async |key: &serde_json::Value| {
        anyone.post("sys/rekey/verify", json!({"key": key, "nonce": nonce})).await.expect(200).body
    };
    assert_eq!(verify(&keys[2]).await["progress"], 1);
    assert_eq!(verify(&keys[0]).await["complete"], true);
    lab.root.post("sys/seal", json!({})).await.expect(204);
    anyone.post("sys/unseal", json!({"key": keys[1]})).await.expect(200);
    let open = anyone.post("sys/unseal", json!({"key": keys[2]})).await.expect(200);
    assert_eq!(open.body["sealed"], false);
    lab.server.stop().await;
}

#[tokio::test]
async fn a_root_token_is_made_with_the_keys() {
    let lab = lab().await;
    let anyone = lab.root.with_token("");
    let path = "sys/generate-root/attempt";
    assert_eq!(anyone.get(path).await.expect(200).body["otp_length"], 28);
    assert_eq!(
        anyone.post(path, json!({"otp": "short"})).await.expect(400).error(),
        "OTP string is wrong length"
    );
    let started = anyone.post(path, json!({})).await.expect(200);
    let otp = started.body["otp"].as_str().unwrap();
    assert_eq!(anyone.get(path).await.body["otp"], "", "it is told once");
    let update = "sys/generate-root/update";
    anyone.post(update, json!({"key": "ab".repeat(32), "nonce": started.body["nonce"]})).await.expect(400);
    let done =
        anyone.post(update, json!({"key": lab.keys[0], "nonce": started.body["nonce"]})).await.expect(200);
    assert_eq!(done.body["complete"], true);
    let encoded = done.body["encoded_token"].as_str().unwrap();
    let hidden = base64::engine::general_purpose::STANDARD_NO_PAD.decode(encoded).unwrap();
    let token: String = hidden.iter().zip(otp.bytes()).map(|(a, b)| char::from(a ^ b)).collect();
    let found = lab.root.with_token(&token).get("auth/token/lookup-self").await.expect(200);
    assert_eq!(found.data()["policies"], json!(["root"]));
    anyone.delete(path).await.expect(204);
    lab.server.stop().await;
}

#[tokio::test]
async fn rotation_adds_a_term_and_loses_nothing() {
    let lab = lab().await;
    assert_eq!(lab.root.get("sys/key-status").await.expect(200).body["term"], 1);
    lab.root.post("sys/rotate", json!({})).await.expect(204);
    assert_eq!(lab.root.get("sys/key-status").await.expect(200).data()["term"], 2);
    lab.root.get("auth/token/lookup-self").await.expect(200);
    lab.server.stop().await;
}
