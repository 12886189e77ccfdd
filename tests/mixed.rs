//! Labs that are partly in containers and partly programs of this host: the shipped lab, both ways
//! round, to the last proof and to the last thing removed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use support::containers::{ColdHome, MYSQL, POSTGRES, SERVER, docker, has, things_of};
use support::{TestLab, databases, postgres_lab, text};
use vaultlab::database::{Login, Target, connect, try_login};
use vaultlab::service::Endpoint;
use vaultlab::spec::model::Engine;
use vaultlab::state::Credentials;

/// The shipped lab with Vault here and its databases there.
fn shipped(lab: &TestLab, vault: &str, databases: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/lab/vaultlab.yaml")).unwrap();
    let mut text = text.replace("../", &format!("{root}/"));
    for (line, runtime) in [
        ("  flavour: auto\n", vault),
        ("    engine: postgres\n", databases),
        ("    engine: mysql\n", databases),
    ] {
        assert!(text.contains(line));
        let indent = &line[..line.len() - line.trim_start().len()];
        text = text.replace(line, &format!("{line}{indent}runtime: {runtime}\n"));
    }
    lab.write("vaultlab.yaml", &text.replace("flavour: auto", "flavour: embedded"));
}

/// As a user runs it: nothing pins the runtime.
fn command(lab: &TestLab, arguments: &[&str]) -> Command {
    let mut command = lab.command(arguments);
    command.env_remove("VAULTLAB_RUNTIME");
    command
}

