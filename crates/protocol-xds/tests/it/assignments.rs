//! What an assignment says of instances, and to whom.

use std::sync::Arc;

use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Command, Declared, InstanceKey, Locality, Protocol,
    ServiceKey, Weight,
};
use portolan_protocol_xds::wire::ASSIGNMENT;
use portolan_protocol_xds::wire::endpoint::ClusterLoadAssignment;

use crate::support::{Server, endpoints, envoy, grpc, instance, key, node, unpack};

async fn assignment(
    server: &Server,
    node: portolan_protocol_xds::wire::core::Node,
) -> ClusterLoadAssignment {
    let mut stream = server.world(node).await;
    unpack(&stream.get(ASSIGNMENT, &["web"]).await.resources[0])
}

/// Per locality: region, zone, sub-zone, priority, weight, and how many endpoints it has.
fn places(assignment: &ClusterLoadAssignment) -> Vec<(String, String, String, u32, u32, usize)> {
    let of_one = |place: &portolan_protocol_xds::wire::endpoint::LocalityLbEndpoints| {
        let locality = place.locality.clone().unwrap();
        (
            locality.region,
            locality.zone,
            locality.sub_zone,
            place.priority,
            place.load_balancing_weight.unwrap(),
            place.lb_endpoints.len(),
        )
    };
    assignment.endpoints.iter().map(of_one).collect()
}

fn place(region: &str, zone: &str) -> Option<Arc<Locality>> {
    Some(Arc::new(Locality {
        region: region.into(),
        zone: zone.into(),
    }))
}

fn row(
    region: &str,
    zone: &str,
    sub_zone: &str,
    priority: u32,
    weight: u32,
    count: usize,
) -> (String, String, String, u32, u32, usize) {
    (
        region.into(),
        zone.into(),
        sub_zone.into(),
        priority,
        weight,
        count,
    )
}

#[tokio::test]
async fn health_is_that_of_the_endpoint() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut down = instance("web", "10.0.0.2", 80);
    down.declared = Declared::Down;
    server.register(down).await;
    server.register(instance("web", "10.0.0.3", 80)).await;
    server
        .command(Command::SetAdmin {
            target: AdminTarget::Instance(key("web", "10.0.0.3", 80)),
            admin: Some(Arc::new(Admin {
                status: AdminStatus::Draining,
                reason: "moving".into(),
                by: Protocol::Native,
            })),
            declared: None,
        })
        .await;
    // A host name has no place in an assignment, an instance without a port no way to be called.
    server
        .register(instance("web", "web.example.com", 80))
        .await;
    server.register(instance("web", "10.0.0.4", 0)).await;
    let told = assignment(&server, grpc()).await;
    assert_eq!(
        endpoints(&told),
        [
            "10.0.0.1:80 HEALTHY",
            "10.0.0.2:80 UNHEALTHY",
            "10.0.0.3:80 DRAINING"
        ]
    );
    let state = server.registry.snapshot();
    let said = server.remarks.of(&state, &ServiceKey::plain("web"));
    assert_eq!(
        said,
        ["xDS: instances without an IP address or without a port are left out of assignments: 2"]
    );
}

#[tokio::test]
async fn twins_are_one_endpoint() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut twin = instance("web", "10.0.0.1", 80);
    twin.key = InstanceKey::new(Protocol::Eureka, "WEB/1");
    server.register(twin).await;
    let told = assignment(&server, grpc()).await;
    assert_eq!(endpoints(&told), ["10.0.0.1:80 HEALTHY"]);
}

#[tokio::test]
async fn the_own_region_comes_first() {
    let server = Server::start().await;
    for (host, region, zone) in [
        ("10.0.0.1", "east", "a"),
        ("10.0.0.2", "east", "b"),
        ("10.0.0.3", "west", "c"),
    ] {
        let mut facts = instance("web", host, 80);
        facts.locality = place(region, zone);
        server.register(facts).await;
    }
    server.register(instance("web", "10.0.0.4", 80)).await;
    let near_east = assignment(&server, node("gRPC Go", "east")).await;
    assert_eq!(
        places(&near_east),
        [
            row("east", "a", "", 0, 1000, 1),
            row("east", "b", "", 0, 1000, 1),
            row("dc1", "", "", 1, 1000, 1),
            row("west", "c", "", 1, 1000, 1),
        ]
    );
    // Who is near to nobody, or says nothing, has no gap in its priorities.
    for region in ["north", ""] {
        let told = assignment(&server, node("gRPC Go", region)).await;
        assert!(places(&told).iter().all(|place| place.3 == 0), "{region}");
    }
    let mut facts = instance("web", "10.0.0.1", 80);
    facts.locality = place("east", "a");
    facts.meta = [("xds-prefer", "zone")].into_iter().collect();
    server.register(facts).await;
    let mut here = node("gRPC Go", "east");
    here.locality.as_mut().unwrap().zone = "b".to_owned();
    let told = places(&assignment(&server, here).await);
    let order: Vec<(&str, u32)> = told.iter().map(|place| (&*place.1, place.3)).collect();
    assert_eq!(order, [("b", 0), ("a", 1), ("", 2), ("c", 2)]);
}

#[tokio::test]
async fn weights_reach_both_kinds_of_clients() {
    let server = Server::start().await;
    for (host, weight) in [
        ("10.0.0.1", 1000),
        ("10.0.0.2", 3000),
        ("10.0.0.3", 3000),
        ("10.0.0.4", 0),
    ] {
        let mut facts = instance("web", host, 80);
        facts.weight = Weight(weight);
        facts.meta = [("team", "a")].into_iter().collect();
        facts.tags = Arc::from(["v1".into()]);
        server.register(facts).await;
    }
    let channels = assignment(&server, grpc()).await;
    assert_eq!(
        places(&channels),
        [
            row("dc1", "", "", 0, 1000, 1),
            row("dc1", "", "w3000", 0, 6000, 2)
        ]
    );
    assert!(channels.endpoints[0].lb_endpoints[0].metadata.is_none());
    let proxies = assignment(&server, envoy()).await;
    assert_eq!(places(&proxies), [row("dc1", "", "", 0, 7000, 3)]);
    let one = &proxies.endpoints[0].lb_endpoints[1];
    assert_eq!(one.load_balancing_weight, Some(3000));
    let fields = &one.metadata.as_ref().unwrap().filter_metadata["portolan"].fields;
    let found: Vec<&str> = fields.keys().map(|key| &**key).collect();
    assert_eq!(found, ["tags", "team"]);

    // What would not fit is made smaller, and nothing of it nothing.
    for (host, weight) in [("10.0.0.2", u32::MAX), ("10.0.0.3", u32::MAX)] {
        let mut facts = instance("web", host, 80);
        facts.weight = Weight(weight);
        server.register(facts).await;
    }
    let told = assignment(&server, envoy()).await;
    let weights = told.endpoints[0].lb_endpoints.iter();
    let weights: Vec<u64> = weights
        .map(|one| one.load_balancing_weight.unwrap().into())
        .collect();
    assert!(
        weights.iter().sum::<u64>() <= u64::from(u32::MAX),
        "{weights:?}"
    );
    assert!(weights.iter().all(|weight| *weight >= 1), "{weights:?}");
}
