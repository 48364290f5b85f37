//! TCP: framing, pipelining, large answers, slow and idle clients.

use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use portolan_catalog::Protocol;
use portolan_protocol_dns::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Server, foreign, options, query};

fn framed(message: &Message) -> Vec<u8> {
    let body = message.to_vec().expect("encoded");
    let mut out = (body.len() as u16).to_be_bytes().to_vec();
    out.extend(body);
    out
}

async fn receive(stream: &mut TcpStream) -> Message {
    let length = stream.read_u16().await.expect("a length");
    let mut body = vec![0; usize::from(length)];
    stream.read_exact(&mut body).await.expect("a body");
    Message::from_vec(&body).expect("readable")
}

#[tokio::test]
async fn queries_in_one_segment_and_in_pieces() {
    let server = Server::filled(&options()).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let queries: Vec<Message> = (0..50)
        .map(|_| query("web.service.consul", RecordType::A))
        .collect();
    let bytes: Vec<u8> = queries.iter().flat_map(framed).collect();
    stream.write_all(&bytes).await.expect("written");
    for query in &queries {
        let reply = receive(&mut stream).await;
        assert_eq!(reply.metadata.id, query.metadata.id);
        assert_eq!(reply.answers.len(), 2);
    }
    stream.set_nodelay(true).expect("set");
    for byte in framed(&queries[0]) {
        stream.write_all(&[byte]).await.expect("written");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        receive(&mut stream).await.metadata.id,
        queries[0].metadata.id
    );
}

#[tokio::test]
async fn everything_is_given_up_to_64_kib() {
    let server = Server::start(&Options {
        truncate: true,
        ..options()
    });
    for index in 0..5000_u32 {
        let [_, a, b, c] = (index + 1).to_be_bytes();
        let host = format!("10.{a}.{b}.{c}");
        server
            .register(foreign(
                Protocol::Native,
                &format!("m{index}"),
                "many",
                &host,
                80,
            ))
            .await;
    }
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream
        .write_all(&framed(&query("many.service.consul", RecordType::A)))
        .await
        .expect("written");
    let reply = receive(&mut stream).await;
    assert_eq!(reply.answers.len(), (65_535 - 37) / 16);
    assert!(reply.metadata.truncation);
    // Half as many fit, also as SRV, whose addresses then have no room.
    for index in 0..4000_u32 {
        let key = foreign(Protocol::Native, &format!("m{index}"), "", "", 0).key;
        let remove = portolan_catalog::Command::Deregister {
            target: portolan_catalog::Target::Instance(key),
            expect: None,
        };
        server.propose(remove).await;
    }
    for kind in [RecordType::A, RecordType::SRV] {
        stream
            .write_all(&framed(&query("many.service.consul", kind)))
            .await
            .expect("written");
        let reply = receive(&mut stream).await;
        assert_eq!(
            (reply.answers.len(), reply.metadata.truncation),
            (1000, false),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::start(&Options {
        tcp_idle: Duration::from_millis(300),
        ..options()
    });
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream
        .write_all(&framed(&query("consul.service.consul", RecordType::A)))
        .await
        .expect("written");
    assert_eq!(receive(&mut stream).await.answers.len(), 1);
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_u8())
        .await
        .expect("closed in time");
    assert!(closed.is_err());
}

#[tokio::test]
async fn nonsense_is_answered_or_skipped_and_the_connection_goes_on() {
    let server = Server::start(&options());
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    // An empty message, a response, then a header that promises a question, then a query.
    stream.write_all(&[0, 0]).await.expect("written");
    stream
        .write_all(b"\x00\x0c\x00\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00")
        .await
        .expect("written");
    stream
        .write_all(b"\x00\x0c\x00\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        .await
        .expect("written");
    let good = query("consul.service.consul", RecordType::A);
    stream.write_all(&framed(&good)).await.expect("written");
    let reply = receive(&mut stream).await;
    assert_eq!(
        (reply.metadata.id, u16::from(reply.metadata.response_code)),
        (2, 1)
    );
    assert_eq!(receive(&mut stream).await.metadata.id, good.metadata.id);
}
