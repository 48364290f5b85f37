//! Watches: what is told, in which order, and what is told beside events.

mod shared;

use std::time::Duration;

use pb::{request_op::Request as Op, watch_request::RequestUnion};
use portolan_protocol_etcd::{Settings, wire::etcdserverpb as pb};

use super::support::*;

async fn started() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    (server, client)
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(Op::RequestPut(put(key, value))),
    }
}

fn delete_op(key: &str) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(Op::RequestDeleteRange(gone(key))),
    }
}

fn from(start_revision: i64, request: pb::WatchCreateRequest) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        start_revision,
        ..request
    }
}

#[tokio::test]
async fn events_of_one_revision_come_together_and_in_order() {
    let (_server, mut client) = started().await;
    client.put("k/b", "old").await;
    let mut watching = Watching::open(&mut client).await;
    let created = watching.create(watch_of("k/")).await;
    assert_eq!(
        (
            created.watch_id,
            revision(&created.header),
            created.events.len()
        ),
        (0, 2, 0)
    );
    let request = pb::TxnRequest {
        success: vec![
            put_op("k/c", "1"),
            put_op("other", ""),
            delete_op("k/b"),
            put_op("k/a", "2"),
        ],
        ..Default::default()
    };
    client.kv.txn(request).await.unwrap();
    let response = watching.next().await;
    let events = [
        (false, "k/c".into(), "1".into(), 3),
        (true, "k/b".into(), String::new(), 3),
        (false, "k/a".into(), "2".into(), 3),
    ];
    assert_eq!(
        (told(&response), revision(&response.header)),
        (events.to_vec(), 3)
    );
    let deleted = response.events[1].kv.clone().unwrap();
    assert_eq!(
        (
            deleted.create_revision,
            deleted.version,
            deleted.lease,
            response.events[1].prev_kv.is_none()
        ),
        (0, 0, 0, true)
    );
    // A write of one's own keeps its place among those of others.
    for n in 0..300 {
        client.put("k/n", &n.to_string()).await;
    }
    let mut next = 4;
    while next < 304 {
        let response = watching.next().await;
        for (_, _, value, revision) in told(&response) {
            assert_eq!((revision, value), (next, (next - 4).to_string()));
            next += 1;
        }
        assert_eq!(revision(&response.header), next - 1);
    }
}

#[tokio::test]
async fn options() {
    let (_server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    let plain = watch_of("k");
    let rows = [
        (plain.clone(), vec!["+k=1", "+k=2<1", "-k<2", "+k=3"], false),
        (
            pb::WatchCreateRequest {
                prev_kv: true,
                ..plain.clone()
            },
            vec!["+k=1", "+k=2<1", "-k<2", "+k=3"],
            true,
        ),
        (
            pb::WatchCreateRequest {
                filters: vec![0],
                prev_kv: true,
                ..plain.clone()
            },
            vec!["-k<2"],
            true,
        ),
        (
            pb::WatchCreateRequest {
                filters: vec![1],
                ..plain.clone()
            },
            vec!["+k=1", "+k=2<1", "+k=3"],
            false,
        ),
        (
            pb::WatchCreateRequest {
                filters: vec![0, 1],
                ..plain.clone()
            },
            vec![],
            false,
        ),
        (
            pb::WatchCreateRequest {
                range_end: Default::default(),
                ..plain.clone()
            },
            vec!["+k=1", "+k=2<1", "-k<2", "+k=3"],
            false,
        ),
        (
            from(3, plain.clone()),
            vec!["+k=2<1", "-k<2", "+k=3"],
            false,
        ),
        (from(5, plain.clone()), vec!["+k=3"], false),
        (
            pb::WatchCreateRequest {
                key: "l".into(),
                range_end: "\0".into(),
                ..plain.clone()
            },
            vec![],
            false,
        ),
    ];
    for (request, ..) in &rows {
        watching.create(request.clone()).await;
    }
    client.put("k", "1").await;
    client.put("k", "2").await;
    client.kv.delete_range(gone("k")).await.unwrap();
    client.put("k", "3").await;
    // The same from the past as from the present.
    for (request, ..) in &rows {
        if request.start_revision == 0 {
            watching
                .ask(RequestUnion::CreateRequest(from(2, request.clone())))
                .await;
        }
    }
    let mut heard = vec![Vec::new(); rows.len()];
    let mut again = vec![Vec::new(); 64];
    let mut quiet = 0;
    while quiet < 3 {
        let Ok(response) = tokio::time::timeout(Duration::from_millis(100), watching.next()).await
        else {
            quiet += 1;
            continue;
        };
        let lists = if (response.watch_id as usize) < rows.len() {
            &mut heard
        } else {
            &mut again
        };
        lists[response.watch_id as usize].extend(response.events);
    }
    let live = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.0.start_revision == 0)
        .map(|(n, _)| n);
    let pairs = heard
        .iter()
        .zip(0..)
        .chain(live.zip(rows.len()..).map(|(n, id)| (&again[id], n)));
    for (events, n) in pairs {
        let (request, expected, previous) = &rows[n];
        let text: Vec<String> = events
            .iter()
            .map(|event| {
                let kv = event.kv.as_ref().unwrap();
                let before = event
                    .prev_kv
                    .as_ref()
                    .map(|kv| format!("<{}", String::from_utf8_lossy(&kv.value)))
                    .unwrap_or_default();
                let (key, value) = (
                    String::from_utf8_lossy(&kv.key),
                    String::from_utf8_lossy(&kv.value),
                );
                if event.r#type == 1 {
                    format!("-{key}{before}")
                } else {
                    format!("+{key}={value}{before}")
                }
            })
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|event| {
                if *previous {
                    (*event).to_owned()
                } else {
                    event.split('<').next().unwrap().to_owned()
                }
            })
            .collect();
        assert_eq!(text, expected, "{request:?}");
    }
}

