//! Configurations over HTTP.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LAST_MODIFIED};
use http::{HeaderName, StatusCode};
use portolan_catalog::{Record, State};
use portolan_listener::{Action, Resource, Response};
use serde_json::{Value, json};

use super::Form;
use super::catalog::paged;
use super::params::Asked;
use crate::app::allow_config;
use crate::config::key::{ConfigKey, Release, tenant, valid_tag};
use crate::config::listen;
use crate::config::read::{self, About, Found, Reader, Search};
use crate::config::write::{self, Publish};
use crate::error::{Code, Problem, json as json_answer, success, text};
use crate::read::page;

type Answer = Result<Response, Problem>;

/// A poll is held for no less, and ends so much before its client gives up.
const HELD_LEAST: Duration = Duration::from_secs(10);
const EARLIER: Duration = Duration::from_millis(500);
/// And for no longer, whatever the client says.
const HELD_MOST: Duration = Duration::from_secs(120);

impl Asked {
    /// The namespace of configurations, by the name that each version has for it.
    fn tenant(&self) -> &str {
        self.any(&["tenant", "namespaceId"]).unwrap_or_default()
    }

    fn group(&self) -> &str {
        self.any(&["group", "groupName"]).unwrap_or_default()
    }

    /// The configuration that is named.
    pub(crate) fn config(&self) -> Result<ConfigKey, Problem> {
        if self.form.enveloped() {
            self.required("dataId")?;
        }
        ConfigKey::new(self.tenant(), self.group(), self.text("dataId"))
    }

    fn ip(&self) -> String {
        self.caller.peer().ip().to_canonical().to_string()
    }
}

/// Content, or a page, or all that is known.
pub(crate) async fn find(asked: Asked) -> Answer {
    if asked.get("search").is_some() {
        return search(asked).await;
    }
    if asked.get("beta") == Some("true") {
        return beta(asked).await;
    }
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Read, &key.record())?;
    let state = asked.app.registry.snapshot();
    if asked.get("show") == Some("all") {
        let found = read::exactly(&state, &key, Release::Formal);
        let all = found.map(|found| everything(&state, &key, &found.record));
        return Ok(asked.form.data(&all));
    }
    let (ip, tag) = (asked.ip(), asked.header("vipserver-tag"));
    let found = match asked.get("tag") {
        None => read::find(&state, &key, Reader { ip: &ip, tag }),
        Some(tag) => read::exactly(&state, &key, Release::Tag(tag.to_owned())),
    };
    let Some(found) = found else {
        return Err(missing());
    };
    if asked.form == Form::V3 {
        let about = About::of(&state, &key);
        return Ok(success(json!({
            "resultCode": 200, "errorCode": 0, "message": null, "requestId": null,
            "content": String::from_utf8_lossy(&found.content()),
            "encryptedDataKey": about.encrypted_data_key.unwrap_or_default(),
            "contentType": found.kind(), "md5": &*found.extension().md5,
            "lastModified": found.record.modified_at.0, "tag": null,
            "beta": found.release == Release::Beta, "success": true,
        })));
    }
    content(&asked, &state, &key, &found)
}

fn missing() -> Problem {
    Problem::coded(Code::NotFound, "config data not exist")
}

