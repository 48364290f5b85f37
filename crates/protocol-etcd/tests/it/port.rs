//! The port as a whole: members, alarms, plain HTTP, and every method asked for a decision.

use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};
use portolan_catalog::Protocol;
use portolan_protocol_etcd::{
    Settings, methods,
    wire::{DESCRIPTORS, etcdserverpb as pb, health},
};
use prost::Message;
use tonic::Code;

use super::support::*;

async fn get(server: &Server, method: &str, path: &str) -> (u16, String, String) {
    let client: Http<_, Full<bytes::Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url))
        .body(Full::default())
        .unwrap();
    let response = client.request(request).await.unwrap();
    let kind = response
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (
        response.status().as_u16(),
        kind,
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap(),
    )
}

#[tokio::test]
async fn plain_http() {
    let server = Server::start().await;
    let text = "text/plain; charset=utf-8";
    let rows = [
        (
            "GET",
            "/version",
            200,
            "application/json",
            r#"{"etcdserver":"3.7.0","etcdcluster":"3.7.0","storage":"3.7.0"}"#,
        ),
        ("POST", "/version", 405, text, "Method Not Allowed\n"),
        (
            "GET",
            "/health",
            200,
            text,
            r#"{"health":"true","reason":""}"#,
        ),
        (
            "GET",
            "/health?serializable=true",
            200,
            text,
            r#"{"health":"true","reason":""}"#,
        ),
        ("PUT", "/health", 405, text, "Method Not Allowed\n"),
        ("GET", "/livez", 200, text, "ok\n"),
        (
            "GET",
            "/livez?verbose",
            200,
            text,
            "[+]serializable_read ok\nok\n",
        ),
        ("GET", "/readyz", 200, text, "ok\n"),
        (
            "GET",
            "/readyz?verbose&exclude=non_learner",
            200,
            text,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
        ),
        ("GET", "/readyz/linearizable_read", 200, text, "ok\n"),
        (
            "GET",
            "/livez/linearizable_read",
            404,
            text,
            "404 page not found\n",
        ),
        ("GET", "/v2/keys", 404, text, "404 page not found\n"),
        ("POST", "/v3/kv/range", 404, text, "404 page not found\n"),
    ];
    for (method, path, status, kind, body) in rows {
        assert_eq!(
            get(&server, method, path).await,
            (status, kind.to_owned(), body.to_owned()),
            "{method} {path}"
        );
    }
    let (status, _, metrics) = get(&server, "GET", "/metrics").await;
    assert_eq!(status, 200);
    for name in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_debugging_mvcc_keys_total 0",
        "etcd_cluster_version{cluster_version=\"3.7\"} 1",
        "portolan_etcd_watchers 0",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

#[tokio::test]
async fn members_and_status_point_at_the_port_itself() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for linearizable in [true, false] {
        let list = client
            .cluster
            .member_list(pb::MemberListRequest { linearizable })
            .await
            .unwrap()
            .into_inner();
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
        .await
        .unwrap()
        .into_inner();
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
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.members[0].client_ur_ls, ["http://here.example:2379"]);
    assert_eq!(
        client
            .maintenance
            .status(pb::StatusRequest {})
            .await
            .unwrap()
            .into_inner()
            .storage_version,
        "3.8.0"
    );
}

fn alarm(action: i32, alarm: i32) -> pb::AlarmRequest {
    pb::AlarmRequest {
        action,
        member_id: 9,
        alarm,
    }
}

#[tokio::test]
async fn alarms_are_in_force_until_they_are_lifted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.kv.put(put("k", "v")).await.unwrap();
    let raised = client
        .maintenance
        .alarm(alarm(1, 1))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        raised.alarms,
        [pb::AlarmMember {
            member_id: 9,
            alarm: 1
        }]
    );
    assert_eq!(
        client
            .maintenance
            .alarm(alarm(0, 0))
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        1
    );
    assert_eq!(
        client
            .maintenance
            .alarm(alarm(0, 2))
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        0
    );
    let no_room = (
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded".to_owned(),
    );
    assert_eq!(failure(client.kv.put(put("k", "v")).await), no_room);
    assert_eq!(
        failure(
            client
                .lease
                .lease_grant(pb::LeaseGrantRequest { id: 1, ttl: 9 })
                .await
        ),
        no_room
    );
    let put_op = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put("k", "v"))),
    };
    assert_eq!(
        failure(
            client
                .kv
                .txn(pb::TxnRequest {
                    failure: vec![put_op],
                    ..Default::default()
                })
                .await
        ),
        no_room
    );
    assert_eq!(
        client.kv.range(one("k")).await.unwrap().into_inner().count,
        1,
        "reads go on"
    );
    assert_eq!(
        client
            .kv
            .delete_range(pb::DeleteRangeRequest {
                key: "k".into(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner()
            .deleted,
        1,
        "deletes too"
    );
    let status = client
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.errors, ["memberID:9 alarm:NOSPACE "]);
    assert_eq!(
        get(&server, "GET", "/health").await,
        (
            503,
            "text/plain; charset=utf-8".into(),
            "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".into()
        )
    );
    assert_eq!(get(&server, "GET", "/health?exclude=NOSPACE").await.0, 200);
    assert_eq!(
        client
            .maintenance
            .alarm(alarm(2, 1))
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        1
    );
    assert_eq!(
        client
            .maintenance
            .alarm(alarm(2, 1))
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        0
    );
    client.kv.put(put("k", "v")).await.unwrap();
    client.maintenance.alarm(alarm(1, 2)).await.unwrap();
    assert_eq!(
        failure(client.kv.range(one("k")).await),
        (Code::DataLoss, "etcdserver: corrupt cluster".into())
    );
    assert_eq!(get(&server, "GET", "/readyz").await.0, 503);
}

#[tokio::test]
async fn authentication_is_off() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let status = client
        .auth
        .auth_status(pb::AuthStatusRequest {})
        .await
        .unwrap()
        .into_inner();
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
            .await
            .unwrap()
            .into_inner()
            .users
            .is_empty()
    );
    assert_eq!(
        failure(
            client
                .auth
                .user_get(pb::AuthUserGetRequest { name: "x".into() })
                .await
        )
        .1,
        "etcdserver: user name not found"
    );
    assert_eq!(
        failure(
            client
                .auth
                .role_get(pb::AuthRoleGetRequest { role: "x".into() })
                .await
        )
        .1,
        "etcdserver: role name not found"
    );
}

