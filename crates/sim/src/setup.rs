//! How the servers of a simulation are configured: as the binary does it, with small files, so that they fill and change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::layout::{Form, LayoutState, Mode};
use portolan_catalog::{
    Bootstrap, CheckFacts, CheckKey, Endpoint, Host, InstanceKey, NodeFacts, Protocol,
    Registration, ServiceKey, Timestamp,
};
use portolan_environment::{Environment, Transport};
use portolan_registry::Limits;
use portolan_replica::disk::Disk;
use portolan_replica::space::SpaceOptions;
use portolan_replica::{Cluster, Directory, Membership, Options, place};

/// The cluster's id.
pub(crate) const CLUSTER: u64 = 99;

/// Snapshots after less than this are those of a run with faults, in which files have to fill.
const SMALL: u64 = 1 << 20;

/// What one server is.
pub(crate) struct Own {
    /// Its place among the servers, from 1 on.
    pub(crate) id: u64,
    /// Its id in the cluster.
    pub(crate) node: u64,
    /// Whether it is one of those that the cluster begins with; otherwise it asks to be taken in.
    pub(crate) founds: bool,
    /// How many the cluster begins with.
    pub(crate) servers: u64,
    pub(crate) snapshot_bytes: u64,
}

/// Name and address of a server.
pub(crate) fn name(id: u64) -> String {
    format!("server-{id}")
}

/// The options of its replica; what happens when it cannot go on is left to the caller.
pub(crate) fn options(
    own: &Own,
    disk: Arc<dyn Disk>,
    outside: Arc<dyn Environment>,
    transport: Arc<dyn Transport>,
) -> Options {
    let mut options = Options::new(
        Directory::Disk(disk),
        &name(own.id),
        bootstrap(own.id),
        Arc::new(move || Timestamp(outside.wall_ms())),
    );
    options.snapshot_bytes = own.snapshot_bytes;
    // Small files where snapshots are small.
    if own.snapshot_bytes < SMALL {
        options.space = SpaceOptions {
            segment_bytes: 64 << 10,
            first_segment_bytes: 32 << 10,
            reserve_bytes: 16 << 10,
            margin_bytes: 4 << 10,
        };
        options.limits = Limits {
            decision: Duration::from_secs(3),
            ..Limits::default()
        };
    }
    let founders = (1..=own.servers).map(|id| (id, place(&name(id), &name(id))));
    options.cluster = Some(Cluster {
        cluster_id: CLUSTER,
        node_id: own.node,
        members: match own.founds {
            true => founders.collect(),
            false => BTreeMap::new(),
        },
    });
    let others = (1..=own.servers).filter(|id| *id != own.id).map(name);
    options.transport = transport;
    options.member = Membership {
        address: name(own.id),
        join: match own.founds {
            true => Vec::new(),
            false => others.collect(),
        },
        ..Membership::default()
    };
    options
}

/// Records of Kitex, which derive from the beginning.
fn kitex() -> LayoutState {
    LayoutState {
        mode: Mode::Awake,
        ..LayoutState::asleep(Form::Kitex)
    }
}

fn bootstrap(id: u64) -> Bootstrap {
    let node = NodeFacts::new(&name(id), Host::new("127.0.0.1"));
    let mut service = Registration::new(
        InstanceKey::new(Protocol::Portolan, format!("{}/consul", name(id))),
        ServiceKey::plain("consul"),
        Endpoint::new(Host::new("127.0.0.1"), 8300),
    );
    service.node = node.name.clone();
    let check = CheckFacts::new(
        CheckKey::new(&node.name, "serfHealth"),
        "Serf Health Status",
    );
    Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: vec![Arc::new(check)],
        layouts: vec![("kitex".into(), kitex())],
    }
}
