//! As the short runs that every change makes, over a hundred changes.

use crate::xds::{channels, envoy};

/// No call of a channel or through a proxy fails.
#[test]
fn a_hundred_changes_fail_no_call() {
    channels("soak: grpc-go", "xds-go", 100);
    channels("soak: grpcio", "xds-python", 100);
    envoy("soak: Envoy", false, 100);
    envoy("soak: Envoy with differences", true, 100);
}
