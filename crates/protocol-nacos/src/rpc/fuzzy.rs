//! Fuzzy watches of 3.x: patterns of names, and what of them the client knows.

use std::collections::{BTreeMap, BTreeSet};

use portolan_catalog::{Key, KeyRange, Keyspace, ServiceKey, State};
use serde_json::{Value, json};

use crate::config::key::ConfigKey;
use crate::error::Problem;
use crate::names::{self, ServiceName};
use crate::read;
use crate::wire::requests::FuzzyWatch;

/// Patterns of one connection and one kind at most, as in the real server.
const PATTERNS: usize = 20;
/// Names that the first answer carries together.
const BATCH: usize = 100;

/// What is watched by patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Services,
    Configs,
}

impl Kind {
    fn sync(self) -> &'static str {
        match self {
            Kind::Services => "NamingFuzzyWatchSyncRequest",
            Kind::Configs => "ConfigFuzzyWatchSyncRequest",
        }
    }

    fn change(self) -> &'static str {
        match self {
            Kind::Services => "NamingFuzzyWatchChangeNotifyRequest",
            Kind::Configs => "ConfigFuzzyWatchChangeNotifyRequest",
        }
    }

    fn word(self, there: bool) -> &'static str {
        match (self, there) {
            (Kind::Services, true) => "ADD_SERVICE",
            (Kind::Services, false) => "DELETE_SERVICE",
            (Kind::Configs, true) => "ADD_CONFIG",
            (Kind::Configs, false) => "DELETE_CONFIG",
        }
    }

    fn context(self, key: &str, there: bool) -> Value {
        match self {
            Kind::Services => json!({"serviceKey": key, "changedType": self.word(there)}),
            Kind::Configs => json!({"groupKey": key, "changedType": self.word(there)}),
        }
    }

    fn changed(self, key: &str, there: bool) -> Value {
        match self {
            Kind::Services => json!({
                "headers": {}, "module": "naming", "syncType": "FUZZY_WATCH_RESOURCE_CHANGED",
                "serviceKey": key, "changedType": self.word(there),
            }),
            Kind::Configs => json!({
                "headers": {}, "module": "config", "groupKey": key, "changeType": self.word(there),
            }),
        }
    }
}

/// `namespace>>group>>name`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    namespace: String,
    group: String,
    name: String,
}

impl Shape {
    fn parse(pattern: &str) -> Option<Shape> {
        let mut parts = pattern.split(">>");
        let shape = Shape {
            namespace: parts.next()?.to_owned(),
            group: parts.next()?.to_owned(),
            name: parts.next()?.to_owned(),
        };
        (parts.next().is_none() && !shape.group.is_empty() && !shape.name.is_empty())
            .then_some(shape)
    }

    fn matches(&self, namespace: &str, group: &str, name: &str) -> bool {
        names::model_namespace(&self.namespace) == names::model_namespace(namespace)
            && names::matches(&self.group, group)
            && names::matches(&self.name, name)
    }
}

#[derive(Clone, Debug)]
struct Pattern {
    shape: Shape,
    /// Names that the client knows.
    known: BTreeSet<String>,
    /// The client was told of everything there was.
    begun: bool,
    /// It knew nothing before.
    anew: bool,
}

/// The patterns of one connection, and the names that came or went since they were looked at.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    services: BTreeMap<String, Pattern>,
    configs: BTreeMap<String, Pattern>,
    noted_services: BTreeSet<ServiceKey>,
    noted_configs: BTreeSet<Key>,
    everything: bool,
}

