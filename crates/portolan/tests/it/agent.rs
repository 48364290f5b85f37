//! An agent as a process: what is registered at it, what it answers when servers or it itself are gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{sees, start, three};
use crate::doctor::doctor;
use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{Server, Start, free_address};
use crate::harness::{eventually, http, same};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(20);

fn agent(servers: &[SocketAddr]) -> Start {
    let start = Start::default()
        .with("--agent")
        .with("--node-name")
        .with("a1");
    servers.iter().fold(start, |start, address| {
        start.with("--join").with(address.to_string())
    })
}

fn put(server: &Server, path: &str, body: Option<&str>) {
    let reply = http::call(server.address("consul"), "PUT", path, body).unwrap();
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
}

fn register(server: &Server, id: &str, port: u16) {
    let body = format!(
        r#"{{"Name":"{id}","ID":"{id}","Address":"10.1.2.3","Port":{port},"Check":{{"TTL":"60s","Status":"passing"}}}}"#
    );
    put(server, "/v1/agent/service/register", Some(&body));
}

fn health(server: &Server, service: &str) -> Result<Vec<Value>, String> {
    let path = format!("/v1/health/service/{service}");
    let rows = http::get_json(server.address("consul"), &path)?;
    Ok(rows.as_array().cloned().unwrap_or_default())
}

/// The statuses of all checks of the only instance.
fn statuses(server: &Server, service: &str) -> Result<Vec<String>, String> {
    let rows = health(server, service)?;
    let [row] = &rows[..] else {
        return Err(format!("{} instances", rows.len()));
    };
    let checks = row["Checks"].as_array().cloned().unwrap_or_default();
    Ok(checks
        .iter()
        .map(|check| format!("{}={}", check["CheckID"], check["Status"]).replace('"', ""))
        .collect())
}

fn cluster_address(server: &Server) -> SocketAddr {
    server.address("cluster")
}

fn known_leader(server: &Server) -> Result<String, String> {
    let reply = http::call(
        server.address("consul"),
        "GET",
        "/v1/catalog/services?stale",
        None,
    )?;
    reply
        .header("x-consul-knownleader")
        .map(str::to_owned)
        .ok_or_else(|| "no header".to_owned())
}

#[test]
fn what_is_registered_at_an_agent_is_at_every_server_and_the_other_way_round() {
    need_binary!();
    let mut servers = three();
    let agent = agent(&[cluster_address(&servers[1])]).go();
    register(&agent, "web", 80);
    sees(&agent, "web").unwrap();
    for server in &servers {
        eventually(LIMIT, || sees(server, "web")).unwrap();
    }
    register(&servers[2], "api", 81);
    eventually(LIMIT, || sees(&agent, "api")).unwrap();
    // What is registered elsewhere is not this agent's.
    let own = http::get_json(agent.address("consul"), "/v1/agent/services").unwrap();
    let own: Vec<&String> = own.as_object().unwrap().keys().collect();
    assert_eq!(own, ["web"]);
    let peers = http::get_json(agent.address("consul"), "/v1/status/peers").unwrap();
    assert_eq!(peers.as_array().map(Vec::len), Some(3), "{peers}");
    let this = http::get_json(agent.address("consul"), "/v1/agent/self").unwrap();
    assert_eq!(this["Config"]["Server"], false, "{this}");
    // Writes of key-value clients go through it to the leader, and their answers are the leader's.
    etcd::runtime().block_on(async {
        let here = Etcd::connect(agent.address("etcd")).await.unwrap();
        let revision = here.put("key", b"v").await.unwrap();
        let found = here.get("key").await.unwrap().unwrap();
        assert_eq!(found.mod_revision, revision);
        for server in &servers {
            let there = Etcd::connect(server.address("etcd")).await.unwrap();
            let found = there.get("key").await.unwrap().unwrap();
            assert_eq!(found.mod_revision, revision);
        }
    });
    // The server it follows, and then whoever leads, may go.
    servers[1].kill();
    eventually(LIMIT, || {
        let written = http::call(agent.address("consul"), "PUT", "/v1/kv/k", Some("v"))?;
        same(&written.status, &200)
    })
    .unwrap();
    register(&agent, "late", 82);
    for server in [&servers[0], &servers[2]] {
        eventually(LIMIT, || sees(server, "late")).unwrap();
    }
}

