//! Pushes by UDP to clients of 1.x.

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::client::{SOON, Server, hosts_of};

#[tokio::test]
async fn a_client_that_asks_with_its_port_is_told() {
    let server = Server::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let path =
        format!("/nacos/v1/ns/instance/list?serviceName=web&udpPort={port}&clientIP=10.9.9.9");
    let asked = server
        .send(
            "GET",
            &path,
            &[("User-Agent", "Nacos-Java-Client:v1.4.6")],
            "",
        )
        .await;
    assert_eq!(asked.status, 200);
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=web&ip=1.1.1.1&port=80")
        .await;
    let mut buffer = vec![0; 65_536];
    let (length, from) = timeout(SOON, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    let push: Value = serde_json::from_slice(&buffer[..length]).unwrap();
    assert_eq!(push["type"], "dom");
    let info: Value = serde_json::from_str(push["data"].as_str().unwrap()).unwrap();
    assert_eq!(info["name"], "DEFAULT_GROUP@@web");
    assert_eq!(hosts_of(&info), [("1.1.1.1:80".to_owned(), true)]);
    let ack =
        json!({"type": "push-ack", "lastRefTime": push["lastRefTime"].to_string(), "data": ""});
    socket
        .send_to(ack.to_string().as_bytes(), from)
        .await
        .unwrap();
    let subscribers = server
        .json("GET /nacos/v1/ns/service/subscribers?serviceName=web")
        .await;
    assert_eq!(subscribers["count"], 1);
    // Strangers are not told, whatever port they name.
    let stranger = server
        .call(&format!(
            "GET /nacos/v1/ns/instance/list?serviceName=other&udpPort={port}"
        ))
        .await;
    assert_eq!(stranger.status, 200);
    let none = server
        .json("GET /nacos/v1/ns/service/subscribers?serviceName=other")
        .await;
    assert_eq!(none["count"], 0);
}
