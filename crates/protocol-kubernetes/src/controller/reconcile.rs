//! One service: what there should be for it, and what has to be written for that.

use std::sync::Arc;

use portolan_catalog::{
    Cause, Command, EndpointRow, Expect, Host, Op, Protocol, ServiceKey, State, Why,
};
use serde_json::{Map, Value, json};

use super::index::Index;
use super::slices::{Group, Owner, managed};
use super::{Later, endpoints, shared, write};
use crate::app::{App, delete, put, record};
use crate::instances::{MANAGED_BY, OURS};
use crate::kind::{ENDPOINTS, NAMESPACES, SERVICES};
use crate::names::is_label;
use crate::object::{self, label, meta};
use crate::service;

/// Who makes slices of pods, in the words of a cluster.
const OF_PODS: &str = "endpointslice-controller.k8s.io";
/// Who makes slices of Endpoints that somebody wrote.
const OF_WRITTEN: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of Endpoints that are made of pods.
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const ENDPOINTS_MANAGER: &str = "endpoint-controller";
/// Says that Endpoints are not to be made into slices.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Has everything about a service be as it should.
pub(super) async fn service(
    app: &App,
    index: &Index,
    namespace: &str,
    name: &str,
) -> Result<(), Later> {
    if !is_label(namespace) || !is_label(name) {
        return Ok(());
    }
    let state = app.registry.snapshot();
    let object = record(&state, &SERVICES, namespace, name).map(|found| object::decode(found));
    let key = shared::key_of(&state, namespace, name);
    let place = Place {
        app,
        state: &state,
        namespace,
        name,
        key,
    };
    let mut ops = match &object {
        Some(object) if !is_ours(object) => place.written(index, object),
        ours => place.foreign(ours.as_ref()),
    };
    if !ops.is_empty() {
        ops.sort_by_key(|op| !matches!(op, Op::Put(_)));
        write(app, ops).await?;
    }
    place
        .declare(object.as_ref().filter(|object| !is_ours(object)))
        .await
}

fn is_ours(object: &Value) -> bool {
    label(object, MANAGED_BY) == Some(OURS)
}

struct Place<'a> {
    app: &'a App,
    state: &'a State,
    namespace: &'a str,
    name: &'a str,
    key: ServiceKey,
}

