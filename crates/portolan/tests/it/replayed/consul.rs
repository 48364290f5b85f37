//! Requests of Consul's API.

use portolan_catalog::{Keyspace, State};
use serde_json::{Value, json};

use super::dice::{Dice, escaped};
use super::{Asked, Known};
use crate::corpus::targets::replay::Call;

/// Bytes of a value at most, as Consul has it.
const VALUE: usize = 512 * 1024;

/// Ids of the prepared queries that there are.
pub(super) fn queries(state: &State) -> Vec<String> {
    let range = portolan_catalog::KeyRange::prefix(b"");
    state
        .range(Keyspace::ConsulObjects, &range)
        .filter_map(|(key, _)| std::str::from_utf8(key).ok())
        .filter_map(|key| key.rsplit('/').next())
        .filter(|id| id.len() == 36)
        .map(str::to_owned)
        .collect()
}

fn asked(as_what: &'static str, method: &str, target: String, body: impl Into<Vec<u8>>) -> Asked {
    let call = Call {
        method: method.into(),
        target,
        kind: "application/json",
        body: body.into(),
    };
    Asked { as_what, call }
}

fn put(as_what: &'static str, target: String, body: &Value) -> Asked {
    asked(as_what, "PUT", target, body.to_string())
}

pub(super) fn request(dice: &mut Dice, known: &Known) -> Asked {
    let name = escaped(&dice.name());
    match dice.below(40) {
        0..8 => put(
            "service",
            "/v1/agent/service/register".into(),
            &service(dice, "Name"),
        ),
        8 => put(
            "deregister",
            format!("/v1/agent/service/deregister/{name}"),
            &Value::Null,
        ),
        9 => {
            let reason = escaped(&dice.text());
            let enable = dice.one_in(2);
            let place = if dice.one_in(3) {
                "/v1/agent/maintenance".to_owned()
            } else {
                format!("/v1/agent/service/maintenance/{name}")
            };
            put(
                "maintenance",
                format!("{place}?enable={enable}&reason={reason}"),
                &Value::Null,
            )
        }
        10..13 => put("check", "/v1/agent/check/register".into(), &check(dice)),
        13 => {
            let verb = dice.pick(&["pass", "warn", "fail"]);
            let note = escaped(&dice.text());
            let id = escaped(&check_id(dice));
            put(
                "report",
                format!("/v1/agent/check/{verb}/{id}?note={note}"),
                &Value::Null,
            )
        }
        14 => {
            let body = json!({ "Status": status(dice), "Output": dice.text() });
            put(
                "update",
                format!("/v1/agent/check/update/{}", escaped(&check_id(dice))),
                &body,
            )
        }
        15 => put(
            "check gone",
            format!("/v1/agent/check/deregister/{}", escaped(&check_id(dice))),
            &Value::Null,
        ),
        16..20 => put("catalog", "/v1/catalog/register".into(), &catalog(dice)),
        20 => {
            let mut body = json!({ "Node": dice.name() });
            if dice.one_in(2) {
                body["ServiceID"] = dice.name().into();
            } else if dice.one_in(2) {
                body["CheckID"] = check_id(dice).into();
            }
            put("catalog gone", "/v1/catalog/deregister".into(), &body)
        }
        21..27 => key(dice, known),
        27 => {
            let how = dice.pick(&["?recurse", "", "?cas=0", "?cas=2"]);
            let recurse = if how == "?recurse" {
                escaped(dice.pick(&["a/", "x", "t/"]))
            } else {
                name
            };
            asked("key gone", "DELETE", format!("/v1/kv/{recurse}{how}"), "")
        }
        28..30 => put("session", "/v1/session/create".into(), &session(dice)),
        30 => {
            let verb = dice.pick(&["destroy", "renew"]);
            put(
                "session gone",
                format!("/v1/session/{verb}/{}", session_id(dice, known)),
                &Value::Null,
            )
        }
        31..36 => put("txn", "/v1/txn".into(), &txn(dice, known)),
        36 => asked(
            "event",
            "PUT",
            format!("/v1/event/fire/{name}"),
            dice.bytes(100),
        ),
        37 => asked("query", "POST", "/v1/query".into(), query(dice).to_string()),
        38 => {
            let id = if known.queries.is_empty() {
                name
            } else {
                dice.pick(&known.queries)
            };
            if dice.one_in(3) {
                asked("query gone", "DELETE", format!("/v1/query/{id}"), "")
            } else {
                put("query changed", format!("/v1/query/{id}"), &query(dice))
            }
        }
        _ => {
            let body = json!({ "CleanupDeadServers": dice.one_in(2), "MaxTrailingLogs": dice.below(300),
                "LastContactThreshold": dice.duration(), "ServerStabilizationTime": "10s" });
            put(
                "autopilot",
                "/v1/operator/autopilot/configuration".into(),
                &body,
            )
        }
    }
}

fn status(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "passing", "warning", "critical", "passing", "critical", "", "odd",
    ])
}

fn check_id(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => format!("service:{}", dice.name()),
        1 => format!("service:{}:{}", dice.name(), dice.below(4)),
        _ => dice.name(),
    }
}

