use super::*;
use crate::tls::{Pair, create_authority, create_certificate};

#[derive(Debug)]
struct Echo;

impl Peer for Echo {
    fn answer(&self, from: u64, mut request: Vec<u8>) -> Answer<'_> {
        Box::pin(async move {
            match request.first() {
                Some(b'!') => Err(io::Error::other("on purpose")),
                Some(b'?') => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    Ok(request)
                }
                _ => {
                    request.push(u8::try_from(from).unwrap());
                    Ok(request)
                }
            }
        })
    }
}

fn hello(node: u64, cluster: u64) -> Hello {
    Hello {
        cluster,
        node,
        name: format!("n{node}"),
        datacenter: "dc1".to_owned(),
        level: 1,
        role: Role::Server,
    }
}

async fn server(hello: Hello, tls: Option<Tls>) -> (Tcp, String) {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tcp = Tcp::new(Options {
        hello,
        tls,
        connections: 16,
        follows: None,
    });
    tcp.serve(Channel::Raft, Arc::new(Echo));
    tcp.serve(Channel::Members, Arc::new(Echo));
    tcp.listen(listener);
    (tcp, address)
}

const LIMIT: Duration = Duration::from_secs(5);

async fn ask(tcp: &Tcp, to: u64, address: &str, text: &[u8]) -> io::Result<Vec<u8>> {
    tcp.call(to, address, Channel::Raft, text.to_vec(), LIMIT)
        .await
}

