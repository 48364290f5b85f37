//! Packing endpoints into slices: an endpoint stays in its slice, so that one change rewrites one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::{Expect, KeyRange, Op, Record, State};
use serde_json::{Map, Value, json};

use crate::app::{delete, put, record};
use crate::instances::{SERVICE_NAME, SLICE_MANAGED_BY};
use crate::kind::{SLICES, SPACE};
use crate::names::generated;
use crate::object::{self, items, label};

/// Endpoints in a slice.
const MOST: usize = 100;

/// Endpoints with the same ports, of one kind of address.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) address_type: &'static str,
    pub(super) ports: Vec<Value>,
    /// By address.
    pub(super) endpoints: BTreeMap<String, Value>,
}

/// Whose slices these are, and what all of them say.
#[derive(Clone, Debug)]
pub(super) struct Owner<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) manager: &'static str,
    pub(super) labels: Map<String, Value>,
    pub(super) annotations: Map<String, Value>,
    /// The Service object, if there is one.
    pub(super) uid: Option<&'a str>,
    pub(super) created: String,
}

/// A slice as it is: its name, its record, and what is in it.
pub(super) type Slice = (String, Arc<Record>, Value);

/// The slices of a service that `manager` looks after.
pub(super) fn managed(state: &State, namespace: &str, service: &str, manager: &str) -> Vec<Slice> {
    // The server's own begin with their service's name, as far as a made name has room for it.
    let begin = service.get(..service.len().min(40)).unwrap_or(service);
    let prefix = SLICES.key(namespace, begin);
    let range = KeyRange::prefix(&prefix);
    let found = state.range(SPACE, &range);
    let slices = found.filter_map(|(key, found)| {
        let (_, _, name) = crate::kind::Kind::of_key(key)?;
        let slice = object::decode(found);
        let own = label(&slice, SERVICE_NAME) == Some(service)
            && label(&slice, SLICE_MANAGED_BY) == Some(manager);
        own.then(|| (name.to_owned(), found.clone(), slice))
    });
    slices.collect()
}

impl Owner<'_> {
    fn slice(
        &self,
        name: &str,
        group: &Group,
        endpoints: Vec<Value>,
        before: Option<&Value>,
    ) -> Value {
        let mut labels = self.labels.clone();
        labels.insert(SERVICE_NAME.into(), self.service.into());
        labels.insert(SLICE_MANAGED_BY.into(), self.manager.into());
        let mut metadata = json!({
            "name": name,
            "generateName": format!("{}-", self.service),
            "namespace": self.namespace,
            "uid": object::uid(),
            "creationTimestamp": self.created,
            "labels": labels,
        });
        if let Some(before) = before {
            for field in ["uid", "creationTimestamp"] {
                metadata[field] = before["metadata"][field].clone();
            }
        }
        if !self.annotations.is_empty() {
            metadata["annotations"] = Value::Object(self.annotations.clone());
        }
        if let Some(uid) = self.uid {
            metadata["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Service", "name": self.service, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }]);
        }
        json!({
            "addressType": group.address_type,
            "metadata": metadata,
            "endpoints": endpoints,
            "ports": group.ports,
        })
    }

    /// What has to be written so that the slices hold exactly `groups`.
    pub(super) fn pack(&self, state: &State, groups: Vec<Group>) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut existing = managed(state, self.namespace, self.service, self.manager);
        for mut group in groups {
            let (same, others) = existing.into_iter().partition(|(_, _, slice)| {
                slice["addressType"] == group.address_type
                    && items(slice, "/ports") == &group.ports[..]
            });
            existing = others;
            let same: Vec<Slice> = same;
            let mut bins: Vec<(Option<Slice>, Vec<Value>)> = Vec::new();
            // Who is in a slice stays there.
            for (name, found, slice) in same {
                let kept: Vec<Value> = items(&slice, "/endpoints")
                    .iter()
                    .filter_map(|old| {
                        let address = items(old, "/addresses").first()?.as_str()?;
                        group.endpoints.remove(address)
                    })
                    .collect();
                bins.push((Some((name, found, slice)), kept));
            }
            let mut rest = group
                .endpoints
                .values()
                .cloned()
                .collect::<Vec<_>>()
                .into_iter();
            for (_, endpoints) in &mut bins {
                let room = MOST.saturating_sub(endpoints.len());
                endpoints.extend(rest.by_ref().take(room));
            }
            loop {
                let more: Vec<Value> = rest.by_ref().take(MOST).collect();
                if more.is_empty() && !bins.is_empty() {
                    break;
                }
                bins.push((None, more));
            }
            let filled = bins
                .iter()
                .filter(|(_, endpoints)| !endpoints.is_empty())
                .count();
            let mut empty_kept = filled > 0;
            for (old, endpoints) in bins {
                // One slice stays for a service without endpoints.
                let drop = endpoints.is_empty() && std::mem::replace(&mut empty_kept, true);
                match old {
                    Some((name, found, _)) if drop => {
                        ops.push(delete(
                            &SLICES,
                            self.namespace,
                            &name,
                            Expect::Modified(found.modified),
                        ));
                    }
                    None if drop => {}
                    old => ops.extend(self.put(state, &group, endpoints, old)),
                }
            }
        }
        for (name, found, _) in existing {
            ops.push(delete(
                &SLICES,
                self.namespace,
                &name,
                Expect::Modified(found.modified),
            ));
        }
        ops
    }

    fn put(
        &self,
        state: &State,
        group: &Group,
        endpoints: Vec<Value>,
        old: Option<Slice>,
    ) -> Option<Op> {
        let Some((name, found, before)) = old else {
            let mut name = generated(&format!("{}-", self.service));
            while record(state, &SLICES, self.namespace, &name).is_some() {
                name = generated(&format!("{}-", self.service));
            }
            let slice = self.slice(&name, group, endpoints, None);
            return Some(put(&SLICES, self.namespace, &name, &slice, Expect::Absent));
        };
        let slice = self.slice(&name, group, endpoints, Some(&before));
        let same = object::encode(&SLICES, &slice) == found.bytes();
        (!same).then(|| {
            put(
                &SLICES,
                self.namespace,
                &name,
                &slice,
                Expect::Modified(found.modified),
            )
        })
    }
}
