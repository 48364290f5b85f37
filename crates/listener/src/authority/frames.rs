//! HTTP/2's frames (RFC 9113 section 4), as far as header blocks have to be found in them. No I/O: bytes in, bytes out.

use super::fields::{self, Known};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// Bytes of a frame's payload that the library takes: the protocol's own default, which is not raised.
const FRAME: usize = 16_384;
/// Frames of one header block. The library takes fewer.
const FRAMES: usize = 16;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Rewrites what one peer sends on one connection.
///
/// ```
/// # use portolan_listener::authority::Rewriter;
/// let mut rewriter = Rewriter::new(64 << 10);
/// assert_eq!(rewriter.receive(b"GET / HTTP/1.1\r\n"), 16, "not HTTP/2: everything passes from now on");
/// assert!(rewriter.is_idle());
/// ```
#[derive(Debug)]
pub struct Rewriter {
    state: State,
    /// Bytes of a header block that are looked at; larger ones pass.
    limit: usize,
    /// The beginning of something that is not whole yet.
    held: Vec<u8>,
    /// How long `held` has to be before looking at it again can help.
    wanted: usize,
    /// What is ready to be read, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    known: Known,
}

#[derive(Debug)]
enum State {
    /// The first bytes of the preface came.
    Preface(usize),
    /// This is not HTTP/2.
    Off,
    /// Between frames, or so many bytes before the end of one.
    Frames(usize),
    /// In a header block that is too large: as `Frames`, until its last frame.
    Passing(usize),
}

/// What stopped a look at some bytes.
enum Stop {
    /// The rest is not whole before it has this length.
    Wants(usize),
    /// A header block of `length` bytes, frames included, to be replaced.
    Block { length: usize, with: Vec<u8> },
}

impl Rewriter {
    /// For a new connection. `limit` is the size in bytes up to which header blocks are looked at.
    pub fn new(limit: usize) -> Rewriter {
        Rewriter {
            state: State::Preface(0),
            limit,
            held: Vec::new(),
            wanted: 0,
            ready: Vec::new(),
            taken: 0,
            known: Known::default(),
        }
    }

    /// Whether nothing is held and nothing is ready.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.ready().is_empty()
    }

    /// Takes the next bytes that the peer sent. So many of them at the front may be used as they are, before what is
    /// [`ready`](Rewriter::ready) then; the rest was taken. Only to be called while nothing is ready.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        debug_assert!(self.ready().is_empty(), "what is ready must be used first");
        if self.held.is_empty() {
            let (passed, stop) = self.scan(bytes);
            match stop {
                None => return bytes.len(),
                Some(Stop::Wants(wanted)) => {
                    self.held.extend_from_slice(&bytes[passed..]);
                    self.wanted = wanted;
                }
                Some(Stop::Block { length, with }) => {
                    self.ready = with;
                    self.held.extend_from_slice(&bytes[passed + length..]);
                    self.look_again();
                }
            }
            return passed;
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() >= self.wanted {
            self.look_again();
        }
        0
    }

    /// What comes next in the place of bytes that were taken.
    pub fn ready(&self) -> &[u8] {
        &self.ready[self.taken..]
    }

    /// So many bytes of what was ready were used.
    pub fn used(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= self.ready.len() {
            // Given back: a connection that needed it once need not hold the memory for ever.
            self.ready = Vec::new();
            self.taken = 0;
        }
    }

    /// The peer sends no more: what is held becomes ready as it came.
    pub fn finish(&mut self) {
        self.ready.append(&mut self.held);
    }

    fn look_again(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        loop {
            let (passed, stop) = self.scan(&held[at..]);
            self.ready.extend_from_slice(&held[at..at + passed]);
            at += passed;
            match stop {
                None => return,
                Some(Stop::Block { length, with }) => {
                    self.ready.extend_from_slice(&with);
                    at += length;
                }
                Some(Stop::Wants(wanted)) => {
                    self.held = match at {
                        0 => held,
                        _ => held[at..].to_vec(),
                    };
                    self.wanted = wanted;
                    return;
                }
            }
        }
    }

    /// How many of `bytes` pass, and what comes then if that is not all.
    fn scan(&mut self, bytes: &[u8]) -> (usize, Option<Stop>) {
        let mut at = 0;
        if let State::Preface(matched) = self.state {
            let expected = &PREFACE[matched..];
            let length = expected.len().min(bytes.len());
            self.state = match bytes[..length] == expected[..length] {
                false => State::Off,
                true if length < expected.len() => State::Preface(matched + length),
                true => State::Frames(0),
            };
            at = length;
        }
        loop {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Preface(_) | State::Off => return (bytes.len(), None),
                State::Frames(left) | State::Passing(left) if *left > 0 => {
                    let skipped = rest.len().min(*left);
                    *left -= skipped;
                    at += skipped;
                }
                _ => {}
            }
            let rest = &bytes[at..];
            if rest.is_empty() {
                return (at, None);
            }
            let Some(frame) = Frame::read(rest) else {
                return (at, Some(Stop::Wants(HEAD)));
            };
            if let State::Passing(_) = self.state {
                self.state = match frame.ends_headers() {
                    true => State::Frames(HEAD + frame.length),
                    false => State::Passing(HEAD + frame.length),
                };
                continue;
            }
            if frame.kind != HEADERS || frame.length > FRAME {
                self.state = State::Frames(HEAD + frame.length);
                continue;
            }
            match self.block(rest) {
                Block::Passes(length) => at += length,
                Block::Unending => self.state = State::Passing(HEAD + frame.length),
                Block::Stops(stop) => return (at, Some(stop)),
            }
        }
    }

    /// Looks at the header block with which `bytes` begin.
    fn block(&mut self, bytes: &[u8]) -> Block {
        let mut at = 0;
        let mut first = None;
        let mut several: Option<Vec<u8>> = None;
        let mut only = 0..0;
        for _ in 0..FRAMES {
            let Some(frame) = Frame::read(&bytes[at..]) else {
                return Block::Stops(Stop::Wants(at + HEAD));
            };
            let expected = first.is_none_or(|first: Frame| {
                frame.kind == CONTINUATION && frame.stream == first.stream
            });
            let end = at + HEAD + frame.length;
            if !expected || frame.length > FRAME {
                return Block::Passes(at);
            }
            if end > self.limit + HEAD {
                return Block::Unending;
            }
            if bytes.len() < end {
                return Block::Stops(Stop::Wants(end));
            }
            let Some(fragment) = frame.fragment(&bytes[at + HEAD..end]) else {
                return Block::Passes(end);
            };
            let fragment = at + HEAD + fragment.start..at + HEAD + fragment.end;
            match (&mut several, first) {
                (None, None) => only = fragment,
                (None, Some(_)) => {
                    several = Some([&bytes[only.clone()], &bytes[fragment]].concat());
                }
                (Some(whole), _) => whole.extend_from_slice(&bytes[fragment]),
            }
            let first = *first.get_or_insert(frame);
            at = end;
            if !frame.ends_headers() {
                continue;
            }
            let whole = several.as_deref().unwrap_or(&bytes[only]);
            return match fields::rewritten(whole, &mut self.known) {
                None => Block::Passes(at),
                Some(block) => Block::Stops(Stop::Block {
                    length: at,
                    with: first.framed(bytes, &block),
                }),
            };
        }
        Block::Unending
    }
}

