//! Naming over gRPC: connections, registrations that are theirs, pushes.

use std::time::Duration;

use portolan_protocol_nacos::Settings;
use portolan_protocol_nacos::wire::payload::{Any, Payload};
use serde_json::{Value, json};

use crate::client::{Rpc, Server, hosts_of};

fn instance(ip: &str, port: u16) -> Value {
    json!({"ip": ip, "port": port, "weight": 1.0, "healthy": true, "enabled": true, "ephemeral": true, "metadata": {}})
}

fn named(mut fields: Value) -> Value {
    for (key, value) in [
        ("namespace", "public"),
        ("serviceName", "web"),
        ("groupName", "DEFAULT_GROUP"),
    ] {
        if fields.get(key).is_none() {
            fields[key] = value.into();
        }
    }
    fields
}

async fn register(rpc: &Rpc, ip: &str, port: u16) {
    let fields = named(json!({"type": "registerInstance", "instance": instance(ip, port)}));
    let answer = rpc.fine("InstanceRequest", fields).await;
    assert_eq!(
        answer,
        json!({"resultCode": 200, "errorCode": 0, "type": "registerInstance", "success": true})
    );
}

#[tokio::test]
async fn a_connection_is_checked_set_up_and_told_of_abilities() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let check = rpc.fine("ServerCheckRequest", json!({})).await;
    assert_eq!(check["supportAbilityNegotiation"], true);
    assert!(
        check["connectionId"]
            .as_str()
            .unwrap()
            .contains("_127.0.0.1_")
    );
    let (kind, before) = rpc.call("HealthCheckRequest", json!({})).await;
    assert_eq!(kind, "ErrorResponse");
    assert_eq!(
        (&before["errorCode"], &before["message"]),
        (&json!(301), &json!("Connection is unregistered."))
    );
    let mut pushes = rpc.setup(Some(json!({"fuzzyWatch": true}))).await;
    let ack = pushes.next("SetupAckRequest").await;
    assert_eq!(ack["abilityTable"]["supportPersistentInstanceByGrpc"], true);
    rpc.fine("HealthCheckRequest", json!({})).await;
    // An older client has no table, and gets no answer to it.
    let old = Rpc::connect(&server).await;
    let mut quiet = old.setup(None).await;
    quiet.quiet().await;
    old.fine("HealthCheckRequest", json!({})).await;
    server.all_decided("the setup");
}

#[tokio::test]
async fn what_is_not_served_is_refused() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let _pushes = rpc.setup(None).await;
    let rows = [
        ("QueryMcpServerRequest", json!({}), 302),
        ("LockOperationRequest", json!({}), 302),
        ("DistroDataRequest", json!({}), 502),
        (
            "InstanceRequest",
            named(json!({"type": "other", "instance": instance("1.1.1.1", 80)})),
            400,
        ),
        (
            "InstanceRequest",
            named(json!({"type": "registerInstance", "serviceName": ""})),
            400,
        ),
        (
            "InstanceRequest",
            named(json!({"type": "registerInstance", "instance": {"port": 80}})),
            400,
        ),
        ("SubscribeServiceRequest", json!([1]), 400),
    ];
    for (kind, fields, code) in rows {
        let (answered, json) = rpc.call(kind, fields).await;
        assert_eq!(
            (answered.as_str(), &json["errorCode"], &json["success"]),
            ("ErrorResponse", &json!(code), &json!(false)),
            "{kind}: {json}"
        );
    }
    let broken = Payload {
        body: Some(Any {
            type_url: String::new(),
            value: "{".into(),
        }),
        ..Payload::new("InstanceRequest", "")
    };
    assert_eq!(rpc.raw(broken).await.1["errorCode"], 400);
    assert_eq!(rpc.raw(Payload::default()).await.1["errorCode"], 302);
}

#[tokio::test]
async fn an_instance_belongs_to_its_connection() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let pushes = rpc.setup(None).await;
    register(&rpc, "1.1.1.1", 80).await;
    assert_eq!(
        server.hosts("serviceName=web").await,
        [("1.1.1.1:80".to_owned(), true)]
    );
    // Another one of the same connection and service replaces it.
    register(&rpc, "1.1.1.1", 81).await;
    assert_eq!(
        server.hosts("serviceName=web").await,
        [("1.1.1.1:81".to_owned(), true)]
    );
    let batch = named(
        json!({"type": "batchRegisterInstance", "instances": [instance("1.1.1.1", 81), instance("1.1.1.1", 82)]}),
    );
    rpc.fine("BatchInstanceRequest", batch).await;
    assert_eq!(server.hosts("serviceName=web").await.len(), 2);
    // HTTP has no say in it.
    server
        .fine("DELETE /nacos/v1/ns/instance?serviceName=web&ip=1.1.1.1&port=81")
        .await;
    assert_eq!(server.hosts("serviceName=web").await.len(), 2);
    // The same address over another connection: the first one's end touches nothing.
    let second = Rpc::connect(&server).await;
    let _second = second.setup(None).await;
    register(&second, "1.1.1.1", 82).await;
    drop(pushes);
    rpc.kill();
    server
        .until("serviceName=web", &[("1.1.1.1:82", true)])
        .await;
    second
        .fine(
            "InstanceRequest",
            named(json!({"type": "deregisterInstance", "instance": instance("1.1.1.1", 82)})),
        )
        .await;
    assert_eq!(server.hosts("serviceName=web").await, []);
}

