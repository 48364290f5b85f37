//! Requests of Eureka's API, in both of its languages.

use serde_json::{Value, json};

use super::dice::{Dice, escaped};
use super::{Asked, Known};
use crate::corpus::targets::replay::Call;

fn asked(
    as_what: &'static str,
    method: &str,
    target: String,
    kind: &'static str,
    body: impl Into<Vec<u8>>,
) -> Asked {
    let call = Call {
        method: method.into(),
        target,
        kind,
        body: body.into(),
    };
    Asked { as_what, call }
}

fn bare(as_what: &'static str, method: &str, target: String) -> Asked {
    asked(as_what, method, target, "", "")
}

pub(super) fn request(dice: &mut Dice, _: &Known) -> Asked {
    let app = name(dice);
    let id = name(dice);
    let place = format!("/eureka/apps/{}/{}", escaped(&app), escaped(&id));
    let status = dice.pick(&[
        "UP",
        "DOWN",
        "STARTING",
        "OUT_OF_SERVICE",
        "UNKNOWN",
        "odd",
        "",
    ]);
    match dice.below(20) {
        0..6 => {
            let body = json!({ "instance": instance(dice, &app, &id) }).to_string();
            asked(
                "json",
                "POST",
                format!("/eureka/apps/{}", escaped(&app)),
                "application/json",
                body,
            )
        }
        6..11 => {
            let body = xml(dice, &app, &id);
            asked(
                "xml",
                "POST",
                format!("/eureka/apps/{}", escaped(&app)),
                "application/xml",
                body,
            )
        }
        11 | 12 => {
            let dirty = dice.below(3);
            bare(
                "renew",
                "PUT",
                format!("{place}?status={status}&lastDirtyTimestamp={dirty}"),
            )
        }
        13 | 14 => bare(
            "status",
            "PUT",
            format!(
                "{place}/status?value={status}&lastDirtyTimestamp={}",
                dice.below(3)
            ),
        ),
        15 => bare(
            "status gone",
            "DELETE",
            format!("{place}/status?value={status}"),
        ),
        16 | 17 => {
            let (key, value) = (escaped(&dice.text()), escaped(&dice.text()));
            bare(
                "metadata",
                "PUT",
                format!("{place}/metadata?{key}={value}&k=v"),
            )
        }
        _ => bare("cancel", "DELETE", place),
    }
}

/// Few names, so that requests meet; else anything.
fn name(dice: &mut Dice) -> String {
    if dice.one_in(3) {
        dice.name()
    } else {
        dice.pick(&["shop", "SHOP", "web", "x"]).to_owned()
    }
}

fn number(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => json!(dice.port()),
        1 => json!(dice.port().to_string()),
        _ => json!(80),
    }
}

fn instance(dice: &mut Dice, app: &str, id: &str) -> Value {
    let mut body = json!({
        "instanceId": id,
        "hostName": dice.host(),
        "app": app,
        "ipAddr": dice.host(),
        "status": dice.pick(&["UP", "UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN", "odd"]),
        "dataCenterInfo": { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn" },
    });
    if dice.one_in(20) {
        body["dataCenterInfo"] = json!({ "@class": "com.netflix.appinfo.AmazonInfo", "name": "Amazon", "metadata": dice.map() });
    }
    if !dice.one_in(5) {
        body["port"] =
            json!({ "$": number(dice), "@enabled": dice.pick(&["true", "true", "false"]) });
    }
    if dice.one_in(4) {
        body["securePort"] = json!({ "$": number(dice), "@enabled": "true" });
    }
    if dice.one_in(2) {
        body["metadata"] = dice.map();
    }
    for field in [
        "vipAddress",
        "secureVipAddress",
        "homePageUrl",
        "statusPageUrl",
        "healthCheckUrl",
        "appGroupName",
        "asgName",
        "sid",
    ] {
        if dice.one_in(3) {
            body[field] = dice.text().into();
        }
    }
    if dice.one_in(3) {
        body["leaseInfo"] = json!({ "renewalIntervalInSecs": dice.pick(&[0, 1, 30, 3600, -1]), "durationInSecs": dice.pick(&[60, 90, 3600, 0, -1, 2_147_483_647]) });
    }
    if dice.one_in(4) {
        body["lastDirtyTimestamp"] = json!(dice.below(3).to_string());
    }
    if dice.one_in(6) {
        body["overriddenstatus"] = dice.pick(&["UP", "DOWN", "UNKNOWN"]).into();
    }
    if dice.one_in(10) {
        body["countryId"] = number(dice);
    }
    body
}

/// A text inside of an element.
fn inside(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace("]]>", "]]&gt;")
}

fn xml(dice: &mut Dice, app: &str, id: &str) -> String {
    let mut body = String::from("<instance>");
    let mut field = |name: &str, text: &str| {
        body.push_str(&format!("<{name}>{}</{name}>", inside(text)));
    };
    field("instanceId", id);
    field("hostName", &dice.host());
    field("app", app);
    field("ipAddr", &dice.host());
    field(
        "status",
        dice.pick(&["UP", "UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "odd"]),
    );
    for name in [
        "vipAddress",
        "secureVipAddress",
        "homePageUrl",
        "appGroupName",
    ] {
        if dice.one_in(3) {
            field(name, &dice.text());
        }
    }
    body.push_str(&format!(
        "<port enabled=\"{}\">{}</port><dataCenterInfo class=\"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo\"><name>MyOwn</name></dataCenterInfo>",
        dice.pick(&["true", "false"]),
        dice.port()
    ));
    if dice.one_in(2) {
        body.push_str("<metadata>");
        for _ in 0..dice.below(4) {
            let key = dice.pick(&["a", "b.c", "d-e", "ü", "F"]);
            body.push_str(&format!("<{key}>{}</{key}>", inside(&dice.text())));
        }
        body.push_str("</metadata>");
    }
    if dice.one_in(3) {
        body.push_str("<leaseInfo><renewalIntervalInSecs>30</renewalIntervalInSecs><durationInSecs>600</durationInSecs></leaseInfo>");
    }
    body + "</instance>"
}
