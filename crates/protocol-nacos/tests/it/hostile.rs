//! Bytes that no client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Rpc, SOON, Server};

#[tokio::test]
async fn nonsense_is_refused_and_others_are_served() {
    let server = Server::start().await;
    let long = "x".repeat(5000);
    let many = "a=1&".repeat(2000);
    let lines = [
        "POST /nacos/v1/ns/instance?serviceName=%00&ip=1.1.1.1&port=80".to_owned(),
        "POST /nacos/v1/ns/instance?serviceName=%ff&ip=1.1.1.1&port=80".to_owned(),
        "POST /nacos/v1/ns/instance?serviceName=@@&ip=1.1.1.1&port=80".to_owned(),
        format!("POST /nacos/v1/ns/instance?serviceName={long}&ip=1.1.1.1&port=80"),
        format!("POST /nacos/v1/ns/instance?serviceName=s&ip={long}&port=80"),
        "POST /nacos/v1/ns/instance?serviceName=s&ip=1.1.1.1&port=99999999999999999999".to_owned(),
        "POST /nacos/v1/ns/instance?serviceName=s&ip=1.1.1.1&port=80&weight=NaN".to_owned(),
        "POST /nacos/v1/ns/instance?serviceName=s&ip=1.1.1.1&port=80&weight=1e308".to_owned(),
        "POST /nacos/v1/ns/instance?serviceName=s&ip=1.1.1.1&port=80&metadata=%7B".to_owned(),
        "PUT /nacos/v1/ns/instance/beat?serviceName=s&beat=%5B%5D".to_owned(),
        format!("GET /nacos/v1/ns/instance/list?{many}"),
        "GET /nacos/v1/cs/configs?dataId=..%2F..&group=g".to_owned(),
        "GET /nacos/v1/ns/service/list?pageNo=-1&pageSize=99999999999999999999".to_owned(),
        "PUT /nacos/v1/ns/cluster?serviceName=s&clusterName=c&healthChecker=null".to_owned(),
    ];
    for line in &lines {
        let answer = server.call(line).await;
        assert!(
            (400..500).contains(&answer.status),
            "{line:.80}: {} {}",
            answer.status,
            answer.text()
        );
    }
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=s&ip=1.1.1.1&port=80")
        .await;
}

#[tokio::test]
async fn the_grpc_port_speaks_grpc_only() {
    let server = Server::start().await;
    for bytes in [&b"GET /nacos/v1/ns/operator/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"[..], b"\xff\xff\xff\xff"] {
        let mut stream = TcpStream::connect(server.grpc).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    // A connection that is set up twice is the later one.
    let rpc = Rpc::connect(&server).await;
    let _first = rpc.setup(None).await;
    let mut second = rpc.setup(None).await;
    rpc.fine("HealthCheckRequest", serde_json::json!({})).await;
    second.quiet().await;
    server.all_decided("the port");
}
