//! Where requests begin and end in a stream of bytes, and which of them are none.
//!
//! Bytes are released when what they belong to is known to be good: a head as a whole, the line before a chunk as a whole, a body as it comes.

use super::field::{self, Head};

/// Why a request is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The status to answer with.
    pub(crate) status: u16,
    /// In a few words.
    pub(crate) reason: &'static str,
}

/// Empty lines before a request that are passed over (RFC 9112, 2.2).
const EMPTY_LINES: u32 = 4;
/// Bytes of a line before a chunk.
const CHUNK_LINE: usize = 512;

/// Where in the stream we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a request, or in its head.
    Head,
    /// In a body of which so much is left.
    Body(u64),
    /// Before a chunk.
    Size,
    /// In a chunk of which so much is left.
    Chunk(u64),
    /// Behind a chunk's bytes.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers,
    /// Nothing is looked at any more: the connection is another protocol's.
    Tunnel,
}

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advance {
    /// So many of them may be read on.
    pub(crate) released: usize,
    /// What is wrong behind those.
    pub(crate) violation: Option<Violation>,
}

/// The state between two reads.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    place: Place,
    head: Head,
    /// Lines of the head or of the trailers so far, the first included.
    lines: u32,
    empty: u32,
    /// Heads that were released.
    heads: u32,
    /// Of the bytes that were not released: so many were looked through, and the line that is being read begins there.
    seen: usize,
    line: usize,
    most_bytes: usize,
    most_fields: u32,
}

impl Framing {
    /// At the beginning of a connection. A head may have so many bytes, and so many fields.
    pub(crate) fn new(most_bytes: usize, most_fields: usize) -> Framing {
        Framing {
            place: Place::Head,
            head: Head::default(),
            lines: 0,
            empty: 0,
            heads: 0,
            seen: 0,
            line: 0,
            most_bytes,
            most_fields: u32::try_from(most_fields).unwrap_or(u32::MAX),
        }
    }

    /// The connection is another protocol's from here on.
    pub(crate) fn open_tunnel(&mut self) {
        self.place = Place::Tunnel;
    }

    /// How many requests were let through, their bodies apart.
    pub(crate) fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether a violation here is one of a head: nobody has seen anything of that request.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.place == Place::Head
    }

    /// Whether a part of a head was read.
    pub(crate) fn is_inside_head(&self) -> bool {
        self.place == Place::Head && self.seen > 0
    }

    /// Looks at `bytes`, which are those that were not released before and what came since.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Advance {
        let mut released = 0;
        loop {
            match self.step(&bytes[released..]) {
                Ok(0) => {
                    return Advance {
                        released,
                        violation: None,
                    };
                }
                Ok(more) => released += more,
                Err(violation) => {
                    return Advance {
                        released,
                        violation: Some(violation),
                    };
                }
            }
        }
    }

    /// How many of the bytes are good; 0 when more are needed to tell.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let some = |left: u64| usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len()));
        match self.place {
            Place::Tunnel => Ok(bytes.len()),
            Place::Head => self.lines(bytes, Framing::head_line),
            Place::Trailers => self.lines(bytes, Framing::trailer_line),
            Place::Body(left) => {
                let taken = some(left);
                self.place = match left - taken as u64 {
                    0 => Place::Head,
                    left => Place::Body(left),
                };
                Ok(taken)
            }
            Place::Chunk(left) => {
                let taken = some(left);
                self.place = match left - taken as u64 {
                    0 => Place::ChunkEnd,
                    left => Place::Chunk(left),
                };
                Ok(taken)
            }
            Place::Size => {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                    return match bytes.len() > CHUNK_LINE {
                        true => Err(long_line()),
                        false => Ok(0),
                    };
                };
                if end > CHUNK_LINE {
                    return Err(long_line());
                }
                let size = field::chunk_size(ended(&bytes[..end])?)?;
                self.place = match size {
                    0 => Place::Trailers,
                    size => Place::Chunk(size),
                };
                Ok(end + 1)
            }
            Place::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.place = Place::Size;
                    Ok(2)
                }
                [b'\r'] => Ok(0),
                _ => Err(Violation {
                    status: 400,
                    reason: "a chunk is longer than its size says",
                }),
            },
        }
    }

    /// Reads lines up to the empty one; the bytes of all of them together are released.
    fn lines(
        &mut self,
        bytes: &[u8],
        take: fn(&mut Framing, &[u8]) -> Result<(), Violation>,
    ) -> Result<usize, Violation> {
        while let Some(found) = bytes[self.seen..].iter().position(|byte| *byte == b'\n') {
            let end = self.seen + found;
            let line = ended(&bytes[self.line..end])?;
            (self.seen, self.line) = (end + 1, end + 1);
            if end > self.most_bytes {
                return Err(large_head());
            }
            if !line.is_empty() {
                take(self, line)?;
                continue;
            }
            if self.place == Place::Head && self.lines == 0 {
                self.empty += 1;
                if self.empty > EMPTY_LINES {
                    return Err(Violation {
                        status: 400,
                        reason: "there are empty lines and no request",
                    });
                }
            } else if self.place == Place::Head {
                field::whole(&self.head)?;
                self.place = match (self.head.chunked, self.head.length) {
                    (true, _) => Place::Size,
                    (false, None | Some(0)) => Place::Head,
                    (false, Some(length)) => Place::Body(length),
                };
                self.empty = 0;
                self.heads = self.heads.wrapping_add(1);
            } else {
                self.place = Place::Head;
            }
            let released = self.seen;
            (self.seen, self.line, self.lines) = (0, 0, 0);
            self.head = Head::default();
            return Ok(released);
        }
        self.seen = bytes.len();
        match self.seen > self.most_bytes {
            true => Err(large_head()),
            false => Ok(0),
        }
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        self.lines += 1;
        if self.lines == 1 {
            self.head.modern = field::request_line(line)?;
            return Ok(());
        }
        if self.lines > self.most_fields + 1 {
            return Err(large_head());
        }
        field::note(&mut self.head, line)
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        self.lines += 1;
        if self.lines > self.most_fields {
            return Err(large_head());
        }
        field::trailer(line)
    }
}