/// What a header block is to the scan.
enum Block {
    /// So many bytes stay as they are.
    Passes(usize),
    /// It is larger than is looked at, and passes.
    Unending,
    /// It is not whole yet, or to be replaced.
    Stops(Stop),
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Frame> {
        let &[a, b, c, kind, flags, s, t, u, v, ..] = bytes else {
            return None;
        };
        Some(Frame {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            stream: [s, t, u, v],
        })
    }

    fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Where in `payload` the piece of the header block is: HEADERS may have padding and a priority around it.
    fn fragment(&self, payload: &[u8]) -> Option<std::ops::Range<usize>> {
        let (mut start, mut end) = (0, payload.len());
        if self.kind == HEADERS && self.flags & PADDED != 0 {
            start = 1;
            end = end.checked_sub(usize::from(*payload.first()?))?;
        }
        if self.kind == HEADERS && self.flags & PRIORITY != 0 {
            start += 5;
        }
        (start <= end).then_some(start..end)
    }

    /// `block` in frames like this HEADERS frame, with which `bytes` begin: its stream, flags and priority, without its padding.
    fn framed(self, bytes: &[u8], block: &[u8]) -> Vec<u8> {
        let mut priority: &[u8] = &[];
        if self.flags & PRIORITY != 0 {
            let at = HEAD + usize::from(self.flags & PADDED != 0);
            priority = &bytes[at..at + 5];
        }
        let mut framed = Vec::with_capacity(block.len() + 2 * HEAD + priority.len());
        let (mut kind, mut flags) = (HEADERS, self.flags & !PADDED & !END_HEADERS);
        let mut rest = block;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(FRAME - priority.len()));
            if behind.is_empty() {
                flags |= END_HEADERS;
            }
            let length = (priority.len() + piece.len()) as u32;
            framed.extend_from_slice(&length.to_be_bytes()[1..]);
            framed.extend_from_slice(&[kind, flags]);
            framed.extend_from_slice(&self.stream);
            framed.extend_from_slice(priority);
            framed.extend_from_slice(piece);
            if behind.is_empty() {
                return framed;
            }
            (kind, flags, priority, rest) = (CONTINUATION, 0, &[], behind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
        frame.extend_from_slice(payload);
        frame
    }

    fn authority(value: &[u8]) -> Vec<u8> {
        [&[0x83, 0x41, value.len() as u8][..], value, &[0x86]].concat()
    }

    /// What comes out when `input` comes in pieces of `piece` bytes.
    fn through(input: &[u8], piece: usize) -> Vec<u8> {
        let mut rewriter = Rewriter::new(64 << 10);
        let mut out = Vec::new();
        let drain = |rewriter: &mut Rewriter, out: &mut Vec<u8>| {
            while !rewriter.ready().is_empty() {
                let some = rewriter.ready().len().min(3);
                out.extend_from_slice(&rewriter.ready()[..some]);
                rewriter.used(some);
            }
        };
        for chunk in input.chunks(piece) {
            let passed = rewriter.receive(chunk);
            out.extend_from_slice(&chunk[..passed]);
            drain(&mut rewriter, &mut out);
        }
        rewriter.finish();
        drain(&mut rewriter, &mut out);
        out
    }

