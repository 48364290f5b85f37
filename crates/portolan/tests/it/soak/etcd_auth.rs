//! The long history of users with different roles beside a real etcd.

use crate::need_binary;

#[test]
fn users_with_different_roles_are_answered_like_by_etcd_for_long() {
    need_binary!();
    crate::etcd_auth::compare("soak: etcd-auth", 20_000);
}
