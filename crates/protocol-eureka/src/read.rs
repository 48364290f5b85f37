//! State -> replies: which rows Eureka shows, under which ids, and the lists made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::{
    EndpointKey, EndpointRow, Health, Host, Instance, InstanceKey, LookupKind, Protocol,
    ServiceKey, State, name,
};

use crate::status;
use crate::translate;
use crate::wire;

/// One row as Eureka shows it: its own clients' rows by themselves, an endpoint of other protocols once.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The id within its application.
    pub(crate) id: String,
    /// The row: its own, or the primary of an endpoint.
    pub(crate) row: Arc<Instance>,
    /// What stands for a foreign endpoint: its merged health and when it last changed.
    pub(crate) foreign: Option<(Health, i64)>,
}

impl Shown {
    fn own(row: &Arc<Instance>) -> Shown {
        Shown {
            id: row.key.local().to_owned(),
            row: row.clone(),
            foreign: None,
        }
    }

    /// The status clients get.
    pub(crate) fn status(&self) -> wire::Status {
        match self.foreign {
            None => status::of_own(&self.row),
            Some((health, _)) => status::of_foreign(&self.row, health),
        }
    }

    /// Whether clients get the same record from both.
    pub(crate) fn same(&self, other: &Shown) -> bool {
        self.id == other.id && self.foreign == other.foreign && self.row == other.row
    }

    /// The record clients get.
    pub(crate) fn render(&self, state: &State, app: &str) -> wire::Instance {
        match self.foreign {
            None => {
                let lease = self.row.lease.as_ref().and_then(|id| state.lease(id));
                translate::render_own(app, &self.row, lease.map(|l| &l.terms))
            }
            Some((health, at)) => {
                translate::render_foreign(app, self.id.clone(), &self.row, health, at)
            }
        }
    }
}

/// What an endpoint shows. The server's own service stays out: an empty registry has an empty list.
pub(crate) fn shown(state: &State, app: &str, endpoint: &EndpointRow) -> Vec<Shown> {
    let rows = endpoint.rows(Protocol::Eureka);
    rows.filter(|row| row.key.origin != Protocol::Portolan)
        .map(|row| match row.key.origin {
            Protocol::Eureka => Shown::own(row),
            _ => Shown {
                id: foreign_id(state, app, &endpoint.key, row),
                row: row.clone(),
                foreign: Some((endpoint.health, translate::updated_at(endpoint))),
            },
        })
        .collect()
}

/// How many instances of each status a service shows; without the cost of making ids.
pub(crate) fn counts_of(state: &State, service: &ServiceKey) -> wire::Counts {
    let mut counts = wire::Counts::default();
    for endpoint in state.endpoints(service) {
        for row in endpoint.rows(Protocol::Eureka) {
            match row.key.origin {
                Protocol::Portolan => {}
                Protocol::Eureka => counts.add(status::of_own(row)),
                _ => counts.add(status::of_foreign(row, endpoint.health)),
            }
        }
    }
    counts
}

/// The rows of one application, endpoint by endpoint.
pub(crate) fn rows_of(state: &State, app: &str, service: &ServiceKey) -> Vec<Shown> {
    state
        .endpoints(service)
        .flat_map(|endpoint| shown(state, app, endpoint))
        .collect()
}

/// The applications that somebody may see who may not see all.
pub(crate) fn permitted(state: &State, may: impl Fn(&ServiceKey) -> bool) -> wire::Applications {
    let services = state.services().filter(|row| may(&row.key));
    let applications = services.filter_map(|row| {
        let name = translate::app_of(&row.key);
        let rows = rows_of(state, &name, &row.key);
        (!rows.is_empty()).then(|| wire::Application {
            instances: rows.iter().map(|row| row.render(state, &name)).collect(),
            name,
        })
    });
    let mut list = wire::Applications {
        version: "1".to_owned(),
        hashcode: String::new(),
        applications: applications.collect(),
    };
    list.hashcode = list.recount().hashcode();
    list
}

/// How many instances of each status there are in them.
pub(crate) fn permitted_counts(state: &State, may: impl Fn(&ServiceKey) -> bool) -> wire::Counts {
    let mut counts = wire::Counts::default();
    for row in state.services().filter(|row| may(&row.key)) {
        counts.merge(&counts_of(state, &row.key));
    }
    counts
}

