//! Why: what each protocol shows of a service, and why an instance is missing or unhealthy, from recorded causes.
//!
//! Three questions, in this order: what is wrong with the rows that are there (`rows`), what became of rows that are not (`gone`), and,
//! when neither explains it, under which other name the service might be (`names`). The most likely cause comes first; `Rank` says what
//! that means. Nothing is guessed: each cause carries the revision, the time, the protocol or the check it was read from.

mod facts;
mod gone;
mod names;
mod rows;
mod shown;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use portolan_api as api;
use portolan_catalog::endpoint::split_host_port;
use portolan_catalog::{
    Batch, Instance, Keyspace, Protocol, Revision, ServiceKey, State, Timestamp,
};
use portolan_listener::{Action, Caller, Params, Request};
use portolan_registry::{Registry, Span};

use crate::as_of::{self, Rows, print};
use crate::error::{Answer, Failure};
use crate::guard::HeldBack;
use crate::query::{Query, decoded};
use crate::read::resource;
use crate::render::service_key;
use crate::reply::json;
use crate::which;
use crate::{App, Dns};
use facts::Found;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The service as it was written.
    pub(crate) spelling: String,
    pub(crate) service: ServiceKey,
    /// An instance: `origin:id`, an id, or `host:port`.
    pub(crate) instance: Option<String>,
}

/// What is looked at.
pub(crate) struct Look<'a> {
    pub(crate) state: &'a State,
    /// The registry, where the state is the present one: only it knows when a lease was last renewed.
    pub(crate) registry: Option<&'a Registry>,
    pub(crate) now: Timestamp,
    pub(crate) asked: &'a Asked,
    pub(crate) dns: &'a Dns,
    pub(crate) recorded: &'a Recorded,
    /// Whether other services and records may be told of; default true.
    pub(crate) everywhere: bool,
}

/// Batches of one service that are looked through at most.
const LOOKED_THROUGH: usize = 5000;

/// What the history says of a service.
pub(crate) struct Recorded {
    /// Batches about it up to the state's revision, newest first.
    pub(crate) batches: Vec<Arc<Batch>>,
    /// When the history begins; none when there is none.
    pub(crate) since: Option<Timestamp>,
}

impl Recorded {
    /// Reads it. May take a while.
    pub(crate) fn read(
        registry: &Registry,
        service: &ServiceKey,
        until: Revision,
    ) -> Result<Recorded, Failure> {
        let history = registry.history();
        let (span, floor) = (Span::about(service), registry.floor(None));
        Ok(Recorded {
            batches: history.newest(&span, until, floor, LOOKED_THROUGH)?,
            since: history.oldest(),
        })
    }
}

impl<'a> Look<'a> {
    pub(crate) fn new(
        state: &'a State,
        registry: Option<&'a Registry>,
        now: Timestamp,
        asked: &'a Asked,
        dns: &'a Dns,
        recorded: &'a Recorded,
    ) -> Look<'a> {
        Look {
            state,
            registry,
            now,
            asked,
            dns,
            recorded,
            everywhere: true,
        }
    }

    /// Whether the question is about this row.
    fn is_about(&self, row: &Instance) -> bool {
        self.asked
            .instance
            .as_deref()
            .is_none_or(|text| which::means(text, row))
    }

    /// The newest change of the service that `find` knows, with its batch.
    pub(crate) fn newest<T>(
        &self,
        mut find: impl FnMut(&'a Batch) -> Option<T>,
    ) -> Option<(&'a Arc<Batch>, T)> {
        let mut batches = self.recorded.batches.iter();
        batches.find_map(|batch| Some((batch, find(batch)?)))
    }

    /// "10.0.0.1:80 (consul:n1/web-1)".
    pub(crate) fn name(row: &Instance) -> String {
        format!(
            "{} ({})",
            row.endpoint.host.with_port(row.endpoint.port()),
            row.key
        )
    }
}

