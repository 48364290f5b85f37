//! The servers, as clients and dashboards ask for them.

use http::StatusCode;
use portolan_listener::{Action, Resource, Response};
use serde_json::{Value, json};

use super::Form;
use super::params::Asked;
use crate::app::App;
use crate::error::{Problem, json as json_answer, success, text};

type Answer = Result<Response, Problem>;

/// This server as a member. Others are not listed: clients have their addresses from their own configuration.
fn member(app: &App) -> Value {
    let address = app.address;
    let raft = address.port().saturating_sub(1000);
    let state = match app.registry.leads() || app.registry.voters() > 1 {
        true => "UP",
        false => "STARTING",
    };
    json!({
        "ip": address.ip().to_string(), "port": address.port(), "state": state, "address": address.to_string(),
        "extendInfo": {
            "lastRefreshTime": app.registry.now().0, "raftPort": raft.to_string(), "readyToUpgrade": true,
            "version": app.settings.version,
            "raftMetaData": {"metaDataMap": {"naming_persistent_service_v2": {"leader": address.to_string()}}},
        },
        "failAccessCnt": 0,
        "abilities": {
            "remoteAbility": {"supportRemoteConnection": true, "grpcReportEnabled": true},
            "configAbility": {"supportRemoteMetrics": false},
            "namingAbility": {"supportJraft": true},
        },
        "grpcReportEnabled": true,
    })
}

fn old(asked: &Asked, data: Value) -> Response {
    match asked.form.enveloped() {
        true => success(data),
        false => json_answer(&json!({"code": 200, "message": null, "data": data})),
    }
}

pub(crate) async fn nodes(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Agent)?;
    let own = member(&asked.app);
    let wanted = asked.any(&["keyword", "address"]).unwrap_or_default();
    let fits = own["address"]
        .as_str()
        .is_some_and(|address| address.starts_with(wanted));
    let fits = fits
        && asked
            .get("state")
            .is_none_or(|state| own["state"].as_str() == Some(state));
    let all: Vec<Value> = fits.then_some(own).into_iter().collect();
    Ok(old(&asked, all.into()))
}

pub(crate) async fn own(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Agent)?;
    Ok(old(&asked, member(&asked.app)))
}

pub(crate) async fn health(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    Ok(old(&asked, member(&asked.app)["state"].clone()))
}

/// Lines of `address:port`, for clients that look for servers by HTTP.
pub(crate) async fn server_list(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    Ok(text(StatusCode::OK, format!("{}\n", asked.app.address)))
}

/// Whether the server lives, and whether it serves.
pub(crate) async fn lives(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    Ok(match asked.form {
        Form::V1 | Form::V1Config => text(StatusCode::OK, "OK"),
        Form::V2 | Form::V3 => success("ok"),
    })
}

pub(crate) async fn state(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    let state = json!({
        "version": asked.app.settings.version, "standalone_mode": "standalone", "function_mode": null,
        "auth_enabled": "false", "login_page_enabled": "false", "auth_admin_request": "false",
        "startup_mode": "standalone", "server_port": asked.app.address.port().to_string(),
        "console_ui_enabled": "false", "config_retention_days": "30",
    });
    Ok(match asked.form {
        Form::V3 => success(state),
        _ => json_answer(&state),
    })
}

pub(crate) async fn actuator(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    Ok(json_answer(&json!({"status": "UP"})))
}