#[tokio::test]
async fn a_persistent_instance_outlives_its_connection() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let pushes = rpc.setup(None).await;
    let fields = named(json!({"type": "registerInstance", "instance": instance("1.1.1.1", 80)}));
    rpc.fine("PersistentInstanceRequest", fields.clone()).await;
    let (_, refused) = rpc.call("InstanceRequest", fields.clone()).await;
    assert_eq!(
        refused["message"],
        "Current service DEFAULT_GROUP@@web is persistent service, can't register ephemeral instance."
    );
    let clients = || server.json("GET /nacos/v2/ns/client/list");
    assert_eq!(clients().await["data"].as_array().unwrap().len(), 2);
    drop(pushes);
    rpc.kill();
    while clients().await["data"].as_array().unwrap().len() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.hosts("serviceName=web").await.len(), 1);
}

#[tokio::test]
async fn subscribers_are_told_at_once_and_of_the_last_that_leaves() {
    let server = Server::start().await;
    let (rpc, owner) = (Rpc::connect(&server).await, Rpc::connect(&server).await);
    let (mut pushes, owned) = (rpc.setup(None).await, owner.setup(None).await);
    let subscribed = rpc
        .fine(
            "SubscribeServiceRequest",
            named(json!({"subscribe": true, "clusters": ""})),
        )
        .await;
    let info = &subscribed["serviceInfo"];
    assert_eq!(
        (&info["name"], &info["groupName"], &info["hosts"]),
        (&json!("web"), &json!("DEFAULT_GROUP"), &json!([]))
    );
    // A push follows, also when there is nothing: a client may know something older.
    assert_eq!(pushes.service().await["hosts"], json!([]));
    pushes.quiet().await;
    register(&owner, "1.1.1.1", 80).await;
    let push = pushes.service().await;
    assert_eq!(hosts_of(&push), [("1.1.1.1:80".to_owned(), true)]);
    assert_eq!(
        (&push["name"], &push["hosts"][0]["serviceName"]),
        (&json!("web"), &json!("DEFAULT_GROUP@@web"))
    );
    // The same facts again are no news.
    register(&owner, "1.1.1.1", 80).await;
    pushes.quiet().await;
    let subscribers = server
        .json("GET /nacos/v1/ns/service/subscribers?serviceName=web")
        .await;
    assert_eq!(
        (&subscribers["count"], &subscribers["subscribers"][0]["app"]),
        (&json!(1), &json!("test"))
    );
    drop(owned);
    owner.kill();
    let last = pushes.service().await;
    assert_eq!(last["hosts"], json!([]));
    assert!(last["lastRefTime"].as_u64() >= push["lastRefTime"].as_u64());
    rpc.fine(
        "SubscribeServiceRequest",
        named(json!({"subscribe": false})),
    )
    .await;
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=web&ip=2.2.2.2&port=80")
        .await;
    pushes.quiet().await;
}

