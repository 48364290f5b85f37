use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Every server by its address; a server that was started anew takes the place of the one before.
#[derive(Default)]
struct Net(Mutex<BTreeMap<String, Place>>);

/// A server's id, and what answers there.
type Place = (u64, Arc<dyn Peer>);

struct End {
    own: Server,
    net: Arc<Net>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("End")
    }
}

impl Transport for End {
    fn call<'a>(
        &'a self,
        to: u64,
        address: &'a str,
        _: Channel,
        request: Vec<u8>,
        _: Duration,
    ) -> Answer<'a> {
        let peer = self.net.0.lock().unwrap().get(address).cloned();
        Box::pin(async move {
            sleep(Duration::from_millis(3)).await;
            match peer {
                Some((node, peer)) if to == ANYBODY || to == node => {
                    peer.answer(self.own.node, request).await
                }
                _ => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }

    fn serve(&self, _: Channel, peer: Arc<dyn Peer>) {
        let mut net = self.net.0.lock().unwrap();
        net.insert(self.own.address.clone(), (self.own.node, peer));
    }
}

#[derive(Default)]
struct Memory(Mutex<Option<Promise>>);

impl Keep for Memory {
    fn load(&self) -> io::Result<Option<Promise>> {
        let promise = self.0.lock().unwrap();
        promise
            .as_ref()
            .map(|promise| Promise::from_bytes(&promise.to_bytes()))
            .transpose()
    }

    fn save(&self, promise: Option<&Promise>) -> io::Result<()> {
        *self.0.lock().unwrap() = promise.cloned();
        Ok(())
    }
}

/// What was found, within a minute.
async fn soon(finding: tokio::task::JoinHandle<io::Result<Found>>) -> Found {
    let found = tokio::time::timeout(Duration::from_secs(60), finding).await;
    found.expect("a cluster").unwrap().unwrap()
}

static NODES: AtomicU64 = AtomicU64::new(1);

fn options(
    net: &Arc<Net>,
    name: &str,
    expect: usize,
    join: &[&str],
    keep: &Arc<Memory>,
) -> Options {
    let own = Server {
        node: NODES.fetch_add(1, Ordering::Relaxed),
        name: name.to_owned(),
        address: name.to_owned(),
        level: 1,
    };
    Options {
        transport: Arc::new(End {
            own: own.clone(),
            net: net.clone(),
        }),
        own,
        version: "1".to_owned(),
        expect,
        join: join.iter().map(|name| (*name).to_owned()).collect(),
        keep: keep.clone(),
    }
}

/// A member of a cluster that takes everybody.
struct Member(u64);

impl Peer for Member {
    fn answer(&self, _: u64, request: Vec<u8>) -> Answer<'_> {
        let response = match decode(&request).unwrap() {
            Request::Meet(_) => Response::Met {
                about: Box::new(About {
                    server: Server {
                        node: 99,
                        ..Server::default()
                    },
                    cluster: self.0,
                    ..About::default()
                }),
                others: Vec::new(),
            },
            Request::Join(_) => Response::Welcome { cluster: self.0 },
            _ => Response::Refused("no".to_owned()),
        };
        Box::pin(async move { Ok(encode(&response)) })
    }
}

async fn found(net: &Arc<Net>, rows: &[(&str, usize, &[&str])]) -> Vec<Found> {
    let keeps: Vec<Arc<Memory>> = rows.iter().map(|_| Arc::default()).collect();
    let finding = rows.iter().zip(&keeps).map(|((name, expect, join), keep)| {
        let net = net.clone();
        let options = options(&net, name, *expect, join, keep);
        let own = options.own.clone();
        let transport = options.transport.clone();
        async move {
            let found = find(options).await.unwrap();
            if !found.founders.is_empty() {
                // It runs from now on.
                transport.serve(Channel::Members, Arc::new(Member(found.cluster)));
            }
            assert_eq!(found.own, own);
            found
        }
    });
    tokio::time::timeout(Duration::from_secs(60), join_all(finding))
        .await
        .expect("a cluster")
}

