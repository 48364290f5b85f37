//! A protocol without HTTP: one length byte, then the message; it is sent back.

use portolan_catalog::Protocol;
use portolan_listener::{
    Action, Limits, Resource, ServerContext, StreamConnection, StreamOptions, bind_tcp,
    serve_stream,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{LOOPBACK, PATIENCE, context, ms, until};

async fn echo(mut connection: StreamConnection) {
    let going = connection.caller.clone();
    loop {
        let mut length = [0];
        tokio::select! {
            read = connection.stream.read_exact(&mut length) => if read.is_err() { return },
            () = going.draining() => {
                let _ = connection.stream.write_all(b"\x03bye").await;
                return;
            }
        }
        let mut message = vec![0; usize::from(length[0])];
        if connection.stream.read_exact(&mut message).await.is_err() {
            return;
        }
        let busy = connection.busy();
        assert_ne!(message, b"panic", "a bug in a handler");
        if message == b"sleep" {
            sleep(ms(1_500)).await;
        }
        let peer = connection.caller.peer();
        connection.caller.renew(peer);
        if message != b"forget" {
            connection
                .caller
                .allow(Action::Read, Resource::Public)
                .unwrap();
        }
        connection.caller.answered();
        let _ = connection.stream.write_all(&length).await;
        let _ = connection.stream.write_all(&message).await;
        drop(busy);
    }
}

async fn serve(limits: Limits, options: StreamOptions) -> (ServerContext, std::net::SocketAddr) {
    let context = context(limits);
    let port = bind_tcp(&context, Protocol::ZooKeeper, LOOPBACK.parse().unwrap()).unwrap();
    let address = port.address;
    serve_stream(&context, port, options, echo);
    (context, address)
}

/// Sends a message and reads what comes back; nothing when the server closes.
async fn ask(stream: &mut TcpStream, message: &str) -> String {
    let length = [u8::try_from(message.len()).unwrap()];
    let _ = stream
        .write_all(&[&length, message.as_bytes()].concat())
        .await;
    answer(stream).await
}

async fn answer(stream: &mut TcpStream) -> String {
    let read = async {
        let mut length = [0];
        if stream.read_exact(&mut length).await.is_err() {
            return String::new();
        }
        let mut message = vec![0; usize::from(length[0])];
        stream.read_exact(&mut message).await.unwrap();
        String::from_utf8(message).unwrap()
    };
    timeout(PATIENCE, read).await.expect("an answer or an end")
}

#[tokio::test]
async fn messages_take_their_time_but_quiet_connections_do_not() {
    let limits = Limits {
        header_timeout: ms(300),
        ..Limits::default()
    };
    let options = StreamOptions {
        idle_timeout: Some(ms(600)),
    };
    let (context, address) = serve(limits, options).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut stream, "hello").await, "hello");
    sleep(ms(400)).await;
    assert_eq!(ask(&mut stream, "sleep").await, "sleep");
    assert_eq!(answer(&mut stream).await, "", "idle");

    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"\x05he").await.unwrap();
    assert_eq!(answer(&mut slow).await, "", "half a message");
    let text = context.metrics().encode();
    for limit in ["idle_timeout", "header_timeout"] {
        let line = format!("portolan_limited_total{{protocol=\"zookeeper\",limit=\"{limit}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn panics_decisions_and_limits_are_those_of_every_port() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (context, address) = serve(limits, StreamOptions::default()).await;
    let mut good = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut good, "hello").await, "hello");
    let mut bad = TcpStream::connect(address).await.unwrap();
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(answer(&mut third).await, "", "no place left");
    assert_eq!(ask(&mut bad, "panic").await, "");
    assert_eq!(context.metrics().panics(Protocol::ZooKeeper), 1);
    let undecided = || {
        context
            .metrics()
            .answers_without_decision(Protocol::ZooKeeper)
    };
    assert_eq!(undecided(), 0);
    assert_eq!(ask(&mut good, "forget").await, "forget");
    assert_eq!(undecided(), 1);
    until("the place of the panicked one is free", || {
        let text = context.metrics().encode();
        text.lines().any(|line| {
            line.starts_with("portolan_limit_used")
                && line.contains("limit=\"connections\"")
                && line.ends_with(" 1.0")
        })
    })
    .await;
    let mut fourth = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut fourth, "hello").await, "hello");
}

#[tokio::test]
async fn drain_lets_the_protocol_say_goodbye() {
    let (context, address) = serve(Limits::default(), StreamOptions::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut stream, "hello").await, "hello");
    assert!(context.finish().await);
    assert_eq!(answer(&mut stream).await, "bye");
    assert_eq!(answer(&mut stream).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}
