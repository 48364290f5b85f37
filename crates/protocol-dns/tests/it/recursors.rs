//! Names outside the zones: what is asked of recursors, what is kept, and what becomes of recursors that fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{RData, Record};
use portolan_protocol_dns::{Options, Recursor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::fixture::{Server, consul, edns, lines, options, query};

/// What a recursor sends for a question: the question as bytes and as read, and whether it came over TCP.
type Says = Arc<dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync>;

/// A recursor that says what the test wants.
struct Fake {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Fake {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Fake {
    async fn start(says: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Fake {
        let says: Says = Arc::new(says);
        let asked = Arc::new(AtomicUsize::new(0));
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = tcp.local_addr().expect("its address");
            if let Ok(udp) = UdpSocket::bind(address).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().expect("its address");
        let (count, say) = (asked.clone(), says.clone());
        let datagrams = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::SeqCst);
                let message = Message::from_vec(&buffer[..length]).expect("a readable question");
                for reply in say(&message, false) {
                    udp.send_to(&reply, peer).await.expect("sent");
                }
            }
        });
        let count = asked.clone();
        let streams = tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let Some(message) = receive(&mut stream).await else {
                    continue;
                };
                count.fetch_add(1, Ordering::SeqCst);
                for reply in says(&message, true) {
                    let length = (reply.len() as u16).to_be_bytes();
                    let framed = [&length[..], &reply].concat();
                    stream.write_all(&framed).await.expect("written");
                }
            }
        });
        Fake {
            address,
            asked,
            tasks: [datagrams, streams],
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Message> {
    let length = stream.read_u16().await.ok()?;
    let mut body = vec![0; usize::from(length)];
    stream.read_exact(&mut body).await.ok()?;
    Message::from_vec(&body).ok()
}

fn answer(question: &Message, code: ResponseCode, records: &[(&str, u32, RData)]) -> Message {
    let mut reply = Message::new(
        question.metadata.id,
        MessageType::Response,
        question.metadata.op_code,
    );
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.add_queries(question.queries.clone());
    for (owner, ttl, data) in records {
        let owner = owner.parse().expect("a name");
        reply.add_answer(Record::from_rdata(owner, *ttl, data.clone()));
    }
    reply
}

fn bytes(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().expect("encoded")]
}

fn v4(last: u8) -> RData {
    RData::A(std::net::Ipv4Addr::new(10, 50, 0, last).into())
}

/// What a well-behaved recursor says about `example.com`.
fn example(question: &Message, _: bool) -> Vec<Vec<u8>> {
    let asked = &question.queries[0];
    let name = asked.name().to_ascii().to_ascii_lowercase();
    let soa = || {
        let soa = hickory_proto::rr::rdata::SOA::new(
            "ns.example.com.".parse().expect("a name"),
            "me.example.com.".parse().expect("a name"),
            1,
            2,
            3,
            4,
            60,
        );
        Record::from_rdata("example.com.".parse().expect("a name"), 60, RData::SOA(soa))
    };
    let alias =
        |to: &str| RData::CNAME(hickory_proto::rr::rdata::CNAME(to.parse().expect("a name")));
    let six = RData::AAAA("2001:db8::50".parse().expect("an address"));
    let fine = ResponseCode::NoError;
    let mut reply = match (name.as_str(), asked.query_type()) {
        ("www.example.com.", A) => answer(question, fine, &[("www.example.com.", 300, v4(1))]),
        ("www.example.com.", AAAA) => answer(question, fine, &[("www.example.com.", 300, six)]),
        ("far.example.com.", A) => answer(
            question,
            fine,
            &[
                ("far.example.com.", 300, alias("www.example.com.")),
                ("www.example.com.", 300, v4(1)),
            ],
        ),
        ("brief.example.com.", _) => answer(question, fine, &[("brief.example.com.", 0, v4(2))]),
        ("1.0.50.10.in-addr.arpa.", PTR) => {
            let name = hickory_proto::rr::rdata::PTR("www.example.com.".parse().expect("a name"));
            answer(
                question,
                fine,
                &[("1.0.50.10.in-addr.arpa.", 300, RData::PTR(name))],
            )
        }
        ("www.example.com." | "far.example.com.", _) => answer(question, fine, &[]),
        _ => answer(question, ResponseCode::NXDomain, &[]),
    };
    if reply.answers.is_empty() {
        reply.add_authority(soa());
    }
    if question.edns.is_some() {
        reply.set_edns(edns(1232));
    }
    bytes(&reply)
}

