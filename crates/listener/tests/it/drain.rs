use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use portolan_listener::{Caller, Limits, Request, text};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{decide, hello, ms, one_answer, read, request, rest, serve, until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn open_requests_end_and_nothing_new_begins() {
    let go_on = Arc::new(Notify::new());
    let arrived = Arc::new(Notify::new());
    let (signal, here) = (go_on.clone(), arrived.clone());
    let server = serve(Limits::default(), move |request: Request| {
        let (signal, here) = (signal.clone(), here.clone());
        async move {
            decide(&request);
            here.notify_one();
            signal.notified().await;
            text(StatusCode::OK, "finished\n")
        }
    });
    let mut quiet = server.connect().await;
    let mut open = server.connect().await;
    open.write_all(GET).await.unwrap();
    arrived.notified().await;

    let context = server.context.clone();
    let finish = tokio::spawn(async move { context.finish().await });
    server.accepting.await.unwrap();
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "the port is closed"
    );
    assert_eq!(rest(&mut quiet).await, "", "a quiet connection is closed");
    assert!(!finish.is_finished(), "the open request is waited for");
    go_on.notify_one();
    let answer = rest(&mut open).await;
    assert!(answer.ends_with("finished\n"), "{answer}");
    assert!(finish.await.unwrap(), "nothing was cut");
}

#[tokio::test]
async fn long_polls_are_told_and_say_goodbye() {
    let arrived = Arc::new(Notify::new());
    let here = arrived.clone();
    let server = serve(Limits::default(), move |request: Request| {
        let here = here.clone();
        async move {
            decide(&request);
            let caller = Caller::of(&request);
            here.notify_one();
            caller.draining().await;
            text(StatusCode::OK, "goodbye\n")
        }
    });
    let mut poll = server.connect().await;
    poll.write_all(GET).await.unwrap();
    arrived.notified().await;
    let (mut sender, connection) = server.http2().await;
    let stream = sender.send_request(request(server.address, "/"));
    let stream = tokio::spawn(stream);
    arrived.notified().await;

    assert!(server.context.finish().await);
    assert!(one_answer(&mut poll).await.ends_with("goodbye\n"));
    let (status, text) = read(stream.await.unwrap().unwrap()).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "goodbye\n"));
    connection
        .await
        .unwrap()
        .expect("GOAWAY ends it without error");
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_bound() {
    let limits = Limits {
        drain_timeout: ms(300),
        ..Limits::default()
    };
    let server = serve(limits, |request: Request| async move {
        if request.uri().path() == "/" {
            std::future::pending::<()>().await;
        }
        hello(request).await
    });
    let mut stuck = server.connect().await;
    stuck.write_all(GET).await.unwrap();
    let (mut sender, _connection) = server.http2().await;
    let stream = tokio::spawn(sender.send_request(request(server.address, "/")));
    let streams = ["limit=\"streams_per_connection\""];
    until("the requests arrive", || {
        server.metric("portolan_limit_used", &["limit=\"connections\""]) == 2.0
            && server.metric("portolan_limit_used", &streams) == 1.0
    })
    .await;
    let began = Instant::now();
    assert!(!server.context.finish().await, "something was cut");
    let took = began.elapsed();
    assert!(took >= ms(300) && took < ms(2_000), "{took:?}");
    assert_eq!(rest(&mut stuck).await, "");
    assert!(stream.await.unwrap().is_err());
}
