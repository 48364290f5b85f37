//! The JSON gateway beside that of a real etcd: one random history of requests to both, well formed and not, and every answer the same.
//!
//! `PORTOLAN_TEST_SEED` and `PORTOLAN_TEST_OPERATIONS` choose another history.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{
    RealEtcd, Server, clients, http,
    tally::{Table, skip_test},
};
use crate::need_binary;

/// `a` to `d`, `a` followed by a zero, and what is no key.
const KEYS: [&str; 6] = ["YQ==", "Yg==", "Yw", "ZA==", "YQA=", ""];
const ENDS: [&str; 5] = ["", "AA==", "Yw==", "_w==", "YQ=="];

/// What may be in a field by chance, right or wrong.
const ODD: [&str; 14] = [
    "null",
    "\"\"",
    "1",
    "-1",
    "1.0",
    "1e1",
    "1.5",
    "\"2\"",
    "\"x\"",
    "true",
    "[]",
    "{}",
    "[1]",
    "99999999999999999999",
];

struct Plan {
    random: StdRng,
    revision: i64,
}

impl Plan {
    fn key(&mut self) -> &'static str {
        KEYS.choose(&mut self.random).unwrap_or(&"YQ==")
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn near(&mut self) -> i64 {
        self.revision + self.random.random_range(-12..3)
    }

    fn lease(&mut self) -> i64 {
        self.random.random_range(0..6)
    }

    fn range(&mut self) -> Value {
        let mut range = json!({ "key": self.key() });
        if self.chance(50) {
            range["range_end"] = json!(ENDS.choose(&mut self.random));
        }
        match self.random.random_range(0..10) {
            0 => range["limit"] = json!(self.random.random_range(-1..3).to_string()),
            1 => range["revision"] = json!(self.near()),
            2 => {
                range["sortOrder"] = json!(["NONE", "ASCEND", "DESCEND"].choose(&mut self.random));
            }
            3 => range["keysOnly"] = json!(true),
            4 => range["count_only"] = json!(true),
            5 => range["min_mod_revision"] = json!(self.near()),
            6 => range["serializable"] = json!(true),
            _ => {}
        }
        range
    }

    fn put(&mut self) -> Value {
        let value = self.random.random_range(0..1000).to_string();
        let mut put = json!({ "key": self.key(), "value": value.repeat(4) });
        match self.random.random_range(0..8) {
            0 => put["lease"] = json!(self.lease().to_string()),
            1 => put["ignore_value"] = json!(true),
            2 => put["ignoreLease"] = json!(true),
            3 => put["prev_kv"] = json!(true),
            _ => {}
        }
        put
    }

    fn delete(&mut self) -> Value {
        let mut delete = json!({ "key": self.key(), "prevKv": self.chance(50) });
        if self.chance(20) {
            delete["range_end"] = json!(ENDS.choose(&mut self.random));
        }
        delete
    }

    fn txn(&mut self, depth: u32) -> Value {
        let compares = self.random.random_range(0..3);
        let compare: Vec<Value> = (0..compares).map(|_| self.compare()).collect();
        let success = self.operations(depth);
        let failure = self.operations(depth);
        json!({ "compare": compare, "success": success, "failure": failure })
    }

    fn compare(&mut self) -> Value {
        let (target, field, value) = match self.random.random_range(0..5) {
            0 => ("VERSION", "version", json!(self.lease())),
            1 => ("CREATE", "create_revision", json!(self.near().to_string())),
            2 => ("MOD", "modRevision", json!(self.near())),
            3 => ("VALUE", "value", json!("MTE=")),
            _ => ("LEASE", "lease", json!(self.lease())),
        };
        let results = ["EQUAL", "GREATER", "LESS", "NOT_EQUAL"];
        let result = results.choose(&mut self.random);
        json!({ "key": self.key(), "target": target, "result": result, field: value })
    }

    fn operations(&mut self, depth: u32) -> Vec<Value> {
        let count = self.random.random_range(0..3);
        let mut operations = Vec::new();
        for _ in 0..count {
            operations.push(match self.random.random_range(0..7) {
                0 | 1 => json!({ "requestRange": self.range() }),
                2 | 3 => json!({ "request_put": self.put() }),
                4 => json!({ "request_delete_range": self.delete() }),
                5 if depth > 0 => json!({ "request_txn": self.txn(depth - 1) }),
                _ => json!({ "requestPut": self.put() }),
            });
        }
        operations
    }

