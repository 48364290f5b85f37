//! Config entries and the chains that are made of them.

use super::harness::World;
use serde_json::{Value, json};

async fn put(world: &World, entry: &Value) {
    let answer = world.put_json("/v1/config", entry).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "true"),
        "{entry}"
    );
}

async fn http(world: &World, services: &[&str]) {
    for name in services {
        put(
            world,
            &json!({"Kind": "service-defaults", "Name": name, "Protocol": "http"}),
        )
        .await;
    }
}

#[tokio::test]
async fn entries_are_written_read_listed_and_removed() {
    let world = World::new().await;
    let body = json!({"kind": "service-defaults", "name": "Web", "protocol": "HTTP", "Namespace": "default",
        "local_connect_timeout_ms": 5, "meta": {"a_b": "c"}, "upstream_config": [{"overrides": [{"name": "db"}]}]});
    put(&world, &body).await;
    let read = world.get("/v1/config/service-defaults/web").await;
    let entry = read.json();
    for (key, value) in [
        ("Kind", json!("service-defaults")),
        ("Name", json!("Web")),
        ("Protocol", json!("http")),
        ("LocalConnectTimeoutMs", json!(5)),
        ("Meta", json!({"a_b": "c"})),
        (
            "UpstreamConfig",
            json!({"Overrides": [{"Name": "db", "MeshGateway": {}}]}),
        ),
        ("ModifyIndex", json!(read.index())),
    ] {
        assert_eq!(entry[key], value, "{key}");
    }
    // What is sent back as it was read changes nothing.
    put(&world, &entry).await;
    assert_eq!(
        world.get("/v1/config/service-defaults/web").await.index(),
        read.index()
    );
    let list = world.get("/v1/config/service-defaults").await.json();
    assert_eq!(list, json!([entry]));
    assert_eq!(
        world.get("/v1/config/service-resolver").await.json(),
        json!([])
    );

    // By index.
    let at = read.index();
    let other = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "tcp"});
    for (cas, done) in [(0, "false"), (at - 1, "false"), (at, "true"), (at, "false")] {
        let path = format!("/v1/config?cas={cas}");
        world.put_json(&path, &other).await.is(200, done);
    }
    world
        .put_json("/v1/config?cas=x", &other)
        .await
        .says(500, "strconv.ParseUint");
    let at = world.get("/v1/config/service-defaults/web").await.index();
    let path = |cas: u64| format!("/v1/config/service-defaults/WEB?cas={cas}");
    world.delete(&path(at - 1)).await.is(200, "false");
    world.delete(&path(at)).await.is(200, "true");
    world
        .get("/v1/config/service-defaults/web")
        .await
        .says(404, "Config entry not found");
    put(&world, &other).await;
    world
        .delete("/v1/config/service-defaults/web")
        .await
        .is(200, "{}");
    assert_eq!(
        world.get("/v1/config/service-defaults").await.json(),
        json!([])
    );
}

#[tokio::test]
async fn whoever_waits_for_an_entry_is_woken_by_it_alone() {
    let world = World::new().await;
    put(&world, &json!({"Kind": "mesh"})).await;
    let first = world.get("/v1/config/mesh").await;
    assert_eq!(
        first.json()[0]["TransparentProxy"],
        json!({"MeshDestinationsOnly": false})
    );
    let list = world.background(&format!("/v1/config/mesh?index={}&wait=30s", first.index()));
    let one = world.background(&format!(
        "/v1/config/mesh/mesh?index={}&wait=30s",
        first.index()
    ));
    world.waiting(2).await;
    put(&world, &json!({"Kind": "service-defaults", "Name": "web"})).await;
    assert!(!list.is_finished() && !one.is_finished());
    put(
        &world,
        &json!({"Kind": "mesh", "TransparentProxy": {"MeshDestinationsOnly": true}}),
    )
    .await;
    assert_eq!(
        list.await.unwrap().json()[0]["TransparentProxy"]["MeshDestinationsOnly"],
        true
    );
    assert_eq!(
        one.await.unwrap().json()["TransparentProxy"]["MeshDestinationsOnly"],
        true
    );
}

