//! Bytes that no client sends.

use portolan_protocol_zookeeper::Settings;
use portolan_protocol_zookeeper::wire::{Opcode, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Server, connect, frame};

#[tokio::test]
async fn lengths_that_cannot_be_end_the_connection_and_nobody_elses() {
    let server = Server::start().await;
    let mut bystander = server.client().await;
    for length in [-1, i32::MIN, 0x10_0000, i32::MAX] {
        let mut fresh = TcpStream::connect(server.address).await.unwrap();
        fresh.write_all(&length.to_be_bytes()).await.unwrap();
        assert_eq!(fresh.read(&mut [0; 8]).await.unwrap_or(0), 0, "{length}");
        let mut client = server.client().await;
        client
            .stream
            .write_all(&length.to_be_bytes())
            .await
            .unwrap();
        assert_eq!(client.next().await, None, "{length}");
        assert_eq!(bystander.ask(Opcode::Ping, |_| {}).await.error, 0);
    }
}

#[tokio::test]
async fn operations_that_are_none_are_refused_and_so_are_the_servers_own() {
    let server = Server::start().await;
    for number in [0, 10, 13, 20, 23, 108, -10, -1, i32::MAX] {
        let mut client = server.client().await;
        let mut writer = Writer::default();
        writer.int(5).int(number).text("/a");
        client.stream.write_all(&writer.finish()).await.unwrap();
        let reply = client.next().await.unwrap();
        assert_eq!(
            (reply.xid, reply.zxid, reply.error),
            (5, -1, -6),
            "{number}"
        );
        assert_eq!(client.next().await, None, "{number}");
    }
}

#[tokio::test]
async fn bodies_that_are_none_are_answered_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for opcode in Opcode::ALL {
        let empty = [
            Opcode::Ping,
            Opcode::WhoAmI,
            Opcode::CloseSession,
            Opcode::Sasl,
            Opcode::Reconfig,
            Opcode::Check,
        ];
        if empty.contains(&opcode) {
            continue;
        }
        for body in [&[][..], &[0xff; 3], &[0x7f, 0xff, 0xff, 0xff, 1]] {
            let reply = client
                .ask(opcode, |w| {
                    for byte in body {
                        w.boolean(*byte != 0);
                    }
                })
                .await;
            assert_eq!(reply.error, -5, "{opcode:?} {body:?}");
        }
    }
}

#[tokio::test]
async fn half_a_frame_and_a_frame_without_a_header() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .stream
        .write_all(&[0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7])
        .await
        .unwrap();
    assert_eq!(client.next().await, None);
    let mut half = server.client().await;
    half.stream.write_all(&[0, 0, 0, 20, 1]).await.unwrap();
    half.stream.shutdown().await.unwrap();
    assert_eq!(half.next().await, None);
    assert_eq!(
        server.client().await.ask(Opcode::Ping, |_| {}).await.error,
        0
    );
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let server = Server::with(Settings {
        connections_per_address: 2,
        ..Settings::default()
    })
    .await;
    let (_one, _two) = (server.client().await, server.client().await);
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let _sent = third
        .write_all(&connect(10_000, 0, &[0; 16], 0, true))
        .await;
    assert_eq!(frame(&mut third).await, None);
}

#[tokio::test]
async fn whoever_does_not_read_is_left_behind_and_the_writer_is_not() {
    let server = Server::start().await;
    let (mut writer, mut slow) = (server.client().await, server.client().await);
    writer.create("/a", b"", 0).await;
    slow.ask(Opcode::AddWatch, |w| {
        w.text("/a").int(0);
    })
    .await;
    // 4,000 notifications fill no bound: they wait, and come in order.
    let mut last = 0;
    for _ in 0..4000 {
        last = writer.set("/a", b"").await.zxid;
    }
    let mut seen = 0;
    while seen < last {
        let next = slow.next().await.unwrap();
        assert!(next.zxid > seen);
        seen = next.zxid;
    }
}