fn session_id(dice: &mut Dice, known: &Known) -> String {
    if known.sessions.is_empty() || dice.one_in(10) {
        dice.pick(&["00000000-0000-0000-0000-000000000000", "x", ""])
            .to_owned()
    } else {
        dice.pick(&known.sessions)
    }
}

/// A service, spelled as the agent (`Name`) or as the catalog (`Service`) wants it.
fn service(dice: &mut Dice, name: &str) -> Value {
    let mut service = json!({ name: dice.name(), "Port": dice.port() });
    let mut with =
        |dice: &mut Dice, field: &str, times: usize, value: &dyn Fn(&mut Dice) -> Value| {
            if dice.one_in(times) {
                service[field] = value(dice);
            }
        };
    with(dice, "ID", 2, &|dice| dice.name().into());
    with(dice, "Address", 2, &|dice| dice.host().into());
    with(dice, "Tags", 3, &|dice| dice.texts().into());
    with(dice, "Meta", 4, &|dice| dice.map());
    with(
        dice,
        "Weights",
        6,
        &|dice| json!({ "Passing": dice.port(), "Warning": dice.port() }),
    );
    with(dice, "EnableTagOverride", 6, &|_| true.into());
    with(dice, "SocketPath", 20, &|dice| dice.text().into());
    with(
        dice,
        "TaggedAddresses",
        8,
        &|dice| json!({ "lan": { "Address": dice.host(), "Port": dice.port() }, dice.text(): { "Address": dice.host() } }),
    );
    with(dice, "Kind", 20, &|dice| {
        dice.pick(&["connect-proxy", "mesh-gateway", "", "typical"])
            .into()
    });
    with(
        dice,
        "Proxy",
        20,
        &|dice| json!({ "DestinationServiceName": dice.name(), "Config": { "a": dice.map() } }),
    );
    with(
        dice,
        "Connect",
        20,
        &|dice| json!({ "Native": dice.one_in(2) }),
    );
    with(
        dice,
        "Locality",
        10,
        &|dice| json!({ "Region": dice.text(), "Zone": dice.text() }),
    );
    with(
        dice,
        "Ports",
        20,
        &|dice| json!([{ "Name": dice.text(), "Port": dice.port(), "Default": true }, { "Name": dice.text(), "Port": dice.port() }]),
    );
    if name == "Name" {
        with(dice, "Check", 4, &|dice| check(dice));
        with(dice, "Checks", 6, &|dice| {
            (0..dice.below(5)).map(|_| check(dice)).collect()
        });
    }
    service
}

fn check(dice: &mut Dice) -> Value {
    let mut check = match dice.below(12) {
        0..4 => json!({ "TTL": dice.duration() }),
        4 => {
            json!({ "HTTP": "http://127.0.0.1:1/x?y", "Interval": "24h", "Method": dice.pick(&["GET", "POST", "ODD"]), "Header": { dice.text(): [dice.text(), dice.text()] }, "Body": dice.text(), "TLSSkipVerify": true, "TLSServerName": dice.text() })
        }
        5 => {
            json!({ "TCP": "127.0.0.1:1", "Interval": "24h", "Timeout": dice.duration(), "TCPUseTLS": dice.one_in(2) })
        }
        6 => json!({ "UDP": "127.0.0.1:1", "Interval": "24h" }),
        7 => json!({ "GRPC": "127.0.0.1:1/svc", "Interval": "24h", "GRPCUseTLS": dice.one_in(2) }),
        8 => json!({ "H2PING": "127.0.0.1:1", "Interval": "24h" }),
        9 => json!({ "AliasNode": dice.name(), "AliasService": dice.name() }),
        10 => json!({ "Args": ["true"], "Interval": "24h" }),
        _ => json!({ "OSService": dice.name(), "Interval": "24h" }),
    };
    check["Name"] = dice.name().into();
    check["Status"] = status(dice).into();
    check["Notes"] = dice.text().into();
    if dice.one_in(3) {
        check["CheckID"] = check_id(dice).into();
    }
    if dice.one_in(4) {
        check["ServiceID"] = dice.name().into();
    }
    if dice.one_in(6) {
        check["DeregisterCriticalServiceAfter"] = dice.duration().into();
        check["SuccessBeforePassing"] = dice.below(4).into();
        check["FailuresBeforeCritical"] = dice.below(4).into();
    }
    if dice.one_in(8) {
        check["OutputMaxSize"] = dice.below(5000).into();
    }
    check
}

fn node(dice: &mut Dice) -> Value {
    let mut node = json!({ "Node": dice.name(), "Address": dice.host() });
    if dice.one_in(4) {
        node["ID"] = dice
            .pick(&[
                "",
                "00000000-0000-4000-8000-000000000009",
                "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
                "odd",
            ])
            .into();
    }
    if dice.one_in(4) {
        node["TaggedAddresses"] = json!({ "lan": dice.host(), "wan": dice.text() });
    }
    if dice.one_in(4) {
        node["Locality"] = json!({ "Region": dice.text(), "Zone": dice.text() });
    }
    node
}

