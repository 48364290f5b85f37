//! Naming over HTTP, in its three versions.

use serde_json::{Value, json};

use crate::client::{Server, hosts_of};

const S1: &str = "serviceName=s1&ip=1.1.1.1&port=80";

#[tokio::test]
async fn an_instance_is_what_the_real_server_makes_of_it() {
    let server = Server::start().await;
    let text = server
        .fine(&format!(
            "POST /nacos/v1/ns/instance?{S1}&clusterName=c1&weight=2&metadata=%7B%22a%22:%22b%22%7D"
        ))
        .await;
    assert_eq!(text, "ok");
    let mut info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=s1")
        .await;
    assert!(info["lastRefTime"].take().is_u64());
    assert_eq!(
        info.to_string(),
        json!({
            "name": "DEFAULT_GROUP@@s1", "groupName": "DEFAULT_GROUP", "clusters": "", "cacheMillis": 10000,
            "hosts": [{
                "instanceId": "1.1.1.1#80#c1#DEFAULT_GROUP@@s1", "ip": "1.1.1.1", "port": 80, "weight": 2.0,
                "healthy": true, "enabled": true, "ephemeral": true, "clusterName": "c1",
                "serviceName": "DEFAULT_GROUP@@s1", "metadata": {"a": "b"}, "instanceHeartBeatInterval": 5000,
                "instanceHeartBeatTimeOut": 15000, "ipDeleteTimeout": 30000,
            }],
            "lastRefTime": null, "checksum": "", "allIps": false, "reachProtectionThreshold": false, "valid": true,
        })
        .to_string()
    );
    let one = server
        .json(&format!("GET /nacos/v1/ns/instance?{S1}"))
        .await;
    assert_eq!(
        one,
        json!({
            "service": "DEFAULT_GROUP@@s1", "ip": "1.1.1.1", "port": 80, "clusterName": "c1", "weight": 2.0,
            "healthy": true, "instanceId": "1.1.1.1#80#c1#DEFAULT_GROUP@@s1", "metadata": {"a": "b"},
        })
    );
    // One instance per address over HTTP: another cluster replaces it.
    server
        .fine(&format!("POST /nacos/v1/ns/instance?{S1}&clusterName=c2"))
        .await;
    assert_eq!(server.hosts("serviceName=s1&clusters=c1").await, []);
    assert_eq!(server.hosts("serviceName=s1&clusters=c1,c2").await.len(), 1);
    for _ in 0..2 {
        assert_eq!(
            server
                .fine(&format!("DELETE /nacos/v1/ns/instance?{S1}"))
                .await,
            "ok"
        );
    }
    assert_eq!(server.hosts("serviceName=s1").await, []);
}

