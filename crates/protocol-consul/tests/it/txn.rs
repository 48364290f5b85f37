//! Transactions.

use super::harness::{World, pluck};
use serde_json::{Value, json};

async fn run(world: &World, ops: Value) -> (u16, Value) {
    let answer = world.put_json("/v1/txn", &ops).await;
    (answer.status, answer.json())
}

/// A check that fails is no change of what was registered: the index that was read is still the one to compare with.
#[tokio::test]
async fn a_services_index_stays_when_its_health_moves() {
    let world = World::new().await;
    let service = json!({"Name": "web", "Port": 80, "Check": {"TTL": "10m", "Status": "passing"}});
    world.register(&service).await;
    let index = || async {
        let row = world.get("/v1/catalog/service/web").await.json();
        let entry = world.get("/v1/health/service/web").await.json();
        assert_eq!(row[0]["ModifyIndex"], entry[0]["Service"]["ModifyIndex"]);
        row[0]["ModifyIndex"].as_u64().unwrap()
    };
    let read = index().await;
    let before = world.get("/v1/health/service/web").await.index();
    world
        .put("/v1/agent/check/fail/service:web", "")
        .await
        .is(200, "");
    assert_eq!(index().await, read);
    let after = world.get("/v1/health/service/web").await.index();
    assert!(after > before, "who waits for health is woken");
    let node = world.get("/v1/catalog/service/web").await.json()[0]["Node"].clone();
    let cas = |index: u64| json!([{"Service": {"Verb": "cas", "Node": node, "Service": {"Service": "web", "ID": "web", "Port": 81, "ModifyIndex": index}}}]);
    let (status, done) = run(&world, cas(after)).await;
    assert_eq!(
        status, 409,
        "the catalog's own revision of the row is not the index: {done}"
    );
    let (status, done) = run(&world, cas(read)).await;
    assert_eq!(status, 200, "{done}");
    assert!(index().await > read);
}

#[tokio::test]
async fn keys_in_a_transaction() {
    let world = World::new().await;
    let (status, done) = run(
        &world,
        json!([
            {"KV": {"Verb": "set", "Key": "a", "Value": "MQ==", "Flags": 7}},
            {"KV": {"Verb": "cas", "Key": "b", "Value": "Mg==", "Index": 0}},
            {"kv": {"verb": "get", "key": "a"}},
            {"KV": {"Verb": "get-or-empty", "Key": "none"}},
            {"KV": {"Verb": "check-not-exists", "Key": "none"}},
        ]),
    )
    .await;
    assert_eq!((status, &done["Errors"]), (200, &Value::Null));
    let results = done["Results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!(
        (
            &results[0]["KV"]["Key"],
            &results[0]["KV"]["Value"],
            &results[0]["KV"]["Flags"]
        ),
        (&json!("a"), &Value::Null, &json!(7))
    );
    assert_eq!(results[2]["KV"]["Value"], "MQ==");
    assert_eq!(
        (&results[3]["KV"]["Key"], &results[3]["KV"]["Value"]),
        (&json!("none"), &Value::Null)
    );
    assert_eq!(
        results[0]["KV"]["ModifyIndex"], results[1]["KV"]["ModifyIndex"],
        "one revision"
    );
    let index = results[0]["KV"]["ModifyIndex"].clone();
    let (status, done) = run(
        &world,
        json!([
            {"KV": {"Verb": "check-index", "Key": "a", "Index": index}},
            {"KV": {"Verb": "get-tree", "Key": ""}},
            {"KV": {"Verb": "delete", "Key": "a"}},
            {"KV": {"Verb": "delete-cas", "Key": "never", "Index": 3}},
            {"KV": {"Verb": "delete-tree", "Key": "b"}},
        ]),
    )
    .await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["Results"].as_array().unwrap().len(), 3);
    let (_, done) = run(&world, json!([{"KV": {"Verb": "delete", "Key": "zz"}}])).await;
    assert_eq!(done, json!({"Results": null, "Errors": null}));
    assert_eq!(world.get("/v1/kv/?keys").await.json(), json!([]));
}