/// A message for the client: its kind, and its fields but for the number.
pub(crate) type Message = (&'static str, Value);

impl Patterns {
    /// Begins or ends a watch. True when there is something to tell.
    pub(crate) fn watch(&mut self, kind: Kind, asked: &FuzzyWatch) -> Result<bool, Problem> {
        let all = match kind {
            Kind::Services => &mut self.services,
            Kind::Configs => &mut self.configs,
        };
        if asked.watch_type == "CANCEL_WATCH" {
            all.remove(&asked.group_key_pattern);
            return Ok(false);
        }
        let Some(shape) = Shape::parse(&asked.group_key_pattern) else {
            return Err(Problem::invalid(format!(
                "groupKeyPattern {:?} is not namespace>>group>>name",
                asked.group_key_pattern
            )));
        };
        if all.len() >= PATTERNS && !all.contains_key(&asked.group_key_pattern) {
            return Err(Problem::invalid("fuzzy watch pattern over limit"));
        }
        let pattern = Pattern {
            shape,
            known: asked.received_group_keys.iter().cloned().collect(),
            begun: false,
            anew: asked.initializing,
        };
        all.insert(asked.group_key_pattern.clone(), pattern);
        Ok(true)
    }

    /// Notes that a service came or went. True when somebody may want to know.
    pub(crate) fn note_service(&mut self, service: &ServiceKey) -> bool {
        let namespace = names::nacos_namespace(service.namespace());
        let wanted = self.services.values().any(|pattern| {
            names::model_namespace(&pattern.shape.namespace) == names::model_namespace(&namespace)
        });
        wanted && self.noted_services.insert(service.clone())
    }

    /// As [`Patterns::note_service`], for a configuration.
    pub(crate) fn note_config(&mut self, key: &Key) -> bool {
        !self.configs.is_empty() && self.noted_configs.insert(key.clone())
    }

    pub(crate) fn note_everything(&mut self) {
        self.everything = true;
    }

    /// What the client is to be told now.
    pub(crate) fn messages(&mut self, state: &State) -> Vec<Message> {
        let mut out = Vec::new();
        let noted_services = std::mem::take(&mut self.noted_services);
        let noted_configs = std::mem::take(&mut self.noted_configs);
        let everything = std::mem::take(&mut self.everything);
        begin(Kind::Services, &mut self.services, &mut out, |shape| {
            services(state, shape)
        });
        begin(Kind::Configs, &mut self.configs, &mut out, |shape| {
            configs(state, shape)
        });
        if everything {
            catch_up(Kind::Services, &mut self.services, &mut out, |shape| {
                services(state, shape)
            });
            catch_up(Kind::Configs, &mut self.configs, &mut out, |shape| {
                configs(state, shape)
            });
        }
        for key in &noted_services {
            let row = state.service(key).filter(|row| read::is_listed(state, row));
            // A service that went has no spelling any more: the client's own is found among what it knows.
            let name = match row {
                Some(row) => read::name_of(state, row),
                None => ServiceName::of(key, key.name(), None),
            };
            let text = service_key(&name);
            let shape = |shape: &Shape| shape.matches(&name.namespace, &name.group, &name.name);
            noted(
                Kind::Services,
                &mut self.services,
                &text,
                row.is_some(),
                shape,
                &mut out,
            );
        }
        for key in &noted_configs {
            let Some((config, _)) = ConfigKey::parse(key) else {
                continue;
            };
            let there = state.record(Keyspace::NacosConfig, key).is_some();
            let shape =
                |shape: &Shape| shape.matches(&config.tenant, &config.group, &config.data_id);
            noted(
                Kind::Configs,
                &mut self.configs,
                &config.group_key(),
                there,
                shape,
                &mut out,
            );
        }
        out
    }
}

/// `public@@DEFAULT_GROUP@@web`
fn service_key(name: &ServiceName) -> String {
    format!("{}@@{}@@{}", name.namespace, name.group, name.name)
}

fn services(state: &State, shape: &Shape) -> BTreeSet<String> {
    let all = read::services_in(state, &shape.namespace).map(|row| read::name_of(state, row));
    all.filter(|name| shape.matches(&name.namespace, &name.group, &name.name))
        .map(|name| service_key(&name))
        .collect()
}

fn configs(state: &State, shape: &Shape) -> BTreeSet<String> {
    let range =
        KeyRange::prefix(format!("{}/", crate::config::key::tenant(&shape.namespace)).as_bytes());
    let all = state.range(Keyspace::NacosConfig, &range);
    all.filter_map(|(key, _)| ConfigKey::formal(key))
        .filter(|key| shape.matches(&key.tenant, &key.group, &key.data_id))
        .map(|key| key.group_key())
        .collect()
}

/// Tells fresh patterns of everything there is.
fn begin(
    kind: Kind,
    patterns: &mut BTreeMap<String, Pattern>,
    out: &mut Vec<Message>,
    find: impl Fn(&Shape) -> BTreeSet<String>,
) {
    for (text, pattern) in patterns.iter_mut().filter(|(_, pattern)| !pattern.begun) {
        let there = find(&pattern.shape);
        let came = there
            .difference(&pattern.known)
            .map(|key| kind.context(key, true));
        let went = pattern
            .known
            .difference(&there)
            .map(|key| kind.context(key, false));
        let told: Vec<Value> = came.chain(went).collect();
        let word = match pattern.anew {
            true => "FUZZY_WATCH_INIT_NOTIFY",
            false => "FUZZY_WATCH_DIFF_SYNC_NOTIFY",
        };
        let total = told.len().div_ceil(BATCH);
        let mut tell = |word: &str, contexts: &[Value], batch: usize| {
            let module = match kind {
                Kind::Services => "naming",
                Kind::Configs => "config",
            };
            out.push((
                kind.sync(),
                json!({
                    "headers": {}, "module": module, "syncType": word, "groupKeyPattern": text,
                    "contexts": contexts, "totalBatch": total, "currentBatch": batch,
                }),
            ));
        };
        for (at, contexts) in told.chunks(BATCH).enumerate() {
            tell(word, contexts, at + 1);
        }
        if pattern.anew {
            tell("FINISH_FUZZY_WATCH_INIT_NOTIFY", &[], 0);
        }
        (pattern.known, pattern.begun) = (there, true);
    }
}

/// Tells of all differences.
fn catch_up(
    kind: Kind,
    patterns: &mut BTreeMap<String, Pattern>,
    out: &mut Vec<Message>,
    find: impl Fn(&Shape) -> BTreeSet<String>,
) {
    let mut told = BTreeSet::new();
    for pattern in patterns.values_mut() {
        let there = find(&pattern.shape);
        for key in there.symmetric_difference(&pattern.known) {
            let is = there.contains(key);
            if told.insert((key.clone(), is)) {
                out.push((kind.change(), kind.changed(key, is)));
            }
        }
        pattern.known = there;
    }
}

/// Tells of one name that came or went. The client finds its patterns by itself, so it is told once.
fn noted(
    kind: Kind,
    patterns: &mut BTreeMap<String, Pattern>,
    key: &str,
    there: bool,
    matches: impl Fn(&Shape) -> bool,
    out: &mut Vec<Message>,
) {
    let mut tell = None;
    for pattern in patterns.values_mut() {
        if there {
            if matches(&pattern.shape) && pattern.known.insert(key.to_owned()) {
                tell = Some(key.to_owned());
            }
            continue;
        }
        let same = |known: &&String| known.eq_ignore_ascii_case(key);
        if let Some(known) = pattern.known.iter().find(same).cloned() {
            pattern.known.remove(&known);
            tell = Some(known);
        }
    }
    if let Some(key) = tell {
        out.push((kind.change(), kind.changed(&key, there)));
    }
}