#[tokio::test]
async fn answers_are_in_the_spelling_that_was_asked() {
    let server = Server::start().await;
    server.fine("POST /nacos/v1/ns/instance?serviceName=Order&groupName=DEV&namespaceId=prod&ip=1.1.1.1&port=80").await;
    for (query, name) in [
        (
            "serviceName=Order&groupName=DEV&namespaceId=prod",
            "DEV@@Order",
        ),
        ("serviceName=DEV@@Order&namespaceId=prod", "DEV@@Order"),
        (
            "serviceName=order&groupName=dev&namespaceId=prod",
            "dev@@order",
        ),
    ] {
        let info = server
            .json(&format!("GET /nacos/v1/ns/instance/list?{query}"))
            .await;
        assert_eq!(info["name"], name);
        assert_eq!(info["hosts"][0]["serviceName"], name);
        assert_eq!(hosts_of(&info), [("1.1.1.1:80".to_owned(), true)]);
    }
    let elsewhere = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=Order&groupName=DEV")
        .await;
    assert_eq!(elsewhere["hosts"], json!([]));
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let server = Server::start().await;
    server
        .fine(&format!("POST /nacos/v1/ns/instance?{S1}"))
        .await;
    server
        .fine("POST /nacos/v1/ns/service?serviceName=declared")
        .await;
    let rows = [
        (
            "POST /nacos/v1/ns/instance?serviceName=s1&ip=1.1.1.1",
            400,
            "Param 'port' is required.",
        ),
        (
            "POST /nacos/v1/ns/instance?ip=1.1.1.1&port=80",
            400,
            "Param 'serviceName' is required.",
        ),
        (
            "POST /nacos/v1/ns/instance?serviceName=s1&ip=1.1.1.1&port=80&ephemeral=false",
            400,
            "errCode: 400, errMsg: Current service DEFAULT_GROUP@@s1 is ephemeral service, can't register persistent instance. ",
        ),
        (
            "GET /nacos/v1/ns/instance?serviceName=s1&ip=9.9.9.9&port=80",
            404,
            "no matched ip found!",
        ),
        (
            "GET /nacos/v1/ns/service?serviceName=nope",
            400,
            "service not found, namespace: public, serviceName: DEFAULT_GROUP@@nope",
        ),
        (
            "POST /nacos/v1/ns/service?serviceName=declared",
            400,
            "specified service DEFAULT_GROUP@@declared already exists!",
        ),
        (
            "DELETE /nacos/v1/ns/service?serviceName=s1",
            400,
            "Service DEFAULT_GROUP@@s1 is not empty, can't be delete. Please unregister instance first",
        ),
        (
            "PUT /nacos/v1/ns/health/instance?serviceName=s1&ip=1.1.1.1&port=80&healthy=true",
            400,
            "health check is still working, service: DEFAULT_GROUP@@s1, cluster: DEFAULT",
        ),
        (
            "PUT /nacos/v1/ns/operator/switches?entry=x&value=1",
            501,
            "moving a switch is not served by this server",
        ),
    ];
    for (line, status, text) in rows {
        let answer = server.call(line).await;
        assert_eq!(
            (answer.status, answer.text()),
            (status, text.to_owned()),
            "{line}"
        );
    }
    for path in [
        "/nacos/v1/ns/raft/leader",
        "/nacos/v1/ns/operator/servers",
        "/nacos/v1/ns/nothing",
        "/",
    ] {
        let answer = server.call(&format!("GET {path}")).await;
        assert_eq!(answer.status, 501, "{path}");
        assert_eq!(answer.json()["message"], format!("no such api:GET:{path}"));
    }
}

#[tokio::test]
async fn envelopes_of_v2_and_v3() {
    let server = Server::start().await;
    let text = server
        .fine(&format!("POST /nacos/v2/ns/instance?{S1}"))
        .await;
    assert_eq!(text, r#"{"code":0,"message":"success","data":"ok"}"#);
    let info = server
        .json("GET /nacos/v2/ns/instance/list?serviceName=s1")
        .await;
    assert_eq!(info["data"]["name"], "DEFAULT_GROUP@@s1");
    let list = server
        .json("GET /nacos/v3/client/ns/instance/list?serviceName=s1")
        .await;
    assert_eq!(list["data"][0]["ip"], "1.1.1.1");
    let rows = [
        (
            "POST /nacos/v2/ns/instance?serviceName=s1&ip=1.1.1.1",
            400,
            10_000,
        ),
        (
            "POST /nacos/v2/ns/instance?serviceName=s1&ip=1.1.1.1&port=x",
            400,
            20_002,
        ),
        (
            "GET /nacos/v2/ns/instance?serviceName=s1&ip=9.9.9.9&port=80",
            404,
            21_003,
        ),
        ("GET /nacos/v2/ns/service?serviceName=nope", 400, 21_008),
        ("GET /nacos/v2/cs/config?dataId=d&group=g", 404, 20_004),
        (
            "POST /nacos/v3/client/ns/instance?serviceName=s1&ip=9.9.9.9&port=1&heartBeat=true",
            200,
            21_003,
        ),
        (
            "POST /nacos/v3/client/ns/instance?serviceName=s1&ip=1.1.1.1&port=80&heartBeat=true",
            200,
            0,
        ),
    ];
    for (line, status, code) in rows {
        let answer = server.call(line).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{line}"
        );
    }
    let clients = server.json("GET /nacos/v2/ns/client/list").await;
    assert_eq!(clients["data"], json!(["1.1.1.1:80#true"]));
    let published = server
        .json("GET /nacos/v2/ns/client/publish/list?clientId=1.1.1.1:80%23true")
        .await;
    assert_eq!(published["data"][0]["serviceName"], "s1");
    let page = server
        .json("GET /nacos/v3/admin/ns/service/list?pageNo=1&pageSize=10")
        .await;
    assert_eq!(page["data"]["totalCount"], 1);
    assert_eq!(page["data"]["pageItems"][0]["ipCount"], 1);
}

