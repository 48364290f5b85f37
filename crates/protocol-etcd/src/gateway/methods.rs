//! The paths of the gateway, each with the gRPC method it leads to and the shapes of the two messages.

use crate::wire::shape::{self, MessageShape};

/// Which of the two sides sends many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// Neither.
    One,
    /// The server.
    Replies,
    /// Both.
    Both,
}

/// A method.
#[derive(Debug)]
pub(super) struct Row {
    /// Behind `/v3/`.
    pub(super) paths: &'static [&'static str],
    /// Of gRPC.
    pub(super) path: &'static str,
    pub(super) asks: &'static MessageShape,
    pub(super) replies: &'static MessageShape,
    pub(super) calls: Calls,
}

macro_rules! row {
    ($calls:ident, $($json:literal)|+, $path:literal, $asks:ident, $replies:ident) => {
        Row {
            paths: &[$($json),+],
            path: $path,
            asks: &shape::$asks,
            replies: &shape::$replies,
            calls: Calls::$calls,
        }
    };
}

#[rustfmt::skip]
static ROWS: &[Row] = &[
    row!(One, "kv/range", "/etcdserverpb.KV/Range", ETCDSERVERPB_RANGEREQUEST, ETCDSERVERPB_RANGERESPONSE),
    row!(One, "kv/put", "/etcdserverpb.KV/Put", ETCDSERVERPB_PUTREQUEST, ETCDSERVERPB_PUTRESPONSE),
    row!(One, "kv/deleterange", "/etcdserverpb.KV/DeleteRange", ETCDSERVERPB_DELETERANGEREQUEST, ETCDSERVERPB_DELETERANGERESPONSE),
    row!(One, "kv/txn", "/etcdserverpb.KV/Txn", ETCDSERVERPB_TXNREQUEST, ETCDSERVERPB_TXNRESPONSE),
    row!(One, "kv/compaction", "/etcdserverpb.KV/Compact", ETCDSERVERPB_COMPACTIONREQUEST, ETCDSERVERPB_COMPACTIONRESPONSE),
    row!(Both, "watch", "/etcdserverpb.Watch/Watch", ETCDSERVERPB_WATCHREQUEST, ETCDSERVERPB_WATCHRESPONSE),
    row!(One, "lease/grant", "/etcdserverpb.Lease/LeaseGrant", ETCDSERVERPB_LEASEGRANTREQUEST, ETCDSERVERPB_LEASEGRANTRESPONSE),
    row!(One, "lease/revoke" | "kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke", ETCDSERVERPB_LEASEREVOKEREQUEST, ETCDSERVERPB_LEASEREVOKERESPONSE),
    row!(Both, "lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive", ETCDSERVERPB_LEASEKEEPALIVEREQUEST, ETCDSERVERPB_LEASEKEEPALIVERESPONSE),
    row!(One, "lease/timetolive" | "kv/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive", ETCDSERVERPB_LEASETIMETOLIVEREQUEST, ETCDSERVERPB_LEASETIMETOLIVERESPONSE),
    row!(One, "lease/leases" | "kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases", ETCDSERVERPB_LEASELEASESREQUEST, ETCDSERVERPB_LEASELEASESRESPONSE),
    row!(One, "cluster/member/add", "/etcdserverpb.Cluster/MemberAdd", ETCDSERVERPB_MEMBERADDREQUEST, ETCDSERVERPB_MEMBERADDRESPONSE),
    row!(One, "cluster/member/remove", "/etcdserverpb.Cluster/MemberRemove", ETCDSERVERPB_MEMBERREMOVEREQUEST, ETCDSERVERPB_MEMBERREMOVERESPONSE),
    row!(One, "cluster/member/update", "/etcdserverpb.Cluster/MemberUpdate", ETCDSERVERPB_MEMBERUPDATEREQUEST, ETCDSERVERPB_MEMBERUPDATERESPONSE),
    row!(One, "cluster/member/list", "/etcdserverpb.Cluster/MemberList", ETCDSERVERPB_MEMBERLISTREQUEST, ETCDSERVERPB_MEMBERLISTRESPONSE),
    row!(One, "cluster/member/promote", "/etcdserverpb.Cluster/MemberPromote", ETCDSERVERPB_MEMBERPROMOTEREQUEST, ETCDSERVERPB_MEMBERPROMOTERESPONSE),
    row!(One, "maintenance/alarm", "/etcdserverpb.Maintenance/Alarm", ETCDSERVERPB_ALARMREQUEST, ETCDSERVERPB_ALARMRESPONSE),
    row!(One, "maintenance/status", "/etcdserverpb.Maintenance/Status", ETCDSERVERPB_STATUSREQUEST, ETCDSERVERPB_STATUSRESPONSE),
    row!(One, "maintenance/defragment", "/etcdserverpb.Maintenance/Defragment", ETCDSERVERPB_DEFRAGMENTREQUEST, ETCDSERVERPB_DEFRAGMENTRESPONSE),
    row!(One, "maintenance/hash", "/etcdserverpb.Maintenance/Hash", ETCDSERVERPB_HASHREQUEST, ETCDSERVERPB_HASHRESPONSE),
    row!(One, "maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV", ETCDSERVERPB_HASHKVREQUEST, ETCDSERVERPB_HASHKVRESPONSE),
    row!(Replies, "maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot", ETCDSERVERPB_SNAPSHOTREQUEST, ETCDSERVERPB_SNAPSHOTRESPONSE),
    row!(One, "maintenance/transfer-leadership", "/etcdserverpb.Maintenance/MoveLeader", ETCDSERVERPB_MOVELEADERREQUEST, ETCDSERVERPB_MOVELEADERRESPONSE),
    row!(One, "maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade", ETCDSERVERPB_DOWNGRADEREQUEST, ETCDSERVERPB_DOWNGRADERESPONSE),
    row!(One, "auth/enable", "/etcdserverpb.Auth/AuthEnable", ETCDSERVERPB_AUTHENABLEREQUEST, ETCDSERVERPB_AUTHENABLERESPONSE),
    row!(One, "auth/disable", "/etcdserverpb.Auth/AuthDisable", ETCDSERVERPB_AUTHDISABLEREQUEST, ETCDSERVERPB_AUTHDISABLERESPONSE),
    row!(One, "auth/status", "/etcdserverpb.Auth/AuthStatus", ETCDSERVERPB_AUTHSTATUSREQUEST, ETCDSERVERPB_AUTHSTATUSRESPONSE),
    row!(One, "auth/authenticate", "/etcdserverpb.Auth/Authenticate", ETCDSERVERPB_AUTHENTICATEREQUEST, ETCDSERVERPB_AUTHENTICATERESPONSE),
    row!(One, "auth/user/add", "/etcdserverpb.Auth/UserAdd", ETCDSERVERPB_AUTHUSERADDREQUEST, ETCDSERVERPB_AUTHUSERADDRESPONSE),
    row!(One, "auth/user/get", "/etcdserverpb.Auth/UserGet", ETCDSERVERPB_AUTHUSERGETREQUEST, ETCDSERVERPB_AUTHUSERGETRESPONSE),
    row!(One, "auth/user/list", "/etcdserverpb.Auth/UserList", ETCDSERVERPB_AUTHUSERLISTREQUEST, ETCDSERVERPB_AUTHUSERLISTRESPONSE),
    row!(One, "auth/user/delete", "/etcdserverpb.Auth/UserDelete", ETCDSERVERPB_AUTHUSERDELETEREQUEST, ETCDSERVERPB_AUTHUSERDELETERESPONSE),
    row!(One, "auth/user/changepw", "/etcdserverpb.Auth/UserChangePassword", ETCDSERVERPB_AUTHUSERCHANGEPASSWORDREQUEST, ETCDSERVERPB_AUTHUSERCHANGEPASSWORDRESPONSE),
    row!(One, "auth/user/grant", "/etcdserverpb.Auth/UserGrantRole", ETCDSERVERPB_AUTHUSERGRANTROLEREQUEST, ETCDSERVERPB_AUTHUSERGRANTROLERESPONSE),
    row!(One, "auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole", ETCDSERVERPB_AUTHUSERREVOKEROLEREQUEST, ETCDSERVERPB_AUTHUSERREVOKEROLERESPONSE),
    row!(One, "auth/role/add", "/etcdserverpb.Auth/RoleAdd", ETCDSERVERPB_AUTHROLEADDREQUEST, ETCDSERVERPB_AUTHROLEADDRESPONSE),
    row!(One, "auth/role/get", "/etcdserverpb.Auth/RoleGet", ETCDSERVERPB_AUTHROLEGETREQUEST, ETCDSERVERPB_AUTHROLEGETRESPONSE),
    row!(One, "auth/role/list", "/etcdserverpb.Auth/RoleList", ETCDSERVERPB_AUTHROLELISTREQUEST, ETCDSERVERPB_AUTHROLELISTRESPONSE),
    row!(One, "auth/role/delete", "/etcdserverpb.Auth/RoleDelete", ETCDSERVERPB_AUTHROLEDELETEREQUEST, ETCDSERVERPB_AUTHROLEDELETERESPONSE),
    row!(One, "auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission", ETCDSERVERPB_AUTHROLEGRANTPERMISSIONREQUEST, ETCDSERVERPB_AUTHROLEGRANTPERMISSIONRESPONSE),
    row!(One, "auth/role/revoke", "/etcdserverpb.Auth/RoleRevokePermission", ETCDSERVERPB_AUTHROLEREVOKEPERMISSIONREQUEST, ETCDSERVERPB_AUTHROLEREVOKEPERMISSIONRESPONSE),
    row!(One, "lock/lock", "/v3lockpb.Lock/Lock", V3LOCKPB_LOCKREQUEST, V3LOCKPB_LOCKRESPONSE),
    row!(One, "lock/unlock", "/v3lockpb.Lock/Unlock", V3LOCKPB_UNLOCKREQUEST, V3LOCKPB_UNLOCKRESPONSE),
    row!(One, "election/campaign", "/v3electionpb.Election/Campaign", V3ELECTIONPB_CAMPAIGNREQUEST, V3ELECTIONPB_CAMPAIGNRESPONSE),
    row!(One, "election/proclaim", "/v3electionpb.Election/Proclaim", V3ELECTIONPB_PROCLAIMREQUEST, V3ELECTIONPB_PROCLAIMRESPONSE),
    row!(One, "election/leader", "/v3electionpb.Election/Leader", V3ELECTIONPB_LEADERREQUEST, V3ELECTIONPB_LEADERRESPONSE),
    row!(Replies, "election/observe", "/v3electionpb.Election/Observe", V3ELECTIONPB_LEADERREQUEST, V3ELECTIONPB_LEADERRESPONSE),
    row!(One, "election/resign", "/v3electionpb.Election/Resign", V3ELECTIONPB_RESIGNREQUEST, V3ELECTIONPB_RESIGNRESPONSE),
];

/// The method of a path behind `/v3/`.
pub(super) fn find(path: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.paths.contains(&path))
}

/// One of the methods.
pub(super) fn any(choice: u8) -> &'static Row {
    &ROWS[usize::from(choice) % ROWS.len()]
}

/// Paths of JSON and of gRPC: `("kv/range", "/etcdserverpb.KV/Range")`.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = ROWS.iter();
    rows.flat_map(|row| row.paths.iter().map(|path| (*path, row.path)))
}