#[tokio::test(start_paused = true)]
async fn exactly_one_of_them_founds() {
    let shapes: [&[(&str, usize, &[&str])]; 4] = [
        &[("a", 3, &[]), ("b", 0, &["a"]), ("c", 0, &["a"])],
        &[("a", 3, &["b"]), ("b", 3, &["c"]), ("c", 3, &["a"])],
        &[
            ("a", 3, &["b", "c"]),
            ("b", 3, &["a", "c"]),
            ("c", 3, &["a", "b"]),
            ("d", 3, &["a"]),
            ("e", 0, &["d"]),
        ],
        &[("a", 1, &[])],
    ];
    for rows in shapes {
        let net = Arc::new(Net::default());
        let all = found(&net, rows).await;
        let founders: Vec<&Found> = all.iter().filter(|f| !f.founders.is_empty()).collect();
        assert_eq!(founders.len(), 1, "{rows:?}");
        assert!(all.iter().all(|found| found.cluster == all[0].cluster));
        assert!(founders[0].founders.len() >= rows[0].1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_without_the_flag_waits_for_ever_and_joins_what_comes() {
    let net = Arc::new(Net::default());
    let keep = Arc::<Memory>::default();
    let waiting = tokio::spawn(find(options(&net, "b", 0, &["a"], &keep)));
    sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    let peer: Arc<dyn Peer> = Arc::new(Member(7));
    net.0.lock().unwrap().insert("a".to_owned(), (99, peer));
    let found = soon(waiting).await;
    assert_eq!((found.cluster, found.founders.len()), (7, 0));
}

#[tokio::test(start_paused = true)]
async fn a_promise_outlives_a_restart_and_ends_when_the_founder_gave_up() {
    let net = Arc::new(Net::default());
    let keep = Arc::<Memory>::default();
    let b = options(&net, "b", 0, &["a"], &keep);
    let own = b.own.clone();
    let founder = Server {
        node: 1 << 40,
        name: "a".into(),
        address: "a".into(),
        level: 1,
    };
    let promise = Promise {
        own: own.clone(),
        cluster: 5,
        founder: founder.node,
        servers: vec![own.clone(), founder],
    };
    keep.save(Some(&promise)).unwrap();
    // Another start, under the id that was promised.
    let mut again = options(&net, "b", 0, &["a"], &keep);
    again.own = own.clone();
    again.transport = Arc::new(End {
        own: own.clone(),
        net: net.clone(),
    });
    let waiting = tokio::spawn(find(again));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(keep.load().unwrap().unwrap().cluster, 5, "nobody gave up");
    // At the founder's address is a server that knows nothing of it.
    let fresh = tokio::spawn(find(options(&net, "a", 2, &["b"], &Arc::default())));
    let found = soon(fresh).await;
    assert_eq!(found.founders.len(), 2);
    assert!(found.founders.contains(&own));
    assert_ne!(found.cluster, 5);
    net.0
        .lock()
        .unwrap()
        .insert("a".to_owned(), (99, Arc::new(Member(found.cluster)) as _));
    assert_eq!(soon(waiting).await.cluster, found.cluster);
}

#[tokio::test(start_paused = true)]
async fn a_founder_that_was_stopped_goes_on() {
    let net = Arc::new(Net::default());
    let keep = Arc::<Memory>::default();
    let first = options(&net, "a", 2, &["b"], &keep);
    let own = first.own.clone();
    let promise = Promise {
        own: own.clone(),
        cluster: 5,
        founder: own.node,
        servers: vec![own.clone()],
    };
    keep.save(Some(&promise)).unwrap();
    let mut again = options(&net, "a", 2, &["b"], &keep);
    again.own = own.clone();
    let found = find(again).await.unwrap();
    assert_eq!((found.cluster, found.own), (5, own));
}