fn json(lab: &TestLab, arguments: &[&str]) -> Value {
    let all = [arguments, &["--output", "json", "--progress", "quiet"]].concat();
    let output = command(lab, &all).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn comes_up_and_goes(lab: &TestLab, vault: &str, databases: &str) -> Value {
    let up = json(lab, &["up"]);
    assert_eq!(up["runtime"], "mixed");
    let steps: Vec<&str> =
        up["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    for step in
        ["rotate-root notes-postgres", "rotate-root notes-mysql", "prove pg-write", "prove mysql-write"]
    {
        assert!(steps.contains(&step), "{step} in {steps:?}");
    }
    let again = json(lab, &["up"]);
    assert_eq!((&again["changed"], &again["vault"]), (&Value::Bool(false), &up["vault"]));
    let status = json(lab, &["status"]);
    assert_eq!(status["runtime"], "mixed");
    let places: BTreeMap<&str, &str> = status["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| (service["name"].as_str().unwrap(), service["runtime"].as_str().unwrap()))
        .collect();
    let declared = [("vault", vault), ("notes-postgres", databases), ("notes-mysql", databases)];
    assert_eq!(places, BTreeMap::from(declared));
    let shown = text(&command(lab, &["status"]).output().unwrap().stdout);
    for (service, runtime) in declared {
        let line = shown.lines().find(|line| line.trim_start().starts_with(service)).unwrap();
        let place = if runtime == "docker" { "in a container" } else { "on this host" };
        assert!(line.contains(place), "{shown}");
    }

    // Stopped, and its network gone besides: it finds everything again, and proves it again.
    json(lab, &["down"]);
    for network in
        docker(&["network", "ls", "-q", "--filter", &format!("label=dev.vaultlab.lab={}", lab.name)])
            .unwrap()
            .lines()
    {
        assert!(docker(&["network", "rm", network]).is_some());
    }
    let back = json(lab, &["up"]);
    assert_eq!(back["vault"]["address"], up["vault"]["address"]);
    back
}

fn goes(lab: &TestLab) {
    json(lab, &["down", "--volumes"]);
    assert_eq!(things_of(&lab.name), Vec::<String>::new());
    lab.assert_gone();
}

#[test]
fn vault_on_the_host_with_databases_in_containers() {
    if !has(&[POSTGRES, MYSQL]) {
        return;
    }
    let lab = TestLab::new("mixed-host");
    shipped(&lab, "process", "docker");
    comes_up_and_goes(&lab, "process", "docker");
    goes(&lab);
}

#[tokio::test]
async fn vault_in_a_container_with_databases_on_the_host() {
    if !databases() || !has(&[SERVER]) {
        return;
    }
    let lab = TestLab::new("mixed-container");
    shipped(&lab, "docker", "process");
    comes_up_and_goes(&lab, "docker", "process");

    // The databases listen on this host's loopback and on the lab's network, and nowhere else.
    let networks =
        docker(&["network", "ls", "-q", "--filter", &format!("label=dev.vaultlab.lab={}", lab.name)]);
    let gateway = docker(&[
        "network",
        "inspect",
        "-f",
        "{{(index .IPAM.Config 0).Gateway}}",
        networks.unwrap().lines().next().unwrap(),
    ])
    .unwrap();
    let status = json(&lab, &["status"]);
    let port_of = |service: &str| -> u16 {
        let services = status["services"].as_array().unwrap();
        let service = services.iter().find(|found| found["name"] == service).unwrap();
        service["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    };
    for service in ["notes-postgres", "notes-mysql"] {
        assert_eq!(listeners(port_of(service)), ["127.0.0.1".to_owned(), gateway.clone()], "{service}");
    }
    // There, PostgreSQL lets in Vault's account only: an application's is for the host.
    let credential = json(&lab, &["creds", "pg-read"]);
    let port = port_of("notes-postgres");
    let at = |host: &str| Target {
        engine: Engine::Postgres,
        endpoint: Endpoint::new(host, port),
        database: "notes".into(),
    };
    let account =
        Credentials::new(credential["username"].as_str().unwrap(), credential["password"].as_str().unwrap());
    connect(&at("127.0.0.1"), &account).await.unwrap().close().await;
    let there = try_login(&at(&gateway), &account).await;
    assert!(!matches!(there, Ok(Login::Accepted)), "{there:?}");

    // Where data is, it stays.
    shipped(&lab, "docker", "docker");
    let output = command(&lab, &["up"]).output().unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("its data is in the runtime process"), "{error}");
    shipped(&lab, "docker", "process");
    goes(&lab);
}

/// Both keep folders of one name below the home, for accounts of their own.
#[test]
fn labs_in_containers_and_labs_on_the_host_live_in_one_home() {
    if !databases() || !has(&[POSTGRES, SERVER]) {
        return;
    }
    let home = ColdHome::new();
    let mut labs = [home.lab("one-home-docker"), home.lab("one-home-process")];
    labs[1].runtime = "process";
    for lab in &labs {
        lab.write("vaultlab.yaml", &postgres_lab("one-home", "storage: file"));
        lab.ok(&["up", "--progress", "quiet"]);
    }
    let listed = labs[0].json(&["ls"]);
    for lab in &labs {
        let found = listed.as_array().unwrap().iter().find(|found| found["lab"] == lab.name.as_str());
        let found = found.map(|found| (found["state"].as_str().unwrap(), found["runtime"].as_str().unwrap()));
        assert_eq!(found, Some(("up", lab.runtime)), "{listed:#}");
        lab.ok(&["creds", "app"]);
    }
    // What goes on one side leaves the other alone.
    let [contained, of_host] = &labs;
    of_host.ok(&["down", "--volumes", "--progress", "quiet"]);
    of_host.assert_gone();
    contained.ok(&["creds", "app"]);
    of_host.ok(&["up", "--progress", "quiet"]);
    contained.ok(&["down", "--volumes", "--progress", "quiet"]);
    assert_eq!(things_of(&contained.name), Vec::<String>::new());
    of_host.ok(&["creds", "app"]);
    of_host.ok(&["down", "--volumes", "--progress", "quiet"]);
}

/// Addresses on which something listens on a port (proc_net_tcp(5): state 0A, addresses in the
/// machine's byte order).
fn listeners(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut found: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (address, wanted) = fields.next()?.split_once(':')?;
            let listens = fields.nth(1)? == "0A" && u16::from_str_radix(wanted, 16).ok()? == port;
            let address = u32::from_str_radix(address, 16).ok()?;
            listens.then(|| std::net::Ipv4Addr::from(address.to_ne_bytes()).to_string())
        })
        .collect();
    found.sort();
    found
}
