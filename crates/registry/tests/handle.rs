//! The handle, over a local registry.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{
    Cause, Command, Done, Endpoint, Host, InstanceKey, KeyRange, Keyspace, LeaseId, Op, Protocol,
    Put, Register, Registration, Revision, ServiceKey, State, Target, Terms, Timestamp, Write,
};
use portolan_registry::{
    Backend, Limits, LocalOptions, NotThen, Registry, Renewed, Selector, Slot, Unavailable,
};

fn cause() -> Cause {
    Cause::call(Protocol::Native, None)
}

async fn put(registry: &Registry, key: &str, value: &str) -> Revision {
    let put = Put::new(
        Keyspace::Etcd,
        key.into(),
        Bytes::copy_from_slice(value.as_bytes()),
    );
    let command = Command::Write(Write::one(Op::Put(Box::new(put))));
    registry.propose(cause(), command).await.unwrap().revision
}

fn web(port: u16) -> Register {
    let key = InstanceKey::new(Protocol::Native, format!("web-{port}"));
    Register::new(Registration::new(
        key,
        ServiceKey::plain("web"),
        Endpoint::new(Host::new("10.0.0.1"), port),
    ))
}

#[tokio::test]
async fn an_empty_catalog_is_at_one() {
    let registry = Registry::local(&LocalOptions::default());
    assert_eq!(registry.snapshot().revision(), Revision(1));
    assert_eq!(put(&registry, "a", "1").await, Revision(2));
}

#[tokio::test]
async fn feeds_have_no_gaps_from_history_into_the_present() {
    let registry = Registry::local(&LocalOptions::default());
    for i in 0..1000 {
        put(&registry, &format!("k/{}", i % 7), "x").await;
    }
    let range = || Selector::Range(Keyspace::Etcd, KeyRange::prefix(b"k/3"));
    let mut feed = registry.follow(vec![range()], Revision(500)).unwrap();
    let writer = registry.clone();
    let writing = tokio::spawn(async move {
        for i in 1000..2000 {
            put(&writer, &format!("k/{}", i % 7), "x").await;
        }
    });
    writing.await.unwrap();
    let expected: Vec<u64> = (0..2000)
        .filter(|i| i % 7 == 3)
        .map(|i| i + 2)
        .filter(|r| *r > 500)
        .collect();
    let mut seen = Vec::new();
    while let Some(batch) = feed.try_next().unwrap() {
        seen.push(batch.revision.0);
    }
    assert_eq!(seen, expected);
    assert_eq!(feed.frontier(), registry.snapshot().revision());
}

#[tokio::test]
async fn only_followers_of_what_changed_wake() {
    let registry = Registry::local(&LocalOptions::default());
    let service = |name: &str| vec![Selector::Service(ServiceKey::plain(name))];
    let mut web_feed = registry.follow(service("web"), Revision(1)).unwrap();
    let mut other = registry.follow(service("other"), Revision(1)).unwrap();
    registry
        .propose(cause(), Command::Register(Box::new(web(80))))
        .await
        .unwrap();
    assert_eq!(web_feed.next().await.unwrap().revision, Revision(2));
    assert!(other.try_next().unwrap().is_none());
    registry
        .propose(cause(), Command::Register(Box::new(web(80))))
        .await
        .unwrap();
    assert!(
        web_feed.try_next().unwrap().is_none(),
        "registering the same facts again is not news"
    );
    drop((web_feed, other));
    assert_eq!(registry.feeds(), 0);
}

#[tokio::test]
async fn views_stay_until_their_service_changes() {
    let registry = Registry::local(&LocalOptions::default());
    registry
        .propose(cause(), Command::Register(Box::new(web(80))))
        .await
        .unwrap();
    let key = ServiceKey::plain("web");
    let view = registry.view(&key);
    let mut renders = 0;
    for _ in 0..3 {
        view.form(Slot::consul(0), || {
            renders += 1;
            Bytes::from_static(b"rendered")
        });
    }
    assert_eq!(renders, 1);
    put(&registry, "unrelated", "1").await;
    assert!(std::sync::Arc::ptr_eq(&view, &registry.view(&key)));
    registry
        .propose(cause(), Command::Register(Box::new(web(81))))
        .await
        .unwrap();
    let later = registry.view(&key);
    assert_eq!((view.endpoints.len(), later.endpoints.len()), (1, 2));
    let gone = |port| Command::Deregister {
        target: Target::Instance(InstanceKey::new(Protocol::Native, format!("web-{port}"))),
        expect: None,
    };
    registry.propose(cause(), gone(80)).await.unwrap();
    registry.propose(cause(), gone(81)).await.unwrap();
    assert!(registry.view(&key).endpoints.is_empty());
}