#[tokio::test]
async fn nonsense_is_refused_in_consuls_words() {
    let world = World::new().await;
    let resolver = |more: Value| {
        let mut entry = json!({"Kind": "service-resolver", "Name": "web"});
        entry
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        entry
    };
    let rows = [
        (
            json!({}),
            400,
            "Payload does not contain a kind/Kind key at the top level",
        ),
        (
            json!({"Kind": 1}),
            400,
            "Kind value in payload is not a string",
        ),
        (
            json!({"Kind": "nope"}),
            400,
            "invalid config entry kind: nope",
        ),
        (
            json!({"Kind": "exported-services", "Name": "default"}),
            400,
            "exports no services",
        ),
        (
            json!({"Kind": "sameness-group", "Name": "a"}),
            400,
            "Enterprise",
        ),
        (
            json!({"Kind": "service-defaults", "Name": "a", "Nope": 1}),
            400,
            "1 error occurred:\n\t* invalid config key \"Nope\"\n\n",
        ),
        (
            json!({"Kind": "service-defaults", "Name": "a", "Namespace": "x"}),
            400,
            "Namespaces are a Consul Enterprise feature",
        ),
        (
            json!({"Kind": "service-defaults", "Name": ["a", "b"]}),
            400,
            "expected type 'string'",
        ),
        (json!({"Kind": "service-defaults"}), 500, "Name is required"),
        (
            json!({"Kind": "service-defaults", "Name": "*"}),
            500,
            "not a wildcard",
        ),
        (
            json!({"Kind": "service-defaults", "Name": "a", "Destination": {"Addresses": ["*"], "Port": 0}}),
            500,
            "2 errors occurred",
        ),
        (
            json!({"Kind": "service-defaults", "Name": "a", "MutualTLSMode": "permissive"}),
            500,
            "AllowEnablingPermissiveMutualTLS=false",
        ),
        (
            json!({"Kind": "proxy-defaults", "Name": "other"}),
            400,
            "invalid name (\"other\"), only \"global\" is supported",
        ),
        (
            resolver(json!({"DefaultSubset": "v1"})),
            500,
            "DefaultSubset \"v1\" is not a valid subset",
        ),
        (
            resolver(json!({"Subsets": {"v1": {"Filter": "=="}}})),
            500,
            "is not a valid expression",
        ),
        (resolver(json!({"Redirect": {}})), 500, "Redirect is empty"),
        (
            resolver(
                json!({"Redirect": {"Service": "a"}, "Failover": {"*": {"Datacenters": ["dc2"]}}}),
            ),
            500,
            "cannot both be set",
        ),
        (
            resolver(json!({"Failover": {"v9": {"Service": "b"}}})),
            500,
            "Bad Failover[\"v9\"]: not a valid subset",
        ),
        (
            resolver(json!({"ConnectTimeout": "nope"})),
            400,
            "invalid duration",
        ),
        (
            resolver(json!({"ConnectTimeout": "-5s"})),
            500,
            "Bad ConnectTimeout '-5s', must be >= 0",
        ),
        (
            resolver(json!({"LoadBalancer": {"Policy": "best"}})),
            500,
            "Bad LoadBalancer policy: \"best\" is not supported",
        ),
        (
            json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 90}]}),
            500,
            "the sum of all split weights must be 100, not 90.000000",
        ),
        (
            json!({"Kind": "service-router", "Name": "web", "Routes": [{"Match": {"HTTP": {"PathPrefix": "a"}}}]}),
            500,
            "Route[0] PathPrefix doesn't start with '/': \"a\"",
        ),
        (
            json!({"Kind": "service-router", "Name": "web"}),
            500,
            "discovery chain \"web\" uses a protocol \"tcp\" that does not permit advanced routing or splitting behavior",
        ),
        (
            json!({"Kind": "ingress-gateway", "Name": "g", "Listeners": [{"Port": 1, "Protocol": "udp"}]}),
            500,
            "'udp' is an unsupported protocol",
        ),
        (
            json!({"Kind": "ingress-gateway", "Name": "g", "Listeners": [{"Port": 1, "Protocol": "http", "Services": [{"Name": "a"}]}]}),
            500,
            "incompatible with listener protocol \"http\"",
        ),
        (
            json!({"Kind": "terminating-gateway", "Name": "g", "Services": [{"Name": "a", "CertFile": "x"}]}),
            500,
            "must have a CertFile, CAFile, and KeyFile",
        ),
        (
            json!({"Kind": "service-intentions", "Name": "web"}),
            500,
            "At least one source is required",
        ),
        (
            json!({"Kind": "service-intentions", "Name": "w*b", "Sources": [{"Name": "a", "Action": "allow"}]}),
            500,
            "cannot be used with partial values",
        ),
        (
            json!({"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "a", "Action": "maybe"}]}),
            500,
            "Sources[0].Action must be set to 'allow' or 'deny'",
        ),
        (
            json!({"Kind": "inline-certificate", "Name": "c", "PrivateKey": "x"}),
            500,
            "failed to parse private key PEM",
        ),
        (
            json!({"Kind": "jwt-provider", "Name": "p"}),
            500,
            "JSONWebKeySet is required",
        ),
    ];
    for (entry, status, words) in rows {
        let answer = world.put_json("/v1/config", &entry).await;
        assert!(
            answer.status == status && answer.text().contains(words),
            "{entry}: {} {}",
            answer.status,
            answer.text()
        );
    }
    world
        .delete("/v1/config/mesh")
        .await
        .says(404, "Must provide both a kind and name to delete");
}

