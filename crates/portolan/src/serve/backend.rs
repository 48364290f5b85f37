//! What stands behind the registry, as the native protocol shows it.

use std::io::{self, Write};
use std::sync::{Arc, Weak};

use portolan_catalog::State;
use portolan_protocol_native::{Backend, Standing};
use portolan_replica::Replica;
use portolan_replica::snapshot::{self, Head};

/// The replica, held weakly: a request that outlives the server keeps nothing open.
#[derive(Debug)]
pub(crate) struct OwnBackend(Weak<Replica>);

impl OwnBackend {
    pub(crate) fn new(replica: &Arc<Replica>) -> Self {
        OwnBackend(Arc::downgrade(replica))
    }
}

impl Backend for OwnBackend {
    fn standing(&self) -> Standing {
        let Some(replica) = self.0.upgrade() else {
            return Standing::default();
        };
        let status = replica.status();
        Standing {
            leads: status.leader == Some(status.node_id),
            term: status.term,
            last_index: status.last_index,
            applied_index: status.applied_index,
            disk_full: status.disk_full,
            failed: replica.failed(),
        }
    }

    fn snapshot(&self, state: &State, to: &mut dyn Write) -> io::Result<u64> {
        let cluster_id = self
            .0
            .upgrade()
            .map_or(0, |replica| replica.identity().cluster_id);
        let head = Head {
            cluster_id,
            revision: state.revision().0,
            at_ms: state.last_at().0,
            ..Head::default()
        };
        snapshot::write(state, &head, to)
    }
}
