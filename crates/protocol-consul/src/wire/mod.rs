//! Consul's own words: bodies, answers, query strings, durations.

mod duration;
mod fields;
mod params;
mod prepared;
mod requests;
mod shapes;
mod txn;

pub(crate) use duration::{parse_duration, print_duration, print_millis};
pub(crate) use fields::{Fields, Malformed, fold};
pub(crate) use params::{Consistency, Params, ReadOptions, is_cache_control, parse_bool};
pub(crate) use prepared::PreparedQuery;
pub(crate) use requests::{CheckBody, DefinitionBody, NodeBody, ServiceBody, SessionBody};
pub(crate) use shapes::{
    AgentHealth, CatalogService, HealthCheck, KvPair, Locality, MapOf, NamedPort, Node,
    NodeService, Pairs, ServiceCheck, ServiceEntry, Session, TaggedAddress, Text, Weights,
};
pub(crate) use txn::{KvOperation, Operation, operations};
