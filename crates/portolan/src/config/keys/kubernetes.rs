//! What the Kubernetes API gives Services, and its own limits.

use super::super::bounds::{ANY, KIB, MIB, bounds};
use super::super::key::{Area, bytes, one};

pub(super) static AREA: Area = Area {
    heading: "Kubernetes",
    keys: &[
        one!(
            "kubernetes-service-range",
            "RANGE",
            "Addresses that Services get (service-cluster-ip-range); the same on every server",
            kubernetes.service_range
        ),
        one!(
            "kubernetes-node-ports",
            "RANGE",
            "Ports that Services of type NodePort get (service-node-port-range); the same on every server",
            kubernetes.node_ports
        ),
        bytes!(
            "kubernetes-object-bytes",
            "Size of one object",
            kubernetes.object_bytes
        ),
        one!(
            "kubernetes-watches",
            "N",
            "Kubernetes watches that are open at a time",
            kubernetes.watches
        ),
    ],
    bounds: bounds! {
        "kubernetes-object-bytes" size kubernetes.object_bytes, 16 * KIB, 64 * MIB, Bytes;
        "kubernetes-watches" size kubernetes.watches, 1, ANY, Ones;
    },
};
