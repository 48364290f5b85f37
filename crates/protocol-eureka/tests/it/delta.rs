//! Deltas: a client that applies them holds what the server holds, and can tell by the hash code.

use std::collections::BTreeMap;

use portolan_protocol_eureka::wire::{Action, Applications, Counts, Instance, Status};

use crate::client::Server;

/// What a client keeps: instances by application and id.
#[derive(Default)]
struct Cache(BTreeMap<(String, String), Instance>);

impl Cache {
    fn of(list: &Applications) -> Cache {
        let mut cache = Cache::default();
        cache.apply(list);
        cache
    }

    fn apply(&mut self, list: &Applications) {
        for it in list.applications.iter().flat_map(|a| &a.instances) {
            let key = (it.app.clone(), it.effective_id().to_owned());
            match it.action {
                Action::Deleted => {
                    self.0.remove(&key);
                }
                Action::Added | Action::Modified => {
                    self.0.insert(key, it.clone());
                }
            }
        }
    }

    fn hashcode(&self) -> String {
        let mut counts = Counts::default();
        for it in self.0.values() {
            counts.add(it.status);
        }
        counts.hashcode()
    }

    fn statuses(&self) -> BTreeMap<(String, String), Status> {
        self.0
            .iter()
            .map(|(key, it)| (key.clone(), it.status))
            .collect()
    }
}

/// A small generator: tests must be the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

async fn disturb(server: &Server, dice: &mut Dice) {
    let app = ["WEB", "API", "DB"][dice.roll(3) as usize];
    let n = 1 + dice.roll(4) as u8;
    let id = format!("/eureka/apps/{app}/h{n}:{}:8080", app.to_ascii_lowercase());
    let status = Status::ALL[dice.roll(5) as usize];
    match dice.roll(9) {
        0..=2 => {
            let fields = format!(r#","status":"{status}""#);
            server
                .register(app, &crate::client::instance(app, n, &fields))
                .await;
        }
        3 => {
            server.delete(&id).await;
        }
        4 => {
            server.put(&format!("{id}/status?value={status}")).await;
        }
        5 => {
            server.delete(&format!("{id}/status?value=UP")).await;
        }
        6 => {
            server
                .put(&format!("{id}/metadata?k={}", dice.roll(100)))
                .await;
        }
        7 => {
            // Often a twin of Eureka's own.
            server
                .foreign(&app.to_ascii_lowercase(), &format!("10.0.0.{n}"), 8080)
                .await;
        }
        _ => {
            let foreign = format!(
                "/eureka/apps/{app}/10.0.0.{n}:{}:8080",
                app.to_ascii_lowercase()
            );
            server.delete(&foreign).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_applies_deltas_agrees_with_the_hash_code() {
    for seed in 1..=6 {
        let server = Server::start().await;
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut cache = Cache::of(&server.get("/eureka/apps").await.list());
        for round in 0..25 {
            for _ in 0..1 + dice.roll(5) {
                disturb(&server, &mut dice).await;
            }
            let delta = server.get("/eureka/apps/delta").await.list();
            let all = server.get("/eureka/apps").await.list();
            cache.apply(&delta);
            assert_eq!(
                cache.hashcode(),
                delta.hashcode,
                "seed {seed} round {round}"
            );
            assert_eq!(all.hashcode, delta.hashcode, "seed {seed} round {round}");
            assert_eq!(
                all.recount().hashcode(),
                all.hashcode,
                "seed {seed} round {round}"
            );
            let full = Cache::of(&all);
            assert_eq!(
                cache.statuses(),
                full.statuses(),
                "seed {seed} round {round}"
            );
            let metadata = |c: &Cache| {
                c.0.iter()
                    .map(|(k, i)| (k.clone(), i.metadata.clone()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                metadata(&cache),
                metadata(&full),
                "seed {seed} round {round}"
            );
        }
    }
}

fn actions(list: &Applications) -> Vec<String> {
    let all = list.applications.iter().flat_map(|a| &a.instances);
    all.map(|i| format!("{} {} {}", i.effective_id(), i.action.as_str(), i.status))
        .collect()
}

#[tokio::test]
async fn a_delta_names_each_instance_once_with_its_latest_state() {
    let server = Server::start().await;
    server.up("WEB", 1, "").await;
    let first = server.get("/eureka/apps/delta").await.list();
    assert_eq!(actions(&first), ["h1:web:8080 ADDED UP"]);
    // Nothing new: the same delta, also under the same number.
    assert_eq!(server.get("/eureka/apps/delta").await.list(), first);
    server
        .put("/eureka/apps/WEB/h1:web:8080/status?value=DOWN")
        .await;
    server.up("WEB", 2, "").await;
    let second = server.get("/eureka/apps/delta").await.list();
    assert_eq!(
        actions(&second),
        ["h1:web:8080 MODIFIED DOWN", "h2:web:8080 ADDED UP"]
    );
    assert_eq!(second.hashcode, "DOWN_1_UP_1_");
    assert!(second.version.parse::<u64>().unwrap() > first.version.parse::<u64>().unwrap());
    server.delete("/eureka/apps/WEB/h1:web:8080").await;
    let third = server.get("/eureka/apps/delta").await.list();
    assert_eq!(
        actions(&third),
        ["h1:web:8080 DELETED DOWN", "h2:web:8080 ADDED UP"]
    );
    assert!(third.applications[0].instances[0].lease.evicted_at > 1_600_000_000_000);
    assert_eq!(third.hashcode, "UP_1_");
    server.put("/eureka/apps/WEB/h2:web:8080").await;
    assert_eq!(
        server.get("/eureka/apps/delta").await.list(),
        third,
        "a renewal is no news"
    );
}
