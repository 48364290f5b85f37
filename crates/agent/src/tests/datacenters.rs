//! The copy of another datacenter: followed, kept, proposed to through its leader, and never decided about here.

use portolan_registry::{Datacenter, Limits};

use super::*;
use crate::{Elsewhere, Followed};

fn elsewhere(datacenter: &Arc<Datacenter>, servers: &Arc<Local>, disk: &MemoryDisk) -> Elsewhere {
    Elsewhere {
        datacenter: datacenter.clone(),
        disk: Arc::new(disk.clone()),
        servers: servers.clone(),
        wall: wall(),
        limits: Limits::default(),
        history_bytes: 1 << 20,
        copy_every: Duration::from_secs(300),
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_follows_and_forwards_and_owns_nothing() {
    let (servers, disk) = (Local::new(), MemoryDisk::new());
    let datacenter = Arc::new(Datacenter::new("dc2"));
    let followed = Followed::begin(elsewhere(&datacenter, &servers, &disk)).await;
    let copy = datacenter.copy().unwrap().clone();
    let there = servers.registry();
    let node = Command::PutNode {
        node: Arc::new(NodeFacts::new(NODE, Host::new("10.0.0.9"))),
        terms: None,
        expect: None,
    };
    there
        .propose(client(), node)
        .await
        .unwrap()
        .outcome
        .unwrap();
    there
        .propose(client(), register("web-1", 80))
        .await
        .unwrap()
        .outcome
        .unwrap();
    until("what was registered there", || {
        copy.read(|state| state.instance(&key("web-1")).is_some())
    })
    .await;
    assert!(copy.is_copy());
    copy.propose(client(), register("web-2", 81))
        .await
        .unwrap()
        .outcome
        .unwrap();
    let has = |registry: &Registry, id: &str| registry.read(|s| s.instance(&key(id)).is_some());
    assert!(
        has(&there, "web-2") && has(&copy, "web-2"),
        "read your writes"
    );
    let left = copy.change_members(portolan_registry::MemberChange::Leave);
    assert!(left.await.unwrap_err().contains("changed there"));

    servers.set_up(false);
    until("the age", || !followed.age().known_leader).await;
    let refused = copy.propose(client(), deregister("web-1")).await;
    assert_eq!(refused.unwrap_err(), Unavailable::NoLeader);
    assert!(has(&copy, "web-1"));
    followed.finish().await;

    // Its servers are gone: what is on the disk is enough.
    let begun = Followed::begin(elsewhere(
        &Arc::new(Datacenter::new("dc2")),
        &servers,
        &disk,
    ));
    let followed = tokio::time::timeout(Duration::from_secs(5), begun).await;
    let followed = followed.unwrap();
    let copy = followed.registry().clone();
    assert!(has(&copy, "web-1") && has(&copy, "web-2"));
    // The servers have lost everything: so has the copy.
    servers.lose_everything();
    servers.set_up(true);
    until("the loss", || !has(&copy, "web-1")).await;
}
