use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::child_test;
use crate::logical::{Operation, Request, testing};

fn view() -> View {
    testing::context("", "").0.storage
}

fn options(path: &Path, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([("file_path".to_owned(), path.to_str().unwrap().to_owned())]);
    for (key, value) in more {
        options.insert((*key).to_owned(), (*value).to_owned());
    }
    options
}

async fn broker(path: &Path) -> Broker {
    let broker = Broker::new();
    broker.enable("file/", &options(path, &[]), &view()).await.unwrap();
    broker
}

fn request(number: usize) -> Request {
    testing::request(Operation::Read, &format!("path/{number}"), json!({"password": "top-secret"}))
}

async fn log(broker: &Broker, number: usize) -> Result<(), AuditError> {
    broker.log_request(&LogInput::new(&request(number))).await
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| line["request"]["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn entries_are_on_disk_when_logging_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/audit.log");
    let broker = broker(&path).await;
    let request = request(1);
    broker.log_request(&LogInput::new(&request)).await.unwrap();
    assert_eq!(lines(&path).len(), 1);
    broker.log_response(&LogInput::new(&request)).await.unwrap();
    let lines = lines(&path);
    assert_eq!(lines[0]["type"], "request");
    assert_eq!(lines[1]["type"], "response");
    assert_eq!(lines[0]["request"]["id"], lines[1]["request"]["id"]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("top-secret"));
    let hash = broker.hash("file/", "top-secret").unwrap();
    assert!(text.contains(&hash));
}

#[tokio::test]
async fn an_open_log_is_closed_to_others_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let bits_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (given, before, after) in
        [(None, 0o644, 0o600), (Some("0640"), 0o600, 0o640), (Some("0000"), 0o644, 0o644)]
    {
        let path = dir.path().join(format!("{given:?}"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(before)).unwrap();
        let broker = Broker::new();
        let more: Vec<(&str, &str)> = given.map(|mode| ("mode", mode)).into_iter().collect();
        broker.enable("file/", &options(&path, &more), &view()).await.unwrap();
        assert_eq!(bits_of(&path), after, "{given:?}");
    }
}

#[tokio::test]
async fn without_devices_everything_is_accepted() {
    let broker = Broker::new();
    assert!(broker.is_empty());
    log(&broker, 1).await.unwrap();
    assert!(matches!(broker.hash("file/", "x"), Err(AuditError::UnknownDevice(_))));
}

#[tokio::test]
async fn a_request_is_refused_when_the_only_device_cannot_write() {
    let broker = broker(Path::new("/dev/full")).await;
    let error = log(&broker, 1).await.unwrap_err();
    assert_eq!(error.to_string(), "no audit backend succeeded in logging the request");
    let error = broker.log_response(&LogInput::new(&request(1))).await.unwrap_err();
    assert!(matches!(error, AuditError::NoneSucceeded("response")));

    // One that can is enough, whichever comes first.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    for device in ["a/", "z/"] {
        broker.enable(device, &options(&path, &[]), &view()).await.unwrap();
        log(&broker, 2).await.unwrap();
        assert!(broker.disable(device));
    }
    assert_eq!(paths(&path), ["path/2", "path/2"]);
    log(&broker, 3).await.unwrap_err();
}

/// Not a test of its own.
#[tokio::test]
#[ignore = "run as a child process by a_full_disk_leaves_only_whole_lines"]
async fn child_with_a_file_size_limit() {
    let Some(dir) = child_test::dir() else { return };
    let path = dir.join("audit.log");
    let broker = broker(&path).await;
    let mut written = 0;
    while log(&broker, written).await.is_ok() {
        written += 1;
    }
    assert!(written > 10);
    assert_eq!(lines(&path).len(), written);
    child_test::lift_file_limit();
    log(&broker, written).await.unwrap();
    assert_eq!(lines(&path).len(), written + 1);
}

#[test]
fn a_full_disk_leaves_only_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    child_test::run_with_file_limit("audit::tests::child_with_a_file_size_limit", dir.path());
}

#[tokio::test]
async fn devices_are_added_once_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let broker = broker(&path).await;
    let again = broker.enable("file/", &options(&path, &[]), &view()).await.unwrap_err();
    assert_eq!(again.to_string(), "path already in use");
    assert_eq!(format!("{broker:?}"), r#"Broker { devices: ["file/"] }"#);
    assert!(broker.disable("file/"));
    assert!(!broker.disable("file/"));
    log(&broker, 1).await.unwrap();
    assert!(lines(&path).is_empty());
    broker.enable("file/", &options(&path, &[]), &view()).await.unwrap();
    broker.clear();
    assert!(broker.is_empty());
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::new();
    let error = broker.enable("file/", &options(dir.path(), &[]), &view()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot open the audit log") && text.contains(dir.path().to_str().unwrap()),
        "{text}"
    );
    assert!(broker.is_empty());
}

#[tokio::test]
async fn a_renamed_log_is_left_alone_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let rotated = dir.path().join("audit.log.1");
    let broker = broker(&path).await;
    log(&broker, 1).await.unwrap();
    fs::rename(&path, &rotated).unwrap();
    log(&broker, 2).await.unwrap();
    broker.reopen();
    log(&broker, 3).await.unwrap();
    assert_eq!(paths(&rotated), ["path/1", "path/2"]);
    assert_eq!(paths(&path), ["path/3"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_reopened_refuses_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("logs");
    let path = folder.join("audit.log");
    let broker = broker(&path).await;
    fs::rename(&folder, dir.path().join("away")).unwrap();
    fs::write(&folder, "not a folder").unwrap();
    broker.reopen();
    log(&broker, 1).await.unwrap_err();
    fs::remove_file(&folder).unwrap();
    log(&broker, 2).await.unwrap();
    assert_eq!(paths(&path), ["path/2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_entries_stay_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let broker = Arc::new(broker(&path).await);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let broker = Arc::clone(&broker);
            tokio::spawn(async move {
                for number in 0..100 {
                    log(&broker, task * 1000 + number).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let numbers: Vec<usize> =
        paths(&path).iter().map(|path| path.strip_prefix("path/").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.len(), 800);
    for task in 0..8 {
        let own: Vec<usize> = numbers.iter().filter(|&&number| number / 1000 == task).copied().collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[tokio::test]
async fn a_salt_outlives_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let view = view();
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let broker = Broker::new();
        broker.enable("file/", &options(&path, &[]), &view).await.unwrap();
        hashes.push(broker.hash("file/", "x").unwrap());
    }
    assert_eq!(hashes[0], hashes[1]);
}