#[tokio::test]
async fn earlier_revisions_can_be_read() {
    let registry = Registry::local(&LocalOptions::default());
    for i in 0..1500 {
        put(&registry, "k", &i.to_string()).await;
    }
    for revision in [2, 700, 1000, 1501] {
        let then = registry
            .past(Some(Keyspace::Etcd), Revision(revision))
            .unwrap();
        let value = then.record(Keyspace::Etcd, b"k").unwrap().unwrap().bytes();
        assert_eq!(value, (revision - 2).to_string());
    }
    assert_eq!(
        registry.past(None, Revision(9999)).unwrap_err(),
        NotThen::Future(Revision(1501))
    );
    let compact = Command::Compact {
        space: Some(Keyspace::Etcd),
        revision: Revision(900),
    };
    registry
        .propose(cause(), compact)
        .await
        .unwrap()
        .outcome
        .unwrap();
    assert_eq!(
        registry
            .past(Some(Keyspace::Etcd), Revision(899))
            .unwrap_err(),
        NotThen::Compacted(Revision(900))
    );
    assert!(registry.past(Some(Keyspace::Etcd), Revision(900)).is_ok());
    let followed = registry.follow(
        vec![Selector::Key(Keyspace::Etcd, "k".into())],
        Revision(10),
    );
    assert_eq!(followed.unwrap_err().floor, Revision(900));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_lives_and_takes_its_keys_along_when_it_ends() {
    let registry = Registry::local(&LocalOptions::default());
    let lease = LeaseId::Etcd(7);
    let grant = Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(2000)),
        session: None,
    };
    let granted = registry.propose(cause(), grant).await.unwrap();
    assert!(matches!(granted.outcome, Ok(Done::Granted { .. })));
    assert_eq!(
        granted.revision,
        Revision(1),
        "granting is not visible to anybody"
    );
    let held = Put {
        lease: Some(lease.clone()),
        ..Put::new(Keyspace::Etcd, "k".into(), Bytes::new())
    };
    registry
        .propose(cause(), Command::Write(Write::one(Op::Put(Box::new(held)))))
        .await
        .unwrap();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(
            registry.renew(&lease).await.unwrap(),
            Renewed::For(Duration::from_secs(2))
        );
    }
    let mut feed = registry
        .follow(vec![Selector::Key(Keyspace::Etcd, "k".into())], Revision(2))
        .unwrap();
    let start = tokio::time::Instant::now();
    let gone = feed.next().await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(3));
    assert_eq!(gone.revision, Revision(3));
    assert_eq!(registry.renew(&lease).await.unwrap(), Renewed::Unknown);
}

#[tokio::test]
async fn a_slow_reader_goes_back_to_the_history_and_misses_nothing() {
    let registry = Registry::local(&LocalOptions::default());
    let mut feed = registry
        .follow(vec![Selector::Everything], Revision(1))
        .unwrap();
    for i in 0..5000 {
        put(&registry, "k", &i.to_string()).await;
    }
    let mut expected = Revision(1);
    while let Some(batch) = feed.try_next().unwrap() {
        expected = expected.next();
        assert_eq!(batch.revision, expected);
    }
    assert_eq!(expected, registry.snapshot().revision());
    for i in 0..5000 {
        put(&registry, "k", &i.to_string()).await;
    }
    let compact = Command::Compact {
        space: None,
        revision: Revision(9000),
    };
    registry
        .propose(cause(), compact)
        .await
        .unwrap()
        .outcome
        .unwrap();
    let cut = feed.try_next().unwrap_err();
    assert_eq!((cut.after, cut.floor), (expected, Revision(9000)));
}

