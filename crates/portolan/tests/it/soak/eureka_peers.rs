//! A running pair of Spring Cloud Eureka servers, of which a Portolan server becomes the third and then the only one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::server::{Server, Start, free_address};
use crate::harness::{eventually, http, same, tally};
use crate::need_binary;

const INSTANCES: usize = 200;
const LIMIT: Duration = Duration::from_secs(90);

/// One of the old nodes. Ends with the test.
struct OldNode(Child);

impl OldNode {
    fn start(folder: &Path, own: SocketAddr, peers: &[SocketAddr]) -> OldNode {
        let urls: Vec<String> = peers
            .iter()
            .map(|peer| format!("http://{peer}/eureka/"))
            .collect();
        let path = format!("{0}/classes:{0}/lib/*", folder.display());
        let child = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &path,
                "node.OldNode",
            ])
            .args([
                format!("--server.address={}", own.ip()),
                format!("--server.port={}", own.port()),
                // Its own URL is known by the host alone.
                format!("--eureka.instance.hostname={}", own.ip()),
                format!("--eureka.client.serviceUrl.defaultZone={}", urls.join(",")),
                "--eureka.client.register-with-eureka=false".to_owned(),
                "--eureka.client.fetch-registry=false".to_owned(),
                "--eureka.server.eviction-interval-timer-in-ms=2000".to_owned(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        OldNode(child)
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for OldNode {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A client by its own rules: the first server of its list that answers, and the next one after a failure.
struct Client(Vec<SocketAddr>);

impl Client {
    fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<http::Reply, String> {
        let mut last = String::new();
        for _ in 0..self.0.len() {
            match http::call_with(
                self.0[0],
                method,
                &format!("/eureka{path}"),
                &[
                    ("Accept", "application/json"),
                    ("Content-Type", "application/json"),
                ],
                body.map(str::as_bytes),
            ) {
                Ok(reply) if reply.status < 500 && reply.status != 403 => return Ok(reply),
                Ok(reply) => last = format!("{}: {}", reply.status, reply.text()),
                Err(why) => last = why,
            }
            self.0.rotate_left(1);
        }
        Err(last)
    }
}

fn instance(n: usize, born: u64) -> (String, String, Value) {
    let app = format!("APP{}", n % 5);
    let id = format!("h{n}:{}:80", app.to_lowercase());
    let body = json!({"instance": {"instanceId": id, "hostName": format!("h{n}"), "app": app, "status": "UP",
        "ipAddr": format!("10.9.0.{}", n + 1), "vipAddress": app.to_lowercase(), "lastDirtyTimestamp": born.to_string(),
        "port": {"$": 80, "@enabled": "true"}, "leaseInfo": {"renewalIntervalInSecs": 5, "durationInSecs": 15},
        "dataCenterInfo": {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"}}});
    (app, id, body)
}

fn up(reply: &http::Reply) -> Result<usize, String> {
    let list = reply.json()?;
    let apps = list["applications"]["application"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let instances = apps
        .iter()
        .flat_map(|app| app["instance"].as_array().cloned().unwrap_or_default());
    let ours = instances.filter(|it| {
        it["status"] == "UP" && it["app"].as_str().is_some_and(|app| app.starts_with("APP"))
    });
    Ok(ours.count())
}

fn shows(address: SocketAddr, count: usize) -> Result<(), String> {
    same(
        &up(&http::call_with(
            address,
            "GET",
            "/eureka/apps/",
            &[("Accept", "application/json")],
            None,
        )?)?,
        &count,
    )
}

#[test]
fn two_spring_servers_are_taken_over() {
    need_binary!();
    let Ok(folder) = std::env::var("PORTOLAN_SPRING_EUREKA") else {
        return tally::skip_test("soak: eureka peers", "PORTOLAN_SPRING_EUREKA is not set", 1);
    };
    let at = |last: u8| SocketAddr::new([127, 0, 9, last].into(), free_address().port());
    let (a, b, own) = (at(11), at(12), at(13));
    let mut old = [
        OldNode::start(Path::new(&folder), a, &[b, own]),
        OldNode::start(Path::new(&folder), b, &[a, own]),
    ];
    for node in [a, b] {
        eventually(LIMIT, || shows(node, 0)).unwrap();
    }
    let born = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let born = u64::try_from(born.as_millis()).unwrap();
    let nodes = [a, b, own];
    let order = |first: usize| {
        let mut nodes = nodes.to_vec();
        nodes.rotate_left(first);
        Client(nodes)
    };
    let (over, again, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let missed = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for part in 0..4 {
            let (over, again, failed) = (&over, &again, &failed);
            let mut client = order(part % 2);
            threads.spawn(move || {
                let own: Vec<_> = (0..INSTANCES)
                    .filter(|n| n % 4 == part)
                    .map(|n| instance(n, born))
                    .collect();
                let register = |client: &mut Client, app: &str, body: &Value| {
                    let reply =
                        client.call("POST", &format!("/apps/{app}"), Some(&body.to_string()));
                    assert_eq!(reply.unwrap().status, 204);
                };
                for (app, _, body) in &own {
                    register(&mut client, app, body);
                }
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    for (app, id, body) in &own {
                        let path = format!("/apps/{app}/{id}?status=UP&lastDirtyTimestamp={born}");
                        match client.call("PUT", &path, None) {
                            Ok(reply) if reply.status == 404 => {
                                again.fetch_add(1, Ordering::Relaxed);
                                register(&mut client, app, body);
                            }
                            Ok(_) => {}
                            Err(_) => {
                                failed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    std::thread::sleep(Duration::from_secs(5).saturating_sub(begun.elapsed()));
                }
            });
        }
        for node in [a, b] {
            eventually(LIMIT, || shows(node, INSTANCES)).unwrap();
        }
        // From here on every reader sees all of them, whomever it asks.
        for first in 0..3 {
            let (over, missed) = (&over, &missed);
            let mut client = order(first);
            threads.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match client
                        .call("GET", "/apps/", None)
                        .and_then(|reply| up(&reply))
                    {
                        Ok(INSTANCES) => {}
                        Ok(count) => {
                            println!("a reader of {} sees {count}", client.0[0]);
                            missed.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => {
                            println!("a reader is refused: {why}");
                            missed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
        let server: Server = [a, b]
            .iter()
            .fold(Start::default(), |start, node| {
                start
                    .with("--eureka-peer")
                    .with(format!("http://{node}/eureka/"))
            })
            .with("--listen")
            .with(format!("eureka={own}"))
            .go();
        eventually(LIMIT, || shows(own, INSTANCES)).unwrap();
        // What was registered elsewhere, the old nodes show, too.
        let body = r#"{"Name":"db","Address":"10.8.0.1","Port":5432}"#;
        let registered = http::call(
            server.address("consul"),
            "PUT",
            "/v1/agent/service/register",
            Some(body),
        );
        assert_eq!(registered.unwrap().status, 200);
        for node in [a, b] {
            eventually(LIMIT, || {
                let found = http::call(node, "GET", "/eureka/apps/DB", None)?;
                same(&found.status, &200)
            })
            .unwrap();
        }
        for node in &mut old {
            // Longer than a lease, so that what nobody renews is gone.
            std::thread::sleep(Duration::from_secs(20));
            node.stop();
        }
        std::thread::sleep(Duration::from_secs(40));
        shows(own, INSTANCES).unwrap();
        over.store(true, Ordering::Relaxed);
    });
    println!(
        "{INSTANCES} instances, missed {}, renewals that failed {}, registered again {}",
        missed.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
        again.load(Ordering::Relaxed)
    );
    assert_eq!(
        missed.load(Ordering::Relaxed) + failed.load(Ordering::Relaxed),
        0
    );
}
