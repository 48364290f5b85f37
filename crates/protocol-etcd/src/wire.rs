//! etcd's own messages and services, generated from `proto/`, in the protocol's own words.
//!
//! The clients are generated too: the tests and the benchmarks speak to any server through them.

#![allow(missing_docs, unreachable_pub, clippy::all)]

pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
pub mod authpb {
    tonic::include_proto!("authpb");
}
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// The encoded `FileDescriptorSet` of every service on the port, for whoever wants to enumerate the methods.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