/// Many feeds are served after the answer. What was answered is in the snapshot all the same, and no feed claims to be further than it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_feeds_hear_of_what_was_answered_and_claim_nothing_before() {
    let registry = Registry::local(&LocalOptions::default());
    let ranges = [
        KeyRange::One("k/5".into()),
        KeyRange::prefix(b"k/"),
        KeyRange::Between("k/".into(), "k/55".into()),
        KeyRange::From("a".into()),
    ];
    let mut feeds: Vec<_> = (0..100)
        .map(|n| {
            let range = Selector::Range(Keyspace::Etcd, ranges[n % ranges.len()].clone());
            registry
                .follow(vec![range], registry.snapshot().revision())
                .unwrap()
        })
        .collect();
    let beside = Selector::Range(
        Keyspace::Etcd,
        KeyRange::Between("k/6".into(), "k/7".into()),
    );
    let mut quiet = registry.follow(vec![beside], Revision(1)).unwrap();
    for _ in 0..300 {
        let revision = put(&registry, "k/5", "x").await;
        assert_eq!(registry.snapshot().revision(), revision);
        for feed in &mut feeds {
            assert!(feed.frontier() < revision, "it has not been read");
            assert_eq!(feed.next().await.unwrap().revision, revision);
            assert_eq!(feed.frontier(), revision);
        }
    }
    assert_eq!(quiet.try_next().unwrap(), None);
}

/// A backend that takes nothing, or takes and never answers.
fn silent(limits: Limits) -> (Registry, Backend) {
    Backend::new(State::default(), Arc::new(|| Timestamp(0)), limits)
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_an_undecided_proposal_is_unknown() {
    let limits = Limits {
        queue: 2,
        ..Limits::default()
    };
    let (registry, _backend) = silent(limits);
    let one = || {
        let registry = registry.clone();
        tokio::spawn(async move {
            let start = tokio::time::Instant::now();
            let command = Command::Write(Write::one(Op::Put(Box::new(Put::new(
                Keyspace::Etcd,
                "k".into(),
                Bytes::new(),
            )))));
            let error = registry.propose(cause(), command).await.unwrap_err();
            (error, start.elapsed().as_secs())
        })
    };
    let (first, second, third) = (one(), one(), one());
    assert_eq!(first.await.unwrap(), (Unavailable::Unknown, 7));
    assert_eq!(second.await.unwrap(), (Unavailable::Unknown, 7));
    assert_eq!(third.await.unwrap(), (Unavailable::Busy, 1));
    assert_eq!((registry.refused_busy(), registry.undecided()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn readers_who_want_confirmation_do_not_wait_for_ever() {
    let (registry, backend) = silent(Limits::default());
    // The only voter, leading, has published everything it acknowledged.
    assert!(registry.linearized().await.is_ok());
    backend.publisher().set_voters(3);
    let start = tokio::time::Instant::now();
    assert_eq!(
        registry.linearized().await.unwrap_err(),
        Unavailable::NoLeader
    );
    assert_eq!(start.elapsed().as_secs(), 7);
    backend.publisher().set_leads(false);
    let renewed = registry.renew(&LeaseId::Etcd(1)).await;
    assert_eq!(renewed.unwrap_err(), Unavailable::NoLeader);
}

#[tokio::test]
async fn a_replaced_state_tells_feeds_what_they_missed() {
    let ahead = Registry::local(&LocalOptions::default());
    let (behind, backend) = silent(Limits::default());
    let publisher = backend.publisher();
    publisher.replace((*ahead.snapshot()).clone());
    let mut feed = behind
        .follow(vec![Selector::Everything], behind.snapshot().revision())
        .unwrap();
    for i in 0..5 {
        put(&ahead, &format!("k{i}"), "x").await;
    }
    assert!(feed.try_next().unwrap().is_none());
    publisher.replace((*ahead.snapshot()).clone());
    // What led to the new state is not known here, and the feed is told so rather than skipping it.
    let cut = feed.try_next().unwrap_err();
    assert_eq!(cut.after, Revision(1));
    assert!(cut.floor > Revision(2), "{cut:?}");
}
