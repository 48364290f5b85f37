//! Connections: the wrong protocol, headers without end, slow ones by the hundred.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::bystander::query;
use super::{PATIENCE, Siege, refuses, status_of};
use crate::harness::etcd::{self, Etcd};
use crate::harness::http;
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

/// What other protocols begin with.
fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let noise: Vec<u8> = (0u32..4096)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let dns = query("calm.service.consul", 1);
    vec![
        (
            "TLS",
            [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 512]].concat(),
        ),
        (
            "HTTP/2",
            [
                &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
                &[0, 0, 0, 4, 0, 0, 0, 0, 0],
            ]
            .concat(),
        ),
        (
            "DNS over TCP",
            [&(dns.len() as u16).to_be_bytes()[..], &dns].concat(),
        ),
        ("ZooKeeper", [&[0, 0, 0, 44][..], &[0; 44]].concat()),
        ("Redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("SSH", b"SSH-2.0-portolan\r\n".to_vec()),
        ("SMTP", b"EHLO localhost\r\nMAIL FROM:<a@b>\r\n".to_vec()),
        ("a length of 4 GiB", vec![0xff; 64]),
        ("noise", noise),
    ]
}

#[test]
fn another_protocol_s_bytes_on_each_port() {
    need_binary!();
    let siege = Siege::begin();
    let patience = PATIENCE + Duration::from_secs(5);
    // All at once: many of them are closed only when the server has waited long enough for the rest.
    std::thread::scope(|scope| {
        for protocol in ["consul", "eureka", "native", "etcd", "dns", "zookeeper"] {
            let address = siege.address(protocol);
            for (what, mut bytes) in beginnings() {
                let own = (protocol == "etcd" && what == "HTTP/2")
                    || (protocol == "dns" && what == "DNS over TCP");
                if own {
                    continue;
                }
                // HTTP/2 on an HTTP/1 port may be spoken or refused; what must not happen is that the connection stays for ever.
                if what == "HTTP/2" && !["dns", "zookeeper"].contains(&protocol) {
                    bytes.extend_from_slice(&[0, 0, 4, 9, 9, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
                }
                scope.spawn(move || {
                    if let Err(why) = closes(address, &bytes, patience) {
                        panic!("{what} at {protocol}: {why}");
                    }
                });
            }
        }
        // An HTTP request to whoever speaks none is closed; etcd answers plain HTTP on its port.
        let dns = siege.address("dns");
        scope.spawn(move || closes(dns, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", patience).unwrap());
    });
    siege.end();
}

/// Waits until the other side closes.
fn closes(address: SocketAddr, bytes: &[u8], limit: Duration) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let _ = stream.write_all(bytes);
    stream
        .set_read_timeout(Some(limit))
        .map_err(|error| error.to_string())?;
    let mut buffer = [0; 4096];
    let deadline = Instant::now() + limit;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) if Instant::now() < deadline => {}
            Ok(_) => return Err("still talking".into()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(format!("still open after {limit:?}"));
            }
            // Reset is closed too.
            Err(_) => return Ok(()),
        }
    }
}

#[test]
fn headers_without_end() {
    need_binary!();
    let siege = Siege::begin();
    for protocol in ["consul", "eureka", "nacos", "nacos-grpc", "native", "etcd"] {
        let address = siege.address(protocol);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n").as_bytes())
            .unwrap();
        let line = format!("X-More: {}\r\n", "m".repeat(1000));
        let mut sent = 0usize;
        // Four mebibytes of headers: nobody may want to read them.
        while sent < 4 << 20 && stream.write_all(line.as_bytes()).is_ok() {
            sent += line.len();
        }
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let open = ended.is_err_and(|error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        });
        assert!(!open, "{protocol} listens to endless headers");
        assert!(
            status_of(&answer).is_none_or(|status| status == 431 || status == 400),
            "{protocol}: {:?}",
            status_of(&answer)
        );
        refuses(
            address,
            "one header of a mebibyte",
            format!(
                "GET / HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n",
                "m".repeat(1 << 20)
            )
            .as_bytes(),
        );
        refuses(
            address,
            "a path of a mebibyte",
            format!(
                "GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n",
                "m".repeat(1 << 20)
            )
            .as_bytes(),
        );
    }
    siege.end();
}

/// A connection that says a little now and then and never finishes a sentence.
#[derive(Debug)]
struct Slow {
    protocol: &'static str,
    stream: TcpStream,
    next: usize,
    sentence: &'static [u8],
    closed_after: Option<Duration>,
}

