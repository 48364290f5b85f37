//! Routes of the gateway: `/v1/routes` and `/v1/routes/{name}`. They are records of the settings, so that every gateway has them with the rest of
//! the catalog, and `at` shows those of an earlier time.

use std::sync::Arc;

use http::Method;
use portolan_api as api;
use portolan_catalog::{
    Command, Done, Expect, Key, KeyRange, Keyspace, Op, OpDone, Put, Write, Written,
};
use portolan_listener::{Action, Caller, Params, Request, Resource};

use crate::App;
use crate::as_of::{self, Rows};
use crate::error::{Answer, Failure};
use crate::query::{Query, decoded_bytes};
use crate::reply::json;
use crate::write::{body, propose};

/// Bytes of a host, a path, a name or a value.
const LONGEST: usize = 1024;
/// Methods, and fields.
const MOST: usize = 32;

/// `GET /v1/routes`.
pub(crate) async fn list(app: Arc<App>, request: Request, _: Params) -> Answer {
    let range = KeyRange::prefix(api::ROUTES.as_bytes());
    Caller::of(&request).allow(
        Action::Read,
        Resource::Prefix {
            keyspace: Keyspace::Settings.as_str(),
            prefix: api::ROUTES.as_bytes(),
        },
    )?;
    let query = Query::of(&request, &["at"])?;
    let rows = Rows::Records(Keyspace::Settings, range.clone());
    let state = as_of::state(&app.registry, &query, rows).await?;
    let routes = state.range(Keyspace::Settings, &range).map(|(key, row)| {
        let name = key.strip_prefix(api::ROUTES.as_bytes()).unwrap_or_default();
        api::NamedRoute {
            name: String::from_utf8_lossy(name).into_owned(),
            modified: row.modified.0,
            route: serde_json::from_slice(&row.bytes()).ok(),
        }
    });
    Ok(json(&api::RouteList {
        routes: routes.collect(),
        revision: state.revision().0,
    }))
}

/// `PUT` and `DELETE /v1/routes/{name}`.
pub(crate) async fn one(app: Arc<App>, mut request: Request, params: Params) -> Answer {
    let name = decoded_bytes(params.raw("route"));
    let key = [api::ROUTES.as_bytes(), &name].concat();
    let key = Key::from(&key[..]);
    let caller = Caller::of(&request);
    caller.allow(
        Action::Write,
        Resource::Record {
            keyspace: Keyspace::Settings.as_str(),
            key: &key,
        },
    )?;
    Query::of(&request, &[])?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    if name.is_empty() || name.len() > 128 || !name.iter().all(plain) {
        return Err(Failure::bad(format!(
            "\"{}\" cannot be the name of a route; use up to 128 letters, digits, -, _ and .",
            name.escape_ascii()
        )));
    }
    if *request.method() == Method::DELETE {
        let op = Op::Delete {
            space: Keyspace::Settings,
            range: KeyRange::One(key),
            expect: Expect::Any,
        };
        let (revision, done) = propose(&app, &caller, Command::Write(Write::one(op))).await?;
        let Done::Written(Written { results, .. }) = done else {
            return Err(missing(&name));
        };
        let gone = results
            .iter()
            .any(|result| matches!(result, OpDone::Deleted(rows) if !rows.is_empty()));
        return match gone {
            true => Ok(json(&api::Settled { revision })),
            false => Err(missing(&name)),
        };
    }
    let route: api::Route = body(&app, &mut request).await?;
    check(&route)?;
    // The type's own form: two that mean the same are the same.
    let bytes = serde_json::to_vec(&route).map_err(|error| Failure::bad(error.to_string()))?;
    let put = Put {
        quiet: true,
        ..Put::new(Keyspace::Settings, key, bytes.into())
    };
    let write = Command::Write(Write::one(Op::Put(Box::new(put))));
    let (revision, _) = propose(&app, &caller, write).await?;
    Ok(json(&api::Settled { revision }))
}

fn missing(name: &[u8]) -> Failure {
    Failure::not_found(format!("there is no route \"{}\"", name.escape_ascii()))
}

/// Whether a gateway can follow a route.
fn check(route: &api::Route) -> Result<(), Failure> {
    let wrong = |text: String| Err(Failure::bad(text));
    if route.service.trim().is_empty() {
        return wrong("a route needs a service".into());
    }
    let visible = |text: &str| text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic());
    let host = route.host.strip_prefix("*.").unwrap_or(&route.host);
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-_.[]:".contains(&b);
    if !visible(host) || !host.bytes().all(named) || (host.is_empty() && !route.host.is_empty()) {
        return wrong(format!(
            "{:?} is not a host; write example.com or *.example.com, without a port",
            route.host
        ));
    }
    if host.contains(':') && !host.starts_with('[') {
        return wrong(format!(
            "{:?} has a port; a route goes by the host alone",
            route.host
        ));
    }
    let path = route.path.strip_suffix('$').unwrap_or(&route.path);
    if !visible(path) || (!path.is_empty() && !path.starts_with('/')) || path.contains(['?', '#']) {
        return wrong(format!(
            "{:?} is not a path; write /api, or /api$ for that path alone",
            route.path
        ));
    }
    if route.strip && (path.is_empty() || path != route.path) {
        return wrong("only the path of a route that goes on below it can be stripped".into());
    }
    if route.methods.len() > MOST || route.headers.len() > MOST {
        return wrong(format!("more than {MOST} methods or headers"));
    }
    for method in &route.methods {
        if Method::from_bytes(method.as_bytes()).is_err() || method.to_uppercase() != *method {
            return wrong(format!("{method:?} is not a method; write GET"));
        }
    }
    for (name, value) in &route.headers {
        let known = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !known || http::HeaderValue::from_str(value).is_err() || value.len() > LONGEST {
            return wrong(format!("\"{name}: {value}\" is not a header"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_no_gateway_could_follow_is_refused() {
        let of = |change: fn(&mut api::Route)| {
            let mut route = api::Route {
                service: "web".into(),
                ..api::Route::default()
            };
            change(&mut route);
            check(&route)
        };
        let good: [fn(&mut api::Route); 7] = [
            |_| {},
            |route| route.host = "*.example.com".into(),
            |route| route.host = "[::1]".into(),
            |route| route.path = "/api$".into(),
            |route| (route.path, route.strip) = ("/api".into(), true),
            |route| route.methods = vec!["GET".into()],
            |route| route.headers = vec![("x-beta".into(), "1".into())],
        ];
        for (at, change) in good.into_iter().enumerate() {
            assert_eq!(of(change), Ok(()), "{at}");
        }
        let wrong: [fn(&mut api::Route); 12] = [
            |route| route.service = " ".into(),
            |route| route.host = "*.".into(),
            |route| route.host = "example.com:80".into(),
            |route| route.host = "a b".into(),
            |route| route.host = "a/b".into(),
            |route| route.path = "api".into(),
            |route| route.path = "/a?b".into(),
            |route| (route.path, route.strip) = ("/api$".into(), true),
            |route| route.strip = true,
            |route| route.methods = vec!["get".into()],
            |route| route.headers = vec![("a b".into(), "1".into())],
            |route| route.headers = vec![("a".into(), "1\n2".into())],
        ];
        for (at, change) in wrong.into_iter().enumerate() {
            assert!(of(change).is_err(), "{at}");
        }
    }
}
