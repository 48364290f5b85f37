//! The state rules: registration, renewal, override, metadata, lease.

use std::time::Duration;

use portolan_catalog::{InstanceKey, LeaseId};
use portolan_protocol_eureka::wire::{Action, Instance, Status};

use crate::client::{Server, instance};

const ID: &str = "/eureka/apps/WEB/h1:web:8080";

async fn seen(server: &Server) -> Instance {
    server.get(ID).await.instance()
}

async fn statuses(server: &Server) -> (Status, Status) {
    let it = seen(server).await;
    (it.status, it.overridden)
}

#[tokio::test]
async fn what_is_registered_is_shown_as_it_was_sent() {
    let server = Server::start().await;
    let fields = r#","securePort":{"$":8443,"@enabled":"true"},"countryId":3,"metadata":{"zone":"z1","weight":"2.5","k":"v"},
        "homePageUrl":"http://h1/","statusPageUrl":"http://h1/info","healthCheckUrl":"http://h1/health",
        "secureHealthCheckUrl":"https://h1/health","secureVipAddress":"Web-Secure,other","appGroupName":"grp","asgName":"asg",
        "leaseInfo":{"renewalIntervalInSecs":5,"durationInSecs":15},"lastDirtyTimestamp":"1000","sid":"s"}}"#;
    let body =
        instance("WEB", 1, "").replace(r#""name":"MyOwn"}}}"#, r#""name":"MyOwn"}"#) + fields;
    assert_eq!(server.register("WEB", &body).await.status, 204);
    let it = seen(&server).await;
    let sent = portolan_protocol_eureka::wire::decode_instance(
        portolan_protocol_eureka::wire::Format::Json,
        body.as_bytes(),
    )
    .unwrap();
    let expected = Instance {
        lease: portolan_protocol_eureka::wire::LeaseInfo {
            registered_at: it.lease.registered_at,
            renewed_at: it.lease.renewed_at,
            up_at: it.lease.registered_at,
            ..sent.lease
        },
        updated_at: it.updated_at,
        ..sent
    };
    assert_eq!(it, expected);
    assert!(it.updated_at > 1_600_000_000_000);
    let row = server.registry.snapshot();
    let row = row
        .instance(&InstanceKey::eureka("WEB", "h1:web:8080"))
        .unwrap();
    assert_eq!(
        (
            row.weight.0,
            &*row.locality.as_ref().unwrap().zone,
            &*row.spelling
        ),
        (2500, "z1", "web")
    );
    assert_eq!(
        row.endpoint
            .ports
            .iter()
            .map(|p| (p.number, p.secure))
            .collect::<Vec<_>>(),
        [(8080, false), (8443, true)]
    );
}

