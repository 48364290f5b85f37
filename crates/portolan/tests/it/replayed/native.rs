//! Requests of the native protocol.

use serde_json::{Value, json};

use super::dice::{Dice, escaped};
use super::{Asked, Known};
use crate::corpus::targets::replay::Call;

/// Bytes of a value within the port's limit of a body.
const VALUE: usize = 500_000;

fn asked(as_what: &'static str, method: &str, target: String, body: impl Into<Vec<u8>>) -> Asked {
    let call = Call {
        method: method.into(),
        target,
        kind: "application/json",
        body: body.into(),
    };
    Asked { as_what, call }
}

fn post(as_what: &'static str, target: &str, body: &Value) -> Asked {
    asked(as_what, "POST", target.to_owned(), body.to_string())
}

pub(super) fn request(dice: &mut Dice, known: &Known) -> Asked {
    match dice.below(20) {
        0..7 => post("register", "/v1/register", &register(dice)),
        7 => {
            let instance = if known.leased.is_empty() || dice.one_in(4) {
                instance(dice)
            } else {
                dice.pick(&known.leased)
            };
            post("renew", "/v1/renew", &json!({ "instance": instance }))
        }
        8 => post(
            "deregister",
            "/v1/deregister",
            &json!({ "instance": instance(dice) }),
        ),
        9 | 10 => {
            let mut body =
                json!({ "enable": dice.one_in(2), "drain": dice.one_in(3), "reason": dice.text() });
            if dice.one_in(3) {
                body["node"] = dice.pick(&["n1", "10-0-0-1.virtual", "x"]).into();
            } else {
                body["instance"] = instance(dice).into();
            }
            post("maintenance", "/v1/maintenance", &body)
        }
        11..17 => {
            let mut target = format!("{}?flags={}", key(dice), dice.pick(&[0, 1, u64::MAX]));
            if dice.one_in(4) {
                target.push_str(&format!("&expect={}", dice.revision(known.revision)));
            }
            asked("put", "PUT", target, dice.bytes(VALUE))
        }
        17 | 18 => {
            let how = dice.pick(&["", "?prefix", "?expect=2"]);
            asked("delete", "DELETE", format!("{}{how}", key(dice)), "")
        }
        _ => {
            let mode = dice.pick(&["on", "off", "frozen", "auto", "odd"]);
            asked(
                "guard",
                "PUT",
                "/v1/guard".into(),
                json!({ "mode": mode }).to_string(),
            )
        }
    }
}

fn key(dice: &mut Dice) -> String {
    let space = dice.pick(&["etcd", "consul-kv", "etcd", "settings"]);
    let key = match dice.below(6) {
        0 => format!(
            "kitex/registry-etcd/{}/{}:{}",
            dice.name(),
            dice.host(),
            dice.port()
        ),
        1 => format!("/services/{}/{}:{}", dice.name(), dice.host(), dice.port()),
        _ => dice.name(),
    };
    format!("/v1/kv/{space}/{}", escaped(&key))
}

fn instance(dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => format!("native:{}", dice.name()),
        1 => dice.name(),
        _ => format!("{}:80", dice.host()),
    }
}

fn register(dice: &mut Dice) -> Value {
    let mut body = json!({ "service": dice.name(), "host": dice.host(), "port": dice.pick(&[80, 80, 81, 0, 65_535, 65_536]) });
    if dice.one_in(2) {
        body["id"] = dice.name().into();
    }
    if dice.one_in(4) {
        body["namespace"] = dice.name().into();
    }
    if dice.one_in(4) {
        body["group"] = dice.name().into();
    }
    if dice.one_in(2) {
        body["tags"] = dice.texts().into();
    }
    if dice.one_in(2) {
        body["meta"] = dice.map();
    }
    if dice.one_in(4) {
        body["weight"] = dice.pick(&[
            json!(0),
            json!(1.5),
            json!(0.01),
            json!(65_535),
            json!(1e9),
            json!(-1),
        ]);
    }
    if dice.one_in(4) {
        body["region"] = dice.text().into();
        body["zone"] = dice.text().into();
    }
    if dice.one_in(3) {
        body["ttl_ms"] = dice
            .pick(&[60_000, 600_000, 604_800_000, 604_800_001_u64, 0])
            .into();
    }
    if dice.one_in(4) {
        body["ports"] = json!([{ "name": dice.text(), "number": 80 }, { "name": dice.text(), "number": 8080, "secure": true }]);
    }
    body
}
