//! Nodes whose data is worked out when it is read: what ZooKeeper's servers write there themselves.

use portolan_catalog::{Key, KeyRange, Keyspace, Record, State};

const QUOTA: &str = "/zookeeper/quota";
const STATS: &str = "zookeeper_stats";

/// The data of such a node; none when it is an ordinary one. The use of a quota is that of the path below `/zookeeper/quota`, itself counted.
pub(super) fn computed(state: &State, key: &Key, record: &Record) -> Option<String> {
    let (parent, name) = key.as_text()?.split_once('\0')?;
    let of = parent.strip_prefix(QUOTA).filter(|_| name == STATS)?;
    record.value.as_ref()?;
    let own = Key::znode(of);
    let mut count = 0;
    let mut bytes = 0;
    if let Some(record) = state.znode(&own) {
        count = 1;
        bytes = record.bytes().len();
    }
    for below in ["\0", "/"] {
        let range = KeyRange::prefix(format!("{of}{below}").as_bytes());
        for (_, record) in state.range(Keyspace::Znodes, &range) {
            count += 1;
            bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
        }
    }
    Some(format!("count={count},bytes={bytes}"))
}
