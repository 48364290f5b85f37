//! Consul's own words: bodies, answers, query strings, durations.

mod duration;
mod fields;
mod params;
mod requests;
mod shapes;

pub(crate) use duration::{parse_duration, print_duration, print_millis, quote};
pub(crate) use fields::{Fields, Malformed};
pub(crate) use params::{Consistency, Params, ReadOptions, parse_bool};
pub(crate) use requests::{CheckBody, DefinitionBody, NodeBody, ServiceBody, SessionBody};
pub(crate) use shapes::{
    AgentHealth, CatalogService, Empty, HealthCheck, KvPair, Locality, MapOf, NamedPort, Node,
    NodeService, Pairs, ServiceCheck, ServiceEntry, Session, TaggedAddress, Text, Weights,
};
