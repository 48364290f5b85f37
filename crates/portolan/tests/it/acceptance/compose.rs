//! `deploy/compose.yaml` without a container engine: its containers are machines of a network, each started by the entrypoint of the image
//! with the command that the file has for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::acceptance::machine::Machine;
use crate::harness::network::Network;
use crate::harness::{eventually, same, server};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(60);

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// The host name and the command of each service of the file, in its order.
fn services() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(deploy().join("compose.yaml")).unwrap();
    let value = |line: &str, key: &str| {
        line.trim()
            .strip_prefix(key)
            .map(str::trim)
            .map(str::to_owned)
    };
    let mut services = Vec::new();
    let mut host = None;
    for line in text.lines() {
        if let Some(name) = value(line, "hostname:") {
            host = Some(name);
        }
        if let Some(command) = value(line, "command:") {
            let words = command.split_whitespace().map(str::to_owned).collect();
            services.push((host.take().expect("a host name comes first"), words));
        }
    }
    services
}

fn names(found: &Value, field: &str) -> Vec<String> {
    let rows = found.as_array().into_iter().flatten();
    let mut names: Vec<String> = rows
        .filter_map(|row| row[field].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn three_servers_and_an_agent_as_consuls_example_has_them() {
    need_binary!();
    let services = services();
    assert_eq!(services.len(), 4, "{services:?}");
    let mut network = Network::new(services.len()).expect("network namespaces");
    let hosts: Vec<(&str, usize)> = services
        .iter()
        .enumerate()
        .map(|(at, (host, _))| (host.as_str(), at + 1))
        .collect();
    network.name(&hosts).unwrap();
    network.enter().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The image has the binary under Consul's name on its path.
    let programs = folder.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let binary = std::path::absolute(server::binary().unwrap()).unwrap();
    std::os::unix::fs::symlink(binary, programs.join("consul")).unwrap();
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let entrypoint = deploy().join("docker/entrypoint.sh");
    let start = |at: usize| {
        let data = folder.path().join(format!("data-{at}"));
        let config = folder.path().join(format!("config-{at}"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(&config).unwrap();
        let variables = [
            ("PATH", path.as_str()),
            ("CONSUL_DATA_DIR", data.to_str().unwrap()),
            ("CONSUL_CONFIG_DIR", config.to_str().unwrap()),
            ("CONSUL_LOCAL_CONFIG", r#"{"log_level":"INFO"}"#),
        ];
        let words = &services[at - 1].1;
        Machine::start(&network, at, &entrypoint, words, &variables, folder.path())
    };
    let mut machines: Vec<Machine> = (1..=services.len()).map(start).collect();
    for machine in &machines {
        let whole = || {
            let peers = machine.json(8500, "/v1/status/peers")?;
            same(&peers.as_array().map_or(0, Vec::len), &3)?;
            let members = machine.json(8500, "/v1/agent/members")?;
            same(
                &names(&members, "Name"),
                &["client1", "server1", "server2", "server3"]
                    .map(str::to_owned)
                    .to_vec(),
            )
        };
        eventually(LIMIT, whole)
            .unwrap_or_else(|error| panic!("{error}; it said:\n{}", machine.said()));
    }
    // What is registered at the agent is seen at every server.
    let body = r#"{"Name":"web","Port":80}"#;
    let register = || {
        let agent = &machines[3];
        let (status, text) = agent.ask(8500, "PUT", "/v1/agent/service/register", body)?;
        (status == 200).then_some(()).ok_or(text)
    };
    eventually(LIMIT, register).unwrap();
    let seen = |machine: &Machine| {
        let rows = machine.json(8500, "/v1/health/service/web?passing")?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        let nodes: Vec<&str> = rows
            .iter()
            .filter_map(|row| row["Node"]["Node"].as_str())
            .collect();
        same(&nodes, &vec!["client1"])
    };
    for machine in &machines {
        eventually(LIMIT, || seen(machine)).unwrap();
    }
    // `consul members` lists four.
    let client = programs.join("consul");
    let listed = network.command(4, &client).arg("members").output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.lines().count(), 5, "{listed}");
    // Any server dies, and it goes on; it comes back on the same volume.
    for at in [1, 2, 3] {
        let place = machines
            .iter()
            .position(|m| m.address == network.address(at));
        drop(machines.remove(place.unwrap()));
        for machine in &machines {
            let key = format!("/v1/kv/without-{at}");
            let goes_on = || {
                seen(machine)?;
                let (status, text) = machine.ask(8500, "PUT", &key, "x")?;
                (status == 200).then_some(()).ok_or(text)
            };
            eventually(LIMIT, goes_on)
                .unwrap_or_else(|error| panic!("{error}; it said:\n{}", machine.said()));
        }
        machines.push(start(at));
        let back = machines.last().unwrap();
        let there = || {
            let (status, text) = back.ask(8500, "GET", &format!("/v1/kv/without-{at}"), "")?;
            (status == 200).then_some(()).ok_or(text)
        };
        eventually(LIMIT, there)
            .unwrap_or_else(|error| panic!("{error}; it said:\n{}", back.said()));
    }
}
