//! Other Eureka servers: what they are told and tell, at the wire, against a peer that is played here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_catalog::Protocol;
use portolan_listener::{ServerContext, bind_tcp};
use portolan_protocol_eureka::Settings;
use portolan_protocol_eureka::wire::Status;
use portolan_registry::{LocalOptions, Registry};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{SEND_JSON, Server, instance};

/// A peer: what it lists, what it answers to lists, and what it was sent.
#[derive(Default)]
struct Play {
    apps: Value,
    busy: u32,
    /// Statuses that entries are answered, by action and id, and the record with them.
    answers: Vec<(String, String, u16, Value)>,
    heads: Vec<String>,
    told: Vec<Value>,
}

#[derive(Clone, Default)]
struct Peer(Arc<Mutex<Play>>);

impl Peer {
    async fn listen(&self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(self.clone().answer(stream));
        }
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        while let Some((head, body)) = message(&mut stream, &mut read).await {
            let (status, answer) = self.respond(&head, &body);
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            if stream.write_all((head + &text).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn respond(&self, head: &str, body: &[u8]) -> (u16, Value) {
        let mut play = self.0.lock().unwrap();
        play.heads.push(head.to_ascii_lowercase());
        if head.starts_with("GET /eureka/apps/ ") {
            return (200, play.apps.clone());
        }
        assert!(
            head.starts_with("POST /eureka/peerreplication/batch/ "),
            "{head}"
        );
        if play.busy > 0 {
            play.busy -= 1;
            return (503, json!({}));
        }
        let list: Value = serde_json::from_slice(body).unwrap();
        let list = list["replicationList"].as_array().unwrap().clone();
        assert!(list.len() <= 250);
        let outcomes: Vec<Value> =
            list.iter()
                .map(|one| {
                    let (action, id) = (one["action"].as_str(), one["id"].as_str());
                    let scripted = play.answers.iter().position(|(a, i, ..)| {
                        Some(a.as_str()) == action && Some(i.as_str()) == id
                    });
                    match scripted.map(|at| play.answers.remove(at)) {
                        Some((_, _, status, entity)) if entity.is_null() => {
                            json!({"statusCode": status})
                        }
                        Some((_, _, status, entity)) => {
                            json!({"statusCode": status, "responseEntity": entity})
                        }
                        None => json!({"statusCode": 200}),
                    }
                })
                .collect();
        play.told.extend(list);
        (200, json!({"responseList": outcomes}))
    }

    /// Waits until it was told of something, and gives it.
    async fn told(&self, action: &str, id: &str) -> Value {
        for _ in 0..2000 {
            let found = {
                let play = self.0.lock().unwrap();
                let is = |one: &&Value| one["action"] == action && one["id"] == id;
                play.told.iter().find(is).cloned()
            };
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "{action} of {id} was not told: {:?}",
            self.0.lock().unwrap().told
        );
    }
}

async fn message(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec()).unwrap();
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ")
                    .and_then(|text| text.trim().parse::<usize>().ok())
            });
            let whole = end + 4 + length.unwrap_or(0);
            if read.len() >= whole {
                let body = read[end + 4..whole].to_vec();
                read.drain(..whole);
                return Some((head, body));
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

async fn with_peer(apps: Value) -> (Server, Peer) {
    let peer = Peer::default();
    peer.0.lock().unwrap().apps = apps;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://u:p@{}/eureka/", listener.local_addr().unwrap());
    let play = peer.clone();
    tokio::spawn(async move { play.listen(listener).await });
    let context = ServerContext::new(portolan_listener::Settings::default());
    let registry = Registry::local(&LocalOptions::default());
    let port = bind_tcp(&context, Protocol::Eureka, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = port.address;
    let settings = Settings {
        // A list of all servers names this one too.
        peers: vec![
            format!("http://{address}/eureka/").parse().unwrap(),
            url.parse().unwrap(),
        ],
    };
    portolan_protocol_eureka::serve(&context, port, registry.clone(), &settings);
    let server = Server {
        context,
        registry,
        address,
    };
    // Lists are let out when what the peer has is here.
    for _ in 0..2000 {
        if server.get("/eureka/apps").await.status == 200 {
            return (server, peer);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the lists are kept back");
}

/// What a peer lists of an instance.
fn listed(app: &str, n: u8, more: Value) -> Value {
    let mut wrapped: Value = serde_json::from_str(&instance(app, n, "")).unwrap();
    let mut it = wrapped["instance"].take();
    for (key, value) in more.as_object().unwrap() {
        it[key] = value.clone();
    }
    it
}

fn empty() -> Value {
    json!({"applications": {"versions__delta": "1", "apps__hashcode": "", "application": []}})
}

async fn batch(server: &Server, list: Value) -> Value {
    let body = json!({"replicationList": list}).to_string();
    let headers = [SEND_JSON, ("x-netflix-discovery-replication", "true")];
    let path = "/eureka/peerreplication/batch/";
    let answer = server.send("POST", path, &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str::<Value>(&answer.text()).unwrap()["responseList"].take()
}

#[tokio::test]
async fn what_clients_do_here_the_peer_is_told_in_the_originals_words() {
    let (server, peer) = with_peer(empty()).await;
    let id = "h1:web:8080";
    server.up("WEB", 1, r#","lastDirtyTimestamp":"5000""#).await;
    let told = peer.told("Register", id).await;
    assert_eq!(
        (&told["appName"], &told["status"]),
        (&json!("WEB"), &json!("UP"))
    );
    assert_eq!(told["lastDirtyTimestamp"], 5000);
    assert_eq!(told["instanceInfo"]["hostName"], "h1");
    let path = format!("/eureka/apps/WEB/{id}");
    assert_eq!(
        server
            .put(&format!("{path}/status?value=OUT_OF_SERVICE"))
            .await,
        200
    );
    let told = peer.told("StatusUpdate", id).await;
    assert_eq!(told["status"], "OUT_OF_SERVICE", "{told}");
    assert_eq!(server.put(&path).await, 200);
    let told = peer.told("Heartbeat", id).await;
    assert_eq!(told["overriddenStatus"], "OUT_OF_SERVICE", "{told}");
    assert!(told.get("instanceInfo").is_none(), "{told}");
    assert_eq!(server.delete(&format!("{path}/status?value=UP")).await, 200);
    assert_eq!(peer.told("DeleteStatusOverride", id).await["status"], "UP");
    assert_eq!(server.delete(&path).await, 200);
    let told = peer.told("Cancel", id).await;
    assert!(told.get("lastDirtyTimestamp").is_none(), "{told}");
    let play = peer.0.lock().unwrap();
    let head = play.heads.last().unwrap();
    for line in [
        "x-netflix-discovery-replication: true",
        "discoveryidentity-name: defaultserver",
        "content-type: application/json",
        "authorization: basic dtpw",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[tokio::test]
async fn a_peer_that_lacks_an_instance_gets_it_whole_and_one_that_has_it_newer_is_believed() {
    let (server, peer) = with_peer(empty()).await;
    peer.0.lock().unwrap().busy = 2;
    server.up("WEB", 1, r#","lastDirtyTimestamp":"5000""#).await;
    // One that was busy is told again.
    peer.told("Register", "h1:web:8080").await;
    let newer = listed(
        "WEB",
        1,
        json!({"lastDirtyTimestamp": "9000", "metadata": {"from": "peer"}}),
    );
    {
        let mut play = peer.0.lock().unwrap();
        play.told.clear();
        let (heartbeat, id) = ("Heartbeat".to_owned(), "h1:web:8080".to_owned());
        play.answers
            .push((heartbeat.clone(), id.clone(), 404, Value::Null));
        play.answers.push((heartbeat, id, 409, newer));
    }
    assert_eq!(server.put("/eureka/apps/WEB/h1:web:8080").await, 200);
    peer.told("Register", "h1:web:8080").await;
    assert_eq!(server.put("/eureka/apps/WEB/h1:web:8080").await, 200);
    for _ in 0..2000 {
        let it = server.get("/eureka/apps/WEB/h1:web:8080").await.instance();
        if it.dirty_at == Some(9000) && it.metadata.contains_key("from") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what the peer has newer was not taken over");
}

#[tokio::test]
async fn what_a_peer_tells_is_so_here_and_is_told_to_nobody() {
    let (server, peer) = with_peer(empty()).await;
    let web = listed("WEB", 1, json!({"lastDirtyTimestamp": "5000"}));
    let entry = |action: &str, more: Value| {
        let mut entry = json!({"appName": "WEB", "id": "h1:web:8080", "action": action});
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        entry
    };
    let codes = |outcomes: &Value| -> Vec<u64> {
        let all = outcomes.as_array().unwrap().iter();
        all.map(|one| one["statusCode"].as_u64().unwrap()).collect()
    };
    let dirty = |at: u64| json!({"lastDirtyTimestamp": at, "status": "UP"});
    let outcomes = batch(
        &server,
        json!([
            entry("Heartbeat", dirty(5000)),
            entry("Register", json!({"instanceInfo": web, "status": "UP"})),
            entry("Heartbeat", dirty(5000)),
            entry("Heartbeat", dirty(6000)),
            entry("Heartbeat", dirty(4000)),
            entry("Later", json!({})),
            entry("Register", json!({})),
            {"appName": "OTHER", "id": "x", "action": "Cancel"},
        ]),
    )
    .await;
    assert_eq!(codes(&outcomes), [404, 200, 200, 404, 409, 500, 500, 404]);
    let newer = &outcomes[4]["responseEntity"];
    assert_eq!(
        (&newer["hostName"], &newer["lastDirtyTimestamp"]),
        (&json!("h1"), &json!("5000"))
    );
    // A heartbeat that says that the peer is newer imposes what was imposed there.
    let imposed = json!({"lastDirtyTimestamp": 6000, "overriddenStatus": "OUT_OF_SERVICE"});
    assert_eq!(
        codes(&batch(&server, json!([entry("Heartbeat", imposed)])).await),
        [404]
    );
    let path = "/eureka/apps/WEB/h1:web:8080";
    assert_eq!(
        server.get(path).await.instance().status,
        Status::OutOfService
    );
    let taken_back = json!([entry("DeleteStatusOverride", json!({"status": "UP"}))]);
    assert_eq!(codes(&batch(&server, taken_back).await), [200]);
    assert_eq!(server.get(path).await.instance().status, Status::Up);
    let down = json!([entry(
        "StatusUpdate",
        json!({"status": "DOWN", "lastDirtyTimestamp": 7000})
    )]);
    assert_eq!(codes(&batch(&server, down).await), [200]);
    let it = server.get(path).await.instance();
    assert_eq!((it.status, it.dirty_at), (Status::Down, Some(7000)));
    assert_eq!(
        codes(&batch(&server, json!([entry("Cancel", json!({}))])).await),
        [200]
    );
    assert_eq!(server.get(path).await.status, 404);
    assert_eq!(batch(&server, json!([])).await, json!([]));
    let wrong = server
        .send("POST", "/eureka/peerreplication/batch", &[SEND_JSON], b"no")
        .await;
    assert_eq!(wrong.status, 400);
    // What a client does comes after all of that, and nothing of it was told.
    server.up("API", 2, "").await;
    peer.told("Register", "h2:api:8080").await;
    let play = peer.0.lock().unwrap();
    assert!(
        play.told.iter().all(|one| one["appName"] == "API"),
        "{:?}",
        play.told
    );
}

#[tokio::test]
async fn the_registry_of_a_peer_is_taken_over_at_the_start() {
    // As modern servers write it, and one instance as old ones do.
    let apps = json!({"applications": {"application": [
        {"name": "WEB", "instance": [
            listed("WEB", 1, json!({"lastDirtyTimestamp": "5000"})),
            listed("WEB", 2, json!({"status": "OUT_OF_SERVICE", "overriddenStatus": "OUT_OF_SERVICE"})),
        ]},
        {"name": "API", "instance": listed("API", 3, json!({}))},
        {"name": "OURS", "instance": listed("OURS", 4, json!({"metadata": {"portolan.cluster": "0000000000000000"}}))},
    ]}});
    let (server, peer) = with_peer(apps).await;
    for (id, status) in [
        ("h1:web:8080", Status::Up),
        ("h2:web:8080", Status::OutOfService),
        ("h3:api:8080", Status::Up),
    ] {
        let mut found = server.get(&format!("/eureka/instances/{id}")).await;
        for _ in 0..2000 {
            if found.status == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            found = server.get(&format!("/eureka/instances/{id}")).await;
        }
        assert_eq!(found.instance().status, status, "{id}");
    }
    assert_eq!(
        server.get("/eureka/apps/OURS").await.status,
        404,
        "it was lent by this cluster"
    );
    assert!(peer.0.lock().unwrap().told.is_empty());
}

#[tokio::test]
async fn what_other_protocols_registered_is_lent_to_the_peer() {
    let (server, peer) = with_peer(empty()).await;
    server.foreign("db", "10.0.9.1", 5432).await;
    let id = "10.0.9.1:db:5432";
    let told = peer.told("Register", id).await;
    let it = &told["instanceInfo"];
    assert_eq!(
        (&it["app"], &it["vipAddress"]),
        (&json!("DB"), &json!("db"))
    );
    assert_eq!(
        it["metadata"]["portolan.cluster"], "0000000000000000",
        "{it}"
    );
    // The peer must not be able to remove it: who registered it does.
    let cancel = json!([{"appName": "DB", "id": id, "action": "Cancel"}]);
    assert_eq!(batch(&server, cancel).await[0]["statusCode"], 404);
    assert_eq!(server.delete(&format!("/eureka/apps/DB/{id}")).await, 200);
    peer.told("Cancel", id).await;
}
