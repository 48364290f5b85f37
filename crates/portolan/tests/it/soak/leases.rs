//! Many leases under renewal while leader after leader is killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portolan_protocol_etcd::wire::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::{leader, three};
use crate::harness::etcd::{self, Etcd};
use crate::harness::eventually;
use crate::need_binary;

/// Leases; each has one key.
const LEASES: i64 = 50_000;
/// Seconds that each lives without a renewal.
const TTL: i64 = 10;
const KILLS: usize = 20;
/// Streams, each of which renews its share.
const STREAMS: i64 = 30;

/// What the streams saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// All leases are granted: none may be missing from now on.
    counting: AtomicBool,
    renewed: AtomicU64,
    /// Renewals that were answered with "there is no such lease".
    gone: AtomicU64,
}

/// Grants the leases of one stream, each with its key.
async fn grant(share: i64, addresses: [SocketAddr; 3]) {
    let at = usize::try_from(share).unwrap_or(0) % 3;
    let client = Etcd::connect(addresses[at]).await.unwrap();
    let one = |id: i64| {
        let client = client.clone();
        async move {
            let request = pb::LeaseGrantRequest { ttl: TTL, id };
            client.lease().lease_grant(request).await.unwrap();
            let put = pb::PutRequest {
                key: format!("leased/{id}").into(),
                lease: id,
                ..Default::default()
            };
            client.kv().put(put).await.unwrap();
        }
    };
    let mut ids = (1..=LEASES).filter(|id| id % STREAMS == share).peekable();
    while ids.peek().is_some() {
        let together: JoinSet<()> = ids.by_ref().take(64).map(one).collect();
        together.join_all().await;
    }
}

/// Renews them every third of their time, at whichever server answers.
async fn renew(share: i64, addresses: [SocketAddr; 3], seen: Arc<Seen>) {
    let mut at = usize::try_from(share).unwrap_or(0);
    while !seen.stop.load(Ordering::Relaxed) {
        at += 1;
        let connecting = Etcd::for_streams(addresses[at % 3]);
        let Ok(Ok(client)) = timeout(Duration::from_secs(1), connecting).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (sender, receiver) = mpsc::channel(64);
        let open = client
            .lease()
            .lease_keep_alive(ReceiverStream::new(receiver))
            .await;
        let Ok(answers) = open else { continue };
        let mut answers = answers.into_inner();
        let asking = tokio::spawn({
            let seen = seen.clone();
            async move {
                while !seen.stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    for id in (1..=LEASES).filter(|id| id % STREAMS == share) {
                        let asked = sender.send(pb::LeaseKeepAliveRequest { id }).await;
                        if asked.is_err() {
                            return;
                        }
                    }
                    let third = Duration::from_secs(TTL.unsigned_abs()) / 3;
                    sleep(third.saturating_sub(began.elapsed())).await;
                }
            }
        });
        // A stream that says nothing for longer than a round goes somewhere else.
        while let Ok(Ok(Some(answer))) = timeout(Duration::from_secs(4), answers.message()).await {
            match answer.ttl {
                0 if !seen.counting.load(Ordering::Relaxed) => 0,
                0 => seen.gone.fetch_add(1, Ordering::Relaxed),
                _ => seen.renewed.fetch_add(1, Ordering::Relaxed),
            };
        }
        asking.abort();
    }
}

#[test]
fn fifty_thousand_leases_outlive_twenty_leaders() {
    need_binary!();
    let mut servers = three();
    let addresses = [0, 1, 2].map(|at: usize| servers[at].address("etcd"));
    let runtime = etcd::runtime();
    let seen = Arc::new(Seen::default());
    let began = std::time::Instant::now();
    let streams: Vec<_> = (0..STREAMS)
        .map(|share| {
            let seen = seen.clone();
            runtime.spawn(async move {
                // Granting all takes longer than one lives.
                tokio::join!(grant(share, addresses), renew(share, addresses, seen));
            })
        })
        .collect();
    let count = || {
        runtime.block_on(async {
            let client = Etcd::connect(addresses[0]).await?;
            let request = pb::RangeRequest {
                key: "leased/".into(),
                range_end: etcd::end_of("leased/"),
                count_only: true,
                ..Default::default()
            };
            let found = client.kv().range(request).await;
            found
                .map(|found| found.into_inner().count)
                .map_err(|status| status.to_string())
        })
    };
    let all = |limit: Duration| eventually(limit, || crate::harness::same(&count()?, &LEASES));
    all(Duration::from_secs(300)).unwrap();
    // Those that were asked for before they were granted are answered by now.
    std::thread::sleep(Duration::from_secs(5));
    seen.counting.store(true, Ordering::Relaxed);
    println!("{LEASES} leases after {:?}", began.elapsed());
    for _ in 0..KILLS {
        let at = leader(&mut servers);
        servers[at].kill();
        std::thread::sleep(Duration::from_secs(3));
        servers[at].start_again();
        std::thread::sleep(Duration::from_secs(2));
    }
    // Longer than a lease lives: whatever was not renewed would be gone.
    std::thread::sleep(Duration::from_secs(15));
    let renewed = seen.renewed.load(Ordering::Relaxed);
    let gone = seen.gone.load(Ordering::Relaxed);
    println!("{renewed} renewals, {gone} answered with no such lease");
    all(Duration::from_secs(20)).unwrap();
    assert_eq!(gone, 0, "no lease expired");
    assert!(renewed > LEASES.unsigned_abs() * 10, "{renewed}");
    seen.stop.store(true, Ordering::Relaxed);
    for stream in streams {
        stream.abort();
    }
}
