//! Channels of gRPC, which ask for the state of the world.

use portolan_protocol_xds::wire::cluster::{Cluster, DiscoveryType, LbPolicy};
use portolan_protocol_xds::wire::listener::{
    HttpConnectionManager, Listener, ROUTER, RouteSpecifier,
};
use portolan_protocol_xds::wire::route::{ClusterSpecifier, RouteConfiguration, RouteKind};
use portolan_protocol_xds::wire::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::support::{Server, World, assigned, grpc, instance, refusal, unpack};

/// The routes in a listener of a channel.
fn routes(listener: &Listener) -> RouteConfiguration {
    let api = listener
        .api_listener
        .as_ref()
        .unwrap()
        .api_listener
        .as_ref();
    let manager: HttpConnectionManager = unpack(api.unwrap());
    assert_eq!(manager.http_filters.len(), 1);
    let router = manager.http_filters[0].typed_config.as_ref().unwrap();
    assert_eq!(router.type_url, ROUTER);
    match manager.routes {
        Some(RouteSpecifier::Inline(routes)) => routes,
        other => panic!("{other:?}"),
    }
}

fn cluster_of(routes: &RouteConfiguration) -> &str {
    let [host] = &*routes.virtual_hosts else {
        panic!("{routes:?}");
    };
    assert_eq!(host.domains, ["*"]);
    match &host.routes[0].kind {
        Some(RouteKind::Route(action)) => match &action.cluster {
            Some(ClusterSpecifier::Cluster(name)) => name,
            None => panic!("{routes:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A channel on `web` that has all it needs.
async fn channel(server: &Server) -> World {
    let mut stream = server.world(grpc()).await;
    let listener = stream.get(LISTENER, &["web"]).await;
    assert_eq!(cluster_of(&routes(&unpack(&listener.resources[0]))), "web");
    stream.get(CLUSTER, &["web"]).await;
    stream.get(ASSIGNMENT, &["web"]).await;
    stream
}

#[tokio::test]
async fn a_channel_follows_its_service() {
    let server = Server::start().await;
    let first = server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.world(grpc()).await;
    let listener = stream.get(LISTENER, &["web"]).await;
    assert_eq!(listener.control_plane.unwrap().identifier, "portolan");
    let listener: Listener = unpack(&listener.resources[0]);
    assert_eq!(listener.name, "web");
    assert_eq!(cluster_of(&routes(&listener)), "web");
    let cluster: Cluster = unpack(&stream.get(CLUSTER, &["web"]).await.resources[0]);
    assert_eq!(cluster.r#type(), DiscoveryType::Eds);
    assert_eq!(cluster.lb_policy(), LbPolicy::RoundRobin);
    let assignment = stream.get(ASSIGNMENT, &["web"]).await;
    assert_eq!(assignment.version_info, first.to_string());
    assert_eq!(assigned(&assignment)["web"], ["10.0.0.1:80 HEALTHY"]);
    stream.quiet().await;

    // Another service is no news; then one kind alone is told.
    server.register(instance("db", "10.0.0.9", 80)).await;
    let second = server.register(instance("web", "10.0.0.2", 80)).await;
    let assignment = stream.of(ASSIGNMENT).await;
    assert_eq!(assignment.version_info, second.to_string());
    assert_eq!(
        assigned(&assignment)["web"],
        ["10.0.0.1:80 HEALTHY", "10.0.0.2:80 HEALTHY"]
    );
    stream.accept(&assignment, &["web"]).await;
    stream.quiet().await;

    // Whoever loses the last instance is told so.
    server.deregister("web", "10.0.0.1", 80).await;
    let assignment = stream.of(ASSIGNMENT).await;
    stream.accept(&assignment, &["web"]).await;
    server.deregister("web", "10.0.0.2", 80).await;
    assert!(assigned(&stream.of(ASSIGNMENT).await)["web"].is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_answered_at_once_and_comes_when_it_is() {
    let server = Server::start().await;
    let mut stream = server.world(grpc()).await;
    let names = ["web.default.svc.cluster.local:80", "WEB"];
    stream.ask(LISTENER, &names).await;
    let listeners = stream.of(LISTENER).await;
    assert!(listeners.resources.is_empty());
    stream.accept(&listeners, &names).await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let listeners = stream.of(LISTENER).await;
    let found: Vec<Listener> = listeners.resources.iter().map(unpack).collect();
    let spelled: Vec<&str> = found.iter().map(|listener| &*listener.name).collect();
    assert_eq!(spelled, ["WEB", "web.default.svc.cluster.local:80"]);
    for listener in &found {
        assert_eq!(cluster_of(&routes(listener)), "web");
    }
    // An assignment that is asked for is always answered: a client waits for it.
    let nobody = stream.get(ASSIGNMENT, &["nobody"]).await;
    assert!(assigned(&nobody)["nobody"].is_empty());
}

#[tokio::test]
async fn a_refused_response_is_not_repeated_and_is_told_of() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = channel(&server).await;
    server.register(instance("web", "10.0.0.2", 80)).await;
    let refused = stream.of(ASSIGNMENT).await;
    stream
        .answer(&refused, &["web"], refusal("no room for \"web\""))
        .await;
    stream.quiet().await;
    let service = portolan_catalog::ServiceKey::plain("web");
    let state = server.registry.snapshot();
    let said = server.remarks.of(&state, &service);
    assert_eq!(said.len(), 1, "{said:?}");
    let version = &refused.version_info;
    let expected = format!(
        "refused the EDS response of version {version}, and goes on with what it had: no room for \"web\""
    );
    assert!(said[0].contains(&expected), "{said:?}");
    assert!(said[0].contains("gRPC Go \"test\""), "{said:?}");

    server.register(instance("web", "10.0.0.3", 80)).await;
    let better = stream.of(ASSIGNMENT).await;
    assert_eq!(assigned(&better)["web"].len(), 3);
    stream.accept(&better, &["web"]).await;
    stream.quiet().await;
    assert!(server.remarks.of(&state, &service).is_empty());
}

#[tokio::test]
async fn an_answer_to_an_older_response_counts_for_nothing() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.world(grpc()).await;
    let first = stream.get(ASSIGNMENT, &["web"]).await;
    server.register(instance("web", "10.0.0.2", 80)).await;
    let second = stream.of(ASSIGNMENT).await;
    assert_ne!(first.nonce, second.nonce);
    // It would ask for another name and drop this one.
    stream.accept(&first, &["fence"]).await;
    stream.quiet().await;
    stream.accept(&second, &["web", "fence"]).await;
    let third = stream.of(ASSIGNMENT).await;
    let told: Vec<String> = assigned(&third).into_keys().collect();
    assert_eq!(told, ["fence"], "what it has is not sent again");
}

#[tokio::test]
async fn a_client_that_comes_back_is_answered_whatever_it_has() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let first = server.world(grpc()).await.get(CLUSTER, &["web"]).await;
    let mut stream = server.world(grpc()).await;
    stream
        .send(portolan_protocol_xds::wire::discovery::DiscoveryRequest {
            version_info: first.version_info.clone(),
            type_url: CLUSTER.to_owned(),
            resource_names: vec!["web".to_owned()],
            ..Default::default()
        })
        .await;
    let again = stream.of(CLUSTER).await;
    assert_eq!(again.resources, first.resources);
}

#[tokio::test]
async fn what_is_gone_goes_after_what_points_to_it() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = channel(&server).await;
    server.deregister("web", "10.0.0.1", 80).await;
    let empty = stream.of(ASSIGNMENT).await;
    stream.accept(&empty, &["web"]).await;
    server.forget("web").await;
    let listeners = stream.of(LISTENER).await;
    assert!(listeners.resources.is_empty());
    stream.quiet().await;
    stream.accept(&listeners, &["web"]).await;
    let clusters = stream.of(CLUSTER).await;
    assert!(clusters.resources.is_empty());
}

#[tokio::test]
async fn routes_can_be_asked_for_by_name() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.world(grpc()).await;
    let response = stream.get(ROUTES, &["web"]).await;
    let routes: RouteConfiguration = unpack(&response.resources[0]);
    assert_eq!((&*routes.name, cluster_of(&routes)), ("web", "web"));
}

#[tokio::test]
async fn a_server_of_grpc_gets_the_listener_of_its_address() {
    let server = Server::start().await;
    let mut stream = server.world(grpc()).await;
    let name = "grpc/server?xds.resource.listening_address=[::]:50051";
    let response = stream.get(LISTENER, &[name]).await;
    let listener: Listener = unpack(&response.resources[0]);
    assert_eq!(listener.name, name);
    let address = listener.address.unwrap().socket_address.unwrap();
    assert_eq!((&*address.address, address.port_value), ("::", 50051));
    let filter = &listener.filter_chains[0].filters[0];
    let manager: HttpConnectionManager = unpack(filter.typed_config.as_ref().unwrap());
    let Some(RouteSpecifier::Inline(routes)) = manager.routes else {
        panic!("{manager:?}");
    };
    let route = &routes.virtual_hosts[0].routes[0];
    assert!(matches!(route.kind, Some(RouteKind::NonForwarding(()))));
}