/// The row with this id in an application.
pub(crate) fn find(state: &State, app: &str, id: &str) -> Option<Shown> {
    if let Some(row) = state.instance(&InstanceKey::eureka(app, id)) {
        return Some(Shown::own(row));
    }
    let service = translate::service_of(app);
    let candidates = endpoint_of_id(&service, id).and_then(|key| state.endpoint(&key));
    let straight = candidates.and_then(|e| shown(state, app, e).into_iter().find(|s| s.id == id));
    // Ids with a mark at their end, of instances without a port or beside a row of the same id, are rare: look at all.
    straight.or_else(|| {
        let marked = id.len() > 6 && id.as_bytes()[id.len() - 6] == b'-';
        let all = marked.then(|| rows_of(state, app, &service));
        all.into_iter().flatten().find(|s| s.id == id)
    })
}

/// The row with this id in any application, and the application's name.
pub(crate) fn find_anywhere(state: &State, id: &str) -> Option<(String, Shown)> {
    let own = state.eureka_instances(id).next().map(|row| {
        let app = translate::app_of(&row.service);
        (app, Shown::own(row))
    });
    // A foreign id is `host:service:port`; hosts and services may have colons in them.
    let foreign = || {
        let (rest, _) = id.rsplit_once(':')?;
        let services = rest.match_indices(':').map(|(at, _)| &rest[at + 1..]);
        services.map(name::read_flat).find_map(|service| {
            let service = state.service(&service)?;
            let app = translate::app_of(&service.key);
            find(state, &app, id).map(|shown| (app, shown))
        })
    };
    own.or_else(foreign)
}

/// All instances that answer to a VIP: their own word for Eureka's rows, the service's name for others.
pub(crate) fn by_vip(state: &State, kind: LookupKind, vip: &str) -> wire::Applications {
    let vip = name::fold(vip);
    let mut apps: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    for row in state.lookup(kind, &vip) {
        if row.key.origin == Protocol::Eureka {
            let app = translate::app_of(&row.service);
            apps.entry(app).or_default().push(Shown::own(row));
        }
    }
    let service = translate::service_of(&vip);
    let app = translate::app_of(&service);
    let secure = |s: &Shown| s.row.endpoint.ports.iter().any(|p| p.secure);
    let foreign = rows_of(state, &app, &service).into_iter();
    let foreign = foreign.filter(|s| s.foreign.is_some() && (kind == LookupKind::Vip || secure(s)));
    let foreign: Vec<Shown> = foreign.collect();
    if !foreign.is_empty() {
        apps.entry(app).or_default().extend(foreign);
    }
    let applications = apps.into_iter().map(|(app, rows)| wire::Application {
        instances: rows.iter().map(|row| row.render(state, &app)).collect(),
        name: app,
    });
    let mut list = wire::Applications {
        version: "-1".to_owned(),
        hashcode: String::new(),
        applications: applications.collect(),
    };
    list.hashcode = list.recount().hashcode();
    list
}

/// The id of a foreign endpoint: `host:service:port`, marked with five digits when it would not be the only one.
fn foreign_id(state: &State, app: &str, key: &EndpointKey, row: &Instance) -> String {
    let service = name::flat(&key.service);
    let id = format!("{}:{service}:{}", key.host, key.port);
    let taken = key.port == 0 || state.instance(&InstanceKey::eureka(app, &id)).is_some();
    if taken {
        format!("{id}-{:05x}", digest(&row.key.to_string()) & 0xf_ffff)
    } else {
        id
    }
}

/// The endpoint an unmarked foreign id of this service names.
fn endpoint_of_id(service: &ServiceKey, id: &str) -> Option<EndpointKey> {
    let (rest, port) = id.rsplit_once(':')?;
    let host = rest.strip_suffix(&name::flat(service))?.strip_suffix(':')?;
    let port = port.split_once('-').map_or(port, |(port, _)| port);
    Some(EndpointKey {
        service: service.clone(),
        host: Host::new(host),
        port: port.parse().ok().filter(|p| *p != 0)?,
        sole: None,
    })
}

/// FNV-1a: small, and the same on every server and in every version.
pub(crate) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
