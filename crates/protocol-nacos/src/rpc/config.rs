//! Configuration over gRPC.

use portolan_listener::{Action, Resource};
use serde_json::json;

use super::fuzzy::Kind;
use super::{Call, fine};
use crate::app::allow_config;
use crate::config::key::{ConfigKey, Release, valid_tag};
use crate::config::listen::Listen;
use crate::config::read::{self, About, Reader};
use crate::config::write::{self, Publish};
use crate::error::Problem;
use crate::wire::payload::Payload;
use crate::wire::requests::{ConfigBatchListen, ConfigRequest};

type Answer = Result<Payload, Problem>;

/// A failed answer of the type that the client waits for.
fn failed(kind: &str, error: i32, message: &str) -> Payload {
    let body = json!({"resultCode": 500, "errorCode": error, "message": message, "success": false});
    Payload::new(kind, body.to_string())
}

/// The tag of a client, from the header that its configuration names.
const TAG: &str = "Vipserver-Tag";

pub(crate) fn query(call: &Call<'_>) -> Answer {
    let request: ConfigRequest = call.read()?;
    let key = ConfigKey::new(&request.tenant, &request.group, &request.data_id)?;
    allow_config(call.caller, Action::Read, &key.record())?;
    let (ip, tag) = (call.connection.ip(), call.header(TAG));
    let state = call.app.registry.snapshot();
    let found = match &*request.tag {
        "" => read::find(&state, &key, Reader { ip: &ip, tag: &tag }),
        tag => read::exactly(&state, &key, Release::Tag(tag.to_owned())),
    };
    let Some(found) = found else {
        return Ok(failed("ConfigQueryResponse", 300, "config data not exist"));
    };
    let about = About::of(&state, &key);
    let mut fields = json!({
        "content": String::from_utf8_lossy(&found.content()),
        "encryptedDataKey": about.encrypted_data_key.unwrap_or_default(),
        "contentType": found.kind(),
        "md5": &*found.extension().md5,
        "lastModified": found.record.modified_at.0,
        "beta": found.release == Release::Beta,
    });
    if let Release::Tag(tag) = &found.release {
        fields["tag"] = tag.as_str().into();
    }
    let text = fields.to_string();
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    Ok(fine("ConfigQueryResponse", &format!("{inner},")))
}

pub(crate) async fn publish(call: &Call<'_>) -> Answer {
    let mut request: ConfigRequest = call.read()?;
    let key = ConfigKey::new(&request.tenant, &request.group, &request.data_id)?;
    allow_config(call.caller, Action::Write, &key.record())?;
    let mut more = |name: &str| {
        request
            .addition_map
            .remove(name)
            .filter(|text| !text.is_empty())
    };
    let publish = Publish {
        kind: more("type").unwrap_or_default(),
        app: more("appName").unwrap_or_default(),
        tags: more("config_tags").unwrap_or_default(),
        about: About {
            desc: more("desc"),
            usage: more("use"),
            effect: more("effect"),
            schema: more("schema"),
            encrypted_data_key: more("encryptedDataKey"),
        },
        beta_ips: more("betaIps").unwrap_or_default(),
        tag: more("tag").unwrap_or(request.tag),
        cas_md5: request.cas_md5,
        content: request.content.unwrap_or_default().into(),
    };
    match write::publish(call.app, call.caller, &key, publish).await {
        Ok(()) => Ok(fine("ConfigPublishResponse", "")),
        // Failures that are no exceptions in the real server.
        Err(problem @ (Problem::Coded { .. } | Problem::Invalid(_))) => {
            Ok(failed("ConfigPublishResponse", 500, &problem.to_string()))
        }
        Err(other) => Err(other),
    }
}

pub(crate) async fn remove(call: &Call<'_>) -> Answer {
    let request: ConfigRequest = call.read()?;
    let key = ConfigKey::new(&request.tenant, &request.group, &request.data_id)?;
    allow_config(call.caller, Action::Write, &key.record())?;
    let release = match &*request.tag {
        "" => Release::Formal,
        tag => Release::Tag(valid_tag(tag)?.to_owned()),
    };
    write::remove(call.app, call.caller, &key, &release).await?;
    Ok(fine("ConfigRemoveResponse", ""))
}

pub(crate) fn listen(call: &Call<'_>) -> Answer {
    let request: ConfigBatchListen = call.read()?;
    let (app, connection) = (call.app, call.connection);
    if request.config_listen_contexts.is_empty() {
        call.allow_public()?;
    }
    let (ip, tag) = (connection.ip(), call.header(TAG));
    let mut changed = Vec::new();
    for context in &request.config_listen_contexts {
        let key = ConfigKey::new(&context.tenant, &context.group, &context.data_id)?;
        let record = key.record();
        allow_config(call.caller, Action::Watch, &record)?;
        if !request.listen {
            if connection.with(|held| held.configs.remove(&record).is_some()) {
                app.gauges.listens.dec();
                app.hub.leave_config(&record, connection.number);
            }
            continue;
        }
        let listen = Listen {
            key: key.clone(),
            tenant: context.tenant.clone(),
            md5: context.md5.clone(),
            under_way: false,
        };
        let before = connection.with(|held| {
            let room =
                held.configs.contains_key(&record) || held.configs.len() < app.settings.watched;
            room.then(|| held.configs.insert(record.clone(), listen).is_some())
        });
        match before {
            None => {
                app.gauges.limited.inc();
                return Err(Problem::invalid(
                    "the connection listens to too many configurations",
                ));
            }
            Some(false) => {
                app.gauges.listens.inc();
            }
            Some(true) => {}
        }
        // First to be told of changes, then to read: nothing falls between.
        app.hub.follow_config(&record, connection);
        let state = app.registry.snapshot();
        let md5 = read::md5_for(&state, &key, Reader { ip: &ip, tag: &tag });
        if md5 != context.md5 {
            connection.with(|held| {
                if let Some(listen) = held.configs.get_mut(&record) {
                    listen.md5 = md5;
                }
            });
            changed.push(json!({
                "group": context.group, "dataId": context.data_id, "tenant": context.tenant,
            }));
        }
    }
    call.gone_meanwhile();
    let changed = serde_json::to_string(&changed).unwrap_or_default();
    Ok(fine(
        "ConfigChangeBatchListenResponse",
        &format!("\"changedConfigs\":{changed},"),
    ))
}

pub(crate) fn fuzzy_watch(call: &Call<'_>) -> Answer {
    call.caller.allow(
        Action::Watch,
        Resource::Range {
            keyspace: "nacos-config",
            start: b"",
            end: b"",
        },
    )?;
    call.watch_pattern(Kind::Configs)?;
    Ok(fine("ConfigFuzzyWatchResponse", ""))
}
