//! Configuration over both.

use std::time::Duration;

use serde_json::json;

use crate::client::{Rpc, Server};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const V1: &str = "6654c734ccab8f440ff0825eb443dc7f";

async fn publish(server: &Server, form: &str) {
    let answer = server
        .send("POST", "/nacos/v1/cs/configs", &[FORM], form)
        .await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, "true".to_owned()),
        "{form}"
    );
}

#[tokio::test]
async fn published_found_removed() {
    let server = Server::start().await;
    publish(
        &server,
        "dataId=d&group=g&content=v1&type=yaml&desc=a+text&appName=app&config_tags=x,y",
    )
    .await;
    let found = server
        .call("GET /nacos/v1/cs/configs?dataId=d&group=g")
        .await;
    assert_eq!((found.status, found.text().as_str()), (200, "v1"));
    for (name, value) in [
        ("Config-Type", "yaml"),
        ("Content-MD5", V1),
        ("Content-Type", "text/plain;charset=UTF-8"),
    ] {
        assert_eq!(found.header(name), Some(value));
    }
    assert!(found.header("Last-Modified").unwrap().ends_with("GMT"));
    let all = server
        .json("GET /nacos/v1/cs/configs?dataId=d&group=g&show=all")
        .await;
    assert_eq!(
        (&all["desc"], &all["configTags"], &all["md5"]),
        (&json!("a text"), &json!("x,y"), &json!(V1))
    );
    let page = server
        .json("GET /nacos/v1/cs/configs?search=blur&dataId=d*&group=&pageNo=1&pageSize=9")
        .await;
    assert_eq!(
        (&page["totalCount"], &page["pageItems"][0]["content"]),
        (&json!(1), &json!("v1"))
    );
    let v2 = server
        .json("GET /nacos/v2/cs/config?dataId=d&group=g&namespaceId=public")
        .await;
    assert_eq!(v2["data"], "v1");
    let v3 = server
        .json("GET /nacos/v3/client/cs/config?dataId=d&groupName=g")
        .await;
    assert_eq!(
        (&v3["data"]["content"], &v3["data"]["md5"]),
        (&json!("v1"), &json!(V1))
    );
    for _ in 0..2 {
        assert_eq!(
            server
                .fine("DELETE /nacos/v1/cs/configs?dataId=d&group=g")
                .await,
            "true"
        );
    }
    let gone = server
        .call("GET /nacos/v1/cs/configs?dataId=d&group=g")
        .await;
    assert_eq!(
        (gone.status, gone.text().as_str()),
        (404, "config data not exist")
    );
    let bad = server
        .send(
            "POST",
            "/nacos/v1/cs/configs",
            &[FORM],
            "dataId=&group=g&content=x",
        )
        .await;
    assert_eq!(
        (bad.status, bad.text().as_str()),
        (400, "caused: invalid dataId : ;")
    );
    let empty = server
        .send(
            "POST",
            "/nacos/v1/cs/configs",
            &[FORM],
            "dataId=d&group=g&content=",
        )
        .await;
    assert_eq!(empty.status, 400);
}

#[tokio::test]
async fn only_over_what_was_expected() {
    let server = Server::start().await;
    publish(&server, "dataId=d&group=g&content=v1").await;
    let cas = |md5: &'static str, content: &'static str| {
        let form = format!("dataId=d&group=g&content={content}");
        let server = &server;
        async move {
            let headers = [FORM, ("casMd5", md5)];
            server
                .send("POST", "/nacos/v1/cs/configs", &headers, &form)
                .await
                .status
        }
    };
    assert_eq!(cas("0000", "v2").await, 400);
    assert_eq!(cas(V1, "v2").await, 200);
    assert_eq!(cas(V1, "v3").await, 400);
    let rpc = Rpc::connect(&server).await;
    let _pushes = rpc.setup(None).await;
    let (kind, failed) = rpc
        .call(
            "ConfigPublishRequest",
            json!({"dataId": "d", "group": "g", "tenant": "", "content": "v3", "casMd5": V1}),
        )
        .await;
    assert_eq!(kind, "ConfigPublishResponse");
    assert_eq!(
        (
            &failed["resultCode"],
            &failed["errorCode"],
            &failed["message"]
        ),
        (
            &json!(500),
            &json!(500),
            &json!("Cas publish fail, server md5 may have changed.")
        )
    );
}