fn catalog(dice: &mut Dice) -> Value {
    let mut body = node(dice);
    if dice.one_in(3) {
        body["NodeMeta"] = dice.map();
    }
    if dice.one_in(6) {
        body["SkipNodeUpdate"] = true.into();
    }
    if !dice.one_in(4) {
        body["Service"] = service(dice, "Service");
    }
    if dice.one_in(3) {
        body["Check"] = catalog_check(dice);
    }
    if dice.one_in(6) {
        body["Checks"] = (0..dice.below(4)).map(|_| catalog_check(dice)).collect();
    }
    body
}

fn catalog_check(dice: &mut Dice) -> Value {
    let mut check = json!({ "CheckID": check_id(dice), "Name": dice.text(), "Status": status(dice), "Output": dice.text(), "Notes": dice.text() });
    if dice.one_in(2) {
        check["ServiceID"] = dice.name().into();
    }
    if dice.one_in(3) {
        check["Node"] = dice.name().into();
    }
    if dice.one_in(3) {
        check["Definition"] = json!({ "HTTP": "http://127.0.0.1:1/", "IntervalDuration": "24h", "TimeoutDuration": "1s", "Header": { "a": ["b"] } });
    }
    check
}

fn key(dice: &mut Dice, known: &Known) -> Asked {
    let name = escaped(&dice.name());
    let mut target = format!("/v1/kv/{name}?flags={}", dice.pick(&[0, 1, u64::MAX]));
    match dice.below(6) {
        0 => target.push_str(&format!("&cas={}", dice.revision(known.revision))),
        1 => target.push_str(&format!("&acquire={}", session_id(dice, known))),
        2 => target.push_str(&format!("&release={}", session_id(dice, known))),
        _ => {}
    }
    asked("key", "PUT", target, dice.bytes(VALUE))
}

fn session(dice: &mut Dice) -> Value {
    let mut body = json!({ "Name": dice.text() });
    if dice.one_in(2) {
        body["TTL"] = dice.duration().into();
    }
    if dice.one_in(2) {
        body["Behavior"] = dice.pick(&["release", "delete", "", "odd"]).into();
    }
    if dice.one_in(2) {
        body["LockDelay"] = dice.pick(&["0s", "1s", "15s", "60s", "61s", "x"]).into();
    }
    if dice.one_in(3) {
        body["Node"] = dice.pick(&["n1", "tn", "ext", "web"]).into();
    }
    if dice.one_in(4) {
        body["NodeChecks"] = json!([check_id(dice)]);
    }
    if dice.one_in(8) {
        body["ServiceChecks"] = json!([{ "ID": check_id(dice) }]);
    }
    body
}

fn txn(dice: &mut Dice, known: &Known) -> Value {
    let count = dice.pick(&[1, 1, 1, 2, 2, 3, 5, 64, 65]);
    (0..count).map(|_| step(dice, known)).collect()
}

fn step(dice: &mut Dice, known: &Known) -> Value {
    match dice.below(10) {
        0..6 => {
            let verb = dice.pick(&[
                "set",
                "set",
                "set",
                "cas",
                "lock",
                "unlock",
                "get",
                "get-or-empty",
                "get-tree",
                "check-index",
                "check-session",
                "check-not-exists",
                "delete",
                "delete-cas",
                "delete-tree",
            ]);
            let value = dice.pick(&["", "AAEC", "dg==", "/w==", "odd"]);
            json!({ "KV": { "Verb": verb, "Key": dice.name(), "Value": value, "Flags": dice.below(9), "Index": dice.revision(known.revision), "Session": session_id(dice, known) } })
        }
        6 => {
            let verb = dice.pick(&["set", "set", "get", "cas", "delete", "delete-cas"]);
            let mut node = node(dice);
            node["ModifyIndex"] = dice.revision(known.revision).into();
            json!({ "Node": { "Verb": verb, "Node": node } })
        }
        7 | 8 => {
            let verb = dice.pick(&["set", "set", "get", "cas", "delete", "delete-cas"]);
            json!({ "Service": { "Verb": verb, "Node": dice.pick(&["n1", "tn", "ext", "web"]), "Service": service(dice, "Service") } })
        }
        _ => {
            let verb = dice.pick(&["set", "set", "get", "cas", "delete", "delete-cas"]);
            json!({ "Check": { "Verb": verb, "Check": catalog_check(dice) } })
        }
    }
}

fn query(dice: &mut Dice) -> Value {
    let mut body = json!({ "Name": dice.name(), "Service": { "Service": dice.name(), "Tags": dice.texts(), "OnlyPassing": dice.one_in(2) } });
    if dice.one_in(3) {
        body["DNS"] = json!({ "TTL": dice.duration() });
    }
    if dice.one_in(3) {
        body["Template"] = json!({ "Type": "name_prefix_match", "Regexp": dice.text() });
    }
    if dice.one_in(3) {
        body["Service"]["Failover"] =
            json!({ "NearestN": dice.below(4), "Datacenters": dice.texts() });
    }
    body
}
