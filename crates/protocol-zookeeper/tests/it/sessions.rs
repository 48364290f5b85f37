//! Sessions: how they begin, move and end.

use portolan_catalog::LeaseId;
use portolan_protocol_zookeeper::wire::{Opcode, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Server, connect, frame};

#[tokio::test]
async fn old_clients_are_answered_in_kind_and_timeouts_are_negotiated() {
    let server = Server::start().await;
    for (asked, got) in [(0, 4000), (-5, 4000), (10_000, 10_000), (1_000_000, 40_000)] {
        for (tells, length) in [(true, 37), (false, 36)] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream
                .write_all(&connect(asked, 0, &[0; 16], 0, tells))
                .await
                .unwrap();
            let answer = frame(&mut stream).await.unwrap();
            assert_eq!(answer.len(), length);
            let mut reader = Reader::new(&answer);
            assert_eq!((reader.int(), reader.int()), (Ok(0), Ok(got)));
        }
    }
}

#[tokio::test]
async fn whoever_has_seen_more_than_the_server_is_left_without_an_answer() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(&connect(10_000, 0, &[0; 16], 1 << 40, true))
        .await
        .unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_wrong_password_changes_nothing_and_the_right_one_moves_the_session() {
    let server = Server::start().await;
    let mut first = server.client().await;
    first.create("/e", b"", 1).await;
    for password in [&[0; 16][..], &[], &[1; 15], &[7; 64]] {
        let thief = Client::connect(server.address, 10_000, first.session, password).await;
        assert!(thief.is_none(), "{password:?}");
    }
    let unknown = Client::connect(server.address, 10_000, 77, &first.password).await;
    assert!(unknown.is_none());
    assert_eq!(first.read(Opcode::Exists, "/e", false).await.error, 0);
    // With another timeout, which becomes the session's.
    let (id, password) = (first.session, first.password.clone());
    let mut second = Client::connect(server.address, 20_000, id, &password)
        .await
        .unwrap();
    assert_eq!((second.session, second.timeout), (id, 20_000));
    assert_eq!(second.password, password);
    assert_eq!(first.next().await, None, "the connection before is closed");
    assert_eq!(second.read(Opcode::Exists, "/e", false).await.error, 0);
    let lease = server
        .registry
        .snapshot()
        .lease(&LeaseId::ZooKeeper(id))
        .cloned()
        .unwrap();
    assert_eq!(lease.terms.ttl_ms(), 20_000);
}

#[tokio::test]
async fn closing_takes_the_ephemerals_along_and_a_lost_connection_does_not() {
    let server = Server::start().await;
    let (mut one, mut two) = (server.client().await, server.client().await);
    one.create("/e", b"", 1).await;
    let (id, password) = (one.session, one.password.clone());
    drop(one);
    assert_eq!(two.read(Opcode::Exists, "/e", false).await.error, 0);
    let mut one = Client::connect(server.address, 10_000, id, &password)
        .await
        .unwrap();
    let closed = one.ask(Opcode::CloseSession, |_| {}).await;
    assert_eq!((closed.error, closed.body.len()), (0, 0));
    assert_eq!(one.next().await, None);
    assert_eq!(two.read(Opcode::Exists, "/e", false).await.error, -101);
    assert!(
        Client::connect(server.address, 10_000, id, &password)
            .await
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_at_its_timeout_and_any_request_keeps_it() {
    let server = Server::start().await;
    let (mut silent, mut busy) = (server.client().await, server.client().await);
    silent.create("/silent", b"", 1).await;
    busy.create("/busy", b"", 1).await;
    for _ in 0..9 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let lives = busy.read(Opcode::Exists, "/silent", false).await;
        assert_eq!(lives.error, 0, "not before its time");
    }
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(
        busy.read(Opcode::Exists, "/silent", false).await.error,
        -101
    );
    assert_eq!(busy.read(Opcode::Exists, "/busy", false).await.error, 0);
    assert_eq!(silent.next().await, None, "its connection ends as well");
}

#[tokio::test]
async fn identities_add_up_and_belong_to_the_connection() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (scheme, error) in [("digest", 0), ("ip", 0)] {
        let reply = client
            .ask(Opcode::Auth, |w| {
                w.int(0).text(scheme).buffer(Some(b"ann:pw"));
            })
            .await;
        assert_eq!((reply.zxid, reply.error), (0, error));
    }
    let who = client.ask(Opcode::WhoAmI, |_| {}).await;
    let list = who
        .reader()
        .list(|r| Ok((r.text()?, r.text()?)))
        .unwrap()
        .unwrap();
    assert_eq!(
        list,
        [
            ("ip".into(), "127.0.0.1".into()),
            ("digest".into(), "ann".into())
        ]
    );
    let refused = client
        .ask(Opcode::Auth, |w| {
            w.int(0).text("sasl").buffer(Some(b"x"));
        })
        .await;
    assert_eq!(refused.error, -115);
    assert_eq!(client.next().await, None);
}
