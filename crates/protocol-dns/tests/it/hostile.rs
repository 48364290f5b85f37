//! Packets made to do harm: none is answered with more than itself, and a client beside them notices nothing.

use hickory_proto::rr::RecordType;
use tokio::net::UdpSocket;

use crate::fixture::{Server, options, query};

/// A plain query for `web.service.consul`.
fn plain() -> Vec<u8> {
    query("web.service.consul", RecordType::A)
        .to_vec()
        .expect("encoded")
}

#[tokio::test]
async fn malformed_queries_have_an_answer_or_none() {
    let server = Server::start(&options());
    // What is sent, and the code of the answer.
    type Edit = fn(&mut Vec<u8>);
    let rows: &[(&str, Edit, Option<u8>)] = &[
        ("nothing", |p| p.clear(), None),
        ("eleven bytes", |p| p.truncate(11), None),
        ("a response", |p| p[2] |= 0x80, None),
        ("a header", |p| p.truncate(12), Some(1)),
        ("no question", |p| p[5] = 0, Some(1)),
        ("many questions", |p| p[4..6].fill(0xff), Some(1)),
        ("many answers", |p| p[6..12].fill(0xff), Some(1)),
        ("a cut name", |p| p.truncate(20), Some(1)),
        ("a label of 64", |p| p[12] = 64, Some(1)),
        (
            "a pointer to itself",
            |p| p[12..14].copy_from_slice(&[0xc0, 12]),
            Some(1),
        ),
        (
            "a name without end",
            |p| {
                p.truncate(12);
                p.extend([b"\x3f".as_slice(), &[b'x'; 63]].concat().repeat(20))
            },
            Some(1),
        ),
        ("bytes left over", |p| p.extend([0; 100]), Some(1)),
        (
            "class any",
            |p| {
                let at = p.len() - 1;
                p[at] = 255
            },
            Some(5),
        ),
        (
            "type 0",
            |p| {
                let at = p.len() - 3;
                p[at] = 0
            },
            Some(3),
        ),
        (
            "type OPT",
            |p| {
                let at = p.len() - 3;
                p[at] = 41
            },
            Some(1),
        ),
        ("no UTF-8", |p| p[13] = 0xff, Some(3)),
        ("a zero byte in a label", |p| p[13] = 0, Some(3)),
        ("too large", |p| p.extend([0; 3000]), None),
    ];
    for (name, edit, code) in rows {
        let mut packet = plain();
        edit(&mut packet);
        let reply = server.send(&packet).await;
        assert_eq!(reply.as_ref().map(|reply| reply[3] & 0x0f), *code, "{name}");
        if let Some(reply) = reply.filter(|_| *code != Some(3)) {
            assert!(
                reply.len() <= packet.len(),
                "{name}: an answer larger than the question"
            );
        }
    }
    assert!(server.send(&plain()).await.is_some());
}

#[tokio::test]
async fn a_storm_of_garbage_beside_a_client() {
    let server = Server::filled(&options()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut seed = 42_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..20 {
        for _ in 0..200 {
            let mut packet = plain();
            for _ in 0..=random() % 4 {
                let at = random() as usize % packet.len();
                packet[at] = random() as u8;
            }
            packet.truncate(1 + random() as usize % packet.len());
            let _ = socket.try_send_to(&packet, server.address);
        }
        let reply = server
            .ask(&query("web.service.consul", RecordType::A))
            .await;
        assert_eq!(reply.answers.len(), 2, "round {round}");
    }
    assert_eq!(
        server
            .context
            .metrics()
            .panics(portolan_catalog::Protocol::Dns),
        0
    );
}