#[tokio::test]
async fn a_chain_without_entries_is_the_service_itself() {
    let world = World::new().await;
    let answer = world.get("/v1/discovery-chain/web").await;
    let chain = answer.json()["Chain"].clone();
    let id = "web.default.default.dc1";
    assert_eq!(chain["StartNode"], format!("resolver:{id}"));
    assert_eq!(chain["Default"], true);
    assert_eq!(chain["Protocol"], "tcp");
    assert_eq!(
        chain["Nodes"][format!("resolver:{id}")],
        json!({"Type": "resolver", "Name": id,
        "Resolver": {"Default": true, "ConnectTimeout": "5s", "Target": id}})
    );
    let domain = world.get("/v1/connect/ca/roots").await.json()["TrustDomain"].clone();
    assert_eq!(
        chain["Targets"][id]["SNI"],
        format!("web.default.dc1.internal.{}", domain.as_str().unwrap())
    );
    let other = world
        .get("/v1/discovery-chain/web?compile-dc=dc2")
        .await
        .json();
    assert_eq!(
        other["Chain"]["StartNode"],
        "resolver:web.default.default.dc2"
    );
    // Somebody who waits hears of the entry that changes it.
    let waits = world.background(&format!(
        "/v1/discovery-chain/web?index={}&wait=30s",
        answer.index()
    ));
    world.waiting(1).await;
    put(
        &world,
        &json!({"Kind": "service-resolver", "Name": "web", "ConnectTimeout": "33s"}),
    )
    .await;
    let chain = waits.await.unwrap().json()["Chain"].clone();
    assert_eq!(
        (&chain["Default"], &chain["Targets"][id]["ConnectTimeout"]),
        (&Value::Null, &json!("33s"))
    );
    let asked = json!({"OverrideMeshGateway": {"Mode": "local"}, "OverrideProtocol": "grpc", "OverrideConnectTimeout": 22_000_000_000_u64});
    let chain = world.post("/v1/discovery-chain/web", &asked).await.json()["Chain"].clone();
    assert_eq!(chain["CustomizationHash"], "98809527");
    assert_eq!(
        chain["Targets"][id]["MeshGateway"],
        json!({"Mode": "local"})
    );
}

