//! The decoder of queries: header, one question, and whatever else the message carries, of which only OPT matters.

use super::{HEADER, Rcode, rtype};

/// EDNS as the client asked for it (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The largest UDP payload the client takes, in bytes, as written.
    pub(crate) size: u16,
    /// Version; anything but 0 is answered with BADVERS.
    pub(crate) version: u8,
    /// The DO bit, copied into the reply.
    pub(crate) dnssec_ok: bool,
    /// Where in the packet the data of a client-subnet option (RFC 7871) lies, as start and length.
    pub(crate) subnet: Option<(u16, u16)>,
    /// The same of a cookie (RFC 7873).
    pub(crate) cookie: Option<(u16, u16)>,
    /// The cookie that the reply carries: the client's and ours.
    pub(crate) reply_cookie: Option<[u8; 24]>,
}

/// A query that can be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// The question's record type.
    pub(crate) qtype: u16,
    /// The question's class.
    pub(crate) qclass: u16,
    /// Bytes of the question's name, its final zero included; the name begins behind the header.
    pub(crate) name: usize,
    /// EDNS, if asked for.
    pub(crate) edns: Option<Edns>,
}

impl Query {
    /// Where the question ends.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        HEADER + self.name + 4
    }
}

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decoded {
    /// A response, or too short to be anything: never answered, so that two servers cannot keep each other busy.
    Ignore,
    /// Answered with a code; the question is echoed up to the given offset (the header's end when it could not be read). Who asked
    /// with EDNS is answered with it (RFC 6891 section 6.1.1), where that much could be read.
    Fault(Rcode, usize, Option<Edns>),
    /// A query of class and type still to be judged.
    Query(Query),
}

/// Decodes one message. Total: no input panics, and each is read once from front to back.
#[inline]
pub(crate) fn decode(packet: &[u8]) -> Decoded {
    let Some(header) = packet.first_chunk::<HEADER>() else {
        return Decoded::Ignore;
    };
    if header[2] & 0x80 != 0 {
        return Decoded::Ignore;
    }
    let questions = u16::from_be_bytes([header[4], header[5]]);
    let question = if questions == 1 {
        question(packet)
    } else {
        None
    };
    let [an, ns, ar] =
        [6, 8, 10].map(|at| u32::from(u16::from_be_bytes([header[at], header[at + 1]])));
    let opcode = header[2] >> 3 & 0x0f;
    if opcode != 0 {
        let edns = question.and_then(|q| records(packet, q.end(), an + ns, ar)?);
        return Decoded::Fault(Rcode::NotImp, question.map_or(HEADER, |q| q.end()), edns);
    }
    let Some(mut query) = question else {
        return Decoded::Fault(Rcode::FormErr, HEADER, None);
    };
    if an + ns + ar == 0 {
        return if packet.len() == query.end() {
            Decoded::Query(query)
        } else {
            Decoded::Fault(Rcode::FormErr, HEADER, None)
        };
    }
    match records(packet, query.end(), an + ns, ar) {
        Some(edns) => {
            query.edns = edns;
            match edns {
                // What its options mean is unknown.
                Some(Edns { version: 1.., .. }) => {
                    let known = edns.map(|edns| Edns {
                        subnet: None,
                        cookie: None,
                        ..edns
                    });
                    Decoded::Fault(Rcode::BadVers, query.end(), known)
                }
                _ => Decoded::Query(query),
            }
        }
        None => Decoded::Fault(Rcode::FormErr, HEADER, None),
    }
}

/// The question behind the header: a name without pointers (there is nothing before it to point at), type and class.
#[inline]
fn question(packet: &[u8]) -> Option<Query> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        at += length;
        // A name has at most 255 bytes with its final zero, which is still to come.
        if at > HEADER + 254 {
            return None;
        }
    }
    let [t0, t1, c0, c1] = *packet.get(at..)?.first_chunk::<4>()?;
    Some(Query {
        qtype: u16::from_be_bytes([t0, t1]),
        qclass: u16::from_be_bytes([c0, c1]),
        name: at - HEADER,
        edns: None,
    })
}

/// Walks the records behind the question: `before` that are skipped, then the additional section, in which an OPT may stand.
///
/// `None` when a record is cut off, bytes are left over, there are two OPT records, or one is not at the root.
fn records(packet: &[u8], mut at: usize, before: u32, additional: u32) -> Option<Option<Edns>> {
    let mut edns = None;
    for index in 0..before + additional {
        let owner = at;
        at = skip_name(packet, at)?;
        let fixed = packet.get(at..)?.first_chunk::<10>()?;
        let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = at + 10;
        at = data + length;
        let rdata = packet.get(data..at)?;
        if kind == rtype::OPT {
            if index < before || edns.is_some() || packet.get(owner) != Some(&0) {
                return None;
            }
            let (subnet, cookie) = options(rdata, data)?;
            edns = Some(Edns {
                size: u16::from_be_bytes([fixed[2], fixed[3]]),
                version: fixed[5],
                dnssec_ok: fixed[6] & 0x80 != 0,
                subnet,
                cookie,
                reply_cookie: None,
            });
        }
    }
    (at == packet.len()).then_some(edns)
}

