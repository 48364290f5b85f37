//! `portolan doctor` of a server that runs.

use std::process::Command;

use serde_json::Value;

use crate::cluster::{leader, three};
use crate::harness::server::{self, Server};
use crate::harness::{eventually, same};
use crate::need_binary;

/// Exit code, what it printed, and what it said of failing.
fn doctor(server: &Server, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(server::binary().unwrap())
        .args(["doctor", "--server"])
        .arg(format!("http://{}", server.address("native")))
        .args(words)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn the_doctor_says_what_is_open_and_who_is_missing() {
    need_binary!();
    let mut servers = three();
    let look = |server: &Server| {
        let (code, said, error) = doctor(server, &["--output", "json"]);
        let said: Value = serde_json::from_str(&said).map_err(|why| format!("{why}: {error}"))?;
        Ok::<_, String>((code, said))
    };
    // A moment after the start every server knows everything of every other.
    eventually(crate::backup::LIMIT, || {
        let (code, said) = look(&servers[0])?;
        same(&code, &Some(0)).map_err(|why| format!("{why}: {said}"))
    })
    .unwrap();
    let (_, said) = look(&servers[0]).unwrap();
    let open = said["open"].as_array().unwrap();
    let cluster = open.iter().find(|port| port["port"] == "cluster").unwrap();
    assert_eq!(cluster["open_to"], "this machine");
    assert_eq!(cluster["callers"], "anybody");
    assert!(open.iter().any(|port| port["port"] == "etcd"), "{said}");
    let leads = leader(&mut servers);
    let gone = (leads + 1) % 3;
    servers[gone].kill();
    let name = format!("server n{} was last heard of", gone + 1);
    eventually(crate::backup::LIMIT, || {
        let (code, said, error) = doctor(&servers[leads], &[]);
        match code == Some(1) && said.contains(&name) {
            true => Ok(()),
            false => Err(format!("{code:?} {said} {error}")),
        }
    })
    .unwrap();
}
