//! One server, asked; its answers as text, without revisions, ids and times, which are each server's own.

use std::collections::HashMap;
use std::net::SocketAddr;

use portolan_protocol_etcd::wire::authpb::Permission;
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use portolan_protocol_etcd::wire::etcdserverpb::response_op::Response as Done;
use portolan_protocol_etcd::wire::mvccpb::KeyValue;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::calls::Call;
use crate::harness::etcd::Etcd;

pub struct Side {
    address: SocketAddr,
    channel: Channel,
    /// Tokens by user, as this server gave them.
    tokens: HashMap<&'static str, String>,
}

impl Side {
    pub async fn connect(address: SocketAddr) -> Result<Side, String> {
        Ok(Side {
            address,
            channel: Etcd::connect(address).await?.channel,
            tokens: HashMap::new(),
        })
    }

    /// Goes on over another connection.
    pub async fn reconnect(&mut self) -> Result<(), String> {
        self.channel = Etcd::connect(self.address).await?.channel;
        Ok(())
    }

    /// What the call of a user is answered. A user without a token shows none.
    pub async fn answer(&mut self, user: &'static str, call: &Call) -> String {
        match self.ask(user, call).await {
            Ok(answer) => answer,
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        }
    }

    fn by<T>(&self, user: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.tokens.get(user) {
            let token = token.parse().expect("a token is text");
            request.metadata_mut().insert("token", token);
        }
        request
    }

    async fn ask(&mut self, user: &'static str, call: &Call) -> Result<String, Status> {
        let mut kv = pb::kv_client::KvClient::new(self.channel.clone());
        let mut lease = pb::lease_client::LeaseClient::new(self.channel.clone());
        let mut auth = pb::auth_client::AuthClient::new(self.channel.clone());
        let mut cluster = pb::cluster_client::ClusterClient::new(self.channel.clone());
        let mut maintenance = pb::maintenance_client::MaintenanceClient::new(self.channel.clone());
        macro_rules! done {
            ($client:ident.$method:ident($message:expr)) => {
                $client.$method(self.by(user, $message)).await?.into_inner()
            };
        }
        Ok(match call.clone() {
            Call::Range(request) => range(&done!(kv.range(request))),
            Call::Put(request) => put(&done!(kv.put(request))),
            Call::Delete(request) => delete(&done!(kv.delete_range(request))),
            Call::Txn(request) => txn(&done!(kv.txn(request))),
            Call::Compact => {
                let request = pb::CompactionRequest {
                    revision: i64::MAX,
                    physical: false,
                };
                done!(kv.compact(request));
                "compacted".to_owned()
            }
            Call::Watch(request) => {
                let create = pb::watch_request::RequestUnion::CreateRequest(request);
                let once = pb::WatchRequest {
                    request_union: Some(create),
                };
                // The stream of requests stays open until the answer has come.
                let requests = tokio_stream::iter([once]).chain(tokio_stream::pending());
                let mut watch = pb::watch_client::WatchClient::new(self.channel.clone());
                let mut answers = watch.watch(self.by(user, requests)).await?.into_inner();
                let answer = answers.message().await?.unwrap_or_default();
                let reason = answer.cancel_reason;
                format!("{} {} {reason}", answer.created, answer.canceled)
            }
            Call::Grant(id) => {
                let granted = done!(lease.lease_grant(pb::LeaseGrantRequest { id, ttl: 6000 }));
                format!("{} {}", granted.id, granted.ttl)
            }
            Call::Revoke(id) => {
                done!(lease.lease_revoke(pb::LeaseRevokeRequest { id }));
                "revoked".to_owned()
            }
            Call::TimeToLive(id, keys) => {
                let request = pb::LeaseTimeToLiveRequest { id, keys };
                let mut told = done!(lease.lease_time_to_live(request));
                told.keys.sort();
                let there = told.ttl >= 0;
                format!("{there} {} {:?}", told.granted_ttl, told.keys)
            }
            Call::Leases => {
                let leases = done!(lease.lease_leases(pb::LeaseLeasesRequest {})).leases;
                let mut ids: Vec<_> = leases.iter().map(|lease| lease.id).collect();
                ids.sort();
                format!("{ids:?}")
            }
            Call::KeepAlive(id) => {
                let once = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
                let mut answers = done!(lease.lease_keep_alive(once));
                let answer = answers.message().await?.unwrap_or_default();
                format!("{} {}", answer.id, answer.ttl)
            }
            Call::Status => {
                done!(maintenance.status(pb::StatusRequest {}));
                "status".to_owned()
            }
            Call::Alarms => {
                let alarms = done!(maintenance.alarm(pb::AlarmRequest::default()));
                format!("{:?}", alarms.alarms)
            }
            Call::Disarm => {
                let action = pb::alarm_request::AlarmAction::Deactivate as i32;
                let request = pb::AlarmRequest {
                    action,
                    ..Default::default()
                };
                format!("{:?}", done!(maintenance.alarm(request)).alarms)
            }
            Call::Hash => {
                done!(maintenance.hash_kv(pb::HashKvRequest::default()));
                "hash".to_owned()
            }
            Call::Members => {
                let members = done!(cluster.member_list(pb::MemberListRequest::default()));
                members.members.len().to_string()
            }
            Call::Login(name, password) => {
                let request = pb::AuthenticateRequest {
                    name: name.into(),
                    password: password.into(),
                };
                let token = done!(auth.authenticate(request)).token;
                self.tokens.insert(name, token);
                "a token".to_owned()
            }
            Call::UserAdd(name, password) => {
                let request = pb::AuthUserAddRequest {
                    name: name.into(),
                    password: password.into(),
                    ..Default::default()
                };
                done!(auth.user_add(request));
                "added".to_owned()
            }
            Call::UserDelete(name) => {
                done!(auth.user_delete(pb::AuthUserDeleteRequest { name: name.into() }));
                "deleted".to_owned()
            }
            Call::UserPassword(name, password) => {
                let request = pb::AuthUserChangePasswordRequest {
                    name: name.into(),
                    password: password.into(),
                    ..Default::default()
                };
                done!(auth.user_change_password(request));
                "changed".to_owned()
            }
            Call::UserGrant(name, role) => {
                let request = pb::AuthUserGrantRoleRequest {
                    user: name.into(),
                    role: role.into(),
                };
                done!(auth.user_grant_role(request));
                "granted".to_owned()
            }
            Call::UserRevoke(name, role) => {
                let request = pb::AuthUserRevokeRoleRequest {
                    name: name.into(),
                    role: role.into(),
                };
                done!(auth.user_revoke_role(request));
                "revoked".to_owned()
            }
            Call::UserGet(name) => {
                let user = done!(auth.user_get(pb::AuthUserGetRequest { name: name.into() }));
                format!("{:?}", user.roles)
            }
            Call::UserList => format!(
                "{:?}",
                done!(auth.user_list(pb::AuthUserListRequest {})).users
            ),
            Call::RoleAdd(name) => {
                done!(auth.role_add(pb::AuthRoleAddRequest { name: name.into() }));
                "added".to_owned()
            }
            Call::RoleDelete(role) => {
                done!(auth.role_delete(pb::AuthRoleDeleteRequest { role: role.into() }));
                "deleted".to_owned()
            }
            Call::RoleGrant(name, perm_type, key, range_end) => {
                let request = pb::AuthRoleGrantPermissionRequest {
                    name: name.into(),
                    perm: Some(Permission {
                        perm_type,
                        key,
                        range_end,
                    }),
                };
                done!(auth.role_grant_permission(request));
                "granted".to_owned()
            }
            Call::RoleRevoke(role, key, range_end) => {
                let request = pb::AuthRoleRevokePermissionRequest {
                    role: role.into(),
                    key,
                    range_end,
                };
                done!(auth.role_revoke_permission(request));
                "revoked".to_owned()
            }
            Call::RoleGet(role) => {
                let mut perm =
                    done!(auth.role_get(pb::AuthRoleGetRequest { role: role.into() })).perm;
                // etcd sorts by keys alone, so those of one key come as they fall.
                perm.sort_by_key(|one| (one.key.clone(), one.range_end.clone(), one.perm_type));
                format!("{perm:?}")
            }
            Call::RoleList => format!(
                "{:?}",
                done!(auth.role_list(pb::AuthRoleListRequest {})).roles
            ),
            Call::AuthStatus => {
                let status = done!(auth.auth_status(pb::AuthStatusRequest {}));
                format!("{} {}", status.enabled, status.auth_revision)
            }
            Call::Enable => {
                done!(auth.auth_enable(pb::AuthEnableRequest {}));
                "enabled".to_owned()
            }
            Call::Disable => {
                done!(auth.auth_disable(pb::AuthDisableRequest {}));
                "disabled".to_owned()
            }
        })
    }
}

