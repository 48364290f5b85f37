//! Prepared queries and events.

use super::harness::{World, pluck};
use serde_json::{Value, json};

async fn create(world: &World, body: Value) -> String {
    let answer = world.post("/v1/query", &body).await;
    answer.json()["ID"]
        .as_str()
        .unwrap_or_else(|| panic!("{}", answer.text()))
        .to_owned()
}

#[tokio::test]
async fn a_query_is_kept_as_it_was_sent() {
    let world = World::new().await;
    let id = create(&world, json!({"Name": "web-q", "Service": {"Service": "web", "Tags": ["v1"], "OnlyPassing": true}, "DNS": {"TTL": "10s"}})).await;
    let shown = world.get(&format!("/v1/query/{id}")).await.json();
    assert_eq!(
        (
            &shown[0]["ID"],
            &shown[0]["Service"]["Tags"],
            &shown[0]["DNS"]["TTL"]
        ),
        (&json!(id), &json!(["v1"]), &json!("10s"))
    );
    assert!(shown[0]["ModifyIndex"].as_u64().unwrap() > 0);
    assert_eq!(
        pluck(&world.get("/v1/query").await.json(), "Name"),
        ["web-q"]
    );
    world
        .post(
            "/v1/query",
            &json!({"Name": "WEB-Q", "Service": {"Service": "x"}}),
        )
        .await
        .says(500, "aliases an existing query name");
    world
        .post("/v1/query", &json!({"Service": {"Service": "x"}}))
        .await
        .says(500, "Must be bound to a session");
    world
        .put_json(
            &format!("/v1/query/{id}"),
            &json!({"Name": "new", "Service": {"Service": "db"}}),
        )
        .await
        .is(200, "");
    assert_eq!(
        world.get(&format!("/v1/query/{id}")).await.json()[0]["Name"],
        "new"
    );
    create(
        &world,
        json!({"Name": "web-q", "Service": {"Service": "web"}}),
    )
    .await;
    world.delete(&format!("/v1/query/{id}")).await.is(200, "");
    for path in [
        format!("/v1/query/{id}"),
        format!("/v1/query/{id}/execute"),
        "/v1/query/none/explain".to_owned(),
    ] {
        world.get(&path).await.is(404, "Query not found");
    }
    let gone = format!("Cannot modify non-existent prepared query: '{id}'");
    world
        .delete(&format!("/v1/query/{id}"))
        .await
        .is(500, &gone);
    world
        .put_json(&format!("/v1/query/{id}"), &json!({}))
        .await
        .is(500, &gone);
}

