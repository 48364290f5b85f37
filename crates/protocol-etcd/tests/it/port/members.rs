//! Members, standing, users and health: what a server says of itself.

use portolan_protocol_etcd::{
    Settings,
    wire::{etcdserverpb as pb, health},
};
use tonic::Code;

use super::super::support::*;

#[tokio::test]
async fn members_and_status_point_at_the_port_itself() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for linearizable in [true, false] {
        let list = client
            .cluster
            .member_list(pb::MemberListRequest { linearizable })
            .reply()
            .await;
        let member = &list.members[0];
        assert_eq!(
            (
                list.members.len(),
                member.client_ur_ls.as_slice(),
                member.is_learner
            ),
            (1, &[server.url.clone()][..], false)
        );
        let header = list.header.unwrap();
        assert!(
            member.id != 0
                && !member.name.is_empty()
                && header.member_id == member.id
                && header.cluster_id != 0
        );
        assert_eq!(header.revision, 0, "these calls say nothing of revisions");
    }
    let status = client
        .maintenance
        .status(pb::StatusRequest {})
        .reply()
        .await;
    assert_eq!(
        (
            status.version.as_str(),
            status.storage_version.as_str(),
            status.leader
        ),
        ("3.7.0", "3.7.0", status.header.unwrap().member_id)
    );
    let named = Server::with(
        Settings {
            client_urls: vec!["http://here.example:2379".into()],
            version: "3.8.1".into(),
            ..Settings::default()
        },
        Vec::new(),
    )
    .await;
    let mut client = named.client().await;
    let list = client
        .cluster
        .member_list(pb::MemberListRequest::default())
        .reply()
        .await;
    assert_eq!(list.members[0].client_ur_ls, ["http://here.example:2379"]);
    assert_eq!(
        client
            .maintenance
            .status(pb::StatusRequest {})
            .reply()
            .await
            .storage_version,
        "3.8.0"
    );
}

#[tokio::test]
async fn authentication_is_off() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let status = client
        .auth
        .auth_status(pb::AuthStatusRequest {})
        .reply()
        .await;
    assert_eq!((status.enabled, status.auth_revision), (false, 1));
    let name = pb::AuthenticateRequest {
        name: "root".into(),
        password: "x".into(),
    };
    assert_eq!(
        failure(client.auth.authenticate(name).await),
        (
            Code::FailedPrecondition,
            "etcdserver: authentication is not enabled".into()
        )
    );
    assert_eq!(
        failure(client.auth.auth_enable(pb::AuthEnableRequest {}).await),
        (
            Code::FailedPrecondition,
            "etcdserver: root user does not exist".into()
        )
    );
    client
        .auth
        .auth_disable(pb::AuthDisableRequest {})
        .await
        .unwrap();
    assert!(
        client
            .auth
            .user_list(pb::AuthUserListRequest {})
            .reply()
            .await
            .users
            .is_empty()
    );
    let auth = &mut client.auth;
    let permission = portolan_protocol_etcd::wire::authpb::Permission {
        key: "k".into(),
        ..Default::default()
    };
    let said = [
        failure(auth.user_get(pb::AuthUserGetRequest::default()).await),
        failure(auth.role_get(pb::AuthRoleGetRequest::default()).await),
        failure(auth.user_add(pb::AuthUserAddRequest::default()).await),
        failure(auth.role_add(pb::AuthRoleAddRequest::default()).await),
        failure(
            auth.role_grant_permission(pb::AuthRoleGrantPermissionRequest::default())
                .await,
        ),
        failure(
            auth.role_grant_permission(pb::AuthRoleGrantPermissionRequest {
                perm: Some(permission),
                ..Default::default()
            })
            .await,
        ),
    ];
    let texts: Vec<_> = said
        .iter()
        .map(|(code, text)| (*code, text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (Code::FailedPrecondition, "etcdserver: user name not found"),
            (Code::FailedPrecondition, "etcdserver: role name not found"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (Code::InvalidArgument, "etcdserver: role name is empty"),
            (Code::InvalidArgument, "etcdserver: permission not given"),
            (Code::FailedPrecondition, "etcdserver: role name not found"),
        ]
    );
}

#[tokio::test]
async fn health_over_grpc() {
    let server = Server::start().await;
    let mut client = health::health_client::HealthClient::new(server.channel().await);
    assert_eq!(
        client
            .check(health::HealthCheckRequest::default())
            .reply()
            .await
            .status,
        1
    );
    let other = health::HealthCheckRequest {
        service: "other".into(),
    };
    assert_eq!(
        failure(client.check(other.clone()).await),
        (Code::NotFound, "unknown service".into())
    );
    let all = client.list(health::HealthListRequest {}).reply().await;
    assert_eq!(all.statuses[""].status, 1);
    let mut watching = client.watch(other).reply().await;
    assert_eq!(watching.message().await.unwrap().unwrap().status, 3);
}
