use std::time::Duration;

use tokio::task::JoinSet;

use super::*;

const INVALID: &str = "invalid role or secret ID";

#[tokio::test]
async fn a_login_carries_what_role_and_secret_id_say() {
    let bench = Bench::new();
    let role = json!({
        "token_policies": "a,b", "token_ttl": 60, "token_max_ttl": 120, "token_num_uses": 9,
        "token_bound_cidrs": "127.0.0.0/8",
    });
    let role_id = bench.role("web", role).await;
    let body = json!({"metadata": "{\"host\":\"h1\"}", "token_bound_cidrs": "127.0.0.1/32"});
    let (secret_id, _) = bench.secret_id("web", body).await;
    let auth = bench.login(&format!(" {role_id} "), &format!("{secret_id}\n")).await.unwrap();
    assert_eq!(auth.policies, ["a", "b"]);
    assert_eq!((auth.lease.ttl, auth.lease.max_ttl), (Duration::from_mins(1), Duration::from_mins(2)));
    assert!(auth.lease.renewable);
    assert_eq!(auth.num_uses, 9);
    assert_eq!(auth.bound_cidrs, ["127.0.0.1/32".parse().unwrap()]);
    assert_eq!(auth.metadata["host"], "h1");
    assert_eq!(auth.metadata["role_name"], "web");
    assert_eq!(auth.alias.unwrap().name, role_id);
}

#[tokio::test]
async fn errors_are_vaults() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({})).await;
    let login = |data| bench.write("login", data);
    assert_eq!(seen(login(json!({})).await), (400, "missing role_id".into()));
    assert_eq!(seen(login(json!({"role_id": role_id})).await), (400, "missing secret_id".into()));
    assert_eq!(seen(bench.login("wrong", "x").await), (400, INVALID.into()));
    assert_eq!(seen(bench.login(&role_id, "wrong").await), (400, INVALID.into()));
    let (status, _) = seen(login(json!({"role_id": ["x"]})).await);
    assert_eq!(status, 400);
    let (status, _) = seen(bench.login(&role_id, &"x".repeat(5000)).await);
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_secret_id_of_another_role_is_refused() {
    let bench = Bench::new();
    let web = bench.role("web", json!({})).await;
    bench.role("other", json!({})).await;
    let (secret_id, _) = bench.secret_id("other", json!({})).await;
    assert_eq!(seen(bench.login(&web, &secret_id).await), (400, INVALID.into()));
}

