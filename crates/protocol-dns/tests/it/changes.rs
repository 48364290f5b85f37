//! Answers follow the catalog at once: health, maintenance, twins, moves and removal.

use std::sync::Arc;

use hickory_proto::rr::RecordType::{A, SRV};
use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Command, Declared, Host, NodeFacts, Protocol, Status, Target,
};
use portolan_protocol_dns::Options;

use crate::fixture::{Server, consul, foreign, options};

/// The addresses a name answers, or the code when there are none.
async fn addresses(server: &Server, name: &str) -> Vec<String> {
    let lines = server.lines(name, A).await;
    let found: Vec<_> = lines
        .iter()
        .filter_map(|line| Some(line.strip_prefix('-')?.rsplit(' ').next()?.to_owned()))
        .collect();
    if found.is_empty() {
        vec![lines[0].clone()]
    } else {
        found
    }
}

#[tokio::test]
async fn critical_instances_are_left_out_also_when_none_remain() {
    let server = Server::filled(&options()).await;
    let web1 = consul("alpha.rack", "web-1", "web", "10.0.0.7", 80).key;
    let web2 = consul("alpha.rack", "web-2", "web", "10.0.0.8", 81).key;
    let both = ["10.0.0.7", "10.0.0.8"];
    assert_eq!(addresses(&server, "web.service.consul").await, both);
    server.check(&web1, "alpha.rack", Status::Warning).await;
    assert_eq!(addresses(&server, "web.service.consul").await, both);
    server.check(&web1, "alpha.rack", Status::Critical).await;
    assert_eq!(addresses(&server, "web.service.consul").await, ["10.0.0.8"]);
    assert_eq!(
        addresses(&server, "v1.web.service.consul").await,
        ["NXDomain aa"]
    );
    server.check(&web2, "alpha.rack", Status::Critical).await;
    for _ in 0..2 {
        assert_eq!(
            addresses(&server, "web.service.consul").await,
            ["NXDomain aa"]
        );
        assert_eq!(
            addresses(&server, "web.default.svc.cluster.local").await,
            ["NoError aa"]
        );
    }
    server.check(&web2, "alpha.rack", Status::Passing).await;
    assert_eq!(addresses(&server, "web.service.consul").await, ["10.0.0.8"]);
}