#[tokio::test]
async fn a_poll_ends_with_the_change() {
    let server = Server::start().await;
    let poll = |timeout: &'static str, form: &'static str| {
        let server = &server;
        async move {
            let headers = [
                FORM,
                ("Long-Pulling-Timeout", timeout),
                ("Client-Version", "2.5.1"),
            ];
            server
                .send("POST", "/nacos/v1/cs/configs/listener", &headers, form)
                .await
                .text()
        }
    };
    // What differs already is answered at once.
    assert_eq!(
        poll("30000", "Listening-Configs=d%02g%02abc%01").await,
        "d%02g%01"
    );
    let waiting = poll("30000", "Listening-Configs=d%02g%02%01e%02g%02%02prod%01");
    let change = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish(&server, "dataId=e&group=g&tenant=prod&content=v1").await;
    };
    let (answer, ()) = tokio::join!(waiting, change);
    assert_eq!(answer, "e%02g%02prod%01");
    let headers = [FORM];
    let old = server
        .send(
            "POST",
            "/nacos/v1/cs/configs/listener",
            &headers,
            "Listening-Configs=d%02g%02abc%01",
        )
        .await;
    assert_eq!(old.header("Probe-Modify-Response"), Some("d:g;"));
    let quiet = [
        FORM,
        ("Long-Pulling-Timeout", "30000"),
        ("Long-Pulling-Timeout-No-Hangup", "true"),
    ];
    let none = server
        .send(
            "POST",
            "/nacos/v1/cs/configs/listener",
            &quiet,
            "Listening-Configs=d%02g%02%01",
        )
        .await;
    assert_eq!((none.status, none.text().as_str()), (200, ""));
    let bad = server
        .send(
            "POST",
            "/nacos/v1/cs/configs/listener",
            &headers,
            "Listening-Configs=d",
        )
        .await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn listeners_of_grpc_are_told_of_change_and_removal() {
    let server = Server::start().await;
    let (rpc, other) = (Rpc::connect(&server).await, Rpc::connect(&server).await);
    let (mut pushes, _others) = (rpc.setup(None).await, other.setup(None).await);
    let context = |md5: &str| json!({"group": "g", "md5": md5, "dataId": "d", "tenant": ""});
    let listen = |md5: &str| json!({"listen": true, "configListenContexts": [context(md5)]});
    let (_, missing) = rpc
        .call(
            "ConfigQueryRequest",
            json!({"dataId": "d", "group": "g", "tenant": ""}),
        )
        .await;
    assert_eq!(
        (
            &missing["resultCode"],
            &missing["errorCode"],
            &missing["message"]
        ),
        (&json!(500), &json!(300), &json!("config data not exist"))
    );
    let none = rpc.fine("ConfigBatchListenRequest", listen("")).await;
    assert_eq!(none["changedConfigs"], json!([]));
    let fields = json!({"dataId": "d", "group": "g", "tenant": "", "content": "v1", "additionMap": {"type": "text"}});
    other.fine("ConfigPublishRequest", fields).await;
    let told = pushes.next("ConfigChangeNotifyRequest").await;
    assert_eq!(
        (&told["dataId"], &told["group"], told.get("tenant")),
        (&json!("d"), &json!("g"), None)
    );
    pushes.acknowledge(&told, "ConfigChangeNotifyResponse");
    let changed = rpc.fine("ConfigBatchListenRequest", listen("")).await;
    assert_eq!(
        changed["changedConfigs"],
        json!([{"group": "g", "dataId": "d", "tenant": ""}])
    );
    let found = rpc
        .fine(
            "ConfigQueryRequest",
            json!({"dataId": "d", "group": "g", "tenant": ""}),
        )
        .await;
    assert_eq!(
        (
            &found["content"],
            &found["md5"],
            &found["contentType"],
            &found["beta"]
        ),
        (&json!("v1"), &json!(V1), &json!("text"), &json!(false))
    );
    rpc.fine("ConfigBatchListenRequest", listen(V1)).await;
    // The same content again is no news.
    other
        .fine(
            "ConfigPublishRequest",
            json!({"dataId": "d", "group": "g", "content": "v1"}),
        )
        .await;
    pushes.quiet().await;
    let listeners = server
        .json("GET /nacos/v1/cs/configs/listener?dataId=d&group=g")
        .await;
    assert_eq!(listeners["lisentersGroupkeyStatus"]["127.0.0.1"], V1);
    other
        .fine(
            "ConfigRemoveRequest",
            json!({"dataId": "d", "group": "g", "tenant": ""}),
        )
        .await;
    let removed = pushes.next("ConfigChangeNotifyRequest").await;
    pushes.acknowledge(&removed, "ConfigChangeNotifyResponse");
    let stop = json!({"listen": false, "configListenContexts": [context("")]});
    rpc.fine("ConfigBatchListenRequest", stop).await;
    publish(&server, "dataId=d&group=g&content=v2").await;
    pushes.quiet().await;
}