/// A line without its end, which is a carriage return before the line feed, and no other one.
fn ended(line: &[u8]) -> Result<&[u8], Violation> {
    match line {
        [line @ .., b'\r'] if !line.contains(&b'\r') => Ok(line),
        _ => Err(Violation {
            status: 400,
            reason: "a line does not end with carriage return and line feed, or holds one of them",
        }),
    }
}

fn large_head() -> Violation {
    Violation {
        status: 431,
        reason: "the head of the request is too large",
    }
}

fn long_line() -> Violation {
    Violation {
        status: 400,
        reason: "the line before a chunk is too long",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing() -> Framing {
        Framing::new(4096, 16)
    }

    /// All at once, and byte by byte: what is released and what is refused must be the same.
    fn read(text: &str) -> (usize, Option<u16>) {
        let bytes = text.as_bytes();
        let whole = framing().advance(bytes);
        let mut slow = framing();
        let (mut start, mut violation) = (0, None);
        for end in 1..=bytes.len() {
            let advance = slow.advance(&bytes[start..end]);
            start += advance.released;
            violation = advance.violation.map(|violation| violation.status);
            if violation.is_some() {
                break;
            }
        }
        let found = (
            whole.released,
            whole.violation.map(|violation| violation.status),
        );
        assert_eq!(found, (start, violation), "{text:?}");
        found
    }

    #[test]
    fn what_is_a_request_is_released_as_a_whole() {
        let rows = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost:a\r\nX:\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        for text in rows {
            assert_eq!(read(text), (text.len(), None), "{text:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\n";
        let rows: Vec<(String, u16)> = [
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                400,
            ),
            ("Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
            ("Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
            ("Content-Length: 3, 3\r\n\r\n", 400),
            ("Content-Length: +3\r\n\r\n", 400),
            ("Content-Length: 0x3\r\n\r\n", 400),
            ("Content-Length: -1\r\n\r\n", 400),
            ("Content-Length:\r\n\r\n", 400),
            ("Content-Length: 9999999999999999999\r\n\r\n", 400),
            ("Content-Length : 3\r\n\r\n", 400),
            ("X: a\r\n Content-Length: 3\r\n\r\n", 400),
            ("\tX: a\r\n\r\n", 400),
            ("Transfer-Encoding: xchunked\r\n\r\n", 501),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("Transfer-Encoding: chunked, chunked\r\n\r\n", 501),
            ("Transfer-Encoding: identity\r\n\r\n", 501),
            ("Transfer-Encoding:\u{b}chunked\r\n\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("Host: b\r\n\r\n", 400),
            ("X: a\rb\r\n\r\n", 400),
            ("X: a\u{0}b\r\n\r\n", 400),
            ("X: a\n\r\n", 400),
            ("\n", 400),
            ("nothing\r\n\r\n", 400),
            (": nothing\r\n\r\n", 400),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400),
            ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n", 400),
            ("Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n", 400),
            ("Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n", 400),
            ("Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
                400,
            ),
            ("Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
                400,
            ),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\n X: 3\r\n\r\n", 400),
        ]
        .iter()
        .map(|(rest, status)| (format!("{post}{rest}"), *status))
        .collect();
        let lines = [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET /\r\nHost: a\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ];
        let lines = lines
            .iter()
            .map(|(text, status)| ((*text).to_owned(), *status));
        for (text, status) in rows.into_iter().chain(lines) {
            assert_eq!(read(&text).1, Some(status), "{text:?}");
        }
    }

    #[test]
    fn heads_have_bounds() {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(16));
        assert_eq!(read(&many).1, Some(431));
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(5000));
        assert_eq!(read(&long).1, Some(431));
        let trailers = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n",
            "X: 1\r\n".repeat(17)
        );
        assert_eq!(read(&trailers).1, Some(431));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

        /// Cut anywhere, the same is released and refused.
        #[test]
        fn pieces_make_no_difference(bytes in "[GET/ HP1.\r\na:0-3;x]{0,200}", at in 0..200_usize) {
            let bytes = bytes.as_bytes();
            let whole = framing().advance(bytes);
            let mut pieces = framing();
            let at = at.min(bytes.len());
            let first = pieces.advance(&bytes[..at]);
            let mut released = first.released;
            let mut violation = first.violation;
            if violation.is_none() {
                let second = pieces.advance(&bytes[released..]);
                released += second.released;
                violation = second.violation;
            }
            proptest::prop_assert_eq!((released, violation), (whole.released, whole.violation));
        }
    }
}
