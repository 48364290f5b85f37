//! Envoy: everything by no name, one listener, one table of routes.

use std::collections::BTreeMap;

use portolan_catalog::{Command, Protocol, ServiceKey, ServiceSettings};
use portolan_protocol_xds::wire::cluster::{Cluster, HTTP_OPTIONS_KEY, LbPolicy};
use portolan_protocol_xds::wire::listener::{HttpConnectionManager, Listener, RouteSpecifier};
use portolan_protocol_xds::wire::route::{RouteConfiguration, RouteKind, VirtualHost};
use portolan_protocol_xds::wire::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::support::{Server, World, assigned, envoy, instance, unpack};

fn clusters(response: &portolan_protocol_xds::wire::discovery::DiscoveryResponse) -> Vec<Cluster> {
    response.resources.iter().map(unpack).collect()
}

fn hosts(
    response: &portolan_protocol_xds::wire::discovery::DiscoveryResponse,
) -> BTreeMap<String, VirtualHost> {
    let table: RouteConfiguration = unpack(&response.resources[0]);
    assert!(table.ignore_port_in_host_matching);
    let hosts = table.virtual_hosts.into_iter();
    hosts.map(|host| (host.name.clone(), host)).collect()
}

/// A proxy that has all it asks for.
async fn proxy(server: &Server) -> World {
    let mut stream = server.world(envoy()).await;
    let all = stream.get(CLUSTER, &[]).await;
    let names: Vec<String> = clusters(&all).into_iter().map(|one| one.name).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    stream.get(ASSIGNMENT, &names).await;
    stream.get(LISTENER, &[]).await;
    stream.get(ROUTES, &["portolan"]).await;
    stream
}

#[tokio::test]
async fn a_proxy_gets_everything_and_one_listener() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.world(envoy()).await;
    let all = stream.get(CLUSTER, &[]).await;
    let found = clusters(&all);
    let names: Vec<&str> = found.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["fence", "web"], "without the servers' own service");
    assert!(
        found[1]
            .typed_extension_protocol_options
            .contains_key(HTTP_OPTIONS_KEY)
    );
    let listeners = stream.get(LISTENER, &[]).await;
    assert_eq!(listeners.resources.len(), 1);
    let listener: Listener = unpack(&listeners.resources[0]);
    let address = listener.address.unwrap().socket_address.unwrap();
    assert_eq!(
        (&*address.address, address.port_value),
        ("127.0.0.1", 10000)
    );
    let filter = &listener.filter_chains[0].filters[0];
    let manager: HttpConnectionManager = unpack(filter.typed_config.as_ref().unwrap());
    let Some(RouteSpecifier::Rds(rds)) = manager.routes else {
        panic!("{manager:?}");
    };
    let table = hosts(&stream.get(ROUTES, &[&rds.route_config_name]).await);
    assert_eq!(
        table["web"].domains,
        [
            "web",
            "web.service.consul",
            "web.default.svc.cluster.local",
            "web.default.svc",
            "web.default"
        ]
    );
    let assignments = stream.get(ASSIGNMENT, &["fence", "web"]).await;
    assert_eq!(assigned(&assignments)["web"], ["10.0.0.1:80 HEALTHY"]);
}

#[tokio::test]
async fn a_new_service_is_a_cluster_before_it_is_a_route() {
    let server = Server::start().await;
    let mut stream = proxy(&server).await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let all = stream.of(CLUSTER).await;
    assert_eq!(clusters(&all).len(), 2);
    let table = stream.of(ROUTES).await;
    assert!(hosts(&table).contains_key("web"));
    stream.accept(&all, &[]).await;
    stream.accept(&table, &["portolan"]).await;

    // A further instance is no change of either.
    server.register(instance("web", "10.0.0.2", 80)).await;
    server.register(instance("fence", "10.255.0.2", 1)).await;
    assert!(assigned(&stream.of(ASSIGNMENT).await).contains_key("fence"));

    // Gone: first from the routes, and when the client has answered for those, from the clusters.
    server.deregister("web", "10.0.0.1", 80).await;
    server.deregister("web", "10.0.0.2", 80).await;
    server.forget("web").await;
    let table = stream.of(ROUTES).await;
    assert!(!hosts(&table).contains_key("web"));
    stream.accept(&table, &["portolan"]).await;
    assert_eq!(clusters(&stream.of(CLUSTER).await).len(), 1);
}