#[tokio::test]
async fn a_burst_becomes_few_pushes_and_the_last_of_them_is_the_end() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let mut pushes = rpc.setup(None).await;
    rpc.fine("SubscribeServiceRequest", named(json!({"subscribe": true})))
        .await;
    assert_eq!(pushes.service().await["hosts"], json!([]));
    const MANY: usize = 200;
    for port in 1..=MANY {
        server
            .fine(&format!(
                "POST /nacos/v1/ns/instance?serviceName=web&ip=1.1.1.1&port={port}"
            ))
            .await;
    }
    // Nothing was acknowledged meanwhile: one push is under way, and one more follows it.
    let (mut count, mut seen) = (0, 0);
    while seen < MANY {
        seen = hosts_of(&pushes.service().await).len();
        count += 1;
    }
    assert!(count <= 3, "{count} pushes");
    pushes.quiet().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_is_pushed_again() {
    let settings = Settings {
        push_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let rpc = Rpc::connect(&server).await;
    let mut pushes = rpc.setup(None).await;
    rpc.fine("SubscribeServiceRequest", named(json!({"subscribe": true})))
        .await;
    pushes.service().await;
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=web&ip=1.1.1.1&port=80")
        .await;
    let first = pushes.next("NotifySubscriberRequest").await;
    let second = pushes.next("NotifySubscriberRequest").await;
    assert_ne!(first["requestId"], second["requestId"]);
    assert_eq!(first["serviceInfo"], second["serviceInfo"]);
    // A client that fails is told again as well.
    pushes.say(
        "NotifySubscriberResponse",
        json!({"resultCode": 500, "requestId": second["requestId"]}),
    );
    pushes.service().await;
    pushes.quiet().await;
}

#[tokio::test]
async fn a_client_without_a_sign_of_life_is_asked_and_then_left() {
    let settings = Settings {
        idle_timeout: Duration::from_millis(400),
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let rpc = Rpc::connect(&server).await;
    let mut pushes = rpc.setup(None).await;
    register(&rpc, "1.1.1.1", 80).await;
    let asked = pushes.next("ClientDetectionRequest").await;
    pushes.acknowledge(&asked, "ClientDetectionResponse");
    pushes.next("ClientDetectionRequest").await;
    assert!(pushes.ended().await);
    server.until("serviceName=web", &[]).await;
}

#[tokio::test]
async fn queries_and_lists() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let _pushes = rpc.setup(None).await;
    register(&rpc, "1.1.1.1", 80).await;
    let found = rpc
        .fine(
            "ServiceQueryRequest",
            named(json!({"cluster": "", "healthyOnly": false, "udpPort": 0})),
        )
        .await;
    assert_eq!(found["serviceInfo"]["name"], "web");
    assert_eq!(hosts_of(&found["serviceInfo"]).len(), 1);
    let none = rpc
        .fine("ServiceQueryRequest", named(json!({"cluster": "other"})))
        .await;
    assert_eq!(none["serviceInfo"]["hosts"], json!([]));
    for namespace in [json!(""), json!("public"), Value::Null] {
        let list = rpc
            .fine("ServiceListRequest", json!({"namespace": namespace, "groupName": "DEFAULT_GROUP", "pageNo": 1, "pageSize": 10}))
            .await;
        assert_eq!(
            (&list["count"], &list["serviceNames"]),
            (&json!(1), &json!(["web"]))
        );
    }
}

#[tokio::test]
async fn fuzzy_watches_tell_what_there_is_and_what_comes_and_goes() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let mut pushes = rpc.setup(None).await;
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=gb-1&ip=1.1.1.1&port=80")
        .await;
    let watch = json!({"groupKeyPattern": "public>>DEFAULT_GROUP>>gb*", "receivedGroupKeys": [], "watchType": "WATCH", "isInitializing": true});
    rpc.fine("NamingFuzzyWatchRequest", watch).await;
    let first = pushes.next("NamingFuzzyWatchSyncRequest").await;
    assert_eq!(first["syncType"], "FUZZY_WATCH_INIT_NOTIFY");
    assert_eq!(
        first["contexts"],
        json!([{"serviceKey": "public@@DEFAULT_GROUP@@gb-1", "changedType": "ADD_SERVICE"}])
    );
    let finish = pushes.next("NamingFuzzyWatchSyncRequest").await;
    assert_eq!(finish["syncType"], "FINISH_FUZZY_WATCH_INIT_NOTIFY");
    for service in ["other", "gb-2"] {
        server
            .fine(&format!("POST /nacos/v1/ns/service?serviceName={service}"))
            .await;
    }
    let came = pushes.next("NamingFuzzyWatchChangeNotifyRequest").await;
    assert_eq!(
        (&came["serviceKey"], &came["changedType"]),
        (&json!("public@@DEFAULT_GROUP@@gb-2"), &json!("ADD_SERVICE"))
    );
    server
        .fine("DELETE /nacos/v1/ns/service?serviceName=gb-2")
        .await;
    let went = pushes.next("NamingFuzzyWatchChangeNotifyRequest").await;
    assert_eq!(
        (&went["serviceKey"], &went["changedType"]),
        (
            &json!("public@@DEFAULT_GROUP@@gb-2"),
            &json!("DELETE_SERVICE")
        )
    );
    let bad = rpc
        .call(
            "NamingFuzzyWatchRequest",
            json!({"groupKeyPattern": "x", "watchType": "WATCH"}),
        )
        .await;
    assert_eq!(bad.1["errorCode"], 400);
}

#[tokio::test]
async fn a_stopping_server_keeps_what_its_connections_registered() {
    let server = Server::start().await;
    let rpc = Rpc::connect(&server).await;
    let mut pushes = rpc.setup(None).await;
    register(&rpc, "1.1.1.1", 80).await;
    server.context.drain();
    assert!(pushes.ended().await);
    server.context.finish().await;
    let state = server.registry.snapshot();
    assert!(
        state.all_instances().any(|row| row.endpoint.port() == 80),
        "clients come back"
    );
}
