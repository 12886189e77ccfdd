//! The library as a test-suite of another crate uses it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use support::{TestLab, databases};
use vaultlab::database::{Login, Target, connect, try_login};
use vaultlab::report::Report;
use vaultlab::state::Credentials;
use vaultlab::{Lab, LabOptions};

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_is_opened_brought_up_used_and_removed() {
    if !databases() {
        return;
    }
    let place = TestLab::new("library");
    let options = LabOptions {
        file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/vaultlab.yaml").into()),
        name: Some(place.name.clone()),
        home: Some(place.home.clone()),
        runtime: Some(vaultlab::spec::model::RuntimeChoice::Process),
        program: Some(env!("CARGO_BIN_EXE_vaultlab").into()),
        ..LabOptions::default()
    };
    let lab = Lab::with(options, Report::silent()).unwrap().up().await.unwrap();
    assert_eq!(lab.databases().len(), 2);

    for (role, statement) in [("pg-write", "DELETE FROM notes"), ("mysql-write", "DELETE FROM notes")] {
        let credential = lab.credential(role).await.unwrap();
        let account = Credentials::new(credential.username.clone(), credential.password.clone());
        let target = Target {
            engine: credential.engine,
            endpoint: credential.endpoint.clone(),
            database: credential.database.clone(),
        };
        let mut database = connect(&target, &account).await.unwrap();
        assert!(database.execute(statement).await.unwrap() > 0, "{role} deletes the seed rows");
        database.close().await;
        lab.revoke(&credential).await.unwrap();
        assert!(matches!(try_login(&target, &account).await.unwrap(), Login::Refused(_)), "{role}");
    }

    let token = lab.login("reports").await.unwrap();
    let reports = lab.vault().with_token(token);
    assert!(lab.credential_with(&reports, "pg-read").await.is_ok());
    let refused = lab.credential_with(&reports, "pg-write").await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");

    let again = lab.lab().running().await.unwrap();
    assert_eq!(again.vault().address(), lab.vault().address());
    lab.remove().await.unwrap();
    place.assert_gone();
}