#[tokio::test]
async fn routes_lead_to_shares_shares_to_subsets_and_these_elsewhere() {
    let world = World::new().await;
    http(&world, &["web", "admin", "old", "backup"]).await;
    for entry in [
        json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1",
            "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": true}},
            "Failover": {"v2": {"Service": "backup"}, "*": {"Datacenters": ["dc2", "dc1"]}}}),
        json!({"Kind": "service-resolver", "Name": "old", "Redirect": {"Service": "web", "ServiceSubset": "v2"}}),
        json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "Service": "admin"}]}),
        json!({"Kind": "service-splitter", "Name": "admin", "Splits": [
            {"Weight": 50, "RequestHeaders": {"Set": {"x": "1"}}}, {"Weight": 50, "Service": "old"}]}),
        json!({"Kind": "service-router", "Name": "web", "Routes": [
            {"Match": {"HTTP": {"PathPrefix": "/admin", "Methods": ["get"]}}, "Destination": {"Service": "admin"}},
            {"Match": {"HTTP": {"PathExact": "/v2"}}, "Destination": {"ServiceSubset": "v2", "RequestTimeout": "1m"}}]}),
    ] {
        put(&world, &entry).await;
    }
    let chain = world.get("/v1/discovery-chain/web").await.json()["Chain"].clone();
    assert_eq!(chain["StartNode"], "router:web.default.default");
    assert_eq!(chain["Protocol"], "http");
    let routes = &chain["Nodes"]["router:web.default.default"]["Routes"];
    let next: Vec<&str> = routes
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["NextNode"].as_str().unwrap())
        .collect();
    assert_eq!(
        next,
        [
            "splitter:admin.default.default",
            "resolver:v2.web.default.default.dc1",
            "splitter:web.default.default"
        ]
    );
    assert_eq!(
        routes[0]["Definition"]["Match"]["HTTP"]["Methods"],
        json!(["GET"])
    );
    assert_eq!(
        routes[1]["Definition"]["Destination"]["RequestTimeout"],
        "1m0s"
    );
    let splits = &chain["Nodes"]["splitter:web.default.default"]["Splits"];
    let shares: Vec<(&str, f64)> = splits
        .as_array()
        .unwrap()
        .iter()
        .map(|split| {
            (
                split["NextNode"].as_str().unwrap(),
                split["Weight"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shares,
        [
            ("resolver:v1.web.default.default.dc1", 90.0),
            ("resolver:admin.default.default.dc1", 5.0),
            ("resolver:v2.web.default.default.dc1", 5.0),
        ]
    );
    let failover = |subset: &str| {
        chain["Nodes"][format!("resolver:{subset}.web.default.default.dc1")]["Resolver"]["Failover"]
            .clone()
    };
    assert_eq!(
        failover("v1"),
        json!({"Targets": ["v1.web.default.default.dc2"]})
    );
    assert_eq!(
        failover("v2"),
        json!({"Targets": ["backup.default.default.dc1"]})
    );
    let targets: Vec<&String> = chain["Targets"].as_object().unwrap().keys().collect();
    assert_eq!(targets.len(), 5, "{targets:?}");

    // What would break the chain is refused, whichever entry it is.
    for (method, path, body, words) in [
        (
            "PUT",
            "/v1/config",
            json!({"Kind": "service-defaults", "Name": "admin", "Protocol": "tcp"}),
            "uses inconsistent protocols",
        ),
        (
            "PUT",
            "/v1/config",
            json!({"Kind": "service-resolver", "Name": "web"}),
            "does not have a subset named",
        ),
        (
            "PUT",
            "/v1/config",
            json!({"Kind": "service-resolver", "Name": "web", "Redirect": {"Service": "old"},
            "Subsets": {"v1": {}, "v2": {}}}),
            "circular resolver redirect",
        ),
        (
            "PUT",
            "/v1/config",
            json!({"Kind": "service-splitter", "Name": "admin", "Splits": [{"Weight": 100, "Service": "web"}]}),
            "detected circular reference: [",
        ),
        (
            "DELETE",
            "/v1/config/service-defaults/web",
            json!({}),
            "inconsistent protocols",
        ),
    ] {
        let answer = world
            .send(method, path, &[], body.to_string().as_bytes())
            .await;
        assert!(
            answer.status == 500 && answer.text().contains(words),
            "{body}: {} {}",
            answer.status,
            answer.text()
        );
    }
}

#[tokio::test]
async fn gateways_lead_to_services() {
    let world = World::new().await;
    for body in [
        json!({"Node": "bar", "Address": "10.0.0.1", "Service": {"Service": "redis", "Port": 6379}}),
        json!({"Node": "bar", "Address": "10.0.0.1", "Service": {"Service": "gate", "Kind": "ingress-gateway", "Port": 8443}}),
    ] {
        world
            .put_json("/v1/catalog/register", &body)
            .await
            .is(200, "true");
    }
    let before = world.get("/v1/catalog/gateway-services/end").await;
    assert_eq!(before.json(), json!([]));
    let waits = world.background(&format!(
        "/v1/catalog/gateway-services/end?index={}&wait=30s",
        before.index()
    ));
    world.waiting(1).await;
    let files = json!({"Name": "*", "CAFile": "a", "CertFile": "b", "KeyFile": "c"});
    let entry = json!({"Kind": "terminating-gateway", "Name": "end", "Services": [{"Name": "api", "SNI": "x"}, files]});
    put(&world, &entry).await;
    let rows = waits.await.unwrap().json();
    assert_eq!(
        rows,
        json!([
            {"Gateway": {"Name": "end"}, "Service": {"Name": "api"}, "GatewayKind": "terminating-gateway", "SNI": "x"},
            {"Gateway": {"Name": "end"}, "Service": {"Name": "redis"}, "GatewayKind": "terminating-gateway",
             "CAFile": "a", "CertFile": "b", "KeyFile": "c", "FromWildcard": true},
        ])
    );
    let lookup = "/v1/health/ingress/redis?passing";
    let before = world.get(lookup).await;
    assert_eq!(before.json(), json!([]));
    let waits = world.background(&format!("{lookup}&index={}&wait=30s", before.index()));
    world.waiting(1).await;
    let entry = json!({"Kind": "ingress-gateway", "Name": "gate", "Listeners": [{"Port": 80, "Services": [{"Name": "redis"}]}]});
    put(&world, &entry).await;
    let found = waits.await.unwrap().json();
    assert_eq!(super::harness::pluck(&found, "Service.Service"), ["gate"]);
    let clash = json!({"Kind": "terminating-gateway", "Name": "gate"});
    world.put_json("/v1/config", &clash).await.says(
        500,
        "a \"ingress-gateway\" config entry with that name already exists",
    );
}

/// Each entry is small, and together they would be a hundred million shares.
#[tokio::test]
async fn splitters_that_multiply_are_refused_before_they_are_built() {
    let world = World::new().await;
    let spelled = |letter: char, number: usize| -> String {
        let one = |bit: usize| match number >> bit & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter,
        };
        (0..12).map(one).collect()
    };
    let many = |letter: char| -> Vec<serde_json::Value> {
        let share =
            |n| json!({"Weight": if n == 0 { 100 } else { 0 }, "Service": spelled(letter, n)});
        (0..4096).map(share).collect()
    };
    for name in [spelled('a', 0), spelled('b', 0), spelled('c', 0)] {
        let entry = json!({"Kind": "service-defaults", "Name": name, "Protocol": "http"});
        world.put_json("/v1/config", &entry).await.is(200, "true");
    }
    let splitter = |name: String, splits: Vec<serde_json::Value>| json!({"Kind": "service-splitter", "Name": name, "Splits": splits});
    let inner = splitter(spelled('b', 0), many('c'));
    assert_eq!(world.put_json("/v1/config", &inner).await.status, 200);
    let outer = splitter(spelled('a', 0), many('b'));
    let answer = world.put_json("/v1/config", &outer).await;
    assert!(
        answer
            .text()
            .contains("splitters lead to more than 10000 shares"),
        "{}",
        answer.text()
    );
}
