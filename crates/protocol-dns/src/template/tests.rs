//! What templates render.

use super::*;
use crate::builder::{Builder, chain, nothing};

fn addresses(count: u8) -> Template {
    let mut builder = Builder::default();
    for last in 0..count {
        builder.answer(rtype::A, 0, &[10, 0, 0, last]);
    }
    builder.finish()
}

fn services(count: u8, texts: u8) -> Template {
    let mut builder = Builder::default();
    for last in 0..count {
        builder.answer_to(rtype::SRV, 0, &[0, 1, 0, 1, 0, 80, 2, b'n', last, 0], 6);
        builder.extra(rtype::A, 0, &[10, 0, 0, last]);
        for _ in 0..texts {
            builder.extra(rtype::TXT, 0, b"\x03a=b");
        }
    }
    builder.finish()
}

fn space(limit: usize, answers: u32, whole_answers: bool) -> Space {
    Space {
        limit,
        answers,
        whole_answers,
    }
}

fn fill(template: &Template, space: &Space) -> (Vec<u8>, Filled) {
    let mut out = vec![0; 30];
    let filled = template.fill(&mut out, space, &mut Shuffler::new(1));
    assert!(out.len() <= space.limit.max(30) || filled.answers == 1);
    (out, filled)
}

#[test]
fn what_a_reply_gets() {
    // Template, size limit, answers allowed: answers, additional, truncated; first where additional records go first, then where
    // an answer goes with its addresses. An A record takes 16 bytes, an SRV 22, its address 16, a text 16.
    let rows = [
        ("all", addresses(3), 512, 8, (3, 0, false), (3, 0, false)),
        ("none", addresses(0), 512, 8, (0, 0, false), (0, 0, false)),
        ("by count", addresses(9), 512, 3, (3, 0, true), (3, 0, true)),
        (
            "by size",
            addresses(99),
            512,
            1000,
            (30, 0, true),
            (30, 0, true),
        ),
        (
            "exactly",
            addresses(30),
            510,
            1000,
            (30, 0, false),
            (30, 0, false),
        ),
        (
            "no room",
            addresses(1),
            40,
            1000,
            (0, 0, true),
            (1, 0, false),
        ),
        (
            "ports",
            services(3, 0),
            512,
            8,
            (3, 3, false),
            (3, 3, false),
        ),
        (
            "ports by count",
            services(4, 0),
            512,
            3,
            (3, 0, true),
            (3, 3, true),
        ),
        (
            "room for 1 address",
            services(3, 0),
            30 + 66 + 20,
            8,
            (3, 1, false),
            (2, 2, true),
        ),
        (
            "by size",
            services(3, 0),
            30 + 60,
            8,
            (2, 0, true),
            (1, 1, true),
        ),
        (
            "texts too",
            services(3, 2),
            30 + 3 * 70,
            8,
            (3, 9, false),
            (3, 9, false),
        ),
        (
            "texts first",
            services(3, 2),
            30 + 3 * 70 - 1,
            8,
            (3, 3, false),
            (3, 3, false),
        ),
        (
            "no room for ports",
            services(3, 2),
            40,
            8,
            (0, 0, true),
            (1, 1, true),
        ),
    ];
    for (name, template, limit, most, first, whole) in rows {
        for (whole_answers, expected) in [(false, first), (true, whole)] {
            let (_, filled) = fill(&template, &space(limit, most, whole_answers));
            assert_eq!(
                (filled.answers, filled.additional, filled.truncated),
                expected,
                "{name} {whole_answers}"
            );
        }
    }
}

#[test]
fn what_stands_behind_aliases() {
    let names: [&[u8]; 2] = [b"\x01a\0", b"\x02bb\x01z\0"];
    let links = || names.iter().map(|name| (7, *name));
    // Two links take 12 + 3 and 12 + 6 bytes.
    let long = chain(links(), addresses(30), None);
    for (limit, most, expected) in [
        (512, 3, (3, true)),
        (512, 2, (3, true)),
        (512, u32::MAX, (2 + 28, true)),
        (30 + 33 + 30 * 16, u32::MAX, (32, false)),
    ] {
        let (out, filled) = fill(&long, &space(limit, most, true));
        assert_eq!(
            (filled.answers, filled.truncated),
            expected,
            "{limit} {most}"
        );
        assert_eq!(filled.nothing_in, None);
        assert_eq!(out[30..32], [0xc0, 12]);
        assert_eq!(out[45..47], [0xc0, 42], "owned by the first target");
        for record in out[63..].chunks(16) {
            assert_eq!(record[..2], [0xc0, 57], "owned by the last target");
        }
    }
    let absent = chain(links(), nothing(Rcode::NxDomain), Some((Zone::Domain, 3)));
    let (out, filled) = fill(&absent, &space(512, 3, true));
    assert_eq!((filled.answers, absent.rcode), (2, Rcode::NxDomain));
    assert_eq!(filled.nothing_in, Some((Zone::Domain, 60)));
    assert_eq!(out[60..], *b"\x01z\0");
}

#[test]
fn a_template_may_give_fewer_than_it_has() {
    let mut builder = Builder::default().at_most(1);
    builder.answer(rtype::CNAME, 0, b"\x01a\0");
    builder.answer(rtype::CNAME, 0, b"\x01b\0");
    let (_, filled) = fill(&builder.finish(), &space(512, 8, true));
    assert_eq!((filled.answers, filled.truncated), (1, false));
}

#[test]
fn additional_records_point_at_their_target() {
    let (out, _) = fill(&services(2, 0), &space(512, 8, true));
    let extras = &out[30 + 44..];
    for record in extras.chunks(16) {
        let at = usize::from(u16::from_be_bytes([record[0] & 0x3f, record[1]]));
        assert_eq!(out[at..at + 2], [2, b'n']);
        assert_eq!(out[at + 2], record[15], "the address of another target");
    }
}

#[test]
fn additional_records_without_an_answer_belong_to_the_question() {
    let mut builder = Builder::default();
    builder.extra(rtype::A, 0, &[127, 0, 0, 1]);
    let (out, filled) = fill(&builder.finish(), &space(512, 8, true));
    assert_eq!((filled.answers, filled.additional), (0, 1));
    assert_eq!(out[30..32], [0xc0, 12]);
}