/// The content with its headers.
fn content(asked: &Asked, state: &State, key: &ConfigKey, found: &Found) -> Answer {
    let bytes = found.content();
    let mut response = match asked.form.enveloped() {
        true => success(String::from_utf8_lossy(&bytes)),
        false => text(StatusCode::OK, bytes),
    };
    let kind = found.kind();
    let headers = response.headers_mut();
    if !asked.form.enveloped() {
        let media = match &*kind {
            "json" => "application/json;charset=UTF-8",
            "xml" => "application/xml;charset=UTF-8",
            "html" => "text/html;charset=UTF-8",
            _ => "text/plain;charset=UTF-8",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    }
    let about = About::of(state, key);
    let modified = http_date(found.record.modified_at.0);
    let sealed = about.encrypted_data_key.unwrap_or_default();
    for (name, value) in [
        ("config-type", &*kind),
        ("content-md5", &*found.extension().md5),
        ("encrypted-data-key", &*sealed),
        (LAST_MODIFIED.as_str(), &*modified),
    ] {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    match &found.release {
        Release::Beta => {
            headers.insert("isbeta", HeaderValue::from_static("true"));
        }
        Release::Tag(tag) => {
            if let Ok(tag) = HeaderValue::from_str(tag) {
                headers.insert("vipserver-tag", tag);
            }
        }
        Release::Formal | Release::About => {}
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    Ok(response)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn http_date(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// A configuration with all that is known of it.
fn everything(state: &State, key: &ConfigKey, record: &Record) -> Value {
    let extension = read::extension(record);
    let about = About::of(state, key);
    json!({
        "id": record.created.to_string(), "dataId": key.data_id, "group": key.group,
        "content": String::from_utf8_lossy(&record.bytes()), "md5": &*extension.md5,
        "encryptedDataKey": about.encrypted_data_key.unwrap_or_default(), "tenant": key.shown_tenant(),
        "appName": &*extension.app, "type": &*extension.kind, "createTime": record.created_at.0,
        "modifyTime": record.modified_at.0, "createUser": null, "createIp": null,
        "desc": about.desc, "use": about.usage, "effect": about.effect, "schema": about.schema,
        "configTags": &*extension.tags,
    })
}

/// An item of a page.
fn item(form: Form, key: &ConfigKey, record: &Record) -> Value {
    let extension = read::extension(record);
    let content = String::from_utf8_lossy(&record.bytes()).into_owned();
    match form {
        Form::V3 => json!({
            "id": record.created.to_string(), "namespaceId": key.tenant, "groupName": key.group,
            "dataId": key.data_id, "md5": &*extension.md5, "type": &*extension.kind, "appName": &*extension.app,
            "createTime": record.created_at.0, "modifyTime": record.modified_at.0,
        }),
        _ => json!({
            "id": record.created.to_string(), "dataId": key.data_id, "group": key.group, "content": content,
            "md5": &*extension.md5, "encryptedDataKey": "", "tenant": key.shown_tenant(),
            "appName": &*extension.app, "type": &*extension.kind,
        }),
    }
}

/// A page of what a search finds.
pub(crate) async fn search(asked: Asked) -> Answer {
    let names = tenant(asked.tenant()).to_owned();
    asked.caller.allow(
        Action::Read,
        Resource::Range {
            keyspace: "nacos-config",
            start: format!("{names}/").as_bytes(),
            end: format!("{names}0").as_bytes(),
        },
    )?;
    let search = Search {
        tenant: names,
        group: asked.group().to_owned(),
        data_id: asked.text("dataId").to_owned(),
        app: asked.text("appName").to_owned(),
        tags: asked
            .any(&["config_tags", "configTags"])
            .unwrap_or_default()
            .to_owned(),
        kinds: asked.any(&["types", "type"]).unwrap_or_default().to_owned(),
        detail: asked
            .any(&["config_detail", "configDetail"])
            .unwrap_or_default()
            .to_owned(),
        blur: asked.get("search") != Some("accurate"),
    };
    let wanted = asked.page(100)?;
    let state = asked.app.registry.snapshot();
    let (found, count) = page(search.find(&state), wanted.0, wanted.1);
    let items: Vec<Value> = found
        .iter()
        .map(|(key, record)| item(asked.form, key, record))
        .collect();
    Ok(asked.form.data(&paged(&items, count, wanted)))
}

pub(crate) async fn publish(asked: Asked) -> Answer {
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Write, &key.record())?;
    let text = |name: &str| asked.get(name).map(str::to_owned);
    let header = |name: &str| {
        Some(asked.header(name))
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
    };
    let publish = Publish {
        content: asked
            .given("content")
            .unwrap_or_default()
            .as_bytes()
            .to_vec()
            .into(),
        kind: text("type").unwrap_or_default(),
        app: text("appName").unwrap_or_default(),
        tags: asked
            .any(&["config_tags", "configTags"])
            .unwrap_or_default()
            .to_owned(),
        about: About {
            desc: text("desc"),
            usage: text("use"),
            effect: text("effect"),
            schema: text("schema"),
            encrypted_data_key: text("encryptedDataKey").or_else(|| header("encryptedDataKey")),
        },
        cas_md5: header("casmd5")
            .or_else(|| text("casMd5"))
            .unwrap_or_default(),
        beta_ips: header("betaips")
            .or_else(|| text("betaIps"))
            .unwrap_or_default(),
        tag: text("tag").unwrap_or_default(),
    };
    write::publish(&asked.app, &asked.caller, &key, publish).await?;
    Ok(asked.form.data(&true))
}

pub(crate) async fn delete(asked: Asked) -> Answer {
    if asked.get("beta") == Some("true") {
        return stop_beta(asked).await;
    }
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Write, &key.record())?;
    let release = match asked.get("tag") {
        None => Release::Formal,
        Some(tag) => Release::Tag(valid_tag(tag)?.to_owned()),
    };
    write::remove(&asked.app, &asked.caller, &key, &release).await?;
    Ok(asked.form.data(&true))
}

/// The beta release with whom it is for.
pub(crate) async fn beta(asked: Asked) -> Answer {
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Read, &key.record())?;
    let state = asked.app.registry.snapshot();
    let Some(found) = read::exactly(&state, &key, Release::Beta) else {
        return Err(missing());
    };
    let mut all = everything(&state, &key, &found.record);
    all["betaIps"] = found.extension().tags.to_string().into();
    all["configTags"] = Value::Null;
    Ok(match asked.form.enveloped() {
        true => success(all),
        false => json_answer(&json!({"code": 200, "message": "query beta ok", "data": all})),
    })
}

pub(crate) async fn stop_beta(asked: Asked) -> Answer {
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Write, &key.record())?;
    write::remove(&asked.app, &asked.caller, &key, &Release::Beta).await?;
    Ok(match asked.form.enveloped() {
        true => success(true),
        false => json_answer(&json!({"code": 200, "message": "stop beta ok", "data": true})),
    })
}

/// A poll: which of these are different from what the client has?
pub(crate) async fn listen(asked: Asked) -> Answer {
    let text_of = asked.required("Listening-Configs")?.to_owned();
    let polled = listen::parse(&text_of)?;
    for one in &polled {
        allow_config(&asked.caller, Action::Watch, &one.key.record())?;
    }
    let (ip, tag) = (asked.ip(), asked.header("vipserver-tag").to_owned());
    let reader = Reader { ip: &ip, tag: &tag };
    let waits = asked
        .header("long-pulling-timeout")
        .trim()
        .parse::<u64>()
        .ok();
    let hangs = asked.header("long-pulling-timeout-no-hangup") != "true";
    let Some(ms) = waits else {
        return Ok(at_once(
            &asked,
            &listen::changed(&asked.app, &polled, reader),
        ));
    };
    let held = Duration::from_millis(ms)
        .saturating_sub(EARLIER)
        .clamp(HELD_LEAST, HELD_MOST);
    let changed = match hangs {
        true => listen::poll(&asked.app, &asked.caller, &polled, reader, held).await,
        false => listen::changed(&asked.app, &polled, reader),
    };
    let body = match changed.is_empty() {
        true => String::new(),
        false => listen::encode(&changed),
    };
    let mut response = text(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    Ok(response)
}

/// The answer to clients that do not wait: in headers for those of before 2.0.4, which say no version.
fn at_once(asked: &Asked, changed: &[&listen::Polled]) -> Response {
    let version = asked.header("client-version");
    if is_new(version) {
        return text(StatusCode::OK, listen::encode(changed));
    }
    let mut response = text(StatusCode::OK, "");
    let pairs = [
        ("probe-modify-response", listen::old_form(changed)),
        ("probe-modify-response-new", listen::encode(changed)),
    ];
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whether a client's version is 2.0.4 or later.
fn is_new(version: &str) -> bool {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = digits
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let [major, minor, patch] = [(); 3].map(|()| parts.next().unwrap_or(0));
    !digits.is_empty() && (major, minor, patch) >= (2, 0, 4)
}

/// Who listens to a configuration over gRPC, and with which sum.
pub(crate) async fn listeners(asked: Asked) -> Answer {
    let key = asked.config()?;
    allow_config(&asked.caller, Action::Read, &key.record())?;
    let record = key.record();
    let all = asked.app.hub.listeners(&record);
    let status: serde_json::Map<String, Value> = all
        .iter()
        .map(|connection| {
            let md5 = connection.with(|held| held.configs.get(&record).map(|it| it.md5.clone()));
            (connection.ip(), md5.unwrap_or_default().into())
        })
        .collect();
    Ok(match asked.form {
        Form::V3 => success(json!({"queryType": "config", "listenersStatus": status})),
        form => form.data(&json!({"collectStatus": 200, "lisentersGroupkeyStatus": status})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_read_the_body() {
        let rows = [
            ("", false),
            ("2.0.3", false),
            ("2.0.4", true),
            ("Nacos-Java-Client:v2.1.0", true),
            ("3.0.0", true),
        ];
        for (version, expected) in rows {
            assert_eq!(is_new(version), expected, "{version}");
        }
    }

    #[test]
    fn dates_of_headers() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
