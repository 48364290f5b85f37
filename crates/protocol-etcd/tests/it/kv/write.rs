//! Puts and deletes.

use pb::request_op::Request as Op;
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use tonic::Code;

use super::{super::support::*, filled, txn};

#[tokio::test]
async fn a_write_has_its_own_revision_and_only_changes_move_it() {
    let (_server, mut client) = filled(&[]).await;
    let header = client.kv.range(one("k")).reply().await.header.unwrap();
    assert_eq!(header.revision, 1, "an empty store is at 1");
    assert!(
        header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0,
        "{header:?}"
    );
    let first = client.put("k", "v").await;
    let again = client.put("k", "v").await;
    assert_eq!(
        (revision(&first.header), revision(&again.header)),
        (2, 3),
        "an equal value is a change all the same"
    );
    assert_eq!(
        revision(&client.kv.delete_range(gone("x")).reply().await.header),
        3
    );
    let kv = client.kv.range(one("k")).reply().await.kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    let deleted = client
        .kv
        .delete_range(pb::DeleteRangeRequest {
            prev_kv: true,
            ..gone("k")
        })
        .reply()
        .await;
    assert_eq!(
        (
            revision(&deleted.header),
            deleted.deleted,
            deleted.prev_kvs[0].version
        ),
        (4, 1, 2)
    );
    client.put("k", "v").await;
    let kv = client.kv.range(one("k")).reply().await.kvs.remove(0);
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (5, 5, 1),
        "a new incarnation"
    );
}

#[tokio::test]
async fn what_a_put_keeps_and_detaches() {
    let (_server, mut client) = filled(&[]).await;
    client
        .lease
        .lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 60 })
        .await
        .unwrap();
    client
        .kv
        .put(pb::PutRequest {
            lease: 7,
            ..put("k", "v1")
        })
        .await
        .unwrap();
    let kept = pb::PutRequest {
        key: "k".into(),
        ignore_value: true,
        ignore_lease: true,
        prev_kv: true,
        ..Default::default()
    };
    let before = client.kv.put(kept).reply().await.prev_kv.unwrap();
    assert_eq!((before.version, before.lease), (1, 7));
    let after = client.kv.range(one("k")).reply().await.kvs.remove(0);
    assert_eq!(
        (&after.value[..], after.lease, after.version),
        (&b"v1"[..], 7, 2)
    );
    client.put("k", "v2").await;
    let detached = client.kv.range(one("k")).reply().await.kvs.remove(0);
    assert_eq!(detached.lease, 0);
    client
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 7 })
        .await
        .unwrap();
    assert_eq!(client.kv.range(one("k")).reply().await.count, 1);
}

/// etcd counts what it would write to its log: the request in an envelope of 18 bytes.
#[tokio::test]
async fn sizes() {
    let (_server, mut client) = filled(&[]).await;
    let large = |bytes: usize| pb::PutRequest {
        key: "k".into(),
        value: vec![b'x'; bytes].into(),
        ..Default::default()
    };
    let too_large = (
        Code::InvalidArgument,
        "etcdserver: request is too large".to_owned(),
    );
    client.kv.put(large(1_572_839)).await.unwrap();
    assert_eq!(failure(client.kv.put(large(1_572_840)).await), too_large);
    let nested = |bytes| txn(vec![Op::RequestPut(large(bytes))]);
    client.kv.txn(nested(1_572_831)).await.unwrap();
    assert_eq!(failure(client.kv.txn(nested(1_572_832)).await), too_large);
    let (code, text) = failure(client.kv.put(large(2_200_000)).await);
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    let kvs = client.kv.range(one("k")).reply().await.kvs;
    assert_eq!(kvs[0].value.len(), 1_572_831);
}
