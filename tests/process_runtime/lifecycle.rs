//! Start, reuse, stop, restart, remove.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use futures_util::StreamExt as _;
use nix::sys::signal::Signal;
use vaultlab::database::{Check, Login, try_login};
use vaultlab::runtime::{DataOrigin, Runtime, ServiceState};

use crate::support::{
    BOTH, MYSQL, POSTGRES, Place, alive, available, kill, pid, spec, superuser, target, up, with_password,
};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_started_reused_stopped_and_started_again() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("life");
        let spec = spec(engine);
        let name = spec.name.as_str();
        assert_eq!(lab.runtime.state(name).await.unwrap(), ServiceState::Absent);
        assert!(!lab.runtime.stop(name, GRACE).await.unwrap());

        let first = lab.up(&spec).await.unwrap();
        assert_eq!((first.data, first.reused), (DataOrigin::Fresh, false));
        let mut connection = superuser(&first, engine).await;
        assert_eq!(connection.scalar("SELECT COUNT(*) FROM t").await.unwrap().as_deref(), Some("2"));
        connection.execute("INSERT INTO t VALUES (3)").await.unwrap();
        connection.close().await;

        // By another vaultlab, which learns everything from the disk.
        let second = up(&lab.reopened(), &spec).await.unwrap();
        assert!(second.reused);
        assert_eq!(second.endpoint, first.endpoint);
        assert_eq!(second.accounts.as_ref().unwrap().superuser, first.accounts.as_ref().unwrap().superuser);
        let ServiceState::Running { pid: Some(server), since: Some(since), endpoint } =
            lab.reopened().state(name).await.unwrap()
        else {
            panic!("it does not run")
        };
        assert_eq!((server, &endpoint), (pid(&lab, name), &first.endpoint));
        assert!(since.duration_until(jiff::Timestamp::now()).as_secs().abs() < 60);

        assert!(lab.reopened().stop(name, GRACE).await.unwrap());
        assert!(!alive(server));
        assert_eq!(lab.runtime.state(name).await.unwrap(), ServiceState::Stopped);
        assert!(!lab.runtime.stop(name, GRACE).await.unwrap());

        let third = lab.up(&spec).await.unwrap();
        assert_eq!((third.data, third.reused), (DataOrigin::Kept, false));
        assert_eq!(third.endpoint, first.endpoint, "the port is remembered");
        let mut connection = superuser(&third, engine).await;
        assert_eq!(connection.scalar("SELECT COUNT(*) FROM t").await.unwrap().as_deref(), Some("3"));
        connection.close().await;

        let lines: Vec<_> = lab.runtime.logs(name, Some(3), false).await.unwrap().collect().await;
        assert_eq!(lines.len(), 3);
        lab.runtime.remove(name).await.unwrap();
        lab.runtime.remove(name).await.unwrap();
        assert_eq!(lab.runtime.state(name).await.unwrap(), ServiceState::Absent);
        assert!(!lab.dir.service(name).exists());
        assert!(lab.runtime.logs(name, None, false).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_is_started_again_on_its_data() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("killed");
        let spec = spec(engine);
        let first = lab.up(&spec).await.unwrap();
        let mut connection = superuser(&first, engine).await;
        connection.execute("INSERT INTO t VALUES (3)").await.unwrap();
        let server = pid(&lab, &spec.name);
        kill(server, Signal::SIGKILL);

        let second = lab.up(&spec).await.unwrap();
        assert!(!second.reused);
        assert_ne!(pid(&lab, &spec.name), server);
        let mut connection = superuser(&second, engine).await;
        assert_eq!(connection.scalar("SELECT COUNT(*) FROM t").await.unwrap().as_deref(), Some("3"));
        connection.close().await;
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_pid_was_never_written_down_is_adopted() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("orphan");
        let spec = spec(engine);
        let first = lab.up(&spec).await.unwrap();
        let server = pid(&lab, &spec.name);
        // As a kill -9 between the start and the second writing of the manifest leaves it.
        let mut manifest = vaultlab::state::Manifest::load(&lab.dir).unwrap().unwrap();
        let record = manifest.services.get_mut(&spec.name).unwrap();
        (record.pid, record.started) = (None, None);
        manifest.save(&lab.dir).unwrap();

        let runtime = lab.reopened();
        let second = up(&runtime, &spec).await.unwrap();
        assert!(second.reused);
        assert_eq!((pid(&lab, &spec.name), &second.endpoint), (server, &first.endpoint));

        manifest.save(&lab.dir).unwrap();
        assert!(lab.reopened().stop(&spec.name, GRACE).await.unwrap(), "`down` finds it as well");
        assert!(!alive(server));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_with_the_recorded_pid_is_left_alone() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("recycled");
    let spec = spec(POSTGRES);
    lab.up(&spec).await.unwrap();
    lab.runtime.stop(&spec.name, GRACE).await.unwrap();
    let mut bystander = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut manifest = vaultlab::state::Manifest::load(&lab.dir).unwrap().unwrap();
    let record = manifest.services.get_mut(&spec.name).unwrap();
    (record.pid, record.started) = (Some(bystander.id()), Some(1));
    manifest.save(&lab.dir).unwrap();

    assert_eq!(lab.reopened().state(&spec.name).await.unwrap(), ServiceState::Stopped);
    assert!(!lab.reopened().stop(&spec.name, GRACE).await.unwrap());
    assert!(bystander.try_wait().unwrap().is_none(), "it was killed");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_passwords_open_the_database_and_only_privileged_accounts_change_it() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("doors");
        let spec = spec(engine);
        let running = lab.up(&spec).await.unwrap();
        let target = target(&running, engine);
        let accounts = running.accounts.clone().unwrap();
        assert!(accounts.applied);
        for account in [&accounts.superuser, &accounts.admin] {
            assert_eq!(try_login(&target, account).await.unwrap(), Login::Accepted, "{}", account.username);
            for wrong in ["", "postgres", "root", "vault"] {
                let login = try_login(&target, &with_password(account, wrong)).await;
                // PostgreSQL's driver itself refuses to log in without a password.
                assert!(!matches!(login, Ok(Login::Accepted)), "{} {wrong:?}", account.username);
            }
        }
        let anonymous = with_password(&accounts.admin, "");
        let nobody = vaultlab::state::Credentials::new("", anonymous.password);
        assert!(!matches!(try_login(&target, &nobody).await, Ok(Login::Accepted)));

        let mut root = superuser(&running, engine).await;
        assert!(root.account_exists("vault").await.unwrap());
        assert!(!root.account_exists("nobody-else").await.unwrap());
        assert!(root.sessions(&accounts.superuser.username).await.unwrap() >= 1);
        let mut admin = vaultlab::database::connect(&target, &accounts.admin).await.unwrap();
        assert!(matches!(admin.check("SELECT * FROM t").await, Check::Allowed));
        assert!(matches!(admin.check("INSERT INTO t VALUES (9)").await, Check::Refused(_)));
        assert!(matches!(admin.check("SELECT * FROM none").await, Check::Failed(_) | Check::Refused(_)));
        assert!(matches!(root.check("INSERT INTO t VALUES (9)").await, Check::Allowed));
        assert_eq!(root.scalar("SELECT COUNT(*) FROM t WHERE n = 9").await.unwrap().as_deref(), Some("0"));
        admin.close().await;
        root.close().await;
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_private_files_only_and_never_in_arguments_or_logs() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("secrets");
        let spec = spec(engine);
        let running = lab.up(&spec).await.unwrap();
        let accounts = running.accounts.clone().unwrap();
        let mut root = superuser(&running, engine).await;
        // Statements that fail are what servers like to log.
        let marker = "Marker0123456789";
        let _ = root.execute(&format!("CREATE USER nonsense nonsense '{marker}'")).await;
        root.set_password("vault", &marker.into()).await.unwrap();
        root.close().await;
        let server = pid(&lab, &spec.name);
        let command = std::fs::read(format!("/proc/{server}/cmdline")).unwrap();
        let environment = std::fs::read(format!("/proc/{server}/environ")).unwrap();
        let secrets = [accounts.superuser.password.expose(), accounts.admin.password.expose(), marker]
            .map(str::as_bytes);
        let holds = |bytes: &[u8]| secrets.iter().any(|s| bytes.windows(s.len()).any(|part| part == *s));
        assert!(!holds(&command) && !holds(&environment));
        assert!(!holds(&std::fs::read(lab.log(&spec.name)).unwrap()), "the log shows a password");
        assert_eq!(std::fs::metadata(lab.log(&spec.name)).unwrap().permissions().mode() & 0o777, 0o600);
        let mut folders = vec![place.path()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let meta = entry.metadata().unwrap();
                if meta.is_dir() {
                    // Nobody else gets into the data.
                    if meta.permissions().mode() & 0o077 != 0o011 || entry.file_name() != "data" {
                        folders.push(entry.path());
                    }
                } else if meta.is_file() && holds(&std::fs::read(entry.path()).unwrap()) {
                    assert_eq!(
                        meta.permissions().mode() & 0o077,
                        0,
                        "{} is readable",
                        entry.path().display()
                    );
                }
            }
        }
        let data = std::fs::metadata(lab.dir.service(&spec.name).join("data")).unwrap();
        assert_eq!(data.permissions().mode() & 0o777, 0o700);
        if nix::unistd::geteuid().is_root() {
            assert_ne!(data.uid(), 0);
            assert_ne!(std::fs::metadata(format!("/proc/{server}")).unwrap().uid(), 0, "it runs as root");
        }
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_start_at_the_same_time() {
    if !available(POSTGRES).await || !available(MYSQL).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("both");
    let (postgres, mysql) = (spec(POSTGRES), spec(MYSQL));
    for round in ["cold", "warm", "again"] {
        let began = std::time::Instant::now();
        let (a, b) = tokio::join!(lab.up(&postgres), lab.up(&mysql));
        let (a, b) = (a.unwrap(), b.unwrap());
        eprintln!("{round}: {:?}", began.elapsed());
        assert_ne!(a.endpoint, b.endpoint);
        assert_eq!(a.reused && b.reused, round == "again");
        if round == "cold" {
            for name in ["postgres", "mysql"] {
                lab.runtime.remove(name).await.unwrap();
            }
        }
    }
    let manifest = vaultlab::state::Manifest::load(&lab.dir).unwrap().unwrap();
    assert_eq!(manifest.services.len(), 2, "neither overwrote the other's record");
    for name in ["postgres", "mysql"] {
        lab.runtime.remove(name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_with_the_pid_of_the_killed_server_does_not_stop_the_next_one() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("zombie");
    let spec = spec(POSTGRES);
    lab.up(&spec).await.unwrap();
    kill(pid(&lab, &spec.name), Signal::SIGKILL);
    // Ended and never asked for: its pid can still be signalled.
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    while alive(zombie.id()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let file = lab.dir.service(&spec.name).join("data/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    std::fs::write(&file, format!("{}\n{rest}", zombie.id())).unwrap();
    let again = lab.up(&spec).await.unwrap();
    zombie.wait().unwrap();
    assert!(!again.reused);
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_record_is_found_stopped_and_removed() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("stray");
        let spec = spec(engine);
        let first = lab.up(&spec).await.unwrap();
        let server = pid(&lab, &spec.name);
        std::fs::remove_dir_all(lab.dir.path()).unwrap();
        let state = lab.reopened().state(&spec.name).await.unwrap();
        assert!(
            matches!(&state, ServiceState::Running { pid: Some(pid), endpoint, .. }
                if *pid == server && *endpoint == first.endpoint),
            "{state:?}"
        );
        assert!(lab.reopened().stop(&spec.name, GRACE).await.unwrap());
        assert!(!alive(server));
        assert_eq!(lab.reopened().state(&spec.name).await.unwrap(), ServiceState::Stopped);
        assert!(lab.dir.exists());
        lab.reopened().remove(&spec.name).await.unwrap();
        assert_eq!(lab.reopened().state(&spec.name).await.unwrap(), ServiceState::Absent);
    }
}
