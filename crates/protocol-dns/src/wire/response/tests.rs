use super::*;
use crate::wire::{Decoded, decode};

fn asking(name: &[u8], qtype: u16) -> Asking {
    Asking {
        name: name.to_vec(),
        qtype,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// A response to `asking`: code, then the records of each section as bytes.
fn response(asking: &Asking, flags: [u8; 2], sections: [&[&[u8]]; 3]) -> Vec<u8> {
    let mut out = asking.message(7, false);
    out[2..4].copy_from_slice(&flags);
    for (section, records) in sections.into_iter().enumerate() {
        out[7 + 2 * section] = records.len() as u8;
        out.extend(records.concat());
    }
    out
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

fn read(packet: &[u8], asking: &Asking) -> Response {
    match read_response(packet, 7, asking) {
        Reading::Response(response) => response,
        other => panic!("{other:?}"),
    }
}

const NAME: &[u8] = b"\x03www\x07example\x00";
const OPT: &[u8] = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";

fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let mut data = b"\x02ns\xc0\x10\x02me\xc0\x10".to_vec();
    for number in [1, 2, 3, 4, minimum] {
        data.extend(number.to_be_bytes());
    }
    record(b"\xc0\x10", rtype::SOA, ttl, &data)
}

#[test]
fn how_long_an_answer_is_kept() {
    let address = |ttl| record(b"\xc0\x0c", rtype::A, ttl, &[10, 0, 0, 1]);
    let alias = |ttl| record(b"\xc0\x0c", rtype::CNAME, ttl, b"\x01a\xc0\x10");
    let www = asking(NAME, rtype::A);
    let (none, ok, absent) = ([0x81_u8, 0x80], [0x81, 0x80], [0x81, 0x83]);
    let rows: [(&str, Vec<u8>, u32); 12] = [
        (
            "address",
            response(&www, ok, [&[&address(60)], &[], &[OPT]]),
            60,
        ),
        (
            "the shortest",
            response(&www, ok, [&[&alias(9), &address(60)], &[], &[]]),
            9,
        ),
        (
            "an hour at most",
            response(&www, ok, [&[&address(90_000)], &[], &[]]),
            3600,
        ),
        ("zero", response(&www, ok, [&[&address(0)], &[], &[]]), 0),
        (
            "upper bit",
            response(&www, ok, [&[&address(1 << 31)], &[], &[]]),
            0,
        ),
        (
            "no name",
            response(&www, absent, [&[], &[&soa(300, 20)], &[]]),
            20,
        ),
        (
            "no name, record first",
            response(&www, absent, [&[], &[&soa(10, 20)], &[]]),
            10,
        ),
        (
            "no data",
            response(&www, ok, [&[], &[&soa(90_000, 90_000)], &[]]),
            1800,
        ),
        (
            "no data behind an alias",
            response(&www, ok, [&[&alias(5)], &[&soa(9, 9)], &[]]),
            5,
        ),
        (
            "nothing says for how long",
            response(&www, none, [&[], &[], &[]]),
            0,
        ),
        (
            "truncated",
            response(&www, [0x83, 0x80], [&[&address(60)], &[], &[]]),
            0,
        ),
        (
            "failed",
            response(&www, [0x81, 0x82], [&[&address(60)], &[], &[]]),
            0,
        ),
    ];
    for (what, packet, keep) in rows {
        assert_eq!(read(&packet, &www).keep, keep, "{what}");
    }
}

#[test]
fn what_is_no_answer_is_not_taken() {
    let www = asking(NAME, rtype::A);
    let good = response(&www, [0x81, 0x80], [&[], &[], &[]]);
    type Edit = fn(&mut Vec<u8>);
    let foreign: [(&str, Edit); 8] = [
        ("another id", |p| p[1] = 8),
        ("a query", |p| p[2] = 1),
        ("another opcode", |p| p[2] = 0xa1),
        ("another name", |p| p[13] = b'x'),
        ("another type", |p| p[26] = 28),
        ("another class", |p| p[28] = 3),
        ("no question", |p| p[5] = 0),
        ("cut", |p| p.truncate(20)),
    ];
    for (what, edit) in foreign {
        let mut packet = good.clone();
        edit(&mut packet);
        let read = read_response(&packet, 7, &www);
        assert!(matches!(read, Reading::Foreign), "{what}: {read:?}");
    }
    let malformed: [(&str, Edit); 4] = [
        ("a record that is not there", |p| p[7] = 1),
        ("a cut record", |p| {
            p[7] = 1;
            p.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1]);
        }),
        ("a pointer to itself", |p| {
            p[7] = 1;
            p.extend([0xc0, 29, 0, 1, 0, 1, 0, 0, 0, 9, 0, 0]);
        }),
        ("an OPT among the answers", |p| {
            p[7] = 1;
            p.extend(OPT);
        }),
    ];
    for (what, edit) in malformed {
        let mut packet = good.clone();
        edit(&mut packet);
        let read = read_response(&packet, 7, &www);
        assert!(matches!(read, Reading::Malformed), "{what}: {read:?}");
    }
    // The other spelling is the same name, and FORMERR may come without the question.
    let mut packet = good;
    packet[13] = b'W';
    assert_eq!(read(&packet, &www).rcode, 0);
    let mut bare = packet[..12].to_vec();
    bare[3] = 0x81;
    bare[5] = 0;
    assert_eq!(read(&bare, &www).rcode, 1);
}

