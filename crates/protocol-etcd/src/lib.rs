//! etcd v3 front end.
pub mod wire;
