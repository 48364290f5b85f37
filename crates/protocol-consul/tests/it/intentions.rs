//! Who may call whom.

use super::harness::World;
use serde_json::{Value, json};

const LIST: &str = "/v1/connect/intentions";

fn intention(source: &str, destination: &str, action: &str) -> Value {
    json!({"SourceNS": "default", "SourceName": source, "DestinationNS": "default", "DestinationName": destination,
        "SourceType": "consul", "Action": action})
}

async fn create(world: &World, source: &str, destination: &str, action: &str) -> String {
    let answer = world
        .post(LIST, &intention(source, destination, action))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["ID"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn one_is_created_read_changed_and_removed_by_its_id() {
    let world = World::new().await;
    let id = create(&world, "api", "db", "allow").await;
    let path = format!("{LIST}/{id}");
    let row = world.get(&path).await.json();
    for (key, value) in [
        ("SourceName", "api"),
        ("DestinationName", "db"),
        ("Action", "allow"),
        ("ID", &*id),
    ] {
        assert_eq!(row[key], value, "{key}");
    }
    assert_eq!(row["Precedence"], 9);
    assert_eq!(world.get(LIST).await.json(), json!([row]));
    assert_eq!(
        world.get("/v1/config/service-intentions/db").await.json()["Sources"][0]["LegacyID"],
        *id
    );
    world
        .post(LIST, &intention("api", "db", "deny"))
        .await
        .says(500, "duplicate intention found");
    world
        .put_json(&path, &intention("other", "db", "deny"))
        .await
        .is(200, &format!("{{\"ID\":\"{id}\"}}"));
    let changed = world.get(&path).await.json();
    assert_eq!(
        (&changed["SourceName"], &changed["CreatedAt"]),
        (&json!("other"), &row["CreatedAt"])
    );
    world
        .put_json(&path, &intention("other", "web", "deny"))
        .await
        .says(500, "cannot modify Destination");
    world.delete(&path).await.is(200, "true");
    world.get(&path).await.is(404, "Intention not found");
    world
        .get("/v1/config/service-intentions/db")
        .await
        .says(404, "not found");
    world.get(&format!("{LIST}/hello")).await.says(400, "UUID");
    // What was written as a whole is not for the older calls.
    let entry = json!({"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "a", "Action": "allow"}]});
    world.put_json("/v1/config", &entry).await.is(200, "true");
    world
        .post(LIST, &intention("api", "db", "allow"))
        .await
        .says(500, "cannot use legacy intention API");
}

#[tokio::test]
async fn one_between_two_services_is_put_and_removed() {
    let world = World::new().await;
    let path = format!("{LIST}/exact?source=default/api&destination=db");
    world.get(&path).await.is(404, "Intention not found");
    world
        .put_json(&path, &json!({"Action": "deny", "Meta": {"a": "b"}}))
        .await
        .is(200, "true");
    let row = world.get(&path).await.json();
    assert_eq!(
        (&row["Action"], &row["Meta"], &row["ID"]),
        (&json!("deny"), &json!({"a": "b"}), &Value::Null)
    );
    world
        .put_json(&path, &json!({"Action": "allow", "SourceName": "api"}))
        .await
        .is(200, "true");
    assert_eq!(world.get(&path).await.json()["Action"], "allow");
    world
        .put_json(&path, &json!({"Action": "maybe"}))
        .await
        .says(500, "Action must be set to");
    world
        .put_json(&path, &json!({"Action": "allow", "SourceName": "x"}))
        .await
        .says(400, "are not those of the query");
    world.delete(&path).await.is(200, "true");
    world.delete(&path).await.is(200, "true");
    world
        .get(&format!("{LIST}/exact?source=a"))
        .await
        .is(400, "required query parameter 'destination' not set");
    world
        .get(&format!("{LIST}/exact?source=team/a&destination=b"))
        .await
        .says(400, "Enterprise");
}

#[tokio::test]
async fn the_most_exact_one_decides() {
    let world = World::new().await;
    for (source, destination, action) in [
        ("*", "*", "deny"),
        ("*", "db", "allow"),
        ("evil", "db", "deny"),
        ("web", "*", "allow"),
    ] {
        create(&world, source, destination, action).await;
    }
    let order: Vec<i64> = world
        .get(LIST)
        .await
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Precedence"].as_i64().unwrap())
        .collect();
    assert_eq!(order, [9, 8, 6, 5]);
    let domain = world.get("/v1/connect/ca/roots").await.json()["TrustDomain"]
        .as_str()
        .unwrap()
        .to_owned();
    for (source, destination, allowed, reason) in [
        (
            "evil",
            "db",
            false,
            "Matched intention: DENY default/evil => default/db",
        ),
        (
            "api",
            "db",
            true,
            "Matched intention: ALLOW default/* => default/db",
        ),
        ("web", "mail", true, "ALLOW default/web => default/*"),
        ("api", "mail", false, "DENY default/* => default/*"),
    ] {
        let check = format!("{LIST}/check?source={source}&destination={destination}");
        assert_eq!(
            world.get(&check).await.json(),
            json!({"Allowed": allowed}),
            "{check}"
        );
        let body = json!({"Target": destination, "ClientCertURI": format!("spiffe://{domain}/ns/default/dc/dc1/svc/{source}"), "ClientCertSerial": "x"});
        let answer = world
            .post("/v1/agent/connect/authorize", &body)
            .await
            .json();
        assert_eq!(answer["Authorized"], allowed);
        assert!(
            answer["Reason"].as_str().unwrap().contains(reason),
            "{answer}"
        );
    }
    let matched = world
        .get(&format!(
            "{LIST}/match?by=destination&name=db&name=default/mail"
        ))
        .await
        .json();
    let names = |key: &str| -> Vec<String> {
        matched[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                format!(
                    "{}>{}",
                    row["SourceName"].as_str().unwrap(),
                    row["DestinationName"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(names("db"), ["evil>db", "*>db", "web>*", "*>*"]);
    assert_eq!(names("default/mail"), ["web>*", "*>*"]);
    let by_source = world
        .get(&format!("{LIST}/match?by=source&name=web"))
        .await
        .json();
    assert_eq!(by_source["web"].as_array().unwrap().len(), 3);
    world
        .get(&format!("{LIST}/match?by=x&name=a"))
        .await
        .says(400, "must be one of");
    world
        .get(&format!("{LIST}/match?by=source"))
        .await
        .is(400, "required query parameter 'name' not set");
}

#[tokio::test]
async fn whoever_is_nobody_here_is_not_authorized() {
    let world = World::new().await;
    let ask = |target: &str, uri: String| json!({"Target": target, "ClientCertURI": uri});
    let post = async |body: &Value| world.post("/v1/agent/connect/authorize", body).await;
    post(&ask("", String::new()))
        .await
        .is(400, "Target service must be specified");
    post(&ask("web", "http://x".into()))
        .await
        .says(400, "ClientCertURI not a valid Connect identifier");
    post(&ask("web", "spiffe://x/agent/server/dc/dc1".into()))
        .await
        .says(400, "not a valid Service identifier");
    let foreign = post(&ask(
        "web",
        "spiffe://other.consul/ns/default/dc/dc1/svc/api".into(),
    ))
    .await
    .json();
    assert_eq!(foreign["Authorized"], false);
    let domain = world.get("/v1/connect/ca/roots").await.json()["TrustDomain"]
        .as_str()
        .unwrap()
        .to_owned();
    let own = post(&ask(
        "web",
        format!("spiffe://{domain}/ns/default/dc/dc1/svc/api"),
    ))
    .await
    .json();
    assert_eq!(
        own,
        json!({"Authorized": true, "Reason": "Default behavior configured by ACLs"})
    );
    // One that looks at requests lets nothing through where there are none to look at.
    for entry in [
        json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}),
        json!({"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "api", "Permissions": [
            {"Action": "allow", "HTTP": {"PathPrefix": "/", "Methods": ["get"]}}]}]}),
    ] {
        world.put_json("/v1/config", &entry).await.is(200, "true");
    }
    let own = post(&ask(
        "web",
        format!("spiffe://{domain}/ns/default/dc/dc1/svc/api"),
    ))
    .await
    .json();
    assert_eq!(
        (&own["Authorized"], &own["Reason"]),
        (
            &json!(false),
            &json!("Matched intention: 1 PERMISSION default/api => default/web (Precedence: 9)")
        )
    );
    let tcp = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "tcp"});
    world
        .put_json("/v1/config", &tcp)
        .await
        .says(500, "does not permit intentions with L7 permissions");
}

/// A certificate may be had for a name in any case, since rules do not tell cases apart.
#[tokio::test]
async fn a_source_in_another_case_is_the_same_source() {
    let world = World::new().await;
    create(&world, "web", "db", "deny").await;
    create(&world, "*", "db", "allow").await;
    for (source, allowed) in [("web", false), ("WEB", false), ("other", true)] {
        let path = format!("{LIST}/check?source={source}&destination=db");
        assert_eq!(
            world.get(&path).await.json()["Allowed"],
            allowed,
            "{source}"
        );
    }
}