#[tokio::test]
async fn one_failure_undoes_all_and_every_failure_is_told() {
    let world = World::new().await;
    world.put("/v1/kv/held", "1").await.is(200, "true");
    let session = world.put("/v1/session/create", "").await.json()["ID"].clone();
    let other = world.put("/v1/session/create", "").await.json()["ID"].clone();
    world
        .put(
            &format!("/v1/kv/held?acquire={}", session.as_str().unwrap()),
            "1",
        )
        .await
        .is(200, "true");
    let nobody = "11111111-2222-3333-4444-555555555555";
    let (status, done) = run(
        &world,
        json!([
            {"KV": {"Verb": "set", "Key": "new", "Value": "MQ=="}},
            {"KV": {"Verb": "get", "Key": "missing"}},
            {"KV": {"Verb": "cas", "Key": "held", "Value": "MQ==", "Index": 1}},
            {"KV": {"Verb": "lock", "Key": "held", "Session": other}},
            {"KV": {"Verb": "unlock", "Key": "held", "Session": other}},
            {"KV": {"Verb": "delete-cas", "Key": "held", "Index": 1}},
            {"KV": {"Verb": "check-index", "Key": "held", "Index": 1}},
            {"KV": {"Verb": "check-not-exists", "Key": "held"}},
            {"KV": {"Verb": "lock", "Key": "x", "Session": nobody}},
            {"KV": {"Verb": "check-session", "Key": "held", "Session": other}},
        ]),
    )
    .await;
    assert_eq!((status, &done["Results"]), (409, &Value::Null));
    let errors: Vec<(u64, String)> = done["Errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["OpIndex"].as_u64().unwrap(),
                error["What"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let modified = world.get("/v1/kv/held").await.json()[0]["ModifyIndex"].clone();
    let session_text =
        format!("failed session check for key \"held\", current session {session} != {other}");
    let expected = [
        (1, "key \"missing\" doesn't exist".to_owned()),
        (2, "failed to set key \"held\", index is stale".to_owned()),
        (
            3,
            "failed to lock key \"held\", lock is already held".to_owned(),
        ),
        (
            4,
            "failed to unlock key \"held\", lock isn't held, or is held by another session"
                .to_owned(),
        ),
        (
            5,
            "failed to delete key \"held\", index is stale".to_owned(),
        ),
        (
            6,
            format!("failed index check for key \"held\", current modify index {modified} != 1"),
        ),
        (7, "key \"held\" exists".to_owned()),
        (8, format!("invalid session \"{nobody}\"")),
        (9, session_text),
    ];
    assert_eq!(errors, expected);
    world.get("/v1/kv/new").await.is(404, "");
    let (status, done) = run(&world, json!([{"KV": {"Verb": "lock", "Key": "x"}}])).await;
    assert_eq!(
        (status, &done["Errors"]),
        (409, &json!([{"OpIndex": 0, "What": "missing session"}]))
    );
    let (status, done) = run(
        &world,
        json!([{"KV": {"Verb": "unlock", "Key": "held", "Session": session, "Value": "Mg=="}}]),
    )
    .await;
    assert_eq!(
        (status, &done["Results"][0]["KV"]["LockIndex"]),
        (200, &json!(1))
    );
}

#[tokio::test]
async fn nodes_services_and_checks_in_a_transaction() {
    let world = World::new().await;
    let (status, done) = run(&world, json!([
        {"Node": {"Verb": "set", "Node": {"Node": "ext", "Address": "10.9.0.1", "Meta": {"external-node": "true"}}}},
        {"Service": {"Verb": "set", "Node": "ext", "Service": {"ID": "s1", "Service": "db", "Port": 5432, "Tags": ["x"]}}},
        {"Check": {"Verb": "set", "Check": {"Node": "ext", "CheckID": "c1", "Name": "c", "Status": "passing", "ServiceID": "s1",
            "Definition": {"TCP": "10.9.0.1:5432", "Interval": "5s"}}}},
        {"KV": {"Verb": "set", "Key": "k", "Value": "MQ=="}},
    ])).await;
    assert_eq!((status, &done["Errors"]), (200, &Value::Null), "{done}");
    assert_eq!(done["Results"][0]["Node"]["Address"], "10.9.0.1");
    assert_eq!(done["Results"][1]["Service"]["Port"], 5432);
    assert_eq!(
        (
            &done["Results"][2]["Check"]["Type"],
            &done["Results"][2]["Check"]["Definition"]["Interval"]
        ),
        (&json!("tcp"), &json!("5s"))
    );
    assert_eq!(
        world.get("/v1/catalog/service/db").await.json()[0]["Address"],
        "10.9.0.1"
    );
    let index = done["Results"][1]["Service"]["ModifyIndex"]
        .as_u64()
        .unwrap();
    let stale = json!([{"Service": {"Verb": "cas", "Node": "ext", "Service": {"ID": "s1", "Service": "db", "Port": 1, "ModifyIndex": index + 9}}}]);
    let (status, done) = run(&world, stale).await;
    assert_eq!(
        (status, &done["Errors"][0]["What"]),
        (
            409,
            &json!("failed to set service \"s1\" on node \"ext\", index is stale")
        )
    );
    let (status, done) = run(
        &world,
        json!([
            {"Node": {"Verb": "get", "Node": {"Node": "ext"}}},
            {"Service": {"Verb": "get", "Node": "ext", "Service": {"ID": "s1"}}},
            {"Check": {"Verb": "get", "Check": {"Node": "ext", "CheckID": "c1"}}},
        ]),
    )
    .await;
    assert_eq!(
        (status, done["Results"].as_array().unwrap().len()),
        (200, 3)
    );
    let (status, done) = run(
        &world,
        json!([{"Node": {"Verb": "get", "Node": {"Node": "none"}}}]),
    )
    .await;
    assert_eq!(
        (status, &done["Errors"][0]["What"]),
        (409, &json!("node \"none\" doesn't exist"))
    );
    let (status, done) = run(
        &world,
        json!([
            {"Check": {"Verb": "delete", "Check": {"Node": "ext", "CheckID": "c1"}}},
            {"Service": {"Verb": "delete", "Node": "ext", "Service": {"ID": "s1"}}},
            {"Node": {"Verb": "delete", "Node": {"Node": "ext"}}},
        ]),
    )
    .await;
    assert_eq!(
        (status, done),
        (200, json!({"Results": null, "Errors": null}))
    );
    assert_eq!(world.get("/v1/catalog/node/ext").await.json(), Value::Null);
}

#[tokio::test]
async fn limits_and_nonsense() {
    let world = World::new().await;
    let many: Vec<Value> = (0..129)
        .map(|i| json!({"KV": {"Verb": "set", "Key": format!("k{i}"), "Value": ""}}))
        .collect();
    world
        .put_json("/v1/txn", &json!(many))
        .await
        .is(413, "Transaction contains too many operations (129 > 128)");
    assert_eq!(
        world.put_json("/v1/txn", &json!(many[..128])).await.status,
        200
    );
    world
        .put("/v1/txn", "{")
        .await
        .says(400, "Failed to parse body");
    world
        .put_json("/v1/txn", &json!([{}]))
        .await
        .says(400, "Failed to parse body");
    let (status, answer) = run(
        &world,
        json!([
            {"KV": {"Verb": "nope", "Key": "k"}},
            {"Node": {"Verb": "nope", "Node": {"Node": "n"}}},
            {"Node": {"Verb": "set", "Node": {"ID": "x", "Node": "n", "Address": "10.0.0.1"}}},
            {"Service": {"Verb": "nope", "Node": "n1", "Service": {"Service": "s"}}},
            {"Service": {"Verb": "set", "Node": "n1", "Service": {"ID": "s"}}},
            {"Check": {"Verb": "nope", "Check": {"Node": "n1", "Name": "c"}}},
            {"Check": {"Verb": "set", "Check": {"Node": "n1", "Name": "c", "Status": "fine"}}},
        ]),
    )
    .await;
    assert_eq!(status, 409);
    assert_eq!(
        pluck(&answer["Errors"], "What"),
        [
            "unknown KV verb \"nope\"",
            "unknown Node verb \"nope\"",
            "Bad node ID: uuid string is wrong length",
            "unknown Service verb \"nope\"",
            "Must provide service name (Service.Service) when service ID is provided",
            "unknown Check verb \"nope\"",
            "invalid check status: \"fine\"",
        ]
    );
    // What is wrong in itself does not hide what is wrong with the others, and nothing is done.
    let (status, answer) = run(
        &world,
        json!([
            {"KV": {"Verb": "set", "Key": "new", "Value": ""}},
            {"KV": {"Verb": "lock", "Key": "lock"}},
            {"KV": {"Verb": "get", "Key": "lock"}},
            {"KV": {"Verb": "get", "Key": "new"}},
        ]),
    )
    .await;
    assert_eq!(status, 409);
    assert_eq!(
        answer["Errors"],
        json!([{"OpIndex": 1, "What": "missing session"}, {"OpIndex": 2, "What": "key \"lock\" doesn't exist"}])
    );
    assert_eq!(world.get("/v1/kv/new").await.status, 404);
    let undecoded = json!([{"KV": {"Verb": "set", "Key": "k", "Value": "!"}}]);
    world
        .put_json("/v1/txn", &undecoded)
        .await
        .says(400, "Failed to parse body: failed to decode value: ");
    // Reads tell how far the leader is, writes do not.
    for (verb, told) in [("get-or-empty", true), ("set", false)] {
        let answer = world
            .put_json("/v1/txn", &json!([{"KV": {"Verb": verb, "Key": "k"}}]))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.contains_key("x-consul-knownleader"), told);
        assert_eq!(answer.headers.contains_key("x-consul-lastcontact"), told);
    }
    world.put("/v1/txn", vec![b' '; 600 * 1024]).await.says(
        413,
        "Request body(614400 bytes) too large, max size: 524288 bytes",
    );
    let before = world.revision();
    let (status, _) = run(&world, json!([{"KV": {"Verb": "get-tree", "Key": "k"}}])).await;
    assert_eq!((status, world.revision()), (200, before));
}

#[tokio::test]
async fn what_went_along_with_something_else_may_be_removed_once_more() {
    let world = World::new().await;
    let (status, answer) = run(
        &world,
        json!([
            {"Node": {"Verb": "set", "Node": {"Node": "foo", "Address": "10.0.0.1"}}},
            {"Service": {"Verb": "set", "Node": "foo", "Service": {"ID": "s1", "Service": "s"}}},
            {"Check": {"Verb": "set", "Check": {"Node": "foo", "CheckID": "c1", "ServiceID": "s1", "Status": "passing"}}},
        ]),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let check = &answer["Results"][2]["Check"];
    // Only here no tags are null, and a check without a name has none.
    assert_eq!(
        (&check["ServiceTags"], &check["Name"], &check["ServiceName"]),
        (&Value::Null, &json!(""), &json!("s"))
    );
    let removals = json!([
        {"Service": {"Verb": "delete", "Node": "foo", "Service": {"ID": "s1"}}},
        {"Check": {"Verb": "delete", "Check": {"Node": "foo", "CheckID": "c1"}}},
        {"KV": {"Verb": "set", "Key": "done", "Value": ""}},
        {"Node": {"Verb": "delete", "Node": {"Node": "foo"}}},
        {"Service": {"Verb": "delete", "Node": "foo", "Service": {"ID": "s1"}}},
    ]);
    for _ in 0..2 {
        let (status, answer) = run(&world, removals.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["Results"].as_array().unwrap().len(), 1);
    }
    assert_eq!(world.get("/v1/kv/done").await.status, 200);
    assert_eq!(world.get("/v1/health/service/s").await.json(), json!([]));
}
