//! A stream has what its caller may discover.

use std::sync::Arc;

use portolan_listener::{Action, Decision, Policy, Principal, Resource};
use portolan_protocol_xds::wire::cluster::Cluster;
use portolan_protocol_xds::wire::route::RouteConfiguration;
use portolan_protocol_xds::wire::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::support::{Server, assigned, envoy, grpc, instance, unpack};

/// Everybody may discover `web` and `fence`, and nobody anything else.
#[derive(Debug)]
struct WebAlone;

impl Policy for WebAlone {
    fn decide(&self, _: &Principal, action: Action, resource: Resource<'_>) -> Decision {
        match (action, resource) {
            (
                Action::Discover,
                Resource::Service {
                    name: "web" | "fence",
                    ..
                },
            )
            | (_, Resource::Public) => Decision::Allow,
            _ => Decision::Deny,
        }
    }
}

#[tokio::test]
async fn what_may_not_be_seen_is_not_there() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    server.register(instance("secret", "10.0.0.2", 80)).await;
    server.context.set_policy(Some(Arc::new(WebAlone)));
    let mut stream = server.world(envoy()).await;
    let all = stream.get(CLUSTER, &[]).await;
    let names: Vec<Cluster> = all.resources.iter().map(unpack).collect();
    let names: Vec<&str> = names.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["fence", "web"]);
    let table: RouteConfiguration = unpack(&stream.get(ROUTES, &["portolan"]).await.resources[0]);
    assert_eq!(table.virtual_hosts.len(), 2);

    let mut stream = server.world(grpc()).await;
    let listeners = stream.get(LISTENER, &["secret", "web"]).await;
    assert_eq!(listeners.resources.len(), 1);
    let assignments = stream.get(ASSIGNMENT, &["secret"]).await;
    assert!(assigned(&assignments)["secret"].is_empty());
    // Its changes are none here.
    server.register(instance("secret", "10.0.0.3", 80)).await;
    server.register(instance("web", "10.0.0.3", 80)).await;
    stream.quiet().await;
}
