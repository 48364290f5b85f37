//! How well the agent's services are: checks that report, maintenance, health as a status code.

use super::harness::{World, pluck};
use serde_json::json;

#[tokio::test]
async fn output_is_cut_to_the_size_the_check_names() {
    let world = World::new().await;
    let check = json!({"Name": "c", "TTL": "60s", "OutputMaxSize": 10});
    world
        .put_json("/v1/agent/check/register", &check)
        .await
        .is(200, "");
    let report = json!({"Status": "passing", "Output": "0123456789abc"});
    world
        .put_json("/v1/agent/check/update/c", &report)
        .await
        .is(200, "");
    let checks = world.get("/v1/agent/checks").await.json();
    assert_eq!(
        checks["c"]["Output"],
        "0123456789 ... (captured 10 of 13 bytes)"
    );
    world
        .put("/v1/agent/check/pass/c?note=0123456789", "")
        .await
        .is(200, "");
    let huge = json!({"Name": "d", "TTL": "60s", "OutputMaxSize": 1_000_000});
    world
        .put_json("/v1/agent/check/register", &huge)
        .await
        .is(200, "");
    let report = json!({"Status": "passing", "Output": "x".repeat(5000)});
    world
        .put_json("/v1/agent/check/update/d", &report)
        .await
        .is(200, "");
    let output = world.get("/v1/agent/checks").await.json()["d"]["Output"].clone();
    let output = output.as_str().unwrap_or_default();
    assert_eq!(output.len(), 4096);
    assert!(
        output.ends_with(" ... (captured 4096 of 5000 bytes)"),
        "{output}"
    );
}

#[tokio::test]
async fn ttl_checks_report_and_repeated_passing_stays_out_of_the_log() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Check": {"TTL": "30s"}}))
        .await;
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    for (call, status) in [
        ("pass", "passing"),
        ("warn", "warning"),
        ("fail", "critical"),
    ] {
        world
            .put(
                &format!("/v1/agent/check/{call}/service:web?note=n-{call}"),
                "",
            )
            .await
            .is(200, "");
        let check = &world.get("/v1/health/checks/web").await.json()[0];
        assert_eq!(
            (&check["Status"], &check["Output"]),
            (&json!(status), &json!(format!("n-{call}")))
        );
    }
    let update = json!({"Status": "passing", "Output": "x".repeat(5000)});
    world
        .put_json("/v1/agent/check/update/service:web", &update)
        .await
        .is(200, "");
    let revision = world.revision();
    for note in ["a", "b", "c"] {
        world
            .put(&format!("/v1/agent/check/pass/service:web?note={note}"), "")
            .await
            .is(200, "");
    }
    assert_eq!(
        world.revision(),
        revision,
        "only a change of status is news"
    );
    let check = &world.get("/v1/health/checks/web").await.json()[0];
    assert!(
        check["Output"]
            .as_str()
            .unwrap()
            .ends_with("(captured 4096 of 5000 bytes)")
    );
    // A check that is probed cannot be reported on.
    world
        .put_json(
            "/v1/agent/check/register",
            &json!({"Name": "t", "TCP": "127.0.0.1:1", "Interval": "10s"}),
        )
        .await
        .is(200, "");
    world
        .put("/v1/agent/check/pass/t", "")
        .await
        .is(500, "CheckID \"t\" does not have associated TTL");
    world
        .put("/v1/agent/check/deregister/t", "")
        .await
        .is(200, "");
    assert!(
        world
            .get("/v1/agent/checks")
            .await
            .json()
            .get("t")
            .is_none()
    );
}

#[tokio::test]
async fn a_silent_ttl_check_expires() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Check": {"TTL": "200ms", "Status": "passing"}}))
        .await;
    world
        .put("/v1/agent/check/pass/service:web?note=alive", "")
        .await
        .is(200, "");
    let index = world.get("/v1/health/service/web").await.index();
    let woken = world
        .get(&format!("/v1/health/service/web?index={index}&wait=10s"))
        .await
        .json();
    let check = &woken[0]["Checks"][1];
    assert_eq!(check["Status"], "critical");
    assert_eq!(
        check["Output"],
        "TTL expired (last output before timeout follows): alive"
    );
    // A report ends that, also when it is no better.
    world
        .put("/v1/agent/check/fail/service:web?note=broken", "")
        .await
        .is(200, "");
    let check = &world.get("/v1/health/checks/web").await.json()[0];
    assert_eq!(check["Output"], "broken");
}

