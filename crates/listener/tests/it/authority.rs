//! HTTP/2 by hand: what no client library lets itself be made to send.

use http::StatusCode;
use portolan_listener::{Limits, Request, Response, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, Server, decide, serve};

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Answers with the authority and the path that arrived.
async fn echo(request: Request) -> Response {
    decide(&request);
    let authority = request.uri().authority().map_or("none", |a| a.as_str());
    text(
        StatusCode::OK,
        format!("{authority} {}", request.uri().path()),
    )
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// GET, http, the path as a literal to be indexed, and a field for the authority.
fn block(path: &str, authority: &[u8]) -> Vec<u8> {
    let path = [&[0x44, path.len() as u8], path.as_bytes()].concat();
    [&[0x82, 0x86], &path[..], authority].concat()
}

fn literal(first: u8, value: &[u8]) -> Vec<u8> {
    [&[first, value.len() as u8], value].concat()
}

struct Connection {
    stream: TcpStream,
}

impl Connection {
    async fn open(server: &Server) -> Connection {
        let mut stream = server.connect().await;
        let preface = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0, 0, &[]),
        ];
        stream.write_all(&preface.concat()).await.unwrap();
        Connection { stream }
    }

    async fn ask(&mut self, number: u32, block: &[u8]) -> String {
        self.ask_in(number, &frame(1, END_HEADERS | END_STREAM, number, block))
            .await
    }

    /// Sends `frames`, and reads the answer on stream `number`: its body, or what ended it.
    async fn ask_in(&mut self, number: u32, frames: &[u8]) -> String {
        self.stream.write_all(frames).await.unwrap();
        timeout(PATIENCE, self.answer(number)).await.unwrap()
    }

    async fn answer(&mut self, number: u32) -> String {
        let mut body = String::new();
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.unwrap();
            match head[3] {
                0 if stream == number => body.push_str(std::str::from_utf8(&payload).unwrap()),
                3 => return format!("reset {payload:?}"),
                7 => return format!("goaway {payload:?}"),
                _ => continue,
            }
            if head[4] & END_STREAM != 0 {
                return body;
            }
        }
    }
}

#[tokio::test]
async fn any_authority_is_let_in_and_the_tables_of_both_ends_stay_equal() {
    let server = serve(Limits::default(), echo);
    let mut peer = Connection::open(&server).await;
    let bad = b"#initially=[h:1]";
    let zeros = "0".repeat(bad.len());
    // Indexed: the path becomes entry 63, the authority 62.
    assert_eq!(
        peer.ask(1, &block("/one", &literal(0x41, bad))).await,
        format!("{zeros} /one")
    );
    // Both by reference.
    assert_eq!(
        peer.ask(3, &[0x82, 0x86, 0xbf, 0xbe]).await,
        format!("{zeros} /one")
    );
    // Not indexed, and never.
    for (number, first) in [(5, 0x01), (7, 0x11)] {
        let block = [&[0x82, 0x86, 0xbf], &literal(first, bad)[..]].concat();
        assert_eq!(peer.ask(number, &block).await, format!("{zeros} /one"));
    }
    // The table is made as small as the two entries (32 + 5 + 4 and 32 + 10 + 16 bytes): the next path pushes the older one out,
    // so the references mean the same to both sides only if they count the same sizes.
    let smaller = [&[0x3f, 99 - 31][..], &[0x82, 0x86, 0xbf, 0xbe]].concat();
    assert_eq!(peer.ask(9, &smaller).await, format!("{zeros} /one"));
    let two = [&[0x82, 0x86][..], &literal(0x44, b"/two"), &[0xbf]].concat();
    assert_eq!(peer.ask(11, &two).await, format!("{zeros} /two"));
    // A good one on the same connection is what it was, and so is none.
    assert_eq!(
        peer.ask(13, &block("/good", &literal(0x41, b"localhost:80")))
            .await,
        "localhost:80 /good"
    );
    assert_eq!(peer.ask(15, &block("/none", &[])).await, "none /none");
    assert_eq!(peer.ask(17, &block("/empty", &[0x81])).await, "none /empty");
}

#[tokio::test]
async fn padding_priority_and_continuations_are_understood() {
    let server = serve(Limits::default(), echo);
    let mut peer = Connection::open(&server).await;
    let whole = block("/cut", &literal(0x41, b"[not closed"));
    for (number, cut) in (1_u32..).step_by(2).zip(0..=whole.len()) {
        let first = [&[3, 0, 0, 0, 0, 9][..], &whole[..cut], &[0; 3]].concat();
        let frames = [
            frame(1, END_STREAM | 0x8 | 0x20, number, &first),
            frame(9, END_HEADERS, number, &whole[cut..]),
        ];
        assert_eq!(
            peer.ask_in(number, &frames.concat()).await,
            "00000000000 /cut",
            "cut at {cut}"
        );
    }
    // Byte by byte: nothing is whole when it comes.
    for byte in frame(1, END_HEADERS | END_STREAM, 201, &whole) {
        peer.stream.write_all(&[byte]).await.unwrap();
        peer.stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = timeout(PATIENCE, peer.answer(201)).await.unwrap();
    assert_eq!(answer, "00000000000 /cut");
}

#[tokio::test]
async fn hostile_blocks_meet_the_library_s_own_bounds() {
    let server = serve(Limits::default(), echo);
    let bad = literal(0x41, b"#");
    // A block without end: refused by the library after a few frames, not held for ever.
    let mut peer = Connection::open(&server).await;
    let mut endless = frame(1, END_STREAM, 1, &bad);
    for _ in 0..200 {
        endless.extend(frame(9, 0, 1, &[0x00; 1000]));
    }
    // The connection may be closed before all of it is written.
    let _ = peer.stream.write_all(&endless).await;
    let answer = timeout(PATIENCE, peer.answer(1)).await.unwrap();
    assert!(answer.starts_with("goaway"), "{answer}");
    // Malformed HPACK stays what it is.
    let mut peer = Connection::open(&server).await;
    let broken = [&[0x82, 0x86][..], &bad, &[0xff, 0xff, 0xff, 0xff, 0xff]].concat();
    let answer = peer.ask(1, &broken).await;
    assert!(answer.starts_with("goaway"), "{answer}");
}
