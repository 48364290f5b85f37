//! What is kept of objects to find what a change concerns, without reading every object for it.

use std::collections::{BTreeMap, BTreeSet};

use portolan_catalog::{Key, KeyRange, Record, State};
use serde_json::Value;

use super::{Name, read_key};
use crate::instances::SERVICE_NAME;
use crate::kind::SPACE;
use crate::object::{self, items, label, meta, text};

/// What selects pods, or pods' labels.
pub(super) type Labels = BTreeMap<String, String>;

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) labels: Labels,
    pub(super) uid: String,
    pub(super) addresses: Vec<String>,
    pub(super) node: String,
    pub(super) ready: bool,
    /// It is to go; milliseconds when.
    pub(super) ends: Option<u64>,
    /// It ran and ended.
    pub(super) ended: bool,
    /// Its name in the names of this service, if it wants one.
    pub(super) host: Option<(String, String)>,
    /// Ports by name and protocol.
    pub(super) ports: Vec<(String, String, u16)>,
}

impl Pod {
    fn of(pod: &Value) -> Pod {
        let mut addresses: Vec<String> = items(pod, "/status/podIPs")
            .iter()
            .map(|one| text(one, "/ip").to_owned())
            .collect();
        let own = text(pod, "/status/podIP");
        if !own.is_empty() && !addresses.iter().any(|address| address == own) {
            addresses.insert(0, own.to_owned());
        }
        let conditions = items(pod, "/status/conditions").iter();
        let mut ready = conditions.filter(|one| one["type"] == "Ready");
        let (host, subdomain) = (text(pod, "/spec/hostname"), text(pod, "/spec/subdomain"));
        let containers = items(pod, "/spec/containers").iter();
        let ports = containers.flat_map(|container| items(container, "/ports"));
        Pod {
            labels: labels(&pod["metadata"]["labels"]),
            uid: meta(pod, "uid").to_owned(),
            addresses,
            node: text(pod, "/spec/nodeName").to_owned(),
            ready: ready.any(|one| one["status"] == "True"),
            ends: object::millis(meta(pod, "deletionTimestamp")),
            ended: matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"),
            host: (!host.is_empty() && !subdomain.is_empty())
                .then(|| (host.to_owned(), subdomain.to_owned())),
            ports: ports
                .filter_map(|port| {
                    let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
                    let protocol = port["protocol"].as_str().unwrap_or("TCP");
                    Some((text(port, "/name").to_owned(), protocol.to_owned(), number))
                })
                .collect(),
        }
    }
}

pub(super) fn labels(map: &Value) -> Labels {
    let all = map.as_object().into_iter().flatten();
    all.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value))
}

/// Pods, selectors, and what is to go.
#[derive(Debug, Default)]
pub(super) struct Index {
    pods: BTreeMap<String, BTreeMap<String, Pod>>,
    selectors: BTreeMap<String, BTreeMap<String, Labels>>,
    /// Pods that are to go: when, namespace, name.
    pub(super) ending: BTreeSet<(u64, String, String)>,
    /// Namespaces that are to go.
    pub(super) closing: BTreeSet<String>,
    /// Owners that went: namespace, identity.
    pub(super) gone: BTreeSet<(String, String)>,
    /// Objects whose owners are to be looked for.
    pub(super) owned: BTreeSet<Key>,
}

impl Index {
    pub(super) fn of(state: &State) -> Index {
        let mut index = Index::default();
        let mut nobody = BTreeSet::new();
        for (key, record) in state.range(SPACE, &KeyRange::all()) {
            index.note(key, None, Some(record), &mut nobody);
        }
        index
    }

    /// Every service there is, here or elsewhere, or was.
    pub(super) fn every_service(&self, state: &State) -> BTreeSet<Name> {
        let mut all = BTreeSet::new();
        for (key, record) in state.range(SPACE, &KeyRange::all()) {
            if let Some((kind, namespace, name)) = read_key(key) {
                match kind.kind {
                    "Service" | "Endpoints" => {
                        all.insert((namespace.to_owned(), name.to_owned()));
                    }
                    "EndpointSlice" => {
                        let slice = object::decode(record);
                        let service = label(&slice, SERVICE_NAME);
                        all.extend(
                            service.map(|service| (namespace.to_owned(), service.to_owned())),
                        );
                    }
                    _ => {}
                }
            }
        }
        let rows = state.services();
        all.extend(rows.map(|row| (row.key.namespace().to_owned(), row.label.to_string())));
        all
    }