#[tokio::test]
async fn ids_and_refusals() {
    let (_server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    let with_id = |watch_id: i64| pb::WatchCreateRequest {
        watch_id,
        ..watch_of("k")
    };
    assert_eq!(watching.create(with_id(1)).await.watch_id, 1);
    assert_eq!(watching.create(with_id(0)).await.watch_id, 0);
    assert_eq!(watching.create(with_id(0)).await.watch_id, 2, "1 is taken");
    let rows = [
        (
            with_id(1),
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
        (
            pb::WatchCreateRequest {
                key: "b".into(),
                range_end: "b".into(),
                ..Default::default()
            },
            "mvcc: watcher range is empty",
        ),
        (
            pb::WatchCreateRequest {
                key: "b".into(),
                range_end: "a".into(),
                ..Default::default()
            },
            "mvcc: watcher range is empty",
        ),
        (
            from(-1, watch_of("k")),
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ];
    for (request, reason) in rows {
        let refused = watching.create(request).await;
        assert_eq!(
            (
                refused.watch_id,
                refused.canceled,
                refused.cancel_reason.as_str(),
                revision(&refused.header)
            ),
            (-1, true, reason, 1)
        );
    }
    watching
        .ask(RequestUnion::CancelRequest(pb::WatchCancelRequest {
            watch_id: 77,
        }))
        .await;
    watching
        .ask(RequestUnion::CancelRequest(pb::WatchCancelRequest {
            watch_id: 1,
        }))
        .await;
    let cancelled = watching.next().await;
    assert_eq!(
        (cancelled.watch_id, cancelled.canceled, cancelled.created),
        (1, true, false),
        "nothing is said of an unknown id"
    );
    assert_eq!(watching.create(with_id(1)).await.watch_id, 1, "free again");
    assert!(
        !watching
            .create(pb::WatchCreateRequest::default())
            .await
            .canceled,
        "no key is the smallest key"
    );
}

#[tokio::test]
async fn a_compacted_start_is_cancelled_and_the_compaction_revision_is_not() {
    let (_server, mut client) = started().await;
    for (key, value) in [("k", "1"), ("k", "2"), ("x", "")] {
        client.put(key, value).await;
    }
    client.kv.delete_range(gone("k")).await.unwrap();
    client.put("k", "3").await;
    client
        .kv
        .compact(pb::CompactionRequest {
            revision: 5,
            physical: true,
        })
        .await
        .unwrap();
    let mut watching = Watching::open(&mut client).await;
    let created = watching.create(from(4, watch_of("k"))).await;
    assert!(!created.canceled, "first it is there");
    let cancelled = watching.next().await;
    assert_eq!(
        (
            cancelled.watch_id,
            cancelled.canceled,
            cancelled.compact_revision,
            cancelled.cancel_reason.as_str(),
            cancelled.events.len()
        ),
        (0, true, 5, "", 0)
    );
    // The delete of the compacted revision itself must be told, without what was before it.
    watching
        .create(pb::WatchCreateRequest {
            prev_kv: true,
            ..from(5, watch_of("k"))
        })
        .await;
    let mut events = Vec::new();
    while events.len() < 2 {
        let response = watching.next().await;
        events.extend(
            told(&response)
                .into_iter()
                .zip(response.events.iter().map(|event| event.prev_kv.is_some())),
        );
    }
    assert_eq!(
        events,
        [
            ((true, "k".into(), String::new(), 5), false),
            ((false, "k".into(), "3".into(), 6), false)
        ]
    );
}

#[tokio::test]
async fn a_watch_of_the_future_hears_nothing_of_the_present() {
    let (_server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    let created = watching.create(from(4, watch_of("k"))).await;
    assert_eq!(revision(&created.header), 1);
    watching
        .ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    for n in 2..=5 {
        client.put("k", &n.to_string()).await;
    }
    let response = watching.next().await;
    assert_eq!(
        told(&response)[0].3,
        4,
        "no progress before, no event below"
    );
}

#[tokio::test]
async fn progress_never_overtakes_events() {
    let (_server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    watching
        .ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    assert!(
        watching.is_quiet().await,
        "a stream without watchers is owed nothing"
    );
    for key in ["a", "b", "c", "d"] {
        watching.create(watch_of(key)).await;
    }
    let writer = tokio::spawn({
        let mut client = client.kv.clone();
        async move {
            for n in 0..400 {
                client
                    .put(put(["a", "b", "c", "d"][n % 4], &n.to_string()))
                    .await
                    .unwrap();
            }
        }
    });
    let (mut last, mut notified, mut events) = (0, 0, 0);
    while events < 400 {
        watching
            .ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
            .await;
        let response = watching.next().await;
        if response.events.is_empty() {
            assert_eq!(response.watch_id, -1);
            assert!(revision(&response.header) >= notified);
            notified = revision(&response.header);
            continue;
        }
        for (.., revision) in told(&response) {
            assert!(
                revision > notified,
                "revision {revision} after progress {notified}"
            );
            last = last.max(revision);
            events += 1;
        }
    }
    writer.await.unwrap();
    watching
        .ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    while notified < last {
        notified = revision(&watching.next().await.header);
    }
    assert_eq!(notified, 401);
}

#[tokio::test]
async fn a_quiet_watcher_that_asked_is_notified() {
    let server = Server::with(
        Settings {
            progress_interval: Duration::from_millis(150),
            ..Settings::default()
        },
        Vec::new(),
    )
    .await;
    let mut client = server.client().await;
    client.put("other", "").await;
    let mut watching = Watching::open(&mut client).await;
    watching.create(watch_of("k")).await;
    watching
        .create(pb::WatchCreateRequest {
            progress_notify: true,
            ..watch_of("k")
        })
        .await;
    let notified = watching.next().await;
    assert_eq!(
        (
            notified.watch_id,
            revision(&notified.header),
            notified.events.len(),
            notified.canceled
        ),
        (1, 2, 0, false)
    );
}

#[tokio::test]
async fn what_does_not_fit_is_fragmented() {
    let server = Server::with(
        Settings {
            request_bytes: 200_000,
            ..Settings::default()
        },
        Vec::new(),
    )
    .await;
    let mut client = server.client().await;
    let mut watching = Watching::open(&mut client).await;
    watching
        .create(pb::WatchCreateRequest {
            fragment: true,
            prev_kv: true,
            ..watch_of("k")
        })
        .await;
    for n in 0..8 {
        client
            .kv
            .put(pb::PutRequest {
                key: format!("k{n}").into(),
                value: vec![b'x'; 150_000].into(),
                ..Default::default()
            })
            .await
            .unwrap();
    }
    let all = prefix("k");
    client
        .kv
        .delete_range(pb::DeleteRangeRequest {
            key: all.key,
            range_end: all.range_end,
            prev_kv: false,
        })
        .await
        .unwrap();
    let mut parts = Vec::new();
    loop {
        let response = watching.next().await;
        if told(&response)[0].3 < 10 {
            continue;
        }
        parts.push((
            response.fragment,
            response.events.len(),
            revision(&response.header),
        ));
        if !response.fragment {
            break;
        }
    }
    assert!(parts.len() > 1, "{parts:?}");
    assert_eq!(parts.iter().map(|part| part.1).sum::<usize>(), 8);
    assert!(parts.iter().all(|part| part.2 == 10));
    assert!(
        parts.iter().rev().skip(1).all(|part| part.0),
        "all but the last say that more is to come"
    );
}

#[tokio::test]
async fn a_reader_that_sleeps_misses_nothing_and_holds_up_nobody() {
    let (server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    watching.create(watch_of("k")).await;
    let value = "x".repeat(2000);
    let mut writer = server.client().await;
    for n in 0..2500 {
        writer.kv.put(put(&format!("k{n}"), &value)).await.unwrap();
    }
    let mut next = 2;
    while next < 2502 {
        for (.., revision) in told(&watching.next().await) {
            assert_eq!(revision, next);
            next += 1;
        }
    }
}

#[tokio::test]
async fn a_hundred_watchers_of_one_stream_each_hear() {
    let (_server, mut client) = started().await;
    let mut watching = Watching::open(&mut client).await;
    for _ in 0..100 {
        watching.create(watch_of("k")).await;
    }
    client.put("k", "v").await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        let response = watching.next().await;
        assert_eq!(told(&response).len(), 1);
        ids.push(response.watch_id);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<i64>>());
}