#[tokio::test]
async fn uses_run_out_and_are_stored() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({"secret_id_num_uses": 3})).await;
    let (secret_id, accessor) = bench.secret_id("web", json!({})).await;
    bench.login(&role_id, &secret_id).await.unwrap();
    bench.login(&role_id, &secret_id).await.unwrap();
    let backend = bench.restarted().await;
    let lookup = request(
        Operation::Update,
        "role/web/secret-id-accessor/lookup",
        json!({"secret_id_accessor": accessor}),
    );
    let data = backend.handle(&lookup).await.unwrap().unwrap().data.unwrap();
    assert_eq!(data["secret_id_num_uses"], 1);
    bench.login(&role_id, &secret_id).await.unwrap();
    assert_eq!(seen(bench.login(&role_id, &secret_id).await), (400, INVALID.into()));
    assert!(bench.context.storage.keys("secret_id/").unwrap().is_empty());
    assert!(bench.context.storage.keys("accessor/").unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn n_uses_are_exactly_n_logins_under_concurrency() {
    let bench = Arc::new(Bench::new());
    let role_id = bench.role("web", json!({})).await;
    let (secret_id, _) = bench.secret_id("web", json!({"num_uses": 50})).await;
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let (bench, role_id, secret_id) = (Arc::clone(&bench), role_id.clone(), secret_id.clone());
        tasks.spawn(async move {
            // Lockout would refuse logins for another reason.
            bench.backend.failures.clear(&role_id);
            bench.login(&role_id, &secret_id).await.is_ok()
        });
    }
    let good = tasks.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(good, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_role_removed_during_logins_leaves_nothing_behind() {
    for _ in 0..20 {
        let bench = Arc::new(Bench::new());
        let role_id = bench.role("web", json!({})).await;
        let (secret_id, _) = bench.secret_id("web", json!({"num_uses": 1000})).await;
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let (bench, role_id, secret_id) = (Arc::clone(&bench), role_id.clone(), secret_id.clone());
            tasks.spawn(async move {
                while bench.login(&role_id, &secret_id).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
        }
        tokio::task::yield_now().await;
        bench.delete("role/web").await;
        tasks.join_all().await;
        assert_eq!(bench.context.storage.keys("").unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_expired_secret_id_is_refused_at_once() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({})).await;
    let (secret_id, _) = bench.secret_id("web", json!({"ttl": 60})).await;
    bench.system.advance(Duration::from_secs(59));
    bench.login(&role_id, &secret_id).await.unwrap();
    bench.system.advance(Duration::from_secs(1));
    assert_eq!(seen(bench.login(&role_id, &secret_id).await), (400, INVALID.into()));
    assert!(bench.set("role/web/secret-id/lookup", json!({"secret_id": secret_id})).await.is_none());
}

#[tokio::test]
async fn logins_are_bound_to_networks() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({"secret_id_bound_cidrs": "10.0.0.0/8"})).await;
    let (wide, _) = bench.secret_id("web", json!({})).await;
    let (narrow, _) = bench.secret_id("web", json!({"cidr_list": "10.1.0.0/16"})).await;
    let login = async |secret_id: &str, from: Option<&str>| {
        let data = json!({"role_id": role_id, "secret_id": secret_id});
        let mut login = request(Operation::Update, "login", data);
        login.remote_addr = from.map(|address| address.parse().unwrap());
        bench.backend.handle(&login).await
    };
    login(&wide, Some("10.2.0.1")).await.unwrap();
    login(&narrow, Some("10.1.0.1")).await.unwrap();
    assert_eq!(
        seen(login(&narrow, Some("10.2.0.1")).await),
        (400, "source address \"10.2.0.1\" unauthorized through CIDR restrictions on the secret ID".into())
    );
    assert_eq!(
        seen(login(&wide, Some("192.168.0.1")).await),
        (400, "source address \"192.168.0.1\" unauthorized by CIDR restrictions on the role".into())
    );
    assert_eq!(seen(login(&wide, None).await).0, 500);
    // The role's networks were narrowed after the secret_id was made.
    bench.set("role/web/secret-id-bound-cidrs", json!({"secret_id_bound_cidrs": "10.2.0.0/16"})).await;
    let (status, text) = seen(login(&narrow, Some("10.1.0.1")).await);
    assert_eq!(status, 500);
    assert!(text.contains("failed to verify subset relationship"), "{text}");
}

#[tokio::test]
async fn a_role_may_go_without_secret_ids() {
    let bench = Bench::new();
    let role_id =
        bench.role("web", json!({"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.1/32"})).await;
    let mut login = request(Operation::Update, "login", json!({"role_id": role_id}));
    login.remote_addr = Some("127.0.0.1".parse().unwrap());
    assert!(bench.backend.handle(&login).await.unwrap().unwrap().auth.is_some());
    let create = bench.write("role/web/secret-id", json!({})).await;
    assert_eq!(seen(create), (400, "bind_secret_id is not set on the role".into()));
}

#[tokio::test]
async fn five_bad_secret_ids_lock_the_role_id_out() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({})).await;
    let other = bench.role("other", json!({})).await;
    let (secret_id, _) = bench.secret_id("web", json!({})).await;
    let (other_secret_id, _) = bench.secret_id("other", json!({})).await;
    for _ in 0..5 {
        assert_eq!(seen(bench.login(&role_id, "bad").await).0, 400);
    }
    assert_eq!(seen(bench.login(&role_id, &secret_id).await), (403, "permission denied".into()));
    bench.login(&other, &other_secret_id).await.unwrap();
    bench.system.advance(Duration::from_mins(15));
    bench.login(&role_id, &secret_id).await.unwrap();
}

#[tokio::test]
async fn a_renewal_takes_the_role_as_it_is_now() {
    let bench = Bench::new();
    let role_id = bench.role("web", json!({"token_ttl": 60})).await;
    let (secret_id, _) = bench.secret_id("web", json!({})).await;
    let auth = bench.login(&role_id, &secret_id).await.unwrap();
    bench.set("role/web", json!({"token_ttl": 90, "token_max_ttl": 600, "token_period": "5m"})).await;
    let renewed = bench.backend.renew_auth(&auth).await.unwrap();
    assert_eq!(renewed.lease.ttl, Duration::from_secs(90));
    assert_eq!(renewed.lease.max_ttl, Duration::from_mins(10));
    assert_eq!(renewed.period, Duration::from_mins(5));
    bench.delete("role/web").await;
    let error = bench.backend.renew_auth(&auth).await.unwrap_err();
    assert_eq!(error.to_string(), "role \"web\" does not exist during renewal");
}