/// Where a name ends. A pointer ends it and is not followed, so there is no loop to fall into.
pub(super) fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    let first = at;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += match length {
            0 => return Some(at + 1),
            1..=63 => length + 1,
            // Pointers must point backwards (RFC 1035 section 4.1.4).
            192.. => {
                let low = usize::from(*packet.get(at + 1)?);
                let to = (length & 0x3f) << 8 | low;
                return (HEADER..at).contains(&to).then_some(at + 2);
            }
            _ => return None,
        };
        if at - first > 254 {
            return None;
        }
    }
}

/// Where an option's data lies in the packet, as start and length.
type Place = Option<(u16, u16)>;

/// Finds client subnet and cookie among the options of an OPT record. `None`: they are malformed.
fn options(options: &[u8], base: usize) -> Option<(Place, Place)> {
    let mut at = 0;
    let (mut subnet, mut cookie) = (None, None);
    while at < options.len() {
        let [k0, k1, l0, l1] = *options.get(at..)?.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let data = at + 4;
        let option = options.get(data..data + length)?;
        let place = (u16::try_from(base + data).ok()?, length as u16);
        match u16::from_be_bytes([k0, k1]) {
            8 if is_subnet(option) => subnet = Some(place),
            // The client's own part, or with a server's (RFC 7873 section 5.2.2). Only the first counts.
            10 if length == 8 || (16..=40).contains(&length) => {
                cookie.get_or_insert(place);
            }
            8 | 10 => return None,
            _ => {}
        }
        at = data + length;
    }
    Some((subnet, cookie))
}

