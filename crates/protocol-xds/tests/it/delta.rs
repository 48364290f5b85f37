//! Differences.

use portolan_protocol_xds::wire::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::support::{Server, endpoints, envoy, grpc, instance, names, unpack};

#[tokio::test]
async fn only_differences_are_told() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.delta(envoy()).await;
    stream.ask(CLUSTER, &[], &[]).await;
    let first = stream.of(CLUSTER).await;
    assert_eq!(names(&first), (vec!["fence", "web"], vec![]));
    stream.ask(ASSIGNMENT, &["web", "fence"], &[]).await;
    assert_eq!(names(&stream.of(ASSIGNMENT).await).0.len(), 2);
    stream.ask(LISTENER, &[], &[]).await;
    assert_eq!(names(&stream.of(LISTENER).await).0, ["portolan"]);
    stream.ask(ROUTES, &["portolan"], &[]).await;
    stream.of(ROUTES).await;

    server.register(instance("web", "10.0.0.2", 80)).await;
    let changed = stream.of(ASSIGNMENT).await;
    assert_eq!(names(&changed), (vec!["web"], vec![]));
    let assignment = unpack(changed.resources[0].resource.as_ref().unwrap());
    assert_eq!(endpoints(&assignment).len(), 2);

    server.register(instance("db", "10.0.0.3", 80)).await;
    assert_eq!(names(&stream.of(CLUSTER).await), (vec!["db"], vec![]));
    stream.of(ROUTES).await;

    server.deregister("db", "10.0.0.3", 80).await;
    server.forget("db").await;
    stream.of(ROUTES).await;
    assert_eq!(names(&stream.of(CLUSTER).await), (vec![], vec!["db"]));
}

#[tokio::test]
async fn names_are_asked_for_and_given_back() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.delta(grpc()).await;
    stream.ask(CLUSTER, &["web", "nobody"], &[]).await;
    let first = stream.of(CLUSTER).await;
    assert_eq!(names(&first), (vec!["web"], vec!["nobody"]));
    // Again is answered again.
    stream.ask(CLUSTER, &["web"], &[]).await;
    assert_eq!(names(&stream.of(CLUSTER).await), (vec!["web"], vec![]));
    server.register(instance("nobody", "10.0.0.2", 80)).await;
    assert_eq!(names(&stream.of(CLUSTER).await), (vec!["nobody"], vec![]));
    // What was given back is no news any more.
    stream.ask(CLUSTER, &["fence"], &["nobody"]).await;
    assert_eq!(names(&stream.of(CLUSTER).await), (vec!["fence"], vec![]));
    server.deregister("nobody", "10.0.0.2", 80).await;
    server.forget("nobody").await;
    stream.ask(CLUSTER, &["web"], &[]).await;
    assert_eq!(names(&stream.of(CLUSTER).await), (vec!["web"], vec![]));
}

#[tokio::test]
async fn who_comes_back_is_told_what_changed_meanwhile() {
    let server = Server::start().await;
    server.register(instance("web", "10.0.0.1", 80)).await;
    let mut stream = server.delta(envoy()).await;
    stream.ask(ASSIGNMENT, &["web", "fence"], &[]).await;
    let first = stream.of(ASSIGNMENT).await;
    let versions: Vec<(&str, &str)> = first
        .resources
        .iter()
        .map(|one| (&*one.name, &*one.version))
        .collect();
    drop(stream);
    server.register(instance("web", "10.0.0.2", 80)).await;
    let mut stream = server.delta(envoy()).await;
    stream
        .ask_again(ASSIGNMENT, &["web", "fence"], &versions)
        .await;
    assert_eq!(names(&stream.of(ASSIGNMENT).await), (vec!["web"], vec![]));

    let mut stream = server.delta(envoy()).await;
    let has = [("web", "0000000000000000"), ("lost", "0000000000000001")];
    stream.ask_again(CLUSTER, &[], &has).await;
    let told = stream.of(CLUSTER).await;
    assert_eq!(names(&told), (vec!["fence", "web"], vec![]));
    assert_eq!(names(&stream.of(CLUSTER).await), (vec![], vec!["lost"]));
}