    fn check(input: &[u8], expected: &[u8]) {
        for piece in (1..40).chain([input.len()]) {
            assert_eq!(through(input, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn header_blocks_are_found_however_they_are_cut_and_dressed() {
        let (bad, good) = (authority(b"#initially=[h:1]"), authority(&[b'0'; 16]));
        let ping = frame(6, 0, 0, b"12345678");
        // A payload that looks like a bad block is none.
        let data = frame(0, 0, 1, &frame(HEADERS, END_HEADERS, 1, &bad));
        let around = |blocks: &[Vec<u8>]| {
            [PREFACE, &ping, &blocks.concat(), &data, &blocks.concat()].concat()
        };
        let plain = |block: &[u8]| vec![frame(HEADERS, END_HEADERS | 1, 3, block)];
        check(&around(&plain(&bad)), &around(&plain(&good)));
        check(&around(&plain(&good)), &around(&plain(&good)));
        // Padding goes, the priority stays.
        let dressed = |block: &[u8]| {
            let payload = [&[4][..], &[0x80, 0, 0, 0, 200], block, &[0; 4]].concat();
            vec![frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 3, &payload)]
        };
        let undressed = [&[0x80, 0, 0, 0, 200][..], &good].concat();
        let undressed = vec![frame(HEADERS, END_HEADERS | PRIORITY, 3, &undressed)];
        check(&around(&dressed(&bad)), &around(&undressed));
        check(&around(&dressed(&good)), &around(&dressed(&good)));
        // Continued within the value, with empty pieces.
        for cut in 0..bad.len() {
            let continued = |block: &[u8]| {
                vec![
                    frame(HEADERS, 1, 3, &block[..cut]),
                    frame(CONTINUATION, 0, 3, &[]),
                    frame(CONTINUATION, END_HEADERS, 3, &block[cut..]),
                ]
            };
            check(&around(&continued(&bad)), &around(&plain(&good)));
            check(&around(&continued(&good)), &around(&continued(&good)));
        }
    }

    #[test]
    fn large_blocks_are_framed_again_and_larger_ones_pass() {
        let filler: Vec<u8> = (0..30)
            .flat_map(|_| {
                let mut field = vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x07];
                field.extend_from_slice(&[b'v'; 1024]);
                field
            })
            .collect();
        let block = |value: &[u8]| [&authority(value)[..], &filler].concat();
        let framed = |block: &[u8], size: usize| {
            let last = block.chunks(size).count() - 1;
            let frames = block.chunks(size).enumerate().map(|(n, piece)| {
                let kind = if n == 0 { HEADERS } else { CONTINUATION };
                frame(kind, if n == last { END_HEADERS } else { 0 }, 5, piece)
            });
            [PREFACE.to_vec(), frames.collect::<Vec<_>>().concat()].concat()
        };
        let (bad, good) = (block(b"a b"), block(b"000"));
        assert_eq!(through(&framed(&bad, 10_000), 4096), framed(&good, FRAME));
        // More frames, and more bytes, than are looked at.
        for (count, size) in [(20, 100), (1, 20_000), (10, FRAME)] {
            let long: Vec<u8> = bad.iter().copied().cycle().take(count * size).collect();
            let input = [
                framed(&long, size),
                framed(&bad, FRAME)[PREFACE.len()..].to_vec(),
            ]
            .concat();
            let expected = [
                framed(&long, size),
                framed(&good, FRAME)[PREFACE.len()..].to_vec(),
            ]
            .concat();
            assert!(
                through(&input, 4096) == expected,
                "{count} frames of {size}"
            );
        }
    }

    #[test]
    fn what_is_malformed_passes() {
        let bad = authority(b"a b");
        let good = frame(HEADERS, END_HEADERS, 7, &authority(b"000"));
        let next = frame(HEADERS, END_HEADERS, 7, &bad);
        for broken in [
            // More padding than there is, and no room for the priority.
            frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 1, 2]),
            frame(HEADERS, END_HEADERS | PADDED, 1, &[]),
            frame(HEADERS, END_HEADERS | PRIORITY, 1, &[1, 2]),
            // A frame of another kind, or of another stream, within a block.
            [frame(HEADERS, 0, 1, &bad), frame(6, 0, 0, b"12345678")].concat(),
            [frame(HEADERS, 0, 1, &bad), frame(CONTINUATION, 4, 3, &bad)].concat(),
            frame(CONTINUATION, END_HEADERS, 1, &bad),
        ] {
            check(
                &[PREFACE, &broken, &next].concat(),
                &[PREFACE, &broken, &good].concat(),
            );
        }
        for other in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"] {
            let input = [other.as_bytes(), &next].concat();
            check(&input, &input);
        }
    }
}