#[tokio::test]
async fn executing_leaves_out_what_is_not_well() {
    let world = World::new().await;
    for (id, tag, status) in [
        ("ok", "v1", "passing"),
        ("meh", "v1", "warning"),
        ("bad", "v1", "critical"),
        ("old", "v0", "passing"),
    ] {
        world.register(&json!({"ID": id, "Name": "web", "Tags": [tag], "Meta": {"id": id}, "Check": {"CheckID": format!("c-{id}"), "TTL": "60s", "Status": status}})).await;
    }
    let table: &[(&str, Value, &[&str])] = &[
        ("plain", json!({"Service": "web"}), &["meh", "ok", "old"]),
        (
            "passing",
            json!({"Service": "web", "OnlyPassing": true}),
            &["ok", "old"],
        ),
        (
            "tagged",
            json!({"Service": "web", "Tags": ["V1"]}),
            &["meh", "ok"],
        ),
        (
            "untagged",
            json!({"Service": "web", "Tags": ["!v1"]}),
            &["old"],
        ),
        (
            "meta",
            json!({"Service": "web", "ServiceMeta": {"id": "ok"}}),
            &["ok"],
        ),
        (
            "ignoring",
            json!({"Service": "web", "IgnoreCheckIDs": ["c-bad"]}),
            &["bad", "meh", "ok", "old"],
        ),
    ];
    for (name, service, expected) in table {
        create(&world, json!({"Name": name, "Service": service})).await;
        let answer = world.get(&format!("/v1/query/{name}/execute")).await.json();
        let mut ids = pluck(&answer["Nodes"], "Service.ID");
        ids.sort();
        assert_eq!(ids, *expected, "{name}");
        assert_eq!(
            (
                &answer["Service"],
                &answer["Datacenter"],
                &answer["Failovers"]
            ),
            (&json!("web"), &json!("dc1"), &json!(0))
        );
    }
    assert_eq!(
        world.get("/v1/query/plain/execute?limit=1").await.json()["Nodes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    world.get("/v1/query/plain/execute?limit=x").await.is(
        500,
        "Bad limit: strconv.Atoi: parsing \"x\": invalid syntax",
    );
    // No times are measured, but whoever is on the node itself is nearest.
    for at in 0..8 {
        let elsewhere = json!({"Node": format!("far-{at}"), "Address": "127.0.0.1", "SkipNodeUpdate": false,
            "Service": {"Service": "spread"}});
        world
            .put_json("/v1/catalog/register", &elsewhere)
            .await
            .is(200, "true");
    }
    world.register(&json!({"Name": "spread"})).await;
    create(
        &world,
        json!({"Name": "spread", "Service": {"Service": "spread", "Near": "far-3"}}),
    )
    .await;
    for (query, node) in [
        ("", "far-3"),
        ("?near=_agent", "n1"),
        ("?near=FAR-5", "far-5"),
    ] {
        for _ in 0..8 {
            let path = format!("/v1/query/spread/execute{query}");
            let nodes = world.get(&path).await.json();
            assert_eq!(pluck(&nodes["Nodes"], "Node.Node")[0], node, "{query}");
        }
    }
}

#[tokio::test]
async fn templates_match_by_the_longest_prefix() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "db", "Tags": ["primary"]}))
        .await;
    let template = |name: &str, service: &str| json!({"Name": name, "Template": {"Type": "name_prefix_match"}, "Service": {"Service": service}});
    create(&world, template("", "nothing")).await;
    create(&world, template("geo-", "${name.suffix}")).await;
    let explained = world.get("/v1/query/geo-db/explain").await.json();
    assert_eq!(explained["Query"]["Service"]["Service"], "db");
    assert_eq!(
        pluck(
            &world.get("/v1/query/geo-db/execute").await.json()["Nodes"],
            "Service.ID"
        ),
        ["db"]
    );
    assert_eq!(
        world.get("/v1/query/other/execute").await.json()["Service"],
        "nothing"
    );
}

#[tokio::test]
async fn a_query_goes_with_its_session() {
    let world = World::new().await;
    let session = world.put("/v1/session/create", "").await.json()["ID"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = create(
        &world,
        json!({"Session": session, "Service": {"Service": "web"}}),
    )
    .await;
    assert_eq!(
        world.get(&format!("/v1/query/{id}/execute")).await.status,
        200
    );
    world
        .put(&format!("/v1/session/destroy/{session}"), "")
        .await
        .is(200, "true");
    world
        .get(&format!("/v1/query/{id}"))
        .await
        .is(404, "Query not found");
}

#[tokio::test]
async fn events_have_an_index_clients_can_compute() {
    let world = World::new().await;
    for (filters, text) in [
        ("tag=a", "Cannot provide tag filter without service filter"),
        ("node=(", "Invalid node filter: "),
        ("service=[", "Invalid service filter: "),
        ("service=a&tag=*", "Invalid tag filter: "),
    ] {
        world
            .put(&format!("/v1/event/fire/deploy?{filters}"), "")
            .await
            .says(500, text);
    }
    let event = world
        .put("/v1/event/fire/deploy?service=web", "payload")
        .await
        .json();
    assert_eq!(
        (&event["Name"], &event["Payload"], &event["ServiceFilter"]),
        (&json!("deploy"), &json!("cGF5bG9hZA=="), &json!("web"))
    );
    let list = world.get("/v1/event/list?name=deploy").await;
    assert_eq!(list.json()[0]["ID"], event["ID"]);
    let hex = event["ID"].as_str().unwrap().replace('-', "");
    let expected =
        u64::from_str_radix(&hex[..16], 16).unwrap() ^ u64::from_str_radix(&hex[16..], 16).unwrap();
    assert_eq!(list.index(), expected);
    assert_eq!(
        world.get("/v1/event/list?name=other").await.json(),
        json!([])
    );
    for i in 0..260 {
        world
            .put(&format!("/v1/event/fire/e{i}"), "")
            .await
            .says(200, "\"Payload\":null");
    }
    let list = world.get("/v1/event/list").await.json();
    assert_eq!(
        (list.as_array().unwrap().len(), &list[255]["Name"]),
        (256, &json!("e259"))
    );
}
