//! Watchers of the same keys on one stream: they share what they are told, and nothing else.

use std::collections::BTreeMap;

use pb::watch_request::RequestUnion;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::{super::support::*, from, started};

/// What each watcher was told, as `+value` and `-`, until `until` has come to each of `ids`.
async fn hear(watching: &mut Watching, ids: &[i64], until: &str) -> BTreeMap<i64, String> {
    let mut heard = BTreeMap::<i64, String>::new();
    while !ids
        .iter()
        .all(|id| heard.get(id).is_some_and(|told| told.contains(until)))
    {
        let response = watching.next().await;
        let list = heard.entry(response.watch_id).or_default();
        for ((deleted, _, value, at), event) in told(&response).into_iter().zip(&response.events) {
            assert!(at <= revision(&response.header));
            *list += &if deleted {
                "-".to_owned()
            } else {
                format!("+{value}")
            };
            if let Some(before) = &event.prev_kv {
                *list += &format!("<{}", String::from_utf8_lossy(&before.value));
            }
        }
    }
    heard
}

#[tokio::test]
async fn they_come_and_go_and_each_hears_what_it_asked_for() {
    let (_server, mut client) = started().await;
    client.put("k", "0").await;
    let mut watching = Watching::open(&mut client).await;
    let plain = watch_of("k");
    watching.create(plain.clone()).await;
    client.put("k", "1").await;
    assert_eq!(hear(&mut watching, &[0], "+1").await[&0], "+1");
    let others = [
        plain.clone(),
        pb::WatchCreateRequest {
            filters: vec![0],
            ..plain.clone()
        },
        pb::WatchCreateRequest {
            filters: vec![1],
            prev_kv: true,
            ..plain.clone()
        },
        from(5, plain.clone()),
        watch_of("other"),
        from(2, plain.clone()),
    ];
    for request in others {
        watching.create(request).await;
    }
    client.put("k", "2").await;
    client.kv.delete_range(gone("k")).reply().await;
    client.put("k", "3").await;
    let heard = hear(&mut watching, &[0, 1, 3, 4, 6], "+3").await;
    let expected = [
        (0, "+2-+3"),
        (1, "+2-+3"),
        (2, "-"),
        (3, "+2<1+3"),
        (4, "-+3"),
        (6, "+0+1+2-+3"),
    ];
    assert_eq!(
        heard,
        expected.map(|(id, told)| (id, told.to_owned())).into(),
        "5 watches other keys"
    );
    let cancel = pb::WatchCancelRequest { watch_id: 0 };
    watching.ask(RequestUnion::CancelRequest(cancel)).await;
    assert!(watching.next().await.canceled);
    client.put("k", "4").await;
    let heard = hear(&mut watching, &[1, 3, 4, 6], "+4").await;
    assert!(!heard.contains_key(&0), "{heard:?}");
    // The last one goes, and another comes.
    for watch_id in [1, 2, 3, 4, 6] {
        let cancel = pb::WatchCancelRequest { watch_id };
        watching.ask(RequestUnion::CancelRequest(cancel)).await;
        assert!(watching.next().await.canceled);
    }
    watching.create(plain).await;
    client.put("k", "5").await;
    let heard = hear(&mut watching, &[7], "+5").await;
    assert_eq!(heard, [(7, "+5".to_owned())].into());
}

/// As etcd does: what comes late says how far the history goes, what comes at once has its own revision.
#[tokio::test]
async fn a_header_says_the_present_while_the_past_is_told() {
    let (_server, mut client) = started().await;
    for (key, value) in [("k", "1"), ("x", ""), ("x", "")] {
        client.put(key, value).await;
    }
    let mut watching = Watching::open(&mut client).await;
    watching.create(from(2, watch_of("k"))).await;
    let past = watching.next().await;
    assert_eq!((told(&past)[0].3, revision(&past.header)), (2, 4));
    client.put("k", "2").await;
    client.put("x", "").await;
    let live = watching.next().await;
    assert_eq!((told(&live)[0].3, revision(&live.header)), (5, 5));
}

#[tokio::test]
async fn hundreds_who_are_not_read_from_are_told_piece_by_piece() {
    const MANY: i64 = 300;
    let (server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    for _ in 0..MANY {
        watching.create(watch_of("k")).await;
    }
    let value = "x".repeat(20_000);
    let mut writer = server.client().await;
    for n in 0..5 {
        writer.put("k", &format!("{value}{n}")).await;
    }
    let mut next = vec![2; MANY as usize];
    while next.iter().any(|next| *next < 7) {
        let response = watching.next().await;
        for (.., value, at) in told(&response) {
            let next = &mut next[response.watch_id as usize];
            assert_eq!(
                (at, value.as_bytes()[20_000] - b'0'),
                (*next, *next as u8 - 2)
            );
            *next += 1;
        }
    }
}

#[tokio::test]
async fn those_who_missed_something_are_cancelled_and_those_who_wait_are_not() {
    let (server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    watching.create(watch_of("k")).await;
    watching.create(from(5000, watch_of("k"))).await;
    watching.create(watch_of("k")).await;
    let (mut writer, value) = (server.client().await, "x".repeat(2000));
    for n in 0..2500 {
        writer.put(&format!("k{n}"), &value).await;
    }
    let compaction = pb::CompactionRequest {
        revision: 2500,
        physical: true,
    };
    writer.kv.compact(compaction).reply().await;
    let (mut ended, mut last) = (Vec::new(), [1; 3]);
    while ended.len() < 2 {
        let response = watching.next().await;
        if response.canceled {
            ended.push((response.watch_id, response.compact_revision));
            continue;
        }
        for (.., at) in told(&response) {
            let last = &mut last[response.watch_id as usize];
            assert_eq!(at, *last + 1, "without a gap until then");
            *last = at;
        }
    }
    assert_eq!(ended, [(0, 2500), (2, 2500)]);
    while writer.put("other", "").await.header.unwrap().revision < 4999 {}
    writer.put("k", "there").await;
    let response = watching.next().await;
    assert_eq!(
        (response.watch_id, told(&response)),
        (1, vec![(false, "k".into(), "there".into(), 5000)])
    );
}