#[tokio::test]
async fn releases_to_some() {
    let server = Server::start().await;
    publish(&server, "dataId=d&group=g&content=everybody").await;
    let beta = |ips: &'static str| {
        let server = &server;
        async move {
            let headers = [FORM, ("betaIps", ips)];
            let answer = server
                .send(
                    "POST",
                    "/nacos/v1/cs/configs",
                    &headers,
                    "dataId=d&group=g&content=some",
                )
                .await;
            assert_eq!(answer.status, 200);
        }
    };
    beta("10.9.9.9").await;
    assert_eq!(
        server
            .fine("GET /nacos/v1/cs/configs?dataId=d&group=g")
            .await,
        "everybody"
    );
    beta("10.9.9.9,127.0.0.1").await;
    let found = server
        .call("GET /nacos/v1/cs/configs?dataId=d&group=g")
        .await;
    assert_eq!(
        (found.text().as_str(), found.header("isBeta")),
        ("some", Some("true"))
    );
    let shown = server
        .json("GET /nacos/v1/cs/configs?dataId=d&group=g&beta=true")
        .await;
    assert_eq!(shown["data"]["betaIps"], "10.9.9.9,127.0.0.1");
    server
        .fine("DELETE /nacos/v1/cs/configs?dataId=d&group=g&beta=true")
        .await;
    publish(&server, "dataId=d&group=g&content=blue&tag=blue").await;
    assert_eq!(
        server
            .fine("GET /nacos/v1/cs/configs?dataId=d&group=g")
            .await,
        "everybody"
    );
    let tagged = server
        .send(
            "GET",
            "/nacos/v1/cs/configs?dataId=d&group=g",
            &[("Vipserver-Tag", "blue")],
            "",
        )
        .await;
    assert_eq!(
        (tagged.text().as_str(), tagged.header("Vipserver-Tag")),
        ("blue", Some("blue"))
    );
    let page = server
        .json("GET /nacos/v1/cs/configs?search=accurate&dataId=&group=&pageNo=1&pageSize=9")
        .await;
    assert_eq!(page["totalCount"], 1, "releases are of one configuration");
}

#[tokio::test]
async fn the_past_is_the_catalog_s() {
    let server = Server::start().await;
    for content in ["v1", "v2"] {
        publish(&server, &format!("dataId=d&group=g&content={content}")).await;
    }
    server
        .fine("DELETE /nacos/v1/cs/configs?dataId=d&group=g")
        .await;
    let list = server
        .json("GET /nacos/v1/cs/history?search=accurate&dataId=d&group=g&pageNo=1&pageSize=9")
        .await;
    let events: Vec<(&str, &str)> = list["pageItems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                event["opType"].as_str().unwrap(),
                event["srcIp"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        events,
        [
            ("D         ", "127.0.0.1"),
            ("U         ", "127.0.0.1"),
            ("I         ", "127.0.0.1")
        ]
    );
    let id = |at: usize| list["pageItems"][at]["id"].as_str().unwrap().to_owned();
    let removed = server
        .json(&format!(
            "GET /nacos/v1/cs/history?dataId=d&group=g&nid={}",
            id(0)
        ))
        .await;
    assert_eq!(removed["content"], "v2");
    let before = server
        .json(&format!(
            "GET /nacos/v2/cs/history/previous?dataId=d&group=g&id={}",
            id(1)
        ))
        .await;
    assert_eq!(before["data"]["content"], "v1");
    assert_eq!(
        server
            .call("GET /nacos/v2/cs/history?dataId=d&group=g&nid=999")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn fuzzy_listening() {
    let server = Server::start().await;
    publish(&server, "dataId=app-1&group=g&content=v1").await;
    let rpc = Rpc::connect(&server).await;
    let mut pushes = rpc.setup(None).await;
    let watch = json!({"groupKeyPattern": "public>>g>>app*", "receivedGroupKeys": [], "watchType": "WATCH", "isInitializing": true});
    rpc.fine("ConfigFuzzyWatchRequest", watch).await;
    let first = pushes.next("ConfigFuzzyWatchSyncRequest").await;
    assert_eq!(
        first["contexts"],
        json!([{"groupKey": "app-1+g+public", "changedType": "ADD_CONFIG"}])
    );
    pushes.next("ConfigFuzzyWatchSyncRequest").await;
    publish(&server, "dataId=app-2&group=g&content=v1").await;
    let came = pushes.next("ConfigFuzzyWatchChangeNotifyRequest").await;
    assert_eq!(
        (&came["groupKey"], &came["changeType"]),
        (&json!("app-2+g+public"), &json!("ADD_CONFIG"))
    );
    server
        .fine("DELETE /nacos/v1/cs/configs?dataId=app-2&group=g")
        .await;
    let went = pushes.next("ConfigFuzzyWatchChangeNotifyRequest").await;
    assert_eq!(went["changeType"], "DELETE_CONFIG");
}

#[tokio::test]
async fn a_notification_names_the_namespace_as_its_listener_does() {
    let server = Server::start().await;
    for (tenant, told) in [
        ("", None),
        ("public", Some("public")),
        ("prod", Some("prod")),
    ] {
        let rpc = Rpc::connect(&server).await;
        let mut pushes = rpc.setup(None).await;
        let context = json!({"group": "g", "md5": "", "dataId": "d", "tenant": tenant});
        rpc.fine(
            "ConfigBatchListenRequest",
            json!({"listen": true, "configListenContexts": [context]}),
        )
        .await;
        publish(
            &server,
            &format!("dataId=d&group=g&tenant={tenant}&content=v1"),
        )
        .await;
        let push = pushes.next("ConfigChangeNotifyRequest").await;
        assert_eq!(push.get("tenant").and_then(|it| it.as_str()), told);
        server
            .fine(&format!(
                "DELETE /nacos/v1/cs/configs?dataId=d&group=g&tenant={tenant}"
            ))
            .await;
    }
}