/// `GET /v1/why/{service}`.
pub(crate) async fn why(app: Arc<App>, request: Request, params: Params) -> Answer {
    let query = Query::of(&request, &["instance", "namespace", "group", "at"]);
    let name = decoded(params.raw("service"));
    let key = match (&query, &name) {
        (Ok(query), Ok(name)) => service_key(name, query.get("namespace"), query.get("group")),
        _ => ServiceKey::plain(params.raw("service")),
    };
    let caller = Caller::of(&request);
    caller.allow(Action::Discover, resource(&key))?;
    let (query, name) = (query?, name?.into_owned());
    let rows = Rows::AllWith(Keyspace::Etcd);
    let state = as_of::state(&app.registry, &query, rows).await?;
    let present = query.get("at").is_none();
    let mut asked = Asked {
        spelling: name,
        service: key,
        instance: query.get("instance").map(str::to_owned),
    };
    // An address that is no service's name means the instance that is there.
    if asked.instance.is_none()
        && state.service(&asked.service).is_none()
        && split_host_port(&asked.spelling).is_some()
        && let Ok(row) = which::find(&state, None, &asked.spelling)
    {
        caller.allow(Action::Discover, resource(&row.service))?;
        let address = std::mem::replace(&mut asked.spelling, row.spelling.to_string());
        asked.service = row.service.clone();
        asked.instance = Some(address);
    }
    let everywhere = !caller.restricted();
    // A long history takes a while to read.
    let answer = portolan_environment::blocking(move || {
        let now = if present {
            app.registry.now().max(state.last_at())
        } else {
            state.last_at()
        };
        let registry = present.then_some(&app.registry);
        let recorded = Recorded::read(&app.registry, &asked.service, state.revision())?;
        let dns = &app.settings.dns;
        let look = Look::new(&state, registry, now, &asked, dns, &recorded);
        let mut answer = explain(&Look { everywhere, ..look });
        if present {
            let said = app.settings.remarks.of(&state, &asked.service);
            answer.notes.extend(said);
        }
        Ok::<_, Failure>(answer)
    });
    let answer = answer
        .await
        .map_err(|_| Failure::unavailable("the question could not be worked on"))??;
    Ok(json(&answer))
}

/// Answers the question.
pub(crate) fn explain(look: &Look<'_>) -> api::Why {
    let state = look.state;
    let asked = look.asked;
    let members: Vec<&Arc<Instance>> = state.instances(&asked.service).collect();
    let mut found = rows::causes(look);
    found.extend(gone::causes(look));
    let known = members.iter().any(|row| look.is_about(row));
    let explained = found.iter().any(|cause| cause.rank.explains());
    if !explained {
        found.extend(names::causes(look, known));
    }
    found.sort_by(|left, right| left.rank.cmp(&right.rank).then(right.at.cmp(&left.at)));
    let causes: Vec<api::Reason> = found.into_iter().map(Found::into_reason).collect();
    let mut notes = shown::notes(look);
    let held = HeldBack::of(state);
    let mut reports = held.each().map(|(_, held)| &held.report).peekable();
    if reports.peek().is_some() && !reports.any(|report| report.concerns(&asked.service)) {
        notes.push("the mass-expiry guard holds removals back, but not of this service".into());
    }
    api::Why {
        service: asked.spelling.clone(),
        namespace: asked.service.namespace().to_owned(),
        group: asked.service.group().to_owned(),
        instance: asked.instance.clone(),
        exists: state.service(&asked.service).is_some(),
        revision: state.revision().0,
        at: print(look.now),
        summary: summary(look, &members, &causes),
        causes,
        shown: shown::shown(look),
        notes,
    }
}

fn summary(look: &Look<'_>, members: &[&Arc<Instance>], causes: &[api::Reason]) -> String {
    let name = match &look.asked.instance {
        Some(instance) => format!("{}/{instance}", look.asked.spelling),
        None => look.asked.spelling.clone(),
    };
    let about: Vec<_> = members.iter().filter(|row| look.is_about(row)).collect();
    let serving = about
        .iter()
        .filter(|row| {
            look.state
                .endpoint_of(row)
                .is_some_and(|endpoint| endpoint.health.serves())
        })
        .count();
    let own = about.iter().all(|row| row.key.origin == Protocol::Portolan) && !about.is_empty();
    let what = match about.len() {
        0 => "is not there".to_owned(),
        1 if serving == 1 => "is there and serves".to_owned(),
        1 => "is there and does not serve".to_owned(),
        all => format!("has {all} instances, of which {serving} serve"),
    };
    match causes.first() {
        Some(cause) => format!("{name} {what}: {}", cause.text),
        None if own => format!("{name} {what}: it is this server itself"),
        None => format!("{name} {what}: nothing is wrong with it"),
    }
}