    /// A path behind `/v3/`, and a body.
    fn next(&mut self) -> (&'static str, String) {
        let (path, body) = match self.random.random_range(0..100) {
            0..25 => ("kv/range", self.range()),
            25..45 => ("kv/put", self.put()),
            45..53 => ("kv/deleterange", self.delete()),
            53..78 => ("kv/txn", self.txn(2)),
            78..80 => {
                let revision = self.near() - 10;
                ("kv/compaction", json!({ "revision": revision }))
            }
            80..84 => {
                let id = 1 + self.lease();
                return ("lease/grant", json!({ "TTL": "600", "ID": id }).to_string());
            }
            84..87 => ("kv/lease/revoke", json!({ "ID": self.lease() })),
            87..90 => (
                "lease/timetolive",
                json!({ "ID": self.lease(), "keys": true }),
            ),
            90..92 => ("lease/leases", json!({})),
            92..95 => ("lease/keepalive", json!({ "ID": 1 + self.lease() })),
            95 => ("cluster/member/list", json!({ "linearizable": true })),
            96 => ("maintenance/alarm", json!({ "action": "GET" })),
            97 => ("auth/status", json!({})),
            98 => ("election/leader", json!({ "name": self.key() })),
            _ => ("nothing", json!({})),
        };
        let body = body.to_string();
        // Streams end silently at what they cannot read, where here it is said.
        match path {
            "lease/keepalive" => (path, body),
            _ if self.chance(25) => (path, self.damaged(&body)),
            _ => (path, body),
        }
    }

    /// The body with something else in it.
    fn damaged(&mut self, body: &str) -> String {
        let mut text = body.as_bytes().to_vec();
        let at = self.random.random_range(0..text.len());
        match self.random.random_range(0..6) {
            0 => text.truncate(at),
            1 => {
                text.remove(at);
            }
            2 => text[at] = self.random.random_range(b' '..b'~'),
            3 => text.insert(at, self.random.random_range(b' '..b'~')),
            4 => text.extend_from_slice(b" {]"),
            _ => {
                // Another value in a field's place.
                let colons: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b':').collect();
                if let Some(colon) = colons.choose(&mut self.random) {
                    let rest = &text[colon + 1..];
                    let end = rest
                        .iter()
                        .position(|byte| matches!(byte, b',' | b'}' | b']'));
                    let end = colon + 1 + end.unwrap_or(rest.len());
                    let odd = ODD.choose(&mut self.random).unwrap_or(&"1");
                    text.splice(colon + 1..end, odd.bytes());
                }
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// An answer without what two servers cannot have in common.
fn answer(address: SocketAddr, path: &str, body: &str) -> Result<(u16, Vec<Value>), String> {
    let path = format!("/v3/{path}");
    let reply = http::call(address, "POST", &path, Some(body))?;
    let kind = reply.header("content-type").unwrap_or_default();
    if kind != "application/json" {
        return Err(format!("content type {kind:?}"));
    }
    let text = reply.text().replace('\u{a0}', " ");
    let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let mut values: Vec<Value> = values
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}: {text}"))?;
    for value in &mut values {
        common(value);
    }
    Ok((reply.status, values))
}

fn common(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        for own in ["cluster_id", "member_id", "raft_term", "members"] {
            fields.remove(own);
        }
        // Etcd says it up to 3.5.
        if fields.get("error").is_some_and(Value::is_string) {
            fields.remove("error");
        }
        // A second may have passed on one side.
        if fields.contains_key("grantedTTL") {
            fields.remove("TTL");
        }
        for unordered in ["leases", "keys"] {
            if let Some(Value::Array(items)) = fields.get_mut(unordered) {
                items.sort_by_key(ToString::to_string);
            }
        }
        fields.values_mut().for_each(common);
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(common);
    }
}

/// Plays a history to both and says how many answers were failures.
pub fn run(seed: u64, operations: u64, left: SocketAddr, right: SocketAddr) -> Result<u64, String> {
    let mut plan = Plan {
        random: StdRng::seed_from_u64(seed),
        revision: 1,
    };
    let mut failures = 0;
    for number in 0..operations {
        let (path, body) = plan.next();
        let context = || format!("operation {number} of seed {seed}: {path} {body}");
        let expected =
            answer(left, path, &body).map_err(|why| format!("{}: etcd: {why}", context()))?;
        let found = answer(right, path, &body).map_err(|why| format!("{}: {why}", context()))?;
        if expected != found {
            return Err(format!(
                "{}:\n  etcd {expected:?}\n  here {found:?}",
                context()
            ));
        }
        failures += u64::from(found.0 != 200);
        let header = found.1.first().map(|value| &value["header"]["revision"]);
        if let Some(revision) = header.and_then(Value::as_str) {
            plan.revision = revision.parse().unwrap_or(plan.revision);
        }
    }
    Ok(failures)
}

/// A number of the environment, or the default.
pub fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs against an etcd and a server of their own.
pub fn compare(suite: &str, operations: u64) {
    need_binary!();
    let binary = match clients::program("etcd") {
        Ok(binary) => binary,
        Err(reason) => return skip_test(suite, &reason, 1),
    };
    let peer = RealEtcd::start(&binary).unwrap();
    peer.ready().unwrap();
    let server = Server::start();
    let seed = number("PORTOLAN_TEST_SEED", 11);
    let operations = number("PORTOLAN_TEST_OPERATIONS", operations);
    let outcome = run(seed, operations, peer.address(), server.address("etcd"));
    let mut table = Table::new(suite);
    let said = outcome.map(|failures| println!("seed {seed}: {failures} failures, all alike"));
    table.cell(
        &format!("seed {seed}, {operations} requests"),
        "etcd 3.7",
        said,
    );
    table.finish();
}

#[test]
fn the_gateways_answer_alike() {
    compare("etcd_gateway", 1500);
}
