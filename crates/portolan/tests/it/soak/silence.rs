//! Many agents fall silent at once: the guard holds.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::three;
use crate::harness::server::{Server, Start, signal};
use crate::harness::{eventually, http, same};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(30);
const AGENTS: usize = 10;
/// Instances at each agent.
const INSTANCES: usize = 12;

/// Instances of the service, and how many of them pass all their checks.
fn seen(server: &Server) -> Result<(usize, usize), String> {
    let count = |path: &str| {
        let rows = http::get_json(server.address("consul"), path)?;
        Ok::<usize, String>(rows.as_array().map_or(0, Vec::len))
    };
    Ok((
        count("/v1/health/service/crowd")?,
        count("/v1/health/service/crowd?passing")?,
    ))
}

/// Three of ten agents are cut off for half a minute, which is three times what one alone would have.
#[test]
fn a_third_of_the_agents_is_cut_off_and_nothing_changes() {
    need_binary!();
    let servers = three();
    let agents: Vec<Server> = (0..AGENTS)
        .map(|number| {
            Start::default()
                .with("--agent")
                .with("--node-name")
                .with(format!("a{number}"))
                .with("--join")
                .with(servers[number % 3].address("cluster").to_string())
                .go()
        })
        .collect();
    for (number, agent) in agents.iter().enumerate() {
        for instance in 0..INSTANCES {
            let body = format!(
                r#"{{"Name":"crowd","ID":"c{instance}","Address":"10.0.{number}.{instance}","Port":80}}"#
            );
            let consul = agent.address("consul");
            let reply = http::call(consul, "PUT", "/v1/agent/service/register", Some(&body));
            assert_eq!(reply.unwrap().status, 200);
        }
    }
    let whole = (AGENTS * INSTANCES, AGENTS * INSTANCES);
    for server in servers.iter().chain(&agents) {
        eventually(LIMIT, || same(&seen(server)?, &whole)).unwrap();
    }
    for agent in &agents[..3] {
        signal(agent.pid(), Signal::STOP);
    }
    let cut = Instant::now();
    let mut held = false;
    while cut.elapsed() < Duration::from_secs(30) {
        for server in servers.iter().chain(&agents[3..]) {
            assert_eq!(seen(server).unwrap(), whole, "after {:?}", cut.elapsed());
        }
        let why = http::call(servers[0].address("native"), "GET", "/v1/why/crowd", None);
        held |= why.is_ok_and(|why| why.text().contains("guard"));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(held, "`why` says that the guard holds");
    let metrics = http::call(servers[0].address("native"), "GET", "/metrics", None).unwrap();
    let metrics = metrics.text();
    let guard: Vec<&str> = metrics.lines().filter(|l| l.contains("guard")).collect();
    println!("{guard:#?}");
    for agent in &agents[..3] {
        signal(agent.pid(), Signal::CONT);
    }
    for server in servers.iter().chain(&agents) {
        eventually(LIMIT, || same(&seen(server)?, &whole)).unwrap();
    }
}
