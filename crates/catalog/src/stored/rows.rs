//! Rows of the tables, changes and batches: what only snapshots hold.

use super::codec::{Damaged, Reader, Stored, Writer};
use crate::change::{Batch, Change};
use crate::check::Check;
use crate::health::Health;
use crate::instance::Instance;
use crate::lease::Lease;
use crate::node::Node;
use crate::record::{Derived, Lock, Recognised, Record};
use crate::service::{EndpointRow, Namespace, Protocols, Service, ServiceMarks};
use crate::state::Marks;

stored_struct!(Instance {
    facts,
    admin,
    lapsed,
    health,
    created,
    modified,
    registered,
    created_at,
    modified_at,
    health_since,
});
stored_enum!(Health { 0 => Passing, 1 => Warning, 2 => Critical, 3 => Maintenance });
stored_struct!(EndpointRow {
    key,
    members,
    health,
    created,
    modified
});
stored_struct!(Service {
    key,
    spelling,
    label,
    declared_by,
    ephemeral,
    settings,
    created,
    modified
});
stored_struct!(ServiceMarks {
    members,
    changed,
    changed_at,
    empty_since
});
stored_struct!(Namespace {
    name,
    spelling,
    title,
    description,
    declared_by,
    created,
    modified
});
stored_struct!(Node {
    facts,
    admin,
    created,
    modified,
    modified_at
});
stored_struct!(Check {
    facts,
    status,
    reported,
    since,
    output,
    created,
    modified
});
stored_struct!(Record {
    value,
    version,
    flags,
    lease,
    lock,
    recognised,
    derived_from,
    extension,
    created,
    modified,
    created_at,
    modified_at,
});
stored_struct!(Lock { session, index });
stored_enum!(Recognised { 0 => None, 1 => One, 2 => Many(keys) });
stored_struct!(Derived { endpoint, layout });
stored_struct!(Lease {
    id,
    terms,
    generation,
    stage,
    granted_at
});
stored_struct!(Marks {
    nodes,
    services,
    instances,
    checks,
    sessions,
    services_gone,
    swept
});
stored_struct!(Batch {
    revision,
    at,
    cause,
    changes,
    services
});
macro_rules! stored_changes {
    ($(
        $variant:ident($row:ty) in $table:ident, $field:ident;
        key $key:ty, |$it:ident| $own:expr;
        stored $stored:literal, snapshot $snapshot:literal;
    )*) => {
        stored_enum!(Change {
            $( $stored => $variant { before, after }, )*
            7 => Record { space, key, before, after },
        });
    };
}

for_each_table!(stored_changes);

impl Stored for Protocols {
    fn put(&self, w: &mut Writer) {
        self.0.put(w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        u16::get(r).map(Protocols)
    }
}
