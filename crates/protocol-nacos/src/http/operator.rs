//! What operators and probes ask.

use portolan_catalog::Protocol;
use portolan_listener::{Action, Resource, Response};
use serde_json::json;

use super::params::Asked;
use crate::error::Problem;

type Answer = Result<Response, Problem>;

/// Whether the server is up, with `onlyStatus=false` also how much it has.
pub(crate) async fn metrics(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    let mut body = json!({"status": "UP"});
    if asked.flag("onlyStatus")? == Some(false) {
        asked.caller.allow(Action::Read, Resource::Agent)?;
        let state = asked.app.registry.snapshot();
        let own = state
            .all_instances()
            .filter(|row| row.key.origin == Protocol::Nacos);
        let connections = asked.app.connections.all();
        let subscriptions: usize = connections.iter().map(|it| it.followed().0.len()).sum();
        body = json!({
            "status": "UP",
            "serviceCount": state.services().filter(|row| crate::read::is_listed(&state, row)).count(),
            "instanceCount": own.count(),
            "subscribeCount": subscriptions,
            "clientCount": connections.len(),
            "connectionBasedClientCount": connections.len(),
            "ephemeralIpPortClientCount": 0,
            "persistentIpPortClientCount": 0,
            "responsibleClientCount": connections.len(),
            "cpu": null, "load": null, "mem": null,
        });
    }
    Ok(asked.form.data(&body))
}

/// The switches of the real server, as they are here. None can be moved: bounds are settings of the server.
pub(crate) async fn switches(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Agent)?;
    Ok(asked.form.data(&json!({
        "name": "00-00---000-NACOS_SWITCH_DOMAIN-000---00-00",
        "masters": null, "adWeightMap": {}, "defaultPushCacheMillis": 10_000, "clientBeatInterval": 5_000,
        "defaultCacheMillis": 10_000, "distroThreshold": 0.7, "healthCheckEnabled": true,
        "autoChangeHealthCheckEnabled": true, "distroEnabled": true, "enableStandalone": true,
        "pushEnabled": true, "checkTimes": 3,
        "httpHealthParams": {"max": 3000, "min": 3000, "factor": 1.0},
        "tcpHealthParams": {"max": 3000, "min": 3000, "factor": 1.0},
        "mysqlHealthParams": {"max": 3000, "min": 3000, "factor": 1.0},
        "incrementalList": [], "serverStatusSynchronizationPeriodMillis": 2000,
        "serviceStatusSynchronizationPeriodMillis": 5000, "disableAddIP": false,
        "sendBeatOnly": false, "lightBeatEnabled": true, "doubleWriteEnabled": false,
        "limitedUrlMap": {}, "distroServerExpiredMillis": 10_000,
        "pushGoVersion": "0.1.0", "pushJavaVersion": "0.1.0", "pushPythonVersion": "0.4.3",
        "pushCVersion": "1.0.12", "pushCSharpVersion": "0.9.0", "enableAuthentication": false,
        "overriddenServerStatus": null, "defaultInstanceEphemeral": true,
        "healthCheckWhiteList": [], "checksum": null,
    })))
}

pub(crate) async fn set_switch(asked: Asked) -> Answer {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    Err(Problem::not_served("moving a switch"))
}