/// Whether a client-subnet option is one (RFC 7871 section 6): a known family, a scope of 0, and the bits of the prefix with no others.
fn is_subnet(option: &[u8]) -> bool {
    let Some(([_, family, prefix, 0], address)) = option
        .split_first_chunk::<4>()
        .filter(|(fixed, _)| fixed[0] == 0)
    else {
        return false;
    };
    let widest = match family {
        1 => 32,
        2 => 128,
        _ => 0,
    };
    let spare = prefix.wrapping_neg() % 8;
    *family <= 2
        && *prefix <= widest
        && address.len() == usize::from(prefix.div_ceil(8))
        && address
            .last()
            .is_none_or(|last| last.trailing_zeros() >= u32::from(spare))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x06consul\x00\x00\x01\x00\x01";

    fn with(edit: impl FnOnce(&mut Vec<u8>)) -> Decoded {
        let mut packet = PLAIN.to_vec();
        edit(&mut packet);
        decode(&packet)
    }

    fn opt(size: u16, version: u8, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, 41];
        out.extend(size.to_be_bytes());
        out.extend([0, version, flags, 0]);
        out.extend((options.len() as u16).to_be_bytes());
        out.extend(options);
        out
    }

    #[test]
    fn a_plain_query() {
        let Decoded::Query(query) = decode(PLAIN) else {
            panic!("not a query");
        };
        assert_eq!((query.qtype, query.qclass, query.name), (1, 1, 12));
        assert_eq!(query.end(), PLAIN.len());
        assert!(query.edns.is_none());
    }

    #[test]
    fn edns_with_options() {
        let options = b"\x00\x0a\x00\x08cookie!!\x00\x08\x00\x07\x00\x01\x18\x00\x0a\x01\x02";
        let decoded = with(|p| {
            p[11] = 1;
            p.extend(opt(1400, 0, 0x80, options));
        });
        let Decoded::Query(query) = decoded else {
            panic!("not a query");
        };
        let edns = query.edns.expect("an OPT");
        assert_eq!((edns.size, edns.version, edns.dnssec_ok), (1400, 0, true));
        assert_eq!(edns.subnet, Some((PLAIN.len() as u16 + 11 + 12 + 4, 7)));
        assert_eq!(edns.cookie, Some((PLAIN.len() as u16 + 11 + 4, 8)));
    }

    #[test]
    fn odd_messages_have_a_definite_end() {
        type Edit = fn(&mut Vec<u8>);
        let rows: &[(&str, Edit, &str)] = &[
            ("response", |p| p[2] |= 0x80, "ignore"),
            ("eleven bytes", |p| p.truncate(11), "ignore"),
            ("header only", |p| p.truncate(12), "FormErr 12"),
            ("no question", |p| p[5] = 0, "FormErr 12"),
            ("two questions", |p| p[5] = 2, "FormErr 12"),
            ("cut name", |p| p.truncate(18), "FormErr 12"),
            ("cut class", |p| p.truncate(27), "FormErr 12"),
            ("bytes left over", |p| p.push(0), "FormErr 12"),
            ("pointer in the question", |p| p[12] = 0xc0, "FormErr 12"),
            ("label type 01", |p| p[12] = 0x40, "FormErr 12"),
            ("update", |p| p[2] = 0x28, "NotImp 28"),
            ("status without question", |p| p[5..6].fill(0), "FormErr 12"),
            (
                "notify, cut",
                |p| {
                    p[2] = 0x20;
                    p.truncate(20)
                },
                "NotImp 12",
            ),
            ("missing additional", |p| p[11] = 1, "FormErr 12"),
            (
                "two OPT",
                |p| {
                    p[11] = 2;
                    p.extend(opt(512, 0, 0, &[]));
                    p.extend(opt(512, 0, 0, &[]))
                },
                "FormErr 12",
            ),
            (
                "OPT as an answer",
                |p| {
                    p[7] = 1;
                    p.extend(opt(512, 0, 0, &[]))
                },
                "FormErr 12",
            ),
            (
                "OPT version 1",
                |p| {
                    p[11] = 1;
                    p.extend(opt(512, 1, 0x80, &[]))
                },
                "BadVers 28 512 true",
            ),
            (
                "notify with OPT",
                |p| {
                    p[2] = 0x20;
                    p[11] = 1;
                    p.extend(opt(1232, 0, 0, &[]))
                },
                "NotImp 28 1232 false",
            ),
            (
                "cut option",
                |p| {
                    p[11] = 1;
                    p.extend(opt(512, 0, 0, &[0, 8, 0]))
                },
                "FormErr 12",
            ),
            (
                "long cookie",
                |p| {
                    p[11] = 1;
                    p.extend(opt(512, 0, 0, &[&[0, 10, 0, 41][..], &[7; 41]].concat()))
                },
                "FormErr 12",
            ),
            (
                "cookie between the lengths",
                |p| {
                    p[11] = 1;
                    p.extend(opt(512, 0, 0, &[&[0, 10, 0, 9][..], &[7; 9]].concat()))
                },
                "FormErr 12",
            ),
            (
                "long subnet",
                |p| {
                    p[11] = 1;
                    p.extend(opt(512, 0, 0, &[0, 8, 0, 2, 0, 0]))
                },
                "FormErr 12",
            ),
            (
                "pointer forwards",
                |p| {
                    p[11] = 1;
                    p.extend([0xc0, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
                },
                "FormErr 12",
            ),
            (
                "pointer to itself",
                |p| {
                    p[11] = 1;
                    p.extend([0xc0, 28, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
                },
                "FormErr 12",
            ),
            (
                "a record we skip",
                |p| {
                    p[9] = 1;
                    p.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 0])
                },
                "query",
            ),
        ];
        for (name, edit, expected) in rows {
            let got = match with(edit) {
                Decoded::Ignore => "ignore".to_owned(),
                Decoded::Fault(rcode, end, None) => format!("{rcode:?} {end}"),
                Decoded::Fault(rcode, end, Some(edns)) => {
                    format!("{rcode:?} {end} {} {}", edns.size, edns.dnssec_ok)
                }
                Decoded::Query(_) => "query".to_owned(),
            };
            assert_eq!(&got, expected, "{name}");
        }
    }

    #[test]
    fn client_subnets_are_read_strictly() {
        for (option, expected) in [
            (&[0, 1, 24, 0, 1, 2, 3][..], true),
            (&[0, 1, 20, 0, 1, 2, 0x30], true),
            (&[0, 1, 0, 0], true),
            (&[0, 2, 56, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0], true),
            (&[0, 0, 0, 0], true),
            (&[0, 1, 24, 1, 1, 2, 3], false),
            (&[0, 1, 24, 0, 1, 2], false),
            (&[0, 1, 24, 0, 1, 2, 3, 4], false),
            (&[0, 1, 20, 0, 1, 2, 0x3f], false),
            (&[0, 1, 33, 0, 1, 2, 3, 4, 0], false),
            (&[0, 3, 0, 0], false),
            (&[1, 1, 0, 0], false),
            (&[0, 0, 8, 0, 1], false),
            (&[0, 1, 0], false),
        ] {
            assert_eq!(is_subnet(option), expected, "{option:?}");
        }
    }

    #[test]
    fn a_name_of_255_bytes_is_the_longest() {
        let query = |labels: &[usize]| {
            let mut packet = PLAIN[..12].to_vec();
            for len in labels {
                packet.push(*len as u8);
                packet.extend(vec![b'x'; *len]);
            }
            packet.extend(*b"\x00\x00\x01\x00\x01");
            decode(&packet)
        };
        assert!(matches!(query(&[63, 63, 63, 61]), Decoded::Query(q) if q.name == 255));
        assert!(matches!(
            query(&[63, 63, 63, 62]),
            Decoded::Fault(Rcode::FormErr, ..)
        ));
        assert!(matches!(query(&[1; 127]), Decoded::Query(q) if q.name == 255));
        assert!(matches!(
            query(&[1; 128]),
            Decoded::Fault(Rcode::FormErr, ..)
        ));
    }
}
