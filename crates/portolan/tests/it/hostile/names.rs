//! DNS messages that are none.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::bystander::{ask, query};
use super::{PATIENCE, Siege};
use crate::need_binary;

fn header(questions: u16, answers: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0];
    for count in [questions, answers, 0, 0] {
        bytes.extend_from_slice(&count.to_be_bytes());
    }
    bytes
}

fn with(mut head: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    head.extend_from_slice(rest);
    head
}

/// Messages and the codes they may be answered with; empty means: silence.
fn malformed() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let good = query("calm.service.consul", 1);
    let mut answer = good.clone();
    answer[2] |= 0x80;
    let mut opcode = good.clone();
    opcode[2] = 0x28;
    let mut class = good.clone();
    let end = class.len() - 1;
    class[end] = 3;
    let mut two_opt = good.clone();
    two_opt[11] = 2;
    for _ in 0..2 {
        two_opt.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    let mut version = good.clone();
    version[11] = 1;
    version.extend_from_slice(&[0, 0, 41, 4, 208, 0, 7, 0, 0, 0, 0]);
    vec![
        ("nothing", Vec::new(), &[]),
        ("eleven bytes", header(1, 0)[..11].to_vec(), &[]),
        ("an answer", answer, &[]),
        ("a question that is missing", header(1, 0), &[1]),
        ("no question", header(0, 0), &[1]),
        (
            "two questions",
            with(
                header(2, 0),
                &[good[12..].to_vec(), good[12..].to_vec()].concat(),
            ),
            &[1],
        ),
        (
            "more questions than bytes",
            with(header(0xffff, 0), &good[12..]),
            &[1],
        ),
        (
            "answers that are missing",
            with(header(1, 0xffff), &good[12..]),
            &[0, 1],
        ),
        (
            "a pointer to itself",
            with(header(1, 0), &[0xc0, 12, 0, 1, 0, 1]),
            &[1],
        ),
        (
            "two pointers to each other",
            with(header(1, 0), &[0xc0, 14, 0xc0, 12, 0, 1, 0, 1]),
            &[1],
        ),
        (
            "a pointer beyond the end",
            with(header(1, 0), &[0xff, 0xff, 0, 1, 0, 1]),
            &[1],
        ),
        (
            "a label beyond the end",
            with(header(1, 0), &[63, b'a', b'b']),
            &[1],
        ),
        (
            "a reserved label type",
            with(header(1, 0), &[0x80, 1, 0, 0, 1, 0, 1]),
            &[1],
        ),
        (
            "a name of 300 bytes",
            with(
                header(1, 0),
                &[
                    [&[49u8][..], &[b'a'; 49][..]].concat().repeat(6),
                    vec![0, 0, 1, 0, 1],
                ]
                .concat(),
            ),
            &[1],
        ),
        (
            "a name without end",
            with(header(1, 0), &[1, b'a'].repeat(20)),
            &[1],
        ),
        ("an unknown operation", opcode, &[4]),
        ("another class", class, &[5]),
        ("two OPT records", two_opt, &[1]),
        // BADVERS is 16: the low four bits are zero.
        ("an OPT of another version", version, &[0]),
        ("a zone that is not ours", query("example.com", 1), &[5]),
        ("a zone transfer", query("service.consul", 252), &[4, 5]),
        (
            "a name that is not there",
            query("nobody.service.consul", 1),
            &[3],
        ),
        (
            "labels of every byte",
            query("\u{1}\u{2}.service.consul", 1),
            &[1, 3],
        ),
    ]
}

#[test]
fn malformed_messages() {
    need_binary!();
    let siege = Siege::begin();
    let dns = siege.address("dns");
    let check = |what: &str, bytes: &[u8], codes: &[u8]| match ask(dns, bytes) {
        Some(answer) => {
            assert!(
                answer.len() >= 12,
                "{what}: an answer of {} bytes",
                answer.len()
            );
            assert_eq!(&answer[..2], &[0x12, 0x34], "{what}: another id");
            assert!(answer[2] & 0x80 != 0, "{what}: not an answer");
            assert!(
                codes.contains(&(answer[3] & 15)),
                "{what}: code {}, expected one of {codes:?}",
                answer[3] & 15
            );
        }
        None => assert!(codes.is_empty(), "{what}: silence"),
    };
    // All at once: silence takes its time.
    std::thread::scope(|scope| {
        for (what, bytes, codes) in malformed() {
            scope.spawn(move || check(what, &bytes, codes));
        }
    });
    siege.end();
}

#[test]
fn a_flood_of_noise() {
    need_binary!();
    let siege = Siege::begin();
    let dns = siege.address("dns");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let good = query("calm.service.consul", 33);
    for round in 0..30_000u32 {
        let mut bytes = good.clone();
        for _ in 0..1 + round % 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 32) as u8;
        }
        bytes.truncate(bytes.len() - (state >> 40) as usize % 4);
        let _ = socket.send_to(&bytes, dns);
        if round % 64 == 0 {
            // Not a contest against the socket's buffer: the point is what is in the packets.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    siege.end();
}

#[test]
fn tcp_lengths_that_lie() {
    need_binary!();
    let siege = Siege::begin();
    let dns = siege.address("dns");
    let good = query("calm.service.consul", 1);
    let lies = [
        ("a length of zero", vec![0, 0]),
        (
            "a length beyond what comes",
            [&[0xff, 0xff][..], &good].concat(),
        ),
        ("half a length", vec![0]),
        ("a length shorter than a header", vec![0, 5, 1, 2, 3, 4, 5]),
    ];
    // All at once: each is closed when the server has waited long enough for the rest.
    std::thread::scope(|scope| {
        for (what, bytes) in lies {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(dns).unwrap();
                stream.write_all(&bytes).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let asked = Instant::now();
                let mut rest = Vec::new();
                let closed = stream.read_to_end(&mut rest);
                assert!(
                    closed.is_ok(),
                    "{what}: still open after {:?}",
                    asked.elapsed()
                );
            });
        }
    });
    // Two in one segment, and one in single bytes: both are fine.
    let framed = [&(good.len() as u16).to_be_bytes()[..], &good].concat();
    let mut stream = TcpStream::connect(dns).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(&framed.repeat(2)).unwrap();
    for byte in &framed {
        stream.write_all(&[*byte]).unwrap();
    }
    for number in 0..3 {
        let mut length = [0; 2];
        stream
            .read_exact(&mut length)
            .unwrap_or_else(|error| panic!("answer {number}: {error}"));
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[3] & 15, answer[7]), (0, 1), "answer {number}");
    }
    siege.end();
}