#[tokio::test]
async fn beats_keep_an_instance_and_tell_when_it_is_not_known() {
    let server = Server::start().await;
    let beat = |more: &str| format!("PUT /nacos/v1/ns/instance/beat?{S1}{more}");
    let unknown = server.json(&beat("")).await;
    assert_eq!(
        unknown,
        json!({"clientBeatInterval": 5000, "code": 20404, "lightBeatEnabled": true})
    );
    // A whole beat registers.
    let full = "&beat=%7B%22ip%22:%221.1.1.1%22,%22port%22:80,%22weight%22:2,%22cluster%22:%22c1%22,%22metadata%22:%7B%22preserved.heart.beat.interval%22:%223000%22%7D%7D";
    let known = server.json(&beat(full)).await;
    assert_eq!(
        known,
        json!({"clientBeatInterval": 3000, "code": 10200, "lightBeatEnabled": true})
    );
    let revision = server.registry.snapshot().revision();
    for _ in 0..3 {
        assert_eq!(server.json(&beat("")).await["code"], 10200);
    }
    assert_eq!(
        server.registry.snapshot().revision(),
        revision,
        "beats change nothing"
    );
    assert_eq!(
        server.hosts("serviceName=s1").await,
        [("1.1.1.1:80".to_owned(), true)]
    );
}

#[tokio::test]
async fn silence_makes_unhealthy_and_then_removes() {
    let server = Server::start().await;
    let metadata = "%7B%22preserved.heart.beat.interval%22:%22200%22,%22preserved.heart.beat.timeout%22:%22700%22,%22preserved.ip.delete.timeout%22:%222500%22%7D";
    server
        .fine(&format!(
            "POST /nacos/v1/ns/instance?{S1}&metadata={metadata}"
        ))
        .await;
    server
        .until("serviceName=s1", &[("1.1.1.1:80", false)])
        .await;
    assert_eq!(server.hosts("serviceName=s1&healthyOnly=true").await, []);
    // A late beat brings it back.
    let beat = server
        .json(&format!("PUT /nacos/v1/ns/instance/beat?{S1}"))
        .await;
    assert_eq!(beat["code"], 10200);
    assert_eq!(
        server.hosts("serviceName=s1").await,
        [("1.1.1.1:80".to_owned(), true)]
    );
    server.until("serviceName=s1", &[]).await;
    let beat = server
        .json(&format!("PUT /nacos/v1/ns/instance/beat?{S1}"))
        .await;
    assert_eq!(beat["code"], 20404);
}

#[tokio::test]
async fn protection_is_of_the_answer() {
    let server = Server::start().await;
    server
        .fine("POST /nacos/v1/ns/service?serviceName=p&protectThreshold=0.6")
        .await;
    for (ip, healthy) in [("1.1.1.1", true), ("1.1.1.2", false)] {
        let line = format!(
            "POST /nacos/v1/ns/instance?serviceName=p&ephemeral=false&ip={ip}&port=80&healthy={healthy}"
        );
        server.fine(&line).await;
    }
    // A half is healthy, which is no more than the threshold: all are shown, as healthy.
    let info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=p&healthyOnly=true")
        .await;
    assert_eq!(info["reachProtectionThreshold"], true);
    assert_eq!(
        hosts_of(&info),
        [
            ("1.1.1.1:80".to_owned(), true),
            ("1.1.1.2:80".to_owned(), true)
        ]
    );
    server
        .fine("PUT /nacos/v1/ns/service?serviceName=p&protectThreshold=0.4")
        .await;
    let info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=p&healthyOnly=true")
        .await;
    assert_eq!(info["reachProtectionThreshold"], false);
    assert_eq!(hosts_of(&info).len(), 1);
    let shown = server.json("GET /nacos/v1/ns/service?serviceName=p").await;
    assert_eq!(shown["protectThreshold"], 0.4);
    assert_eq!(
        shown["selector"],
        json!({"type": "none", "contextType": "NONE"})
    );
}

