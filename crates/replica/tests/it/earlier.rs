//! Directories that earlier versions wrote, as they wrote them: each opens by itself and nothing in it is lost.
//!
//! `fixtures/nested` was written by 0.1.0 before it had a bound on nesting: etcd transactions 33, 40, 49 and 50 deep with a put in the
//! innermost, and empty ones 50 and 51 deep. `fixtures/all` has commands of every kind that its front ends could make, half of them
//! in a snapshot. Segments are cut after their last frame.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use portolan_catalog::{InstanceKey, Keyspace, Protocol, Revision, ServiceKey, State};
use portolan_replica::Directory;

use crate::support::{assert_same, propose, put, start, value};

pub(crate) fn copy_of(fixture: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let from: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(fixture);
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
    }
    directory
}

/// Opens it, writes on, and opens it again; gives the state that was found first.
async fn opened(fixture: &str) -> State {
    let directory = copy_of(fixture);
    let place = || Directory::Path(directory.path().to_owned());
    let (replica, registry) = start(place()).await.unwrap();
    let found = registry.snapshot();
    propose(&registry, put("written on", "v")).await.unwrap();
    let before = registry.linearized().await.unwrap();
    replica.shutdown().await;
    drop((replica, registry));
    let (replica, registry) = start(place()).await.unwrap();
    assert_same(&registry.snapshot(), &before);
    replica.shutdown().await;
    State::clone(&found)
}

#[tokio::test]
async fn transactions_nested_as_deep_as_any_that_was_acknowledged_are_read() {
    let state = opened("nested").await;
    assert_eq!(state.revision(), Revision(10));
    assert_eq!(value(&state, "plain").unwrap(), "v");
    for depth in [33, 40, 49, 50] {
        let text = value(&state, &format!("deep/{depth}")).unwrap();
        assert_eq!(text, format!("value {depth}"));
    }
    assert_eq!(value(&state, "after").unwrap(), "last");
    assert!(
        state
            .instance(&InstanceKey::new(Protocol::Eureka, "WEB/h3"))
            .is_some()
    );
    assert_eq!(state.instances(&ServiceKey::plain("web")).count(), 2);
}

#[tokio::test]
async fn commands_of_every_kind_are_read() {
    let state = opened("all").await;
    for tag in ["1", "22"] {
        let key = |text: String| state.record(Keyspace::ConsulKv, text.as_bytes());
        assert_eq!(key(format!("lock{tag}")).unwrap().bytes(), "held again");
        assert!(key(format!("gone{tag}")).is_none());
        assert_eq!(key(format!("t/a{tag}")).unwrap().bytes(), &[0, 1, 2][..]);
        for (origin, id) in [
            (Protocol::Consul, format!("n1/web{tag}")),
            (Protocol::Consul, format!("ext{tag}/db")),
            (Protocol::Consul, format!("tn{tag}/ts")),
            (Protocol::Eureka, format!("SHOP/h{tag}")),
        ] {
            let key = InstanceKey::new(origin, &*id);
            assert!(state.instance(&key).is_some(), "{key:?}");
        }
    }
    assert_eq!(state.instances(&ServiceKey::plain("nat")).count(), 2);
    assert_eq!(state.sessions().count(), 2);
}