#[tokio::test]
async fn a_warning_counts_by_setting_and_changes_the_weight() {
    let strict = Server::filled(&Options {
        only_passing: true,
        ..options()
    })
    .await;
    let lax = Server::filled(&options()).await;
    let mut facts = consul("alpha.rack", "web-2", "web", "10.0.0.8", 81);
    facts.warning_weight = portolan_catalog::Weight(2000);
    facts.weight = portolan_catalog::Weight(5000);
    for server in [&strict, &lax] {
        server.register(facts.clone()).await;
        server
            .check(&facts.key, "alpha.rack", Status::Warning)
            .await;
    }
    assert_eq!(addresses(&strict, "web.service.consul").await, ["10.0.0.7"]);
    let lines = lax.lines("web.service.consul", SRV).await;
    assert!(
        lines.iter().any(|line| line.contains("SRV 1 2 81")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn maintenance_of_an_instance_and_of_its_node() {
    let server = Server::filled(&options()).await;
    let out = Some(Arc::new(Admin {
        status: AdminStatus::OutOfService,
        reason: "".into(),
        by: Protocol::Consul,
    }));
    let set = |target: AdminTarget, admin| Command::SetAdmin {
        target,
        admin,
        declared: None,
    };
    let web1 = AdminTarget::Instance(consul("alpha.rack", "web-1", "web", "10.0.0.7", 80).key);
    server.propose(set(web1.clone(), out.clone())).await;
    assert_eq!(addresses(&server, "web.service.consul").await, ["10.0.0.8"]);
    let node = AdminTarget::Node(portolan_catalog::NodeName::new("alpha.rack"));
    server.propose(set(node.clone(), out)).await;
    assert_eq!(
        addresses(&server, "web.service.consul").await,
        ["NXDomain aa"]
    );
    assert_eq!(
        addresses(&server, "alpha.rack.node.consul").await,
        ["10.0.0.7"],
        "a node's own name does not depend on health"
    );
    server.propose(set(node, None)).await;
    server.propose(set(web1, None)).await;
    assert_eq!(
        addresses(&server, "web.service.consul").await,
        ["10.0.0.7", "10.0.0.8"]
    );
}

#[tokio::test]
async fn every_origin_is_found_and_twins_are_one() {
    let server = Server::filled(&options()).await;
    assert_eq!(addresses(&server, "api.service.consul").await, ["10.0.1.1"]);
    // The same endpoint through another protocol is the same record.
    server
        .register(foreign(
            Protocol::Etcd,
            "/services/api/10.0.1.1:8080",
            "api",
            "10.0.1.1",
            8080,
        ))
        .await;
    assert_eq!(server.lines("api.service.consul", SRV).await.len(), 3);
    server
        .register(foreign(
            Protocol::Etcd,
            "/services/api/10.0.1.2:8080",
            "api",
            "10.0.1.2",
            8080,
        ))
        .await;
    assert_eq!(
        addresses(&server, "api.service.consul").await,
        ["10.0.1.1", "10.0.1.2"]
    );
    // Eureka's instance says that it is down, and with it the endpoint.
    let mut down = foreign(Protocol::Eureka, "API/a1", "api", "10.0.1.1", 8080);
    down.declared = Declared::Down;
    server.register(down).await;
    assert_eq!(addresses(&server, "api.service.consul").await, ["10.0.1.2"]);
}

#[tokio::test]
async fn moves_and_removal() {
    let server = Server::filled(&options()).await;
    assert_eq!(
        addresses(&server, "alpha.rack.node.consul").await,
        ["10.0.0.7"]
    );
    server
        .put_node(NodeFacts::new("alpha.rack", Host::new("10.0.0.77")))
        .await;
    assert_eq!(
        addresses(&server, "alpha.rack.node.consul").await,
        ["10.0.0.77"]
    );
    assert_eq!(
        addresses(&server, "web.service.consul").await,
        ["10.0.0.77", "10.0.0.8"],
        "an inherited address moves along"
    );
    let remove = |id: &str| Command::Deregister {
        target: Target::Instance(consul("alpha.rack", id, "web", "10.0.0.7", 80).key),
        expect: None,
    };
    server.propose(remove("web-1")).await;
    assert_eq!(addresses(&server, "web.service.consul").await, ["10.0.0.8"]);
    server.propose(remove("web-2")).await;
    assert_eq!(
        addresses(&server, "web.service.consul").await,
        ["NXDomain aa"]
    );
    assert_eq!(
        addresses(&server, "web.default.svc.cluster.local").await,
        ["NoError aa"],
        "an empty service is still there for a while"
    );
    server
        .register(consul("alpha.rack", "web-9", "web", "10.0.0.9", 80))
        .await;
    assert_eq!(addresses(&server, "web.service.consul").await, ["10.0.0.9"]);
    let drop = Command::DropNode {
        name: portolan_catalog::NodeName::new("alpha.rack"),
        expect: None,
    };
    server.propose(drop).await;
    for name in ["web.service.consul", "alpha.rack.node.consul"] {
        assert_eq!(addresses(&server, name).await, ["NXDomain aa"], "{name}");
    }
}

#[tokio::test]
async fn two_registrations_of_one_address_are_one_record() {
    let server = Server::filled(&options()).await;
    server
        .register(consul("alpha.rack", "web-3", "web", "10.0.0.8", 81))
        .await;
    server
        .register(consul("alpha.rack", "web-4", "web", "10.0.0.8", 82))
        .await;
    assert_eq!(
        addresses(&server, "web.service.consul").await,
        ["10.0.0.7", "10.0.0.8"]
    );
    let services = server.lines("web.service.consul", SRV).await;
    assert_eq!(
        services.iter().filter(|line| line.starts_with('-')).count(),
        3,
        "{services:?}"
    );
    let targets = services.iter().filter(|line| line.contains(" A 10.0.0.8"));
    assert_eq!(targets.count(), 1, "{services:?}");
}