#[tokio::test]
async fn health_over_grpc() {
    let server = Server::start().await;
    let mut client = health::health_client::HealthClient::new(server.channel().await);
    assert_eq!(
        client
            .check(health::HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner()
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
    let mut watching = client.watch(other).await.unwrap().into_inner();
    assert_eq!(watching.message().await.unwrap().unwrap().status, 3);
}

/// Calls a method with a message of so many bytes, and gives status code and text.
async fn call(server: &Server, path: &str, message: &[u8]) -> (u16, Option<String>) {
    let client: Http<_, Full<bytes::Bytes>> = Http::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    let request = http::Request::post(format!("{}{path}", server.url))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let response = client
        .request(request.body(Full::from(body)).unwrap())
        .await
        .unwrap();
    let status = response
        .headers()
        .get("grpc-status")
        .map(|status| status.to_str().unwrap().to_owned());
    (response.status().as_u16(), status)
}

#[tokio::test]
async fn every_method_of_the_protocol_is_in_the_table_and_decides_before_it_answers() {
    let server = Server::start().await;
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut defined = Vec::new();
    for file in &set.file {
        for service in &file.service {
            defined.extend(
                service.method.iter().map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }),
            );
        }
    }
    let mut served: Vec<&str> = methods().collect();
    defined.sort();
    served.sort_unstable();
    assert_eq!(served, defined);
    let undecided = || {
        server
            .house
            .metrics()
            .answers_without_decision(Protocol::Etcd)
    };
    for path in defined
        .iter()
        .map(String::as_str)
        .chain(["/etcdserverpb.KV/Nothing", "/v3lockpb.Lock/Lock"])
    {
        let streams = path.ends_with("/Watch") || path.ends_with("KeepAlive");
        // An empty message, one that is no message, and one with a key and nothing else.
        for message in [&b""[..], b"\xff\xff\xff", b"\x0a\x01k"] {
            if streams && message != b"\xff\xff\xff" {
                continue;
            }
            let (status, _) = call(&server, path, message).await;
            assert_eq!(status, 200, "{path}");
        }
        assert_eq!(undecided(), 0, "{path}");
    }
    for path in [
        "/etcdserverpb.KV/Nothing",
        "/v3lockpb.Lock/Lock",
        "/v3electionpb.Election/Campaign",
        "/etcdserverpb.Maintenance/Snapshot",
        "/etcdserverpb.Cluster/MemberAdd",
        "/etcdserverpb.Auth/UserAdd",
    ] {
        assert_eq!(
            call(&server, path, b"").await,
            (200, Some("12".into())),
            "{path}"
        );
    }
    for path in [
        "/version", "/health", "/livez", "/readyz", "/metrics", "/nothing",
    ] {
        get(&server, "GET", path).await;
        get(&server, "DELETE", path).await;
        assert_eq!(undecided(), 0, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_lives() {
    let server = Server::start().await;
    let client: Http<_, Full<bytes::Bytes>> = Http::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let rows: [(&str, &[u8], &str); 6] = [
        ("nothing", b"", "13"),
        ("half a prefix", b"\0\0\0", "13"),
        ("less than announced", b"\0\0\0\0\x09abc", "13"),
        ("compressed", b"\x01\0\0\0\x01a", "12"),
        ("more than is allowed", b"\0\xff\xff\xff\xffabc", "8"),
        ("not of the type", b"\0\0\0\0\x02\x0a\x7f", "13"),
    ];
    for (name, body, code) in rows {
        let request = http::Request::post(format!("{}/etcdserverpb.KV/Put", server.url))
            .header("content-type", "application/grpc")
            .body(Full::from(body))
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(
            response
                .headers()
                .get("grpc-status")
                .map(|status| status.to_str().unwrap()),
            Some(code),
            "{name}"
        );
    }
    let mut client = server.client().await;
    client.kv.put(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn metadata() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut request = tonic::Request::new(one("k"));
    request
        .metadata_mut()
        .insert("hasleader", "true".parse().unwrap());
    request
        .metadata_mut()
        .insert("client-api-version", "3.7".parse().unwrap());
    request
        .metadata_mut()
        .insert("token", "whatever".parse().unwrap());
    client.kv.range(request).await.unwrap();
    let alone = Settings {
        standing: portolan_protocol_etcd::Ask::new(|| portolan_protocol_etcd::Standing {
            has_leader: false,
            is_leader: false,
            ..Default::default()
        }),
        ..Settings::default()
    };
    let server = Server::with(alone, Vec::new()).await;
    let mut client = server.client().await;
    let mut request = tonic::Request::new(one("k"));
    request
        .metadata_mut()
        .insert("hasleader", "true".parse().unwrap());
    assert_eq!(
        failure(client.kv.range(request).await),
        (Code::Unavailable, "etcdserver: no leader".into())
    );
    assert_eq!(
        get(&server, "GET", "/health").await.2,
        "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"
    );
    assert_eq!(
        get(&server, "GET", "/health?serializable=true").await.0,
        200
    );
}