/// The lines of a reply, with what somebody else's records have left of their time as they had it at first.
fn settled(reply: &Message) -> Vec<String> {
    let one = |line: String| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if words.len() > 3 && !words[1].ends_with("consul") {
            match words[2].parse() {
                Ok(250..300) => words[2] = "300".to_owned(),
                Ok(10..60) => words[2] = "60".to_owned(),
                Ok(_) | Err(_) => {}
            }
        }
        words.join(" ")
    };
    lines(reply).into_iter().map(one).collect()
}

fn with(recursors: &[SocketAddr]) -> Options {
    Options {
        recursors: recursors.iter().map(|address| Recursor(*address)).collect(),
        recursor_timeout: Duration::from_secs(5),
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_are_asked_for_and_kept() {
    let fake = Fake::start(example).await;
    let server = Server::filled(&with(&[fake.address])).await;
    for (name, kind, asked, expected) in [
        (
            "www.example.com",
            A,
            1,
            &["NoError", "- www.example.com 300 IN A 10.50.0.1"][..],
        ),
        (
            "WWW.example.com",
            A,
            1,
            &["NoError", "- WWW.example.com 300 IN A 10.50.0.1"],
        ),
        (
            "www.example.com",
            AAAA,
            2,
            &["NoError", "- www.example.com 300 IN AAAA 2001:db8::50"],
        ),
        (
            "www.example.com",
            SRV,
            3,
            &[
                "NoError",
                "= example.com 60 IN SOA ns.example.com me.example.com SERIAL 2 3 4 60",
            ],
        ),
        (
            "www.example.com",
            SRV,
            3,
            &[
                "NoError",
                "= example.com 60 IN SOA ns.example.com me.example.com SERIAL 2 3 4 60",
            ],
        ),
        (
            "no.example.com",
            A,
            4,
            &[
                "NXDomain",
                "= example.com 60 IN SOA ns.example.com me.example.com SERIAL 2 3 4 60",
            ],
        ),
        (
            "no.example.com",
            A,
            4,
            &[
                "NXDomain",
                "= example.com 60 IN SOA ns.example.com me.example.com SERIAL 2 3 4 60",
            ],
        ),
        (
            "brief.example.com",
            A,
            5,
            &["NoError", "- brief.example.com 0 IN A 10.50.0.2"],
        ),
        (
            "brief.example.com",
            A,
            6,
            &["NoError", "- brief.example.com 0 IN A 10.50.0.2"],
        ),
        // Of addresses that are nobody's here.
        (
            "1.0.50.10.in-addr.arpa",
            PTR,
            7,
            &[
                "NoError",
                "- 1.0.50.10.in-addr.arpa 300 IN PTR www.example.com.",
            ],
        ),
        (
            "7.0.0.10.in-addr.arpa",
            PTR,
            7,
            &[
                "NoError aa",
                "- 7.0.0.10.in-addr.arpa 0 IN PTR alpha.rack.node.dc1.consul.",
            ],
        ),
        // Our own names are nobody else's.
        (
            "none.service.consul",
            A,
            7,
            &[
                "NXDomain aa",
                "= consul 0 IN SOA ns.consul hostmaster.consul SERIAL 3600 600 86400 0",
            ],
        ),
    ] {
        let mut asking = query(name, kind);
        asking.set_edns(edns(1232));
        let reply = server.ask(&asking).await;
        let found = settled(&reply);
        assert_eq!(found, expected, "{name} {kind}");
        assert!(reply.metadata.recursion_available, "{name} {kind}");
        assert_eq!(fake.asked(), asked, "{name} {kind}");
    }
    // Who wants nobody else to be asked is refused, and so is a transfer.
    let mut alone = query("www.example.com", A);
    alone.metadata.recursion_desired = false;
    assert_eq!(lines(&server.ask(&alone).await), ["Refused"]);
    let metrics = server.context.metrics().encode();
    for series in [
        "portolan_dns_recursion_total{result=\"kept\"} 3",
        "portolan_dns_recursion_total{result=\"asked\"} 7",
        "portolan_dns_recursor_questions 0",
        "portolan_dns_recursor_questions_limit 1024",
        "portolan_dns_recursor_kept 5",
    ] {
        assert!(metrics.contains(series), "no {series} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_ours_are_followed_outside() {
    let fake = Fake::start(example).await;
    let server = Server::filled(&with(&[fake.address])).await;
    for (id, host) in [
        ("gone", "no.example.com"),
        ("via", "far.service.consul"),
        ("ring", "rung.service.consul"),
        ("rung", "ring.service.consul"),
    ] {
        server
            .register(consul("alpha.rack", id, id, host, 80))
            .await;
    }
    let far = "- far.service.consul 0 IN CNAME far.example.com.";
    let rows: &[(&str, _, &[&str])] = &[
        (
            "far",
            A,
            &[
                "NoError aa",
                "- far.example.com 300 IN CNAME www.example.com.",
                far,
                "- www.example.com 300 IN A 10.50.0.1",
            ],
        ),
        ("far", AAAA, &["NoError aa", far]),
        ("far", CNAME, &["NoError aa", far]),
        (
            "via",
            A,
            &[
                "NoError aa",
                "- far.example.com 300 IN CNAME www.example.com.",
                far,
                "- via.service.consul 0 IN CNAME far.service.consul.",
                "- www.example.com 300 IN A 10.50.0.1",
            ],
        ),
        (
            "gone",
            A,
            &[
                "NXDomain aa",
                "- gone.service.consul 0 IN CNAME no.example.com.",
            ],
        ),
        (
            "ring",
            A,
            &[
                "NoError aa",
                "- ring.service.consul 0 IN CNAME rung.service.consul.",
                "- rung.service.consul 0 IN CNAME ring.service.consul.",
            ],
        ),
    ];
    // The first is worked out and asked for, the others are prepared and kept.
    for _ in 0..3 {
        for (name, kind, expected) in rows {
            for size in [None, Some(1232)] {
                let mut asking = query(&format!("{name}.service.consul"), *kind);
                if let Some(size) = size {
                    asking.set_edns(edns(size));
                }
                let reply = server.ask(&asking).await;
                let found = settled(&reply);
                assert_eq!(found, *expected, "{name} {kind}");
                assert_eq!(reply.edns.is_some(), size.is_some(), "{name} {kind}");
            }
        }
    }
    // far A, far AAAA, no A.
    assert_eq!(fake.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn recursors_that_fail_are_passed_over() {
    let refusing =
        Fake::start(|question, _| bytes(&answer(question, ResponseCode::ServFail, &[]))).await;
    let silent = Fake::start(|_, _| Vec::new()).await;
    let garbled = Fake::start(|question, _| {
        let mut bytes = bytes(&answer(
            question,
            ResponseCode::NoError,
            &[("www.example.com.", 300, v4(9))],
        ));
        let length = bytes[0].len() - 2;
        bytes[0].truncate(length);
        bytes
    })
    .await;
    let fine = Fake::start(example).await;
    let options = Options {
        recursor_timeout: Duration::from_secs(2),
        ..with(&[
            refusing.address,
            silent.address,
            garbled.address,
            fine.address,
        ])
    };
    let server = Server::filled(&options).await;
    let found = settled(&server.ask(&query("www.example.com", A)).await);
    assert_eq!(found, ["NoError", "- www.example.com 300 IN A 10.50.0.1"]);
    let asked = || [&refusing, &silent, &garbled, &fine].map(Fake::asked);
    assert_eq!(asked(), [1, 1, 1, 1]);
    // Who was silent or said what cannot be read is asked last for a while; who said that it failed is not.
    let found = lines(&server.ask(&query("www.example.com", AAAA)).await);
    assert_eq!(found[0], "NoError");
    assert_eq!(asked(), [2, 1, 1, 2]);
    // When all fail it is said, and not kept.
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let nobody = closed.local_addr().expect("its address");
    drop(closed);
    let server = Server::filled(&with(&[refusing.address, nobody])).await;
    for _ in 0..2 {
        let mut asking = query("www.example.com", A);
        asking.set_edns(edns(1232));
        let reply = server.ask(&asking).await;
        assert_eq!(lines(&reply), ["ServFail"]);
        assert!(reply.edns.is_some() && reply.metadata.recursion_available);
    }
    assert_eq!(asked()[0], 4);
    // An alias of ours then goes alone.
    let found = lines(&server.ask(&query("far.service.consul", A)).await);
    assert_eq!(
        found,
        [
            "NoError aa",
            "- far.service.consul 0 IN CNAME far.example.com."
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_small_and_forged_answers() {
    let fake = Fake::start(|question, stream| {
        let name = question.queries[0].name().to_ascii();
        let fine = ResponseCode::NoError;
        match name.as_str() {
            // From before EDNS.
            "old.example.com." if question.edns.is_some() => {
                bytes(&answer(question, ResponseCode::FormErr, &[]))
            }
            "old.example.com." => {
                bytes(&answer(question, fine, &[("old.example.com.", 300, v4(3))]))
            }
            // Too large for a datagram.
            "large.example.com." if !stream => {
                let mut reply = answer(question, fine, &[]);
                reply.metadata.truncation = true;
                bytes(&reply)
            }
            "large.example.com." => {
                let records: Vec<_> = (0..200)
                    .map(|last| ("large.example.com.", 300, v4(last)))
                    .collect();
                bytes(&answer(question, fine, &records))
            }
            // Somebody else is faster.
            _ => {
                let mut other = answer(question, fine, &[("www.example.com.", 300, v4(66))]);
                other.metadata.id ^= 1;
                let mut renamed = question.clone();
                renamed.queries[0].set_name("xxx.example.com.".parse().expect("a name"));
                let renamed = answer(&renamed, fine, &[("www.example.com.", 300, v4(66))]);
                let good = answer(question, fine, &[("www.example.com.", 300, v4(1))]);
                [
                    bytes(&other),
                    bytes(&renamed),
                    vec![vec![0; 5]],
                    bytes(&good),
                ]
                .concat()
            }
        }
    })
    .await;
    let server = Server::filled(&with(&[fake.address])).await;
    let found = settled(&server.ask(&query("old.example.com", A)).await);
    assert_eq!(found, ["NoError", "- old.example.com 300 IN A 10.50.0.3"]);
    let found = settled(&server.ask(&query("www.example.com", A)).await);
    assert_eq!(found, ["NoError", "- www.example.com 300 IN A 10.50.0.1"]);
    // 200 addresses go over TCP; over UDP TC says so, without anything that could be taken for all.
    assert_eq!(
        lines(&server.ask(&query("large.example.com", A)).await),
        ["NoError tc"]
    );
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let mut wanted = Vec::new();
    for name in ["large.example.com", "web.service.consul", "old.example.com"] {
        let asking = query(name, A);
        let body = asking.to_vec().expect("encoded");
        stream
            .write_all(&(body.len() as u16).to_be_bytes())
            .await
            .expect("written");
        stream.write_all(&body).await.expect("written");
        wanted.push((asking.metadata.id, name));
    }
    for _ in 0..3 {
        let reply = receive(&mut stream).await.expect("a reply");
        let (_, name) = wanted
            .iter()
            .find(|(id, _)| *id == reply.metadata.id)
            .expect("ours");
        let expected = match *name {
            "large.example.com" => 200,
            "web.service.consul" => 2,
            _ => 1,
        };
        assert_eq!(reply.answers.len(), expected, "{name}");
    }
    let metrics = server.context.metrics().encode();
    for series in [
        "portolan_dns_recursor_tcp_total 1",
        "portolan_dns_recursor_without_edns_total 1",
        "portolan_dns_recursor_foreign_total 3",
    ] {
        assert!(metrics.contains(series), "no {series} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_in_flight_are_bounded_and_asked_once() {
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let runtime = tokio::runtime::Handle::current();
    let fake = Fake::start(move |question, stream| {
        // The recursor's task waits until the test has seen what it wants.
        tokio::task::block_in_place(|| runtime.block_on(held.notified()));
        example(question, stream)
    })
    .await;
    let options = Options {
        recursor_questions: 3,
        ..with(&[fake.address])
    };
    let server = Arc::new(Server::filled(&options).await);
    let ask = |name: &'static str| {
        let server = server.clone();
        tokio::spawn(async move { settled(&server.ask(&query(name, A)).await) })
    };
    let alike: Vec<_> = (0..3).map(|_| ask("www.example.com")).collect();
    let full = || {
        let metrics = server.context.metrics().encode();
        metrics.contains("portolan_dns_recursor_questions 3")
    };
    while !full() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask("far.example.com").await.expect("asked"), ["ServFail"]);
    // Our own names are answered all the while.
    assert_eq!(
        ask("api.service.consul").await.expect("asked")[0],
        "NoError aa"
    );
    go.notify_one();
    for one in alike {
        let found = one.await.expect("asked");
        assert_eq!(found, ["NoError", "- www.example.com 300 IN A 10.50.0.1"]);
    }
    assert_eq!(fake.asked(), 1);
}