#[tokio::test]
async fn maintenance_is_a_check_and_goes_again() {
    let world = World::new().await;
    world.register(&json!({"Name": "web", "Port": 80})).await;
    world
        .put(
            "/v1/agent/service/maintenance/web?enable=true&reason=disk",
            "",
        )
        .await
        .is(200, "");
    let row = &world.get("/v1/health/service/web").await.json()[0];
    let check = &row["Checks"][1];
    assert_eq!(check["CheckID"], "_service_maintenance:web");
    assert_eq!(
        (
            &check["Name"],
            &check["Status"],
            &check["Notes"],
            &check["Type"]
        ),
        (
            &json!("Service Maintenance Mode"),
            &json!("critical"),
            &json!("disk"),
            &json!("maintenance")
        )
    );
    assert_eq!(
        world.get("/v1/health/service/web?passing=1").await.json(),
        json!([])
    );
    let health = world.get("/v1/agent/health/service/id/web").await;
    assert_eq!(
        (health.status, &health.json()["AggregatedStatus"]),
        (503, &json!("maintenance"))
    );
    // Registering again keeps it.
    world
        .register(&json!({"Name": "web", "Port": 80, "Tags": ["x"]}))
        .await;
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    world
        .put("/v1/agent/service/maintenance/web?enable=false", "")
        .await
        .is(200, "");
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web?passing").await.json(),
            "Service.ID"
        ),
        ["web"]
    );

    world
        .put("/v1/agent/maintenance?enable=true", "")
        .await
        .is(200, "");
    let checks = world.get("/v1/agent/checks").await.json();
    assert!(
        checks["_node_maintenance"]["Notes"]
            .as_str()
            .unwrap()
            .starts_with("Maintenance mode is enabled for this node")
    );
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    world
        .put("/v1/agent/maintenance?enable=false", "")
        .await
        .is(200, "");
    assert_eq!(world.get("/v1/agent/checks").await.json(), json!({}));
}

#[tokio::test]
async fn health_is_in_the_status_code() {
    let world = World::new().await;
    world
        .register(&json!({"ID": "w1", "Name": "web", "Check": {"TTL": "30s", "Status": "passing"}}))
        .await;
    for (call, status, word) in [
        ("pass", 200, "passing"),
        ("warn", 429, "warning"),
        ("fail", 503, "critical"),
    ] {
        world
            .put(&format!("/v1/agent/check/{call}/service:w1"), "")
            .await
            .is(200, "");
        let by_id = world.get("/v1/agent/health/service/id/w1").await;
        assert_eq!(
            (by_id.status, &by_id.json()["AggregatedStatus"]),
            (status, &json!(word))
        );
        assert_eq!(by_id.headers["x-consul-reason"], word);
        let by_name = world.get("/v1/agent/health/service/name/web").await;
        assert_eq!(
            (by_name.status, &by_name.json()[0]["AggregatedStatus"]),
            (status, &json!(word))
        );
        world
            .get("/v1/agent/health/service/name/web?format=text")
            .await
            .is(status, word);
    }
    world
        .get("/v1/agent/health/service/id/x?format=text")
        .await
        .is(404, "ServiceId x not found");
    world
        .get("/v1/agent/health/service/name/x?format=text")
        .await
        .is(404, "ServiceName x Not Found");
    let unknown = world.get("/v1/agent/health/service/name/x").await;
    assert_eq!((unknown.status, unknown.json()), (404, json!([])));
    assert_eq!(
        unknown.headers["x-consul-reason"],
        "ServiceName x Not Found"
    );
    let unknown = world.get("/v1/agent/health/service/id/x").await;
    assert_eq!(
        (unknown.status, unknown.json()),
        (
            404,
            json!({"AggregatedStatus": "critical", "Service": null, "Checks": null})
        )
    );
    assert_eq!(unknown.headers["x-consul-reason"], "ServiceId x not found");
}

#[tokio::test]
async fn forced_down_is_a_critical_check_and_no_maintenance() {
    use portolan_catalog::{
        Admin, AdminStatus, AdminTarget, Command, InstanceKey, NodeName, Protocol,
    };
    let world = World::new().await;
    world
        .register(&json!({"ID": "w1", "Name": "web", "Tags": ["v1"], "Check": {"TTL": "30s", "Status": "passing"}}))
        .await;
    let force = |admin: Option<Admin>| Command::SetAdmin {
        target: AdminTarget::Instance(InstanceKey::consul(&NodeName::new("n1"), "w1")),
        admin: admin.map(Into::into),
        declared: None,
    };
    let down = Admin {
        status: AdminStatus::Down,
        reason: "burnt".into(),
        by: Protocol::Eureka,
    };
    world.propose(force(Some(down))).await;
    let row = &world.get("/v1/health/service/web").await.json()[0];
    assert_eq!(
        pluck(&row["Checks"], "CheckID"),
        ["serfHealth", "_service_status:w1", "service:w1"]
    );
    let check = &row["Checks"][1];
    assert_eq!(
        (
            &check["Status"],
            &check["Notes"],
            &check["Type"],
            &check["ServiceTags"]
        ),
        (
            &json!("critical"),
            &json!("burnt"),
            &json!(""),
            &json!(["v1"])
        )
    );
    // The check's own result stays to be seen, and the worst one counts.
    assert_eq!(row["Checks"][2]["Status"], "passing");
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    assert!(
        pluck(
            &world.get("/v1/health/state/critical").await.json(),
            "CheckID"
        )
        .contains(&"_service_status:w1".to_owned())
    );
    let health = world.get("/v1/agent/health/service/id/w1").await;
    assert_eq!(
        (health.status, &health.json()["AggregatedStatus"]),
        (503, &json!("critical"))
    );
    // It is an order and not a check that reports.
    world
        .put("/v1/agent/check/pass/_service_status:w1", "")
        .await
        .says(404, "Unknown check ID");
    world.propose(force(None)).await;
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web?passing").await.json(),
            "Service.ID"
        ),
        ["w1"]
    );
}
