//! What two readers could take for different requests: each is refused, with a reason, and its connection ends.

use super::table::request;
use super::wire::Wire;
use super::{Backend, Stage};
use crate::need_binary;

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    need_binary!();
    let stage = Stage::new(&[]);
    let post = |fields: &str, body: &str| request("POST", "/web/", fields, body);
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let rows: Vec<(&str, String, u16)> = vec![
        (
            "both lengths",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\nGET /web/stolen HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            400,
        ),
        (
            "both, other order",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
            400,
        ),
        (
            "one length twice",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            400,
        ),
        (
            "a list of lengths",
            post("Content-Length: 5, 5\r\n", "hello"),
            400,
        ),
        (
            "a signed length",
            post("Content-Length: +5\r\n", "hello"),
            400,
        ),
        (
            "a coding that is none",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "obs-fold",
            post("X: a\r\n b\r\nContent-Length: 0\r\n", ""),
            400,
        ),
        (
            "space before the colon",
            post("Content-Length : 5\r\n", "hello"),
            400,
        ),
        (
            "bare line feed",
            "POST /web/ HTTP/1.1\nHost: a\n\n".into(),
            400,
        ),
        (
            "bare carriage return",
            post("X: a\rContent-Length: 5\r\n", ""),
            400,
        ),
        ("nul", post("X: a\0b\r\n", ""), 400),
        ("two hosts", post("Host: other\r\n", ""), 400),
        ("no host", "GET /web/ HTTP/1.1\r\n\r\n".into(), 400),
        (
            "chunks in http/1.0",
            "POST /web/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        (
            "two spaces",
            "GET  /web/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
        ),
        (
            "a fragment",
            "GET /web/#a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
        ),
        (
            "a later version",
            "GET /web/ HTTP/3.0\r\nHost: a\r\n\r\n".into(),
            505,
        ),
        (
            "a large head",
            post(&format!("X: {}\r\n", "a".repeat(70_000)), ""),
            431,
        ),
        ("many fields", post(&"X: a\r\n".repeat(200), ""), 431),
        (
            "a chunk's size that is none",
            chunked("0x5\r\nhello\r\n0\r\n\r\n"),
            400,
        ),
        (
            "a chunk's size too large",
            chunked("ffffffffffffffff1\r\nhello\r\n"),
            400,
        ),
        (
            "a chunk longer than it says",
            chunked("4\r\nhello\r\n0\r\n\r\n"),
            400,
        ),
        (
            "a chunk ended by a line feed",
            chunked("5\nhello\n0\n\n"),
            400,
        ),
        (
            "a length behind the body",
            chunked("5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
            400,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, request, status) in &rows {
        let mut wire = Wire::open(stage.gateway());
        wire.send(request);
        let answer = wire.answer(false);
        if answer.status != *status || answer.field("x-portolan-error").is_none() {
            wrong.push(format!("{name}: {}\n{}", answer.head, answer.body));
        } else if !wire.is_closed() {
            wrong.push(format!("{name}: the connection stays open"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
    let stolen = stage.backends.iter().map(Backend::requests).sum::<u32>();
    // Bodies that turn out to be none were on their way.
    assert!(stolen <= 8, "{stolen} requests reached an endpoint");
}