#[tokio::test]
async fn many_requests_share_a_connection_and_each_gets_its_answer() {
    let (a, _) = server(hello(1, 9), None).await;
    let (b, address) = server(hello(2, 9), None).await;
    let slow = a.call(2, &address, Channel::Raft, b"?".to_vec(), LIMIT / 50);
    let asked = (0..200_u8).map(|number| {
        let (a, address) = (a.clone(), address.clone());
        tokio::spawn(async move { ask(&a, 2, &address, &[number; 1000]).await })
    });
    let asked: Vec<_> = asked.collect();
    for (number, answer) in asked.into_iter().enumerate() {
        match answer.await.unwrap() {
            Ok(answer) => {
                let number = u8::try_from(number).unwrap();
                // Two of these numbers ask for something else.
                assert_eq!((answer[0], answer[1000]), (number, 1));
            }
            Err(error) if number == usize::from(b'!') => {
                assert_eq!(error.to_string(), "on purpose");
            }
            Err(error) if error.to_string().contains("busy") => {}
            Err(_) if number == usize::from(b'?') => {}
            Err(error) => panic!("{number}: {error}"),
        }
    }
    assert_eq!(slow.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(a.traffic().outgoing.load(Ordering::Relaxed), 1);
    assert_eq!(b.traffic().incoming.load(Ordering::Relaxed), 1);
    let large = vec![7; 3 << 20];
    assert_eq!(
        ask(&a, 2, &address, &large).await.unwrap().len(),
        (3 << 20) + 1
    );
}

#[tokio::test]
async fn an_end_is_told_at_once_and_a_new_server_is_found() {
    let (a, _) = server(hello(1, 9), None).await;
    let (b, address) = server(hello(2, 9), None).await;
    ask(&a, 2, &address, b"x").await.unwrap();
    let waiting = {
        let (a, address) = (a.clone(), address.clone());
        tokio::spawn(async move { ask(&a, 2, &address, b"?").await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    b.close();
    drop(b);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(begun.elapsed() < Duration::from_secs(2));
    let error = ask(&a, 2, &address, b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn clusters_and_datacenters_do_not_mix_and_strangers_only_ask_who_is_there() {
    let (_b, address) = server(hello(2, 9), None).await;
    let (other, _) = server(hello(1, 8), None).await;
    let error = ask(&other, 2, &address, b"x").await.unwrap_err();
    assert!(
        error.to_string().contains("two clusters do not mix"),
        "{error}"
    );
    let mut far = hello(1, 9);
    far.datacenter = "dc2".to_owned();
    let (far, _) = server(far, None).await;
    let error = ask(&far, 2, &address, b"x").await.unwrap_err();
    assert!(error.to_string().contains("datacenter \"dc2\""), "{error}");
    let (fresh, _) = server(hello(3, 0), None).await;
    let error = ask(&fresh, 2, &address, b"x").await.unwrap_err();
    assert!(error.to_string().contains("one cluster yet"), "{error}");
    let who = fresh.call(ANYBODY, &address, Channel::Members, b"x".to_vec(), LIMIT);
    assert_eq!(who.await.unwrap(), [b'x', 3]);
    fresh.adopt(9);
    assert_eq!(ask(&fresh, 2, &address, b"x").await.unwrap(), [b'x', 3]);
    let error = ask(&fresh, 5, &address, b"x").await.unwrap_err();
    assert!(error.to_string().contains("another server, n2"), "{error}");
    let error = fresh
        .call(2, &address, Channel::Forward, b"x".to_vec(), LIMIT)
        .await;
    assert!(error.unwrap_err().to_string().contains("starting"));
}

#[tokio::test]
async fn only_servers_of_the_authority_are_let_in() {
    let authority = create_authority().unwrap();
    let tls = |pair: &Pair| {
        let (certificate, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
        Tls::new(authority.certificate.as_bytes(), certificate, key, "dc1").unwrap()
    };
    let of = |role| create_certificate(&authority, role, "dc1").unwrap();
    let (_b, address) = server(hello(2, 9), Some(tls(&of(Role::Server)))).await;
    let (good, _) = server(hello(1, 9), Some(tls(&of(Role::Server)))).await;
    assert_eq!(ask(&good, 2, &address, b"x").await.unwrap(), [b'x', 1]);
    let (agent, _) = server(hello(3, 9), Some(tls(&of(Role::Agent)))).await;
    assert!(
        ask(&agent, 2, &address, b"x").await.is_err(),
        "an agent's certificate is not a server's"
    );
    let (bare, _) = server(hello(4, 9), None).await;
    assert!(ask(&bare, 2, &address, b"x").await.is_err());
    let foreign = create_authority().unwrap();
    let pair = create_certificate(&foreign, Role::Server, "dc1").unwrap();
    let (certificate, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
    let foreign = Tls::new(foreign.certificate.as_bytes(), certificate, key, "dc1").unwrap();
    let (foreign, _) = server(hello(5, 9), Some(foreign)).await;
    assert!(ask(&foreign, 2, &address, b"x").await.is_err());
}

#[tokio::test]
async fn noise_ends_the_connection_and_nothing_else() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (b, address) = server(hello(2, 9), None).await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300], &[0; 40]] {
        let mut stream = TcpStream::connect(&*address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset, and soon.
        let _end = timeout(LIMIT, stream.read_to_end(&mut rest)).await.unwrap();
    }
    let mut stream = TcpStream::connect(&*address).await.unwrap();
    stream.write_all(&hello(7, 9).encode()).await.unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let mut rest = Vec::new();
    let _end = timeout(LIMIT, stream.read_to_end(&mut rest)).await.unwrap();
    let (a, _) = server(hello(1, 9), None).await;
    assert_eq!(ask(&a, 2, &address, b"x").await.unwrap(), [b'x', 1]);
    assert!(b.traffic().refused.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn another_datacenter_is_known_by_its_name_and_may_follow_and_forward_and_no_more() {
    let authority = create_authority().unwrap();
    let certificate =
        |datacenter: &str| create_certificate(&authority, Role::Server, datacenter).unwrap();
    let tls_of = |own: &str, asked: &str| {
        let pair = certificate(own);
        let (chain, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
        Some(Tls::new(authority.certificate.as_bytes(), chain, key, asked).unwrap())
    };
    let hello = |role, datacenter: &str, cluster| Hello {
        role,
        level: 1,
        cluster,
        node: 7,
        name: format!("of {datacenter}"),
        datacenter: datacenter.to_owned(),
    };
    let there = hello(Role::Server, "dc2", 5);
    let (tcp, address) = server(there, tls_of("dc2", "dc2")).await;
    tcp.serve(Channel::Feed, Arc::new(Echo));
    tcp.serve(Channel::Forward, Arc::new(Echo));
    let follower = |wanted: &str| {
        Tcp::new(Options {
            hello: hello(Role::Datacenter, "dc1", 0),
            tls: tls_of("dc1", "dc2"),
            connections: 1,
            follows: Some(wanted.to_owned()),
        })
    };
    let (right, wrong) = (follower("DC2"), follower("dc3"));
    let address = address.to_string();
    let ask = |from: &Tcp, channel| {
        let (from, address) = (from.clone(), address.clone());
        async move {
            let call = from.call(ANYBODY, &address, channel, b"x".to_vec(), LIMIT);
            call.await
        }
    };
    assert!(ask(&right, Channel::Feed).await.is_ok());
    assert!(ask(&right, Channel::Forward).await.is_ok());
    for channel in [Channel::Raft, Channel::Members] {
        let refused = ask(&right, channel).await.unwrap_err().to_string();
        assert!(refused.contains("between servers"), "{refused}");
    }
    let refused = ask(&wrong, Channel::Feed).await.unwrap_err().to_string();
    assert!(refused.contains("dc3"), "{refused}");
}
