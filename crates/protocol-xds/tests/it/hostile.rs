//! What no client of good faith sends, and what everybody is refused.

use portolan_protocol_xds::Settings;
use portolan_protocol_xds::wire::discovery::DiscoveryRequest;
use portolan_protocol_xds::wire::{ASSIGNMENT, CLUSTER, LISTENER};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Code;

use crate::support::{ADS, Server, assigned, envoy, grpc, open};

const EDS: &str = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints";

/// Bytes that are not what the method takes.
#[derive(Clone, PartialEq, Message)]
struct Other {
    #[prost(uint64, tag = "1")]
    number: u64,
}

#[tokio::test]
async fn a_type_that_is_not_served_does_not_end_the_stream() {
    let server = Server::start().await;
    let mut stream = server.world(envoy()).await;
    stream
        .ask(
            "type.googleapis.com/envoy.service.runtime.v3.Runtime",
            &["x"],
        )
        .await;
    stream.ask("", &["*"]).await;
    stream.get(CLUSTER, &[]).await;
}

#[tokio::test]
async fn a_stream_of_one_kind_is_about_that_kind() {
    let server = Server::start().await;
    let mut stream = server.world_at(EDS, envoy()).await;
    stream.ask("", &["fence"]).await;
    assert!(assigned(&stream.of(ASSIGNMENT).await).contains_key("fence"));
    stream.ask(CLUSTER, &[]).await;
    let status = stream.end().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn bounds_are_said() {
    let server = Server::with(Settings {
        streams: 1,
        names: 2,
        request_bytes: 64 << 10,
        ..Settings::default()
    })
    .await;
    let mut stream = server.world(grpc()).await;
    stream.get(LISTENER, &["a", "b"]).await;
    let (_asks, received) = mpsc::channel::<DiscoveryRequest>(1);
    let refused = open::<_, DiscoveryRequest>(server.channel().await, ADS, received).await;
    let status = refused.expect_err("one too many");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--xds-streams"), "{status}");
    stream.ask(CLUSTER, &["c"]).await;
    let status = stream.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--xds-names"), "{status}");
    drop(stream);
    // The place is free again as soon as the server has seen the end.
    let mut stream = loop {
        let (asks, received) = mpsc::channel::<DiscoveryRequest>(1);
        match open::<_, DiscoveryRequest>(server.channel().await, ADS, received).await {
            Ok(answers) => break (asks, answers),
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
        tokio::task::yield_now().await;
    };
    let large = DiscoveryRequest {
        type_url: "x".repeat(100 << 10),
        ..DiscoveryRequest::default()
    };
    stream.0.send(large).await.unwrap();
    let status = stream.1.message().await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_stream_with_a_word() {
    let server = Server::start().await;
    let (asks, received) = mpsc::channel(1);
    let opened = open::<Other, DiscoveryRequest>(server.channel().await, ADS, received).await;
    let mut answers = opened.unwrap();
    asks.send(Other { number: 7 }).await.unwrap();
    let status = answers.message().await.expect_err("not a request");
    assert_eq!(status.code(), Code::Internal, "{status}");
}

#[tokio::test]
async fn other_methods_are_not_there() {
    let server = Server::start().await;
    let path = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
    let (_asks, received) = mpsc::channel::<DiscoveryRequest>(1);
    let refused = open::<_, DiscoveryRequest>(server.channel().await, path, received).await;
    let status = refused.expect_err("not served");
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(
        status.message(),
        "unknown method StreamLoadStats for service envoy.service.load_stats.v3.LoadReportingService"
    );
}

#[tokio::test]
async fn a_server_that_goes_down_says_goodbye() {
    let server = Server::start().await;
    let mut stream = server.world(grpc()).await;
    stream.get(LISTENER, &["fence"]).await;
    server.context.drain();
    let status = stream.end().await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn odd_names_are_names_of_nobody() {
    let server = Server::start().await;
    let long = "x".repeat(4096);
    let odd = [
        "",
        "*",
        "a\0b",
        "fence\u{0}",
        &long,
        "..svc",
        "::1",
        "xdstp://a/b",
    ];
    let mut stream = server.world(grpc()).await;
    stream.ask(ASSIGNMENT, &odd).await;
    let told = assigned(&stream.of(ASSIGNMENT).await);
    assert!(told.values().all(Vec::is_empty), "{told:?}");
    stream.quiet().await;
}
