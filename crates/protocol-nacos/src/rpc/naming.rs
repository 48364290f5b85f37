//! Naming over gRPC. An instance belongs to the connection it was registered over, unless it is persistent.

use portolan_listener::Action;

use super::fuzzy::Kind;
use super::{Call, fine, fine_bytes};
use crate::error::Problem;
use crate::names::ServiceName;
use crate::read::{self, Ask, Spelled};
use crate::translate;
use crate::watch::connections::{Due, Subscription};
use crate::wire::payload::Payload;
use crate::wire::requests::{
    BatchInstanceRequest, FuzzyWatch, InstanceRequest, Named, ServiceList, ServiceQuery,
    SubscribeService,
};
use crate::write;

type Answer = Result<Payload, Problem>;

/// What registers.
const REGISTER: &str = "registerInstance";
/// What deregisters.
const DEREGISTER: &str = "deregisterInstance";
/// Names on a page when the client does not say.
const PAGE: i64 = 10;

fn named(service: &Named) -> Result<ServiceName, Problem> {
    if service.service_name.trim().is_empty() {
        return Err(Problem::invalid(
            "Param 'serviceName' is illegal, serviceName is blank",
        ));
    }
    Ok(ServiceName::new(
        &service.namespace,
        &service.group_name,
        &service.service_name,
    )?)
}

fn done(kind: &str, word: &str) -> Payload {
    fine(kind, &format!("\"type\":\"{word}\","))
}

pub(crate) async fn instance(call: &Call<'_>) -> Answer {
    let request: InstanceRequest = call.read()?;
    let service = named(&request.service)?;
    call.app
        .allow_service(call.caller, Action::Register, &service.key)?;
    let word = word(&request.kind)?;
    let sent = match word {
        REGISTER => {
            let mut sent = translate::checked(&request.instance)?;
            sent.ephemeral = true;
            vec![sent]
        }
        _ => Vec::new(),
    };
    call.set(&service, &sent).await?;
    Ok(done("InstanceResponse", word))
}

fn word(kind: &str) -> Result<&'static str, Problem> {
    [REGISTER, DEREGISTER]
        .into_iter()
        .find(|word| *word == kind)
        .ok_or_else(|| Problem::invalid(format!("Unsupported request type {kind}")))
}

pub(crate) async fn batch(call: &Call<'_>) -> Answer {
    let request: BatchInstanceRequest = call.read()?;
    let service = named(&request.service)?;
    call.app
        .allow_service(call.caller, Action::Register, &service.key)?;
    if request.kind != "batchRegisterInstance" {
        return Err(Problem::invalid(format!(
            "Unsupported request type {}",
            request.kind
        )));
    }
    let mut sent = Vec::with_capacity(request.instances.len());
    for instance in &request.instances {
        let mut one = translate::checked(instance)?;
        one.ephemeral = true;
        // The later one counts of two with one address.
        sent.retain(|other: &translate::Checked| other.key(&service) != one.key(&service));
        sent.push(one);
    }
    call.set(&service, &sent).await?;
    Ok(done("BatchInstanceResponse", "batchRegisterInstance"))
}

impl Call<'_> {
    /// Makes these all that the connection has registered in a service.
    async fn set(&self, service: &ServiceName, sent: &[translate::Checked]) -> Result<(), Problem> {
        let lease = self.connection.lease();
        if sent.is_empty() && !self.connection.has_registered() {
            return Ok(());
        }
        self.connection.registers();
        write::register_set(self.app, self.caller, &lease, service, sent).await?;
        // The stream may have ended meanwhile, and with it what ends the lease.
        let still = self.app.connections.of(self.connection.peer);
        if still.is_none_or(|it| it.number != self.connection.number) {
            super::stream::end_lease(self.app, self.connection).await;
        }
        Ok(())
    }
}

pub(crate) async fn persistent(call: &Call<'_>) -> Answer {
    let request: InstanceRequest = call.read()?;
    let service = named(&request.service)?;
    call.app
        .allow_service(call.caller, Action::Register, &service.key)?;
    let word = word(&request.kind)?;
    let mut sent = translate::checked(&request.instance)?;
    sent.ephemeral = false;
    match word {
        REGISTER => write::register(call.app, call.caller, &service, &sent).await?,
        _ => write::deregister(call.app, call.caller, &service, &sent).await?,
    }
    Ok(done("InstanceResponse", word))
}