    /// The pods that a selector selects.
    pub(super) fn selected<'a>(
        &'a self,
        namespace: &str,
        selector: &'a Labels,
    ) -> impl Iterator<Item = (&'a String, &'a Pod)> {
        let pods = self.pods.get(namespace).into_iter().flatten();
        pods.filter(move |(_, pod)| selects(selector, &pod.labels))
    }

    /// Takes in a change of an object, and adds the services that it concerns.
    pub(super) fn note(
        &mut self,
        key: &Key,
        before: Option<&Record>,
        after: Option<&Record>,
        dirty: &mut BTreeSet<Name>,
    ) {
        let Some((kind, namespace, name)) = read_key(key) else {
            return;
        };
        let name_of = |service: &str| (namespace.to_owned(), service.to_owned());
        let read = |record: Option<&Record>| record.map(object::decode);
        match kind.kind {
            "Pod" => self.note_pod(namespace, name, read(after).map(|pod| Pod::of(&pod)), dirty),
            "Service" => {
                let all = self.selectors.entry(namespace.to_owned()).or_default();
                match read(after) {
                    Some(service) if crate::service::selects(&service) => {
                        all.insert(name.to_owned(), labels(&service["spec"]["selector"]));
                    }
                    _ => {
                        all.remove(name);
                    }
                }
                dirty.insert(name_of(name));
            }
            "Endpoints" => {
                dirty.insert(name_of(name));
            }
            "EndpointSlice" => {
                for slice in [read(before), read(after)].into_iter().flatten() {
                    dirty.extend(label(&slice, SERVICE_NAME).map(name_of));
                }
            }
            "Namespace" => {
                let ends =
                    read(after).is_some_and(|row| !meta(&row, "deletionTimestamp").is_empty());
                match ends {
                    true => self.closing.insert(name.to_owned()),
                    false => self.closing.remove(name),
                };
            }
            _ => {}
        }
        self.note_owners(key, namespace, before, after);
    }

    fn note_owners(
        &mut self,
        key: &Key,
        namespace: &str,
        before: Option<&Record>,
        after: Option<&Record>,
    ) {
        let Some(after) = after else {
            if let Some(before) = before {
                let uid = meta(&object::decode(before), "uid").to_owned();
                self.gone.insert((namespace.to_owned(), uid));
            }
            return;
        };
        // Most objects have no owner: the bytes tell, before anybody reads them.
        const OWNERS: &[u8] = b"\"ownerReferences\"";
        if after
            .bytes()
            .windows(OWNERS.len())
            .any(|window| window == OWNERS)
        {
            self.owned.insert(key.clone());
        }
    }

    fn note_pod(
        &mut self,
        namespace: &str,
        name: &str,
        pod: Option<Pod>,
        dirty: &mut BTreeSet<Name>,
    ) {
        let all = self.pods.entry(namespace.to_owned()).or_default();
        let before = match &pod {
            Some(pod) => all.insert(name.to_owned(), pod.clone()),
            None => all.remove(name),
        };
        if before == pod {
            return;
        }
        let ending = |ends: u64| (ends, namespace.to_owned(), name.to_owned());
        if let Some(ends) = before.as_ref().and_then(|pod| pod.ends) {
            self.ending.remove(&ending(ends));
        }
        if let Some(ends) = pod.as_ref().and_then(|pod| pod.ends) {
            self.ending.insert(ending(ends));
        }
        for (service, selector) in self.selectors.get(namespace).into_iter().flatten() {
            let concerned = before
                .iter()
                .chain(&pod)
                .any(|pod| selects(selector, &pod.labels));
            if concerned {
                dirty.insert((namespace.to_owned(), service.clone()));
            }
        }
    }
}