#[tokio::test]
async fn an_operator_s_changes_outlive_the_owner_s_next_registration() {
    let server = Server::start().await;
    let register = format!("POST /nacos/v1/ns/instance?{S1}&metadata=a=1,b=2");
    server.fine(&register).await;
    server
        .fine(&format!("PATCH /nacos/v1/ns/instance?{S1}&weight=7"))
        .await;
    let batch = "PUT /nacos/v1/ns/instance/metadata/batch?serviceName=s1&metadata=%7B%22b%22:%223%22,%22c%22:%224%22%7D";
    let updated = server.json(batch).await;
    assert_eq!(
        updated["updated"][0],
        "1.1.1.1:80:unknown:DEFAULT:ephemeral"
    );
    server.fine(&register).await;
    let info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=s1")
        .await;
    assert_eq!(info["hosts"][0]["weight"], 7.0);
    assert_eq!(
        info["hosts"][0]["metadata"],
        json!({"a": "1", "b": "3", "c": "4"})
    );
    server.fine("DELETE /nacos/v1/ns/instance/metadata/batch?serviceName=s1&metadata=%7B%22c%22:%22%22%7D").await;
    // Out of service: gone from lists, still in pages, and not brought back by registering.
    server
        .fine(&format!("PATCH /nacos/v1/ns/instance?{S1}&enabled=false"))
        .await;
    server.fine(&register).await;
    assert_eq!(server.hosts("serviceName=s1").await, []);
    let page = server.json("GET /nacos/v1/ns/catalog/instances?serviceName=s1&clusterName=DEFAULT&pageNo=1&pageSize=10").await;
    assert_eq!(
        (&page["count"], &page["list"][0]["enabled"]),
        (&json!(1), &json!(false))
    );
    server
        .fine(&format!("PATCH /nacos/v1/ns/instance?{S1}&enabled=true"))
        .await;
    assert_eq!(server.hosts("serviceName=s1").await.len(), 1);
    let gone = server
        .call("PATCH /nacos/v1/ns/instance?serviceName=s1&ip=9.9.9.9&port=1&weight=1")
        .await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn persistent_instances_stay_and_are_checked() {
    let server = Server::start().await;
    server
        .fine(&format!("POST /nacos/v1/ns/instance?{S1}&ephemeral=false"))
        .await;
    assert_eq!(
        server.hosts("serviceName=s1").await,
        [("1.1.1.1:80".to_owned(), true)]
    );
    let state = server.registry.snapshot();
    let check = state
        .checks()
        .find(|check| check.probe.kind() == "tcp")
        .expect("a check");
    assert_eq!(
        check.owner.as_ref().map(|node| node.as_str()),
        Some("portolan")
    );
    let none = "PUT /nacos/v1/ns/cluster?serviceName=s1&clusterName=DEFAULT&checkPort=80&useInstancePort4Check=true&healthChecker=%7B%22type%22:%22NONE%22%7D";
    server.fine(none).await;
    assert!(
        server
            .registry
            .snapshot()
            .checks()
            .all(|check| check.probe.kind() != "tcp")
    );
    server
        .fine(&format!(
            "PUT /nacos/v1/ns/health/instance?{S1}&healthy=false"
        ))
        .await;
    // None is healthy, which is no more than a threshold of nought: lists show all of them as healthy, pages do not.
    let info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=s1")
        .await;
    assert_eq!(info["reachProtectionThreshold"], true);
    let page = server
        .json("GET /nacos/v1/ns/catalog/instances?serviceName=s1&pageNo=1&pageSize=10")
        .await;
    assert_eq!(page["list"][0]["healthy"], false);
    let shown = server.json("GET /nacos/v1/ns/service?serviceName=s1").await;
    assert_eq!(
        shown["clusters"],
        json!([{"name": "DEFAULT", "healthChecker": {"type": "NONE"}, "metadata": {}}])
    );
    assert_eq!(shown["metadata"], json!({}));
    let mysql = server.call("PUT /nacos/v1/ns/cluster?serviceName=s1&clusterName=DEFAULT&healthChecker=%7B%22type%22:%22MYSQL%22%7D").await;
    assert_eq!(mysql.status, 501);
    server
        .fine(&format!("DELETE /nacos/v1/ns/instance?{S1}&ephemeral=true"))
        .await;
    assert_eq!(
        server.hosts("serviceName=s1").await.len(),
        1,
        "of the other kind"
    );
    server
        .fine(&format!(
            "DELETE /nacos/v1/ns/instance?{S1}&ephemeral=false"
        ))
        .await;
    assert_eq!(server.hosts("serviceName=s1").await, []);
}

#[tokio::test]
async fn services_are_listed_by_group() {
    let server = Server::start().await;
    for (name, group) in [("a", ""), ("b", ""), ("c", "DEV")] {
        server
            .fine(&format!(
                "POST /nacos/v1/ns/instance?serviceName={name}&groupName={group}&ip=1.1.1.1&port=80"
            ))
            .await;
    }
    server
        .fine("POST /nacos/v1/ns/service?serviceName=empty")
        .await;
    let rows: [(&str, Value); 4] = [
        (
            "pageNo=1&pageSize=10",
            json!({"count": 3, "doms": ["a", "b", "empty"]}),
        ),
        (
            "pageNo=2&pageSize=2",
            json!({"count": 3, "doms": ["empty"]}),
        ),
        (
            "pageNo=1&pageSize=10&groupName=DEV",
            json!({"count": 1, "doms": ["c"]}),
        ),
        (
            "pageNo=1&pageSize=10&namespaceId=other",
            json!({"count": 0, "doms": []}),
        ),
    ];
    for (query, expected) in rows {
        assert_eq!(
            server
                .json(&format!("GET /nacos/v1/ns/service/list?{query}"))
                .await,
            expected,
            "{query}"
        );
    }
    let page = server
        .json("GET /nacos/v1/ns/catalog/services?pageNo=1&pageSize=10&hasIpCount=true")
        .await;
    assert_eq!(page["count"], 3);
    let of_dev = &page["serviceList"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "c")
        .unwrap()["groupName"];
    assert_eq!(*of_dev, json!("DEV"), "as its registrant spells it");
}

#[tokio::test]
async fn what_probes_and_dashboards_ask() {
    let server = Server::start().await;
    let rows = [
        ("/nacos/v1/ns/operator/metrics", json!({"status": "UP"})),
        (
            "/nacos/v2/core/cluster/node/self/health",
            json!({"code": 0, "message": "success", "data": "UP"}),
        ),
        ("/nacos/actuator/health", json!({"status": "UP"})),
    ];
    for (path, expected) in rows {
        assert_eq!(server.json(&format!("GET {path}")).await, expected);
    }
    assert_eq!(
        server.fine("GET /nacos/v1/console/health/readiness").await,
        "OK"
    );
    let nodes = server.json("GET /nacos/v1/core/cluster/nodes").await;
    assert_eq!(
        (&nodes["code"], &nodes["data"][0]["state"]),
        (&json!(200), &json!("UP"))
    );
    let counted = server
        .json("GET /nacos/v1/ns/operator/metrics?onlyStatus=false")
        .await;
    assert_eq!(counted["instanceCount"], 0);
    assert_eq!(
        server.json("GET /nacos/v1/ns/operator/switches").await["lightBeatEnabled"],
        true
    );
    let login = server
        .send(
            "POST",
            "/nacos/v1/auth/login",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "username=nacos&password=x",
        )
        .await;
    assert_eq!(
        (login.status, &login.json()["tokenTtl"]),
        (200, &json!(18000))
    );
    let users = server
        .call("GET /nacos/v1/auth/users?pageNo=1&pageSize=9")
        .await;
    assert_eq!(users.status, 501);
}
