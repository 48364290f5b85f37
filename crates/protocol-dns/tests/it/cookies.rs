//! Cookies, and how many replies a network gets without one.

use std::time::Duration;

use portolan_protocol_dns::Options;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::fixture::{Server, options};

/// A question for `name` with an OPT and those options.
fn question(name: &str, options: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.extend([0, 0, 1, 0, 1]);
    out.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    out.extend((options.len() as u16).to_be_bytes());
    out.extend(options);
    out
}

fn cookie(bytes: &[u8]) -> Vec<u8> {
    [&[0, 10, 0, bytes.len() as u8][..], bytes].concat()
}

/// The cookie at the end of a reply.
fn given(reply: &[u8]) -> [u8; 24] {
    let option = reply.last_chunk::<28>().expect("an option");
    assert_eq!(option[..4], [0, 10, 0, 24]);
    *option.last_chunk::<24>().expect("a cookie")
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_come_back_and_are_known() {
    let server = Server::filled(&options()).await;
    let name = "web.service.consul";
    let mut reply = server
        .send(&question(name, &cookie(b"clients!")))
        .await
        .expect("a reply");
    for _ in 0..2 {
        assert_eq!((reply[3] & 0x0f, reply[7]), (0, 2));
        let both = given(&reply);
        assert_eq!(both[..12], *b"clients!\x01\0\0\0");
        reply = server
            .send(&question(name, &cookie(&both)))
            .await
            .expect("a reply");
    }
    // Somebody else's is answered all the same, and a new one comes with it.
    let other = [&b"clients!"[..], &[9; 16]].concat();
    let reply = server
        .send(&question(name, &cookie(&other)))
        .await
        .expect("a reply");
    assert_eq!((reply[3] & 0x0f, reply[7]), (0, 2));
    assert_ne!(given(&reply)[8..], other[8..]);
    // None of the lengths that there are.
    let reply = server
        .send(&question(name, &cookie(b"short")))
        .await
        .expect("a reply");
    assert_eq!(reply[3] & 0x0f, 1);
    let metrics = server.context.metrics().encode();
    for series in [
        "portolan_dns_cookies_total{shown=\"new\"} 1",
        "portolan_dns_cookies_total{shown=\"good\"} 2",
        "portolan_dns_cookies_total{shown=\"bad\"} 1",
        "portolan_dns_rate_limited_total{action=\"dropped\"} 0",
    ] {
        assert!(metrics.contains(series), "no {series} in\n{metrics}");
    }
}

/// How many replies there were: whole ones, ones with TC, with BADCOOKIE, and none.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    cut: usize,
    bad_cookie: usize,
    dropped: usize,
}

/// Sends `packet` `count` times from one port and sees what becomes of it.
async fn flood(server: &Server, packet: &[u8], count: usize) -> Tally {
    let dropped = || {
        let metrics = server.context.metrics().encode();
        let series = "portolan_dns_rate_limited_total{action=\"dropped\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.expect("a series").parse::<usize>().expect("a number")
    };
    let before = dropped();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut tally = Tally::default();
    let mut buffer = [0; 2048];
    for _ in 0..count {
        socket.send_to(packet, server.address).await.expect("sent");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while tally.whole + tally.cut + tally.bad_cookie + tally.dropped < count {
        assert!(Instant::now() < deadline, "{tally:?}");
        tally.dropped = dropped() - before;
        let received = timeout(Duration::from_millis(20), socket.recv(&mut buffer)).await;
        if received.is_err() {
            continue;
        }
        match (buffer[2] & 2 != 0, buffer[3] & 0x0f) {
            (false, 7) => tally.bad_cookie += 1,
            (false, _) => tally.whole += 1,
            (true, _) => {
                assert_eq!((buffer[7], buffer[11]), (0, 1), "cut to nothing but OPT");
                tally.cut += 1;
            }
        }
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_cookie_has_a_share() {
    let server = Server::filled(&Options {
        workers: 1,
        rate_limit: 2,
        rate_limit_exempt: Vec::new(),
        ..options()
    })
    .await;
    let began = Instant::now();
    let web = question("web.service.consul", &[]);
    let tally = flood(&server, &web, 60).await;
    // Two at once, and two more for each second that it takes.
    let most = 3 + 2 * began.elapsed().as_secs() as usize;
    assert!((2..=most).contains(&tally.whole), "{tally:?}");
    assert!(tally.cut.abs_diff(tally.dropped) <= 1, "{tally:?}");
    // Absence has a share of its own.
    let none = question("none.service.consul", &[]);
    assert_eq!(flood(&server, &none, 1).await.whole, 1);
    // Who has a cookie of its own is told ours, and has all with it.
    let client = question("web.service.consul", &cookie(b"clients!"));
    let tally = flood(&server, &client, 20).await;
    assert!(tally.cut == 0 && tally.bad_cookie > 0, "{tally:?}");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut buffer = [0; 2048];
    let both = loop {
        socket.send_to(&client, server.address).await.expect("sent");
        let received = timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await;
        if let Ok(length) = received {
            break given(&buffer[..length.expect("received")]);
        }
    };
    let known = question("web.service.consul", &cookie(&both));
    assert_eq!(flood(&server, &known, 60).await.whole, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn near_networks_get_all() {
    let server = Server::filled(&Options {
        rate_limit: 1,
        ..options()
    })
    .await;
    let web = question("web.service.consul", &[]);
    assert_eq!(flood(&server, &web, 50).await.whole, 50);
}