#[test]
fn two_hundred_slow_connections_at_every_port() {
    need_binary!();
    let siege = Siege::begin();
    let sentences: [(&'static str, &'static [u8]); 5] = [
        (
            "consul",
            b"GET /v1/status/leader HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        ),
        (
            "eureka",
            b"POST /eureka/apps/WEB HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        ),
        (
            "native",
            b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        ),
        ("etcd", b"PRI * HTTP/2.0\r\n\r\nSM\r"),
        ("dns", b"\x00\x40\x12\x34\x01\x00\x00\x01\x00\x00"),
    ];
    let begun = Instant::now();
    let mut slow: Vec<Slow> = Vec::new();
    for (protocol, sentence) in sentences {
        for _ in 0..200 {
            let stream = TcpStream::connect(siege.address(protocol))
                .unwrap_or_else(|error| panic!("{protocol}: {error}"));
            stream.set_nonblocking(true).unwrap();
            slow.push(Slow {
                protocol,
                stream,
                next: 0,
                sentence,
                closed_after: None,
            });
        }
    }
    while begun.elapsed() < PATIENCE + Duration::from_secs(8)
        && slow.iter().any(|one| one.closed_after.is_none())
    {
        for one in slow.iter_mut().filter(|one| one.closed_after.is_none()) {
            let mut buffer = [0; 512];
            match one.stream.read(&mut buffer) {
                Ok(0) => one.closed_after = Some(begun.elapsed()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    one.closed_after = Some(begun.elapsed())
                }
                _ => {}
            }
            // The sentence, then the same letter again and again: never the end.
            let word = one.sentence.get(one.next).copied().unwrap_or(b'x');
            if one.stream.write(&[word]).is_ok() && one.next + 1 < one.sentence.len() + 40 {
                one.next += 1;
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for (protocol, _) in sentences {
        let of: Vec<&Slow> = slow.iter().filter(|one| one.protocol == protocol).collect();
        let open = of.iter().filter(|one| one.closed_after.is_none()).count();
        let longest = of.iter().filter_map(|one| one.closed_after).max();
        println!(
            "{protocol}: {} of 200 closed, the last after {longest:?}",
            200 - open
        );
        assert_eq!(
            open,
            0,
            "{protocol}: {open} of 200 slow connections are still open after {:?}",
            begun.elapsed()
        );
    }
    siege.end();
}

#[test]
fn connections_that_say_nothing() {
    need_binary!();
    let siege = Siege::begin();
    let silent: Vec<(&str, TcpStream)> = [
        "consul",
        "eureka",
        "nacos",
        "nacos-grpc",
        "native",
        "etcd",
        "dns",
    ]
    .into_iter()
    .flat_map(|protocol| {
        let address = siege.address(protocol);
        (0..20).map(move |_| (protocol, TcpStream::connect(address).unwrap()))
    })
    .collect();
    let begun = Instant::now();
    for (protocol, mut stream) in silent {
        let left = (PATIENCE + Duration::from_secs(8))
            .saturating_sub(begun.elapsed())
            .max(Duration::from_millis(10));
        stream.set_read_timeout(Some(left)).unwrap();
        let mut buffer = Vec::new();
        let open = stream.read_to_end(&mut buffer).is_err_and(|error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        });
        assert!(
            !open,
            "{protocol} keeps a silent connection for {:?}",
            begun.elapsed()
        );
    }
    siege.end();
}

#[test]
fn resets_and_pings_by_the_thousand() {
    need_binary!();
    let siege = Siege::begin();
    let address = siege.address("etcd");
    let preface = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    ]
    .concat();
    // Open and reset, again and again: the server gives up on such a client and lives.
    let mut bytes = preface.clone();
    for number in 0..5000u32 {
        let stream = (number * 2 + 1).to_be_bytes();
        // A header block of :method POST, :scheme http, :path /, from the static table.
        bytes.extend_from_slice(&[
            0, 0, 3, 1, 4, stream[0], stream[1], stream[2], stream[3], 0x83, 0x86, 0x84,
        ]);
        bytes.extend_from_slice(&[
            0, 0, 4, 3, 0, stream[0], stream[1], stream[2], stream[3], 0, 0, 0, 8,
        ]);
    }
    let _ = http::exchange(address, &bytes, Duration::from_secs(20));
    let mut bytes = preface.clone();
    for _ in 0..20_000 {
        bytes.extend_from_slice(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    let _ = http::exchange(address, &bytes, Duration::from_secs(5));
    // Headers without their end.
    let mut bytes = preface;
    bytes.extend_from_slice(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83]);
    for _ in 0..20_000 {
        bytes.extend_from_slice(&[0, 0, 100, 9, 0, 0, 0, 0, 1]);
        bytes.extend_from_slice(&[0x82; 100]);
    }
    let _ = http::exchange(address, &bytes, Duration::from_secs(20));
    siege.end();
}

#[test]
fn a_watcher_that_never_reads_slows_nobody() {
    need_binary!();
    let siege = Siege::begin();
    let runtime = etcd::runtime();
    runtime.block_on(async {
        let client = Etcd::for_streams(siege.address("etcd")).await.unwrap();
        let mut kept = Vec::new();
        for _ in 0..50 {
            let deaf = Etcd::for_streams(siege.address("etcd")).await.unwrap();
            let create = pb::WatchCreateRequest {
                key: "loud/".into(),
                range_end: etcd::end_of("loud/"),
                prev_kv: true,
                ..Default::default()
            };
            let request = pb::WatchRequest {
                request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
            };
            let (keep, requests) = tokio::sync::mpsc::channel(1);
            keep.send(request).await.unwrap();
            let stream = deaf
                .watch()
                .watch(tokio_stream::wrappers::ReceiverStream::new(requests))
                .await
                .unwrap();
            kept.push((keep, stream));
        }
        let value = vec![9u8; 64 << 10];
        for number in 0..200 {
            client
                .put(&format!("loud/{}", number % 10), &value)
                .await
                .expect("a put beside deaf watchers");
        }
    });
    let resident = resident_kib(siege.server.pid());
    assert!(
        resident < 512 << 10,
        "resident {resident} KiB with 50 watchers that never read"
    );
    siege.end();
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().split(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