fn given(response: &Response, query: &[u8], limit: usize, age: u32) -> Vec<u8> {
    let Decoded::Query(decoded) = decode(query) else {
        panic!("no query");
    };
    let mut out = Vec::new();
    response.give(&mut out, query, &decoded, limit, age);
    out
}

#[test]
fn replies_are_the_clients_own() {
    let www = asking(NAME, rtype::A);
    let address = record(b"\xc0\x0c", rtype::A, 60, &[10, 0, 0, 1]);
    let server = record(b"\xc0\x10", rtype::NS, 100, b"\x02ns\xc0\x10");
    let glue = record(b"\xc0\x37", rtype::A, 40, &[10, 0, 0, 9]);
    let packet = response(&www, [0x85, 0xa0], [&[&address], &[&server], &[&glue, OPT]]);
    let response = read(&packet, &www);
    let mut query = asking(b"\x03WWW\x07exAmple\x00", rtype::A).message(99, false);
    query[3] = 0;
    // Spelling and number are the client's, AA is nobody's, RA is ours, AD is for who knows it, times count down.
    let out = given(&response, &query, 512, 25);
    assert_eq!(out[..12], [0, 99, 0x81, 0x80, 0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(out[12..29], query[12..29]);
    let times: Vec<u32> = [29 + 6, 45 + 6, 62 + 6]
        .map(|at| u32::from_be_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]))
        .into();
    assert_eq!(times, [35, 75, 15]);
    assert_eq!(out.len(), packet.len() - OPT.len());
    query[3] = 0x20;
    assert_eq!(given(&response, &query, 512, 0)[3], 0xa0);
    // With EDNS there is an OPT of ours.
    let with = asking(NAME, rtype::A).message(99, true);
    let out = given(&response, &with, 512, 0);
    assert_eq!(out[11], 2);
    assert_eq!(out[out.len() - 11..][..5], [0, 0, 41, 4, 208]);
    // For want of room the last sections go first.
    for (limit, counts, truncated) in [
        (78, [1, 1, 1], false),
        (77, [1, 1, 0], false),
        (61, [1, 0, 0], false),
        (44, [0, 0, 0], true),
    ] {
        let out = given(&response, &query, limit, 0);
        let found = [7, 9, 11].map(|at| out[at]);
        assert_eq!((found, out[2] & 2 != 0), (counts, truncated), "{limit}");
        assert!(out.len() <= limit.max(29), "{limit}");
    }
}

#[test]
fn answers_are_written_out_behind_an_alias() {
    let www = asking(NAME, rtype::A);
    let alias = record(b"\xc0\x0c", rtype::CNAME, 60, b"\x01a\xc0\x10");
    let address = record(b"\xc0\x29", rtype::A, 50, &[10, 0, 0, 1]);
    let packet = response(&www, [0x81, 0x80], [&[&alias, &address], &[], &[]]);
    let response = read(&packet, &www);
    let mut out = Vec::new();
    assert_eq!(response.append_answers(&mut out, 512, 9, 10), (2, true));
    let expected = [
        record(NAME, rtype::CNAME, 50, b"\x01a\x07example\x00"),
        record(b"\x01a\x07example\x00", rtype::A, 40, &[10, 0, 0, 1]),
    ]
    .concat();
    assert_eq!(out, expected);
    let mut out = Vec::new();
    assert_eq!(response.append_answers(&mut out, 512, 1, 0), (1, false));
    let mut out = Vec::new();
    assert_eq!(response.append_answers(&mut out, 20, 9, 0), (0, false));
    assert!(out.is_empty());
}