#[tokio::test]
async fn a_domain_is_of_one_service_alone() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    // What another service would be called in a cluster.
    server
        .register(instance("web.default", "10.0.0.2", 80))
        .await;
    server.register(instance("*", "10.0.0.3", 80)).await;
    let mut stream = server.world(envoy()).await;
    let table = hosts(&stream.get(ROUTES, &["portolan"]).await);
    assert_eq!(table["web.default"].domains[0], "web.default");
    assert!(!table["web"].domains.contains(&"web.default".to_owned()));
    let mut all: Vec<&String> = table.values().flat_map(|host| &host.domains).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(all.iter().all(|domain| !domain.contains('*')), "{all:?}");
}

#[tokio::test]
async fn metadata_says_how_a_service_is_called() {
    let server = Server::start().await;
    let mut facts = instance("web", "10.0.0.1", 80);
    facts.meta = [
        ("xds-lb-policy", "least_request"),
        ("xds-max-requests", "7"),
        ("xds-outlier-consecutive-5xx", "3"),
        ("xds-retry-on", "5xx"),
        ("xds-num-retries", "2"),
        ("xds-timeout", "1500ms"),
        ("xds-bad", "x"),
    ]
    .into_iter()
    .collect();
    server.register(facts).await;
    let mut stream = server.world(envoy()).await;
    let response = stream.get(CLUSTER, &["web"]).await;
    let cluster = clusters(&response).remove(0);
    assert_eq!(cluster.lb_policy(), LbPolicy::LeastRequest);
    let breaker = &cluster.circuit_breakers.unwrap().thresholds[0];
    assert_eq!((breaker.max_requests, breaker.max_retries), (Some(7), None));
    assert_eq!(cluster.outlier_detection.unwrap().consecutive_5xx, Some(3));
    let table = hosts(&stream.get(ROUTES, &["portolan"]).await);
    let Some(RouteKind::Route(action)) = &table["web"].routes[0].kind else {
        panic!("{table:?}");
    };
    let retries = action.retry_policy.as_ref().unwrap();
    assert_eq!((&*retries.retry_on, retries.num_retries), ("5xx", Some(2)));
    let timeout = action.timeout.unwrap();
    assert_eq!((timeout.seconds, timeout.nanos), (1, 500_000_000));
    let state = server.registry.snapshot();
    let said = server.remarks.of(&state, &ServiceKey::plain("web"));
    assert_eq!(
        said,
        ["xDS: the metadata \"xds-bad\" = \"x\" cannot be read, and is as if it were not there"]
    );

    // The service's own settings come first. A cluster that is sent anew is warmed with its assignment, though that is what it was.
    stream.get(ASSIGNMENT, &["web"]).await;
    let settings = ServiceSettings {
        meta: [("xds-max-requests", "9")].into_iter().collect(),
        ..ServiceSettings::default()
    };
    server
        .command(Command::Declare {
            service: ServiceKey::plain("web"),
            spelling: "web".into(),
            protocol: Protocol::Nacos,
            settings: Some(settings.into()),
            ephemeral: None,
            create_only: false,
        })
        .await;
    let response = stream.of(CLUSTER).await;
    let breaker = clusters(&response).remove(0).circuit_breakers.unwrap();
    assert_eq!(breaker.thresholds[0].max_requests, Some(9));
    stream.of(ASSIGNMENT).await;
}