impl Place<'_> {
    fn owner(&self, manager: &'static str) -> Owner<'_> {
        Owner {
            namespace: self.namespace,
            service: self.name,
            manager,
            labels: Map::new(),
            annotations: Map::new(),
            uid: None,
            created: object::time(self.app.registry.now()),
        }
    }

    /// For a Service that a client wrote.
    fn written(&self, index: &Index, service: &Value) -> Vec<Op> {
        let mut labels = service["metadata"]["labels"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        labels.remove(HEADLESS);
        if service::is_headless(service) {
            labels.insert(HEADLESS.into(), "".into());
        }
        let owned = |manager| Owner {
            labels: labels.clone(),
            uid: Some(meta(service, "uid")),
            ..self.owner(manager)
        };
        let mut ops = Vec::new();
        let written = record(self.state, &ENDPOINTS, self.namespace, self.name)
            .map(|found| (object::decode(found), found.modified));
        if self.namespace == "default" && self.name == "kubernetes" {
            return self.own_endpoints(service);
        }
        if service::selects(service) {
            let groups = endpoints::selected(self.state, index, service);
            ops.extend(self.endpoints(service, &labels, &groups));
            ops.extend(owned(OF_PODS).pack(self.state, groups));
            ops.extend(self.none(OF_WRITTEN));
        } else {
            ops.extend(self.none(OF_PODS));
            let own = written.as_ref().map(|(object, _)| object);
            // What was made of pods is not somebody's.
            let own = own.filter(|own| label(own, SKIP) != Some("true") && !is_ours(own));
            match own {
                Some(own) if label(own, ENDPOINTS_MANAGED_BY).is_none() => {
                    let own_labels = own["metadata"]["labels"]
                        .as_object()
                        .cloned()
                        .unwrap_or_default();
                    let owner = Owner {
                        labels: own_labels,
                        ..owned(OF_WRITTEN)
                    };
                    ops.extend(owner.pack(self.state, endpoints::written(own)));
                }
                _ => ops.extend(self.none(OF_WRITTEN)),
            }
        }
        let foreign: Vec<&EndpointRow> = shared::foreign(self.state, &self.key).collect();
        match foreign.is_empty() || self.state.is_own_service(&self.key) {
            true => ops.extend(self.none(OURS)),
            false => {
                let groups = shared::groups(&foreign);
                ops.extend(owned(OURS).pack(self.state, groups));
            }
        }
        ops
    }

    /// No slices of a manager.
    fn none(&self, manager: &str) -> Vec<Op> {
        let all = managed(self.state, self.namespace, self.name, manager).into_iter();
        all.map(|(name, found, _)| {
            let expect = Expect::Modified(found.modified);
            delete(&crate::kind::SLICES, self.namespace, &name, expect)
        })
        .collect()
    }

    /// The Endpoints beside slices.
    fn endpoints(
        &self,
        service: &Value,
        labels: &Map<String, Value>,
        groups: &[Group],
    ) -> Option<Op> {
        let (subsets, over) = endpoints::subsets(groups);
        let mut labels = labels.clone();
        let manager = if is_ours(service) {
            OURS
        } else {
            ENDPOINTS_MANAGER
        };
        match is_ours(service) {
            true => labels.insert(MANAGED_BY.into(), OURS.into()),
            false => labels.insert(ENDPOINTS_MANAGED_BY.into(), manager.into()),
        };
        let found = record(self.state, &ENDPOINTS, self.namespace, self.name);
        let before = found.map(|found| object::decode(found));
        let mut metadata = json!({
            "name": self.name,
            "namespace": self.namespace,
            "labels": labels,
            "uid": object::uid(),
            "creationTimestamp": object::time(self.app.registry.now()),
        });
        if let Some(before) = &before {
            for field in ["uid", "creationTimestamp"] {
                metadata[field] = before["metadata"][field].clone();
            }
        }
        if over {
            metadata["annotations"] = json!({endpoints::OVER: "truncated"});
        }
        let mut object = json!({"metadata": metadata});
        if subsets.as_array().is_some_and(|all| !all.is_empty()) {
            object["subsets"] = subsets;
        }
        let same = found.is_some_and(|found| object::encode(&ENDPOINTS, &object) == found.bytes());
        let expect = found.map_or(Expect::Absent, |found| Expect::Modified(found.modified));
        (!same).then(|| put(&ENDPOINTS, self.namespace, self.name, &object, expect))
    }

    /// The service `kubernetes` is this server.
    fn own_endpoints(&self, service: &Value) -> Vec<Op> {
        let address = self.app.address;
        let ip = address.ip().to_string();
        let mut group = Group {
            address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" },
            ports: vec![json!({"name": "https", "port": address.port(), "protocol": "TCP"})],
            ..Group::default()
        };
        let endpoint = json!({"addresses": [ip], "conditions": {"ready": true}});
        group.endpoints.insert(ip, endpoint);
        let labels = Map::new();
        let mut ops: Vec<Op> = self
            .endpoints(service, &labels, std::slice::from_ref(&group))
            .into_iter()
            .collect();
        let owner = Owner {
            uid: Some(meta(service, "uid")),
            ..self.owner(OF_PODS)
        };
        ops.extend(owner.pack(self.state, vec![group]));
        ops
    }

    /// For a service that others registered, or nobody any longer.
    fn foreign(&self, ours: Option<&Value>) -> Vec<Op> {
        let mut ops = self.none(OF_PODS);
        ops.extend(self.none(OF_WRITTEN));
        let rows: Vec<&EndpointRow> = shared::foreign(self.state, &self.key).collect();
        let known = self.state.service(&self.key).filter(|row| {
            let only_here = portolan_catalog::Protocols::default().with(Protocol::Kubernetes);
            row.declared_by.is_empty() || row.declared_by != only_here
        });
        let remains = known.is_some() && ours.is_some();
        let own = self.state.is_own_service(&self.key);
        if own || rows.is_empty() && !remains {
            ops.extend(self.none(OURS));
            if let Some(found) =
                record(self.state, &SERVICES, self.namespace, self.name).filter(|_| ours.is_some())
            {
                let expect = Expect::Modified(found.modified);
                ops.push(delete(&SERVICES, self.namespace, self.name, expect));
            }
            let endpoints = record(self.state, &ENDPOINTS, self.namespace, self.name);
            if let Some(found) = endpoints.filter(|found| is_made(&object::decode(found))) {
                let expect = Expect::Modified(found.modified);
                ops.push(delete(&ENDPOINTS, self.namespace, self.name, expect));
            }
            return ops;
        }
        ops.extend(self.namespace());
        let annotations = shared::annotations(self.state, &self.key, self.name, &rows);
        let mut labels = Map::new();
        labels.insert(MANAGED_BY.into(), OURS.into());
        let mut metadata = json!({
            "name": self.name,
            "namespace": self.namespace,
            "labels": labels,
            "annotations": annotations,
            "uid": object::uid(),
            "creationTimestamp": object::time(self.app.registry.now()),
        });
        if let Some(ours) = ours {
            for field in ["uid", "creationTimestamp"] {
                metadata[field] = ours["metadata"][field].clone();
            }
        }
        let family = self.app.ranges.addresses.family();
        let mut ports = shared::service_ports(&rows);
        if let Some(ours) = ours.filter(|_| rows.is_empty()) {
            ports = object::items(ours, "/spec/ports").to_vec();
            metadata["annotations"] = ours["metadata"]["annotations"].clone();
        }
        let service = json!({"metadata": metadata, "spec": {
            "clusterIP": "None", "clusterIPs": ["None"], "internalTrafficPolicy": "Cluster", "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack", "ports": ports, "sessionAffinity": "None", "type": "ClusterIP",
        }, "status": {"loadBalancer": {}}});
        let found = record(self.state, &SERVICES, self.namespace, self.name);
        if found.is_none_or(|found| object::encode(&SERVICES, &service) != found.bytes()) {
            let expect = found.map_or(Expect::Absent, |found| Expect::Modified(found.modified));
            ops.push(put(&SERVICES, self.namespace, self.name, &service, expect));
        }
        let uid = meta(&service, "uid").to_owned();
        let groups = match rows.is_empty() {
            true => vec![Group {
                address_type: family,
                ..Group::default()
            }],
            false => shared::groups(&rows),
        };
        ops.extend(self.endpoints(&service, &Map::new(), &groups));
        let mut labels = Map::new();
        labels.insert(HEADLESS.into(), "".into());
        let owner = Owner {
            labels,
            annotations,
            uid: Some(&uid),
            ..self.owner(OURS)
        };
        ops.extend(owner.pack(self.state, groups));
        ops
    }

    /// The namespace of a service that others registered.
    fn namespace(&self) -> Option<Op> {
        if record(self.state, &NAMESPACES, "", self.namespace).is_some() {
            return None;
        }
        let object = json!({
            "metadata": {
                "name": self.namespace,
                "uid": object::uid(),
                "creationTimestamp": object::time(self.app.registry.now()),
                "labels": {"kubernetes.io/metadata.name": self.namespace},
            },
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        Some(put(
            &NAMESPACES,
            "",
            self.namespace,
            &object,
            Expect::Absent,
        ))
    }

    /// What a Service says of its addresses, for those who resolve its name.
    async fn declare(&self, service: Option<&Value>) -> Result<(), Later> {
        let state = self.app.registry.snapshot();
        let row = state.service(&self.key);
        let addresses: Vec<Host> = service
            .map(|service| {
                service::addresses(service)
                    .into_iter()
                    .map(Host::new)
                    .collect()
            })
            .unwrap_or_default();
        let was = row.is_some_and(|row| row.declared_by.contains(Protocol::Kubernetes));
        let settings = row.map(|row| row.settings.clone()).unwrap_or_default();
        let wanted = Arc::new(portolan_catalog::ServiceSettings {
            addresses: addresses.into(),
            ..(*settings).clone()
        });
        let mine = self.namespace == "default" && self.name == "kubernetes";
        let declare = |settings| Command::Declare {
            service: self.key.clone(),
            spelling: self.name.into(),
            protocol: Protocol::Kubernetes,
            settings: Some(settings),
            ephemeral: None,
            create_only: false,
        };
        match service {
            _ if mine => Ok(()),
            Some(_) if was && wanted == settings => Ok(()),
            Some(_) => self.propose(declare(wanted)).await,
            None if !was => Ok(()),
            None => {
                if wanted != settings {
                    self.propose(declare(wanted)).await?;
                }
                let members = self
                    .app
                    .registry
                    .read(|state| state.endpoints(&self.key).next().is_some());
                match members {
                    // As long as others are registered there, the declaration stays; it says nothing.
                    true => Ok(()),
                    false => {
                        let forget = Command::Forget {
                            service: self.key.clone(),
                            protocol: Some(Protocol::Kubernetes),
                        };
                        self.propose(forget).await
                    }
                }
            }
        }
    }

    async fn propose(&self, command: Command) -> Result<(), Later> {
        let settled = self
            .app
            .registry
            .propose(Cause::own(Why::Housekeeping), command)
            .await;
        match settled {
            Ok(settled) => match settled.outcome {
                Ok(_) => Ok(()),
                Err(refusal) => {
                    tracing::debug!(?refusal, service = self.name, "a declaration was refused");
                    Err(Later::Again)
                }
            },
            Err(_unavailable) => Err(Later::Unavailable),
        }
    }
}

/// Whether Endpoints were made by the server.
fn is_made(endpoints: &Value) -> bool {
    is_ours(endpoints) || label(endpoints, ENDPOINTS_MANAGED_BY) == Some(ENDPOINTS_MANAGER)
}
