//! Service and check definitions of files.

use super::harness::World;
use portolan_catalog::{Host, NodeName};
use portolan_protocol_consul::Definitions;
use serde_json::json;

fn read(files: &[(&str, &str)], scripts: bool) -> Result<Definitions, String> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    Definitions::read(NodeName::new("n1"), Host::new("127.0.0.1"), &files, scripts)
}

#[tokio::test]
async fn files_register_and_what_left_them_goes() {
    let world = World::new().await;
    world.register(&json!({"Name": "called", "Port": 1})).await;
    let called = json!({"Name": "called-check", "TTL": "60s", "ServiceID": "called"});
    world
        .put_json("/v1/agent/check/register", &called)
        .await
        .is(200, "");
    let web = r#"{"service": {"name": "web", "id": "web1", "port": 80, "tags": ["v1"], "meta": {"a": "b"},
        "check": {"http": "http://localhost", "interval": "10s", "timeout": "1s"}}}"#;
    let more = r#"{"services": [{"name": "db", "port": 5432, "checks": [{"ttl": "30s"}, {"name": "second", "ttl": "30s"}]}],
        "checks": [{"name": "disk", "ttl": "1m", "notes": "n"}, {"id": "extra", "name": "Extra", "ttl": "1m", "service_id": "web1"}]}"#;
    read(&[("a.json", web), ("b.json", more)], false)
        .unwrap()
        .apply(&world.registry)
        .await
        .unwrap();
    let names = |value: serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        names(world.get("/v1/agent/services").await.json()),
        ["called", "db", "web1"]
    );
    assert_eq!(
        names(world.get("/v1/agent/checks").await.json()),
        [
            "called-check",
            "disk",
            "extra",
            "service:db:1",
            "service:db:2",
            "service:web1"
        ]
    );
    let row = world.get("/v1/catalog/service/web").await.json();
    assert_eq!(
        (&row[0]["ServiceTags"], &row[0]["ServiceMeta"]["a"]),
        (&json!(["v1"]), &json!("b"))
    );
    // Equal files are no change, and what was reported stays.
    world
        .put("/v1/agent/check/pass/disk?note=fine", "")
        .await
        .is(200, "");
    let before = world.revision();
    read(&[("a.json", web), ("b.json", more)], false)
        .unwrap()
        .apply(&world.registry)
        .await
        .unwrap();
    assert_eq!(world.revision(), before);
    assert_eq!(
        world.get("/v1/agent/checks").await.json()["disk"]["Output"],
        "fine"
    );
    // One file is gone: what stood there goes, what came by a call stays, also beside a service of a file.
    let beside = json!({"Name": "beside", "TTL": "60s", "ServiceID": "web1"});
    world
        .put_json("/v1/agent/check/register", &beside)
        .await
        .is(200, "");
    read(&[("a.json", web)], false)
        .unwrap()
        .apply(&world.registry)
        .await
        .unwrap();
    assert_eq!(
        names(world.get("/v1/agent/services").await.json()),
        ["called", "web1"]
    );
    assert_eq!(
        names(world.get("/v1/agent/checks").await.json()),
        ["beside", "called-check", "service:web1"]
    );
    read(&[], false)
        .unwrap()
        .apply(&world.registry)
        .await
        .unwrap();
    assert_eq!(
        names(world.get("/v1/agent/services").await.json()),
        ["called"]
    );
    assert_eq!(
        names(world.get("/v1/agent/checks").await.json()),
        ["called-check"]
    );
}

/// Whatever the catalog refuses, it refuses before anything is changed.
#[tokio::test]
async fn a_refused_definition_names_its_file_and_changes_nothing() {
    let world = World::new().await;
    let old = r#"{"services": [{"name": "old", "port": 1}]}"#;
    let old = read(&[("a.json", old)], false).unwrap();
    old.apply(&world.registry).await.unwrap();
    let before = world.registry.snapshot().revision();
    let long = "n".repeat(300);
    let names = [("c.json", format!(r#"{{"services": [{{"name": "ok1"}}, {{"name": "{long}"}}, {{"name": "ok2"}}]}}"#), "limit reached: service name"),
        ("d.json", r#"{"services": [{"name": "ok1"}, {"name": "consul", "id": "x", "port": 1, "address": "10.9.9.9"}]}"#.to_owned(), "belongs to the servers"),
        ("d.json", r#"{"services": [{"name": "ok1"}, {"name": "CONSUL", "id": "x", "port": 1}]}"#.to_owned(), "belongs to the servers")];
    for (file, text, part) in names {
        let files = [
            ("b.json", r#"{"service": {"name": "ok0"}}"#),
            (file, &*text),
        ];
        let why = read(&files, false)
            .unwrap()
            .apply(&world.registry)
            .await
            .unwrap_err();
        assert!(why.starts_with(file) && why.contains(part), "{why}");
        assert_eq!(world.registry.snapshot().revision(), before, "{why}");
    }
}

#[test]
fn mistakes_name_their_file() {
    for (text, part) in [
        ("{", "a.json: EOF"),
        ("[]", "a.json: expected an object"),
        (r#"{"servce": {}}"#, "a.json: unknown key \"servce\""),
        (
            r#"{"services": 1}"#,
            "a.json: \"services\" is neither an object nor a list of them",
        ),
        (
            r#"{"service": {"port": 80}}"#,
            "a.json: Missing service name",
        ),
        (
            r#"{"service": {"name": "w", "check": {"http": "http://x"}}}"#,
            "a.json: Invalid check: Interval must be > 0",
        ),
        (
            r#"{"service": {"name": "w", "prot": 80}}"#,
            "a.json: invalid config key service.prot",
        ),
        (
            r#"{"services": [{"name": "w"}, {"name": "v", "checks": [{"tll": "1m"}]}]}"#,
            "a.json: invalid config key services[1].checks[0].tll",
        ),
        (
            r#"{"check": {"name": "c", "tll": "1m"}}"#,
            "a.json: invalid config key check.tll",
        ),
        (r#"{"check": {"ttl": "1m"}}"#, "a.json: a check has no name"),
        (
            r#"{"services": [{"name": "w"}, {"name": "w"}]}"#,
            "a.json: service \"w\" stands in a.json too",
        ),
        (
            r#"{"checks": [{"name": "c", "ttl": "1m"}, {"name": "c", "ttl": "2m"}]}"#,
            "check \"c\" is defined twice",
        ),
        (
            r#"{"check": {"name": "c", "args": ["true"], "interval": "1s"}}"#,
            "a.json: Scripts are disabled on this agent; to enable",
        ),
    ] {
        let why = read(&[("a.json", text)], false).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn programs_are_named_by_files_alone() {
    let script =
        r#"{"check": {"id": "disk", "name": "d", "args": ["/bin/df", "-h"], "interval": "10s"}}"#;
    let definitions = read(&[("a.json", script)], true).unwrap();
    let programs = vec![(
        "disk".to_owned(),
        vec!["/bin/df".to_owned(), "-h".to_owned()],
    )];
    assert_eq!(definitions.programs(), programs);
    let world = World::new().await;
    let call = json!({"Name": "d", "Args": ["/bin/df"], "Interval": "10s"});
    world
        .put_json("/v1/agent/check/register", &call)
        .await
        .says(500, "Scripts are disabled on this agent from remote calls");
}