fn rows(kvs: &[KeyValue]) -> Vec<String> {
    let row = |kv: &KeyValue| {
        let (key, value) = (kv.key.escape_ascii(), kv.value.escape_ascii());
        format!("{key}={value} version {} lease {}", kv.version, kv.lease)
    };
    kvs.iter().map(row).collect()
}

fn range(answer: &pb::RangeResponse) -> String {
    format!("{} {} {:?}", answer.count, answer.more, rows(&answer.kvs))
}

fn put(answer: &pb::PutResponse) -> String {
    format!(
        "put {:?}",
        answer
            .prev_kv
            .as_ref()
            .map(|kv| rows(std::slice::from_ref(kv)))
    )
}

fn delete(answer: &pb::DeleteRangeResponse) -> String {
    format!("{} {:?}", answer.deleted, rows(&answer.prev_kvs))
}

fn txn(answer: &pb::TxnResponse) -> String {
    let one = |done: &pb::ResponseOp| match &done.response {
        None => "nothing".to_owned(),
        Some(Done::ResponseRange(answer)) => range(answer),
        Some(Done::ResponsePut(answer)) => put(answer),
        Some(Done::ResponseDeleteRange(answer)) => delete(answer),
        Some(Done::ResponseTxn(answer)) => txn(answer),
    };
    let all: Vec<_> = answer.responses.iter().map(one).collect();
    format!("{} {all:?}", answer.succeeded)
}