pub(crate) fn query(call: &Call<'_>) -> Answer {
    let request: ServiceQuery = call.read()?;
    let service = named(&request.service)?;
    call.app
        .allow_service(call.caller, Action::Discover, &service.key)?;
    let ask = Ask {
        clusters: &request.cluster,
        healthy_only: request.healthy_only,
        disabled: false,
    };
    let mut fields = b"\"serviceInfo\":".to_vec();
    fields.extend(read::info(
        &call.app.registry,
        &service,
        Spelled::Plain,
        ask,
    ));
    fields.push(b',');
    Ok(fine_bytes("QueryServiceResponse", &fields))
}

pub(crate) fn subscribe(call: &Call<'_>) -> Answer {
    let request: SubscribeService = call.read()?;
    let service = named(&request.service)?;
    call.app
        .allow_service(call.caller, Action::Watch, &service.key)?;
    let (app, connection) = (call.app, call.connection);
    if request.subscribe {
        let fresh = connection.with(|held| {
            let known = held.services.contains_key(&service.key);
            let room = known || held.services.len() < app.settings.watched;
            room.then(|| {
                let subscription = Subscription {
                    name: service.clone(),
                    clusters: request.clusters.clone(),
                    told: None,
                    under_way: false,
                };
                held.services.insert(service.key.clone(), subscription);
                !known
            })
        });
        let Some(fresh) = fresh else {
            app.gauges.limited.inc();
            return Err(Problem::invalid(
                "the connection subscribes to too many services",
            ));
        };
        if fresh {
            app.gauges.subscriptions.inc();
        }
        // First to be told of changes, then to read: nothing falls between.
        app.hub.follow_service(&service.key, connection);
        call.gone_meanwhile();
    } else {
        let known = connection.with(|held| held.services.remove(&service.key).is_some());
        if known {
            app.gauges.subscriptions.dec();
            app.hub.leave_service(&service.key, connection.number);
        }
    }
    let ask = Ask {
        clusters: &request.clusters,
        ..Ask::default()
    };
    let hosts = read::hosts(&app.registry, &service, ask);
    let mut fields = b"\"message\":\"success\",\"serviceInfo\":".to_vec();
    let changed_ms = read::last_change(&app.registry, &service.key);
    read::append_info(
        &mut fields,
        &service,
        Spelled::Plain,
        &request.clusters,
        &hosts,
        changed_ms,
    );
    fields.push(b',');
    if request.subscribe {
        // A push follows the answer: clients that subscribe again after a reconnect look at nothing else, also when there is nothing.
        connection.mark(Due::Service(service.key.clone()));
    }
    Ok(fine_bytes("SubscribeServiceResponse", &fields))
}

impl Call<'_> {
    /// Forgets what the connection follows when it ended while it began to.
    pub(crate) fn gone_meanwhile(&self) {
        let still = self.app.connections.of(self.connection.peer);
        if still.is_none_or(|it| it.number != self.connection.number) {
            self.app.hub.leave_all(self.connection);
        }
    }
}

pub(crate) fn list(call: &Call<'_>) -> Answer {
    let request: ServiceList = call.read()?;
    let group = (&*request.service.namespace, &*request.service.group_name);
    call.app
        .allow_group(call.caller, Action::Discover, Some(group))?;
    let whole = |number: i64, default| match number {
        1.. => usize::try_from(number).unwrap_or(usize::MAX),
        _ => default,
    };
    let page = (
        whole(request.page_no, 1),
        whole(request.page_size, PAGE as usize),
    );
    let state = call.app.registry.snapshot();
    let (names, count) = read::names(
        &state,
        &request.service.namespace,
        &request.service.group_name,
        page,
    );
    let names = serde_json::to_string(&names).unwrap_or_default();
    Ok(fine(
        "ServiceListResponse",
        &format!("\"count\":{count},\"serviceNames\":{names},"),
    ))
}

pub(crate) fn fuzzy_watch(call: &Call<'_>) -> Answer {
    call.app.allow_group(call.caller, Action::Watch, None)?;
    call.watch_pattern(Kind::Services)?;
    Ok(fine("NamingFuzzyWatchResponse", ""))
}

impl Call<'_> {
    /// Begins or ends a fuzzy watch.
    pub(crate) fn watch_pattern(&self, kind: Kind) -> Result<(), Problem> {
        let request: FuzzyWatch = self.read()?;
        self.app.hub.follow_patterns(self.connection);
        self.gone_meanwhile();
        let due = self
            .connection
            .with(|held| held.patterns.watch(kind, &request))?;
        if due {
            self.connection.mark(Due::Patterns);
        }
        Ok(())
    }
}
