//! The JSON gateway beside etcd's, for longer than every change has time for.

use crate::etcd_gateway::compare;

#[test]
fn the_gateways_answer_alike_for_long() {
    compare("soak: etcd gateway", 20_000);
}