#[tokio::test]
async fn ids_fall_back_to_the_host_and_ports_stay_when_disabled() {
    let server = Server::start().await;
    let body = instance("WEB", 1, "")
        .replace(r#""instanceId":"h1:web:8080","#, "")
        .replace(r#""@enabled":"true""#, r#""@enabled":"false""#);
    assert_eq!(server.register("WEB", &body).await.status, 204);
    let it = server.get("/eureka/apps/WEB/h1").await.instance();
    assert_eq!(
        (it.instance_id.as_deref(), it.port.number, it.port.enabled),
        (None, 8080, false)
    );
    assert_eq!(
        (it.secure_port.number, it.secure_port.enabled),
        (7002, false)
    );
    assert_eq!(server.put("/eureka/apps/WEB/h1").await, 200);
    // A program that listens nowhere.
    let body = instance("WEB", 2, "").replace("\"$\":8080", "\"$\":-1");
    assert_eq!(server.register("WEB", &body).await.status, 204);
    let it = server.get("/eureka/apps/WEB/h2:web:8080").await.instance();
    assert_eq!((it.port.number, it.port.enabled), (0, true));
    let row = server.registry.snapshot();
    let row = row.instance(&InstanceKey::eureka("WEB", "h2:web:8080"));
    assert!(row.unwrap().endpoint.ports.is_empty());
}

#[tokio::test]
async fn the_same_registration_again_is_no_news() {
    let server = Server::start().await;
    for fields in ["", r#","lastDirtyTimestamp":"1000""#] {
        server.up("WEB", 1, fields).await;
        let before = server.registry.snapshot().revision();
        server.up("WEB", 1, fields).await;
        server.up("web", 1, fields).await;
        assert_eq!(server.registry.snapshot().revision(), before, "{fields}");
    }
}

#[tokio::test]
async fn an_older_registration_keeps_the_facts() {
    let server = Server::start().await;
    server
        .up(
            "WEB",
            1,
            r#","lastDirtyTimestamp":"2000","metadata":{"v":"new"}"#,
        )
        .await;
    server
        .up(
            "WEB",
            1,
            r#","lastDirtyTimestamp":"1000","metadata":{"v":"old"}"#,
        )
        .await;
    assert_eq!(seen(&server).await.metadata["v"], "new");
    // Equal: the incoming one wins.
    server
        .up(
            "WEB",
            1,
            r#","lastDirtyTimestamp":"2000","metadata":{"v":"equal"}"#,
        )
        .await;
    let it = seen(&server).await;
    assert_eq!(
        (it.metadata["v"].as_str(), it.dirty_at),
        ("equal", Some(2000))
    );
}

#[tokio::test]
async fn renewals_compare_the_dirty_time() {
    let server = Server::start().await;
    server.up("WEB", 1, r#","lastDirtyTimestamp":"2000""#).await;
    let revision = server.registry.snapshot().revision();
    for (dirty, status) in [
        ("", 200),
        ("?lastDirtyTimestamp=2000", 200),
        ("?lastDirtyTimestamp=1999", 200),
        ("?lastDirtyTimestamp=2001", 404),
        ("?status=DOWN", 200),
    ] {
        let answer = server.send("PUT", &format!("{ID}{dirty}"), &[], b"").await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{dirty}");
    }
    assert_eq!(
        server.registry.snapshot().revision(),
        revision,
        "a renewal is not a change"
    );
    assert_eq!(seen(&server).await.status, Status::Up);
}

/// Steps are: `r X` register with status X, `o X` with an override X in the body, `p X` PUT status, `d X` DELETE status, `b` renew.
async fn run(steps: &[(&str, u16, Status, Status)]) {
    let server = Server::start().await;
    for (n, (step, code, status, overridden)) in steps.iter().enumerate() {
        let (verb, value) = step.split_once(' ').unwrap_or((step, ""));
        let dirty = 1000 + n;
        let fields = match verb {
            "r" => format!(r#","status":"{value}","lastDirtyTimestamp":"{dirty}""#),
            _ => format!(r#","overriddenStatus":"{value}","lastDirtyTimestamp":"{dirty}""#),
        };
        let got = match verb {
            "r" | "o" => {
                server
                    .register("WEB", &instance("WEB", 1, &fields))
                    .await
                    .status
            }
            "p" => server.put(&format!("{ID}/status?value={value}")).await,
            "d" if value.is_empty() => server.delete(&format!("{ID}/status")).await,
            "d" => server.delete(&format!("{ID}/status?value={value}")).await,
            _ => server.put(ID).await,
        };
        assert_eq!(got, *code, "step {n} {step} of {steps:?}");
        assert_eq!(
            statuses(&server).await,
            (*status, *overridden),
            "after step {n} {step} of {steps:?}"
        );
    }
}

#[tokio::test]
async fn statuses_follow_netflix_rules() {
    use Status::{Down, OutOfService as Out, Starting, Unknown, Up};
    // An override survives registering again, and renewing.
    run(&[
        ("r UP", 204, Up, Unknown),
        ("p OUT_OF_SERVICE", 200, Out, Out),
        ("b", 200, Out, Out),
        ("r UP", 204, Out, Out),
        ("d UP", 200, Up, Unknown),
        ("b", 200, Up, Unknown),
    ])
    .await;
    // Taken back without a value: UNKNOWN, so that the client registers again.
    run(&[
        ("r UP", 204, Up, Unknown),
        ("p DOWN", 200, Down, Down),
        ("d", 200, Unknown, Unknown),
        ("b", 404, Unknown, Unknown),
        ("r UP", 204, Up, Unknown),
        ("b", 200, Up, Unknown),
    ])
    .await;
    // Down and starting are trusted, also against an override; back up, the override counts again.
    run(&[
        ("r UP", 204, Up, Unknown),
        ("p OUT_OF_SERVICE", 200, Out, Out),
        ("r DOWN", 204, Down, Out),
        ("r STARTING", 204, Starting, Out),
        ("r UP", 204, Out, Out),
    ])
    .await;
    // Between UP and OUT_OF_SERVICE the row that is there wins.
    run(&[
        ("r OUT_OF_SERVICE", 204, Out, Unknown),
        ("r UP", 204, Out, Unknown),
        ("p UP", 200, Up, Up),
        ("r OUT_OF_SERVICE", 204, Up, Up),
    ])
    .await;
    run(&[
        ("r UP", 204, Up, Unknown),
        ("r OUT_OF_SERVICE", 204, Up, Unknown),
    ])
    .await;
    // Starting, then up: no rule holds it back.
    run(&[
        ("r STARTING", 204, Starting, Unknown),
        ("b", 200, Starting, Unknown),
        ("r UP", 204, Up, Unknown),
    ])
    .await;
    // An override equal to the status is not recorded.
    run(&[
        ("r UP", 204, Up, Unknown),
        ("p UP", 200, Up, Unknown),
        ("d", 200, Up, Unknown),
    ])
    .await;
    // The registration brings an override along; only the first counts.
    run(&[
        ("o DOWN", 204, Down, Down),
        ("o OUT_OF_SERVICE", 204, Down, Down),
        ("d UP", 200, Up, Unknown),
    ])
    .await;
    // A forced UP ends when the instance itself says that it is not.
    run(&[
        ("r DOWN", 204, Down, Unknown),
        ("p UP", 200, Up, Up),
        ("b", 200, Up, Up),
        ("r DOWN", 204, Down, Unknown),
        ("r UP", 204, Up, Unknown),
    ])
    .await;
    // STARTING and UNKNOWN can be imposed; the instance is down when it registers again.
    run(&[
        ("r UP", 204, Up, Unknown),
        ("p STARTING", 200, Starting, Down),
        ("r UP", 204, Down, Down),
        ("d UP", 200, Up, Unknown),
    ])
    .await;
    run(&[
        ("r UP", 204, Up, Unknown),
        ("p UNKNOWN", 200, Unknown, Down),
        ("b", 404, Unknown, Down),
    ])
    .await;
}

#[tokio::test]
async fn cancelling_takes_the_override_along() {
    let server = Server::start().await;
    server.up("WEB", 1, "").await;
    assert_eq!(
        server
            .put(&format!("{ID}/status?value=OUT_OF_SERVICE"))
            .await,
        200
    );
    assert_eq!(server.delete(ID).await, 200);
    server.up("WEB", 1, "").await;
    assert_eq!(statuses(&server).await, (Status::Up, Status::Unknown));
}

#[tokio::test]
async fn a_status_change_can_raise_the_dirty_time() {
    let server = Server::start().await;
    server.up("WEB", 1, r#","lastDirtyTimestamp":"1000""#).await;
    assert_eq!(
        server
            .put(&format!(
                "{ID}/status?value=OUT_OF_SERVICE&lastDirtyTimestamp=3000"
            ))
            .await,
        200
    );
    let it = seen(&server).await;
    assert_eq!(
        (it.dirty_at, it.status, it.action),
        (Some(3000), Status::OutOfService, Action::Modified)
    );
    assert_eq!(
        server.put(&format!("{ID}?lastDirtyTimestamp=3000")).await,
        200
    );
    assert_eq!(
        server
            .put(&format!("{ID}/status?value=UP&lastDirtyTimestamp=2000"))
            .await,
        200
    );
    assert_eq!(seen(&server).await.dirty_at, Some(3000));
}

#[tokio::test]
async fn metadata_is_merged_until_the_next_registration() {
    let server = Server::start().await;
    server
        .up(
            "WEB",
            1,
            r#","lastDirtyTimestamp":"1000","metadata":{"a":"1","b":"2"}"#,
        )
        .await;
    assert_eq!(
        server
            .put(&format!("{ID}/metadata?b=3&c=4+5%26&b=9&=x&"))
            .await,
        200
    );
    let it = seen(&server).await;
    let shown: Vec<_> = it
        .metadata
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(shown, ["a=1", "b=3", "c=4 5&"]);
    assert_eq!(it.dirty_at, Some(1000));
    server
        .up(
            "WEB",
            1,
            r#","lastDirtyTimestamp":"1000","metadata":{"a":"1"}"#,
        )
        .await;
    assert_eq!(seen(&server).await.metadata.len(), 1);
    let long = "x".repeat(5000);
    assert_eq!(server.put(&format!("{ID}/metadata?k={long}")).await, 400);
}

#[tokio::test]
async fn silence_removes_and_renewals_keep() {
    let server = Server::start().await;
    let lease = r#","leaseInfo":{"renewalIntervalInSecs":1,"durationInSecs":1}"#;
    server.up("WEB", 1, lease).await;
    server.up("WEB", 2, lease).await;
    let key = InstanceKey::eureka("WEB", "h2:web:8080");
    let mut feed = {
        let service = portolan_catalog::ServiceKey::plain("web");
        let from = server.registry.snapshot().revision();
        server
            .registry
            .follow(vec![portolan_registry::Selector::Service(service)], from)
            .unwrap()
    };
    // The first is renewed until the second is gone.
    let gone = async {
        loop {
            feed.next().await.unwrap();
            if server.registry.snapshot().instance(&key).is_none() {
                return;
            }
        }
    };
    let renewing = async {
        loop {
            assert_eq!(server.put(ID).await, 200);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = gone => {}
        () = renewing => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("the silent instance is still there"),
    }
    assert_eq!(server.get(ID).await.status, 200);
    assert_eq!(server.put("/eureka/apps/WEB/h2:web:8080").await, 404);
    let first = LeaseId::Heartbeat(InstanceKey::eureka("WEB", "h1:web:8080"));
    assert!(server.registry.remaining(&first).is_some());
}

#[tokio::test]
async fn a_renewal_shows_its_real_time() {
    let server = Server::start().await;
    server.up("WEB", 1, "").await;
    let before = seen(&server).await.lease.renewed_at;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(server.put(ID).await, 200);
    let lease = seen(&server).await.lease;
    assert!(lease.renewed_at >= before + 20, "{lease:?}");
    assert!(lease.renewed_at <= server.registry.now().0 as i64);
    assert_eq!(lease.duration_secs, 90);
}

/// Clients that renew every 30 s and name 30 s live by the original's counting the duration twice.
#[tokio::test]
async fn a_lease_lives_for_three_of_its_own_intervals_and_shows_what_was_sent() {
    let server = Server::start().await;
    for (interval, duration, lives) in [
        (30, 30, 90),
        (30, 90, 90),
        (5, 15, 15),
        (10, 60, 60),
        (20, 40, 60),
    ] {
        let lease = format!(
            r#","leaseInfo":{{"renewalIntervalInSecs":{interval},"durationInSecs":{duration}}}"#
        );
        server.up("WEB", 1, &lease).await;
        let id = LeaseId::Heartbeat(InstanceKey::eureka("WEB", "h1:web:8080"));
        for renewed in [false, true] {
            let left = server.registry.remaining(&id).unwrap();
            let range = Duration::from_secs(lives - 2)..=Duration::from_secs(lives);
            assert!(
                range.contains(&left),
                "{interval}, {duration}, renewed {renewed}: {left:?}"
            );
            assert_eq!(server.put(ID).await, 200);
        }
        let shown = seen(&server).await.lease;
        assert_eq!(
            (shown.renewal_interval_secs, shown.duration_secs),
            (interval, duration)
        );
        // What changes the metadata keeps the lease as it is.
        assert_eq!(
            server.put(&format!("{ID}/metadata?k={interval}")).await,
            200
        );
        let left = server.registry.remaining(&id).unwrap();
        assert!(left > Duration::from_secs(lives - 2), "{left:?}");
        assert_eq!(seen(&server).await.lease.duration_secs, duration);
    }
}