#[test]
fn when_an_agent_is_gone_everything_on_it_is_critical_and_when_it_is_back_it_is_not() {
    need_binary!();
    let server = start("n1", free_address()).go();
    let mut agent = agent(&[cluster_address(&server)]).go();
    register(&agent, "web", 80);
    let all = |status: &str| {
        let found = statuses(&server, "web")?;
        let serf = format!("serfHealth={status}");
        let expected = [serf, "service:web=passing".to_owned()];
        same(found.as_slice(), expected.as_slice())
    };
    eventually(LIMIT, || all("passing")).unwrap();
    agent.kill();
    let killed = Instant::now();
    eventually(LIMIT, || all("critical")).unwrap();
    let took = killed.elapsed();
    assert!(took <= Duration::from_secs(11), "{took:?}");
    agent.start_again();
    eventually(LIMIT, || all("passing")).unwrap();
}

#[test]
fn without_servers_an_agent_answers_takes_registrations_and_tells_them_when_they_are_back() {
    need_binary!();
    let mut server = start("n1", free_address()).go();
    let mut agent = agent(&[cluster_address(&server)]).go();
    register(&agent, "web", 80);
    register(&server, "api", 81);
    eventually(LIMIT, || sees(&agent, "api")).unwrap();
    assert_eq!(known_leader(&agent).unwrap(), "true");
    server.kill();
    eventually(LIMIT, || same(&known_leader(&agent)?, &"false".to_owned())).unwrap();
    // Nobody here knows whether the server lives; when it was heard of is known.
    let members = |agent: &Server| -> Result<(Value, Option<u64>), String> {
        let members = http::get_json(agent.address("native"), "/v1/members")?;
        let [member] = members["members"].as_array().map_or(&[][..], |all| all) else {
            return Err(format!("another number of members: {members}"));
        };
        let known = (&member["name"], &member["alive"], &member["status"]);
        same(&known, &(&"n1".into(), &false.into(), &"unknown".into()))?;
        Ok((member.clone(), members["copy_age_ms"].as_u64()))
    };
    eventually(LIMIT, || {
        let (member, age) = members(&agent)?;
        let heard = member["last_contact_ms"].as_u64();
        match heard > Some(3000) && age > Some(2000) {
            true => Ok(()),
            false => Err(format!("{member} {age:?}")),
        }
    })
    .unwrap();
    let doctor = |agent: &Server, expected: &str| {
        let (code, said, error) = doctor(agent, &[]);
        match code == Some(1) && said.contains(expected) {
            true => Ok(()),
            false => Err(format!("{code:?} {said} {error}")),
        }
    };
    doctor(&agent, "this agent reaches no server, and its copy is").unwrap();
    for _ in 0..100 {
        sees(&agent, "web").unwrap();
        sees(&agent, "api").unwrap();
    }
    register(&agent, "late", 82);
    sees(&agent, "late").unwrap();
    let path = "/v1/agent/service/deregister/web";
    put(&agent, path, None);
    assert_eq!(health(&agent, "web").unwrap(), [] as [Value; 0]);
    // What is not its own has to wait for a leader.
    let refused = http::call(agent.address("consul"), "PUT", "/v1/kv/k", Some("v")).unwrap();
    assert_eq!(refused.status, 500, "{}", refused.text());
    // A restart without any server: as it was.
    agent.terminate(LIMIT).unwrap();
    agent.start_again();
    sees(&agent, "api").unwrap();
    let (member, age) = members(&agent).unwrap();
    assert!(member.get("last_contact_ms").is_none(), "{member}");
    assert_eq!(age, None);
    doctor(&agent, "it has reached none since it began").unwrap();
    sees(&agent, "late").unwrap();
    assert_eq!(health(&agent, "web").unwrap(), [] as [Value; 0]);
    assert_eq!(known_leader(&agent).unwrap(), "false");
    server.start_again();
    let back = Instant::now();
    eventually(LIMIT, || {
        sees(&server, "late")?;
        same(&health(&server, "web")?.len(), &0)
    })
    .unwrap();
    let took = back.elapsed();
    assert!(took <= Duration::from_secs(10), "{took:?}");
    eventually(LIMIT, || same(&known_leader(&agent)?, &"true".to_owned())).unwrap();
}
