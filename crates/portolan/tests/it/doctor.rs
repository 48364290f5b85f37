//! `portolan doctor` of a server that runs.

use std::process::Command;

use serde_json::Value;

use crate::cluster::{leader, three};
use crate::harness::server::{self, Server};
use crate::harness::{eventually, http, same};
use crate::need_binary;

/// Exit code, what it printed, and what it said of failing.
pub(crate) fn doctor(server: &Server, words: &[&str]) -> (Option<i32>, String, String) {
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
    // Whoever leads after a restart of both never heard of it, and the cluster has known since when it is dead.
    let others = [leads, (leads + 2) % 3];
    let dead = |server: &Server| {
        let members = http::get_json(server.address("native"), "/v1/members")?;
        let members = members["members"].as_array().cloned().unwrap_or_default();
        let name = format!("n{}", gone + 1);
        let dead = members.into_iter().find(|member| member["name"] == *name);
        let dead = dead.ok_or_else(|| "it is no member".to_owned())?;
        same(&dead["status"], &Value::from("dead"))?;
        let since = dead["dead_since"].as_str().map(str::to_owned);
        since.ok_or_else(|| format!("no time in {dead}"))
    };
    let mut since = String::new();
    eventually(crate::backup::LIMIT, || {
        since = dead(&servers[leads])?;
        Ok::<_, String>(())
    })
    .unwrap();
    for other in others {
        servers[other].kill();
    }
    std::thread::scope(|threads| {
        let others = servers.iter_mut().enumerate().filter(|(at, _)| *at != gone);
        for (_, server) in others {
            threads.spawn(|| server.start_again());
        }
    });
    for other in others {
        eventually(crate::backup::LIMIT, || {
            same(&dead(&servers[other])?, &since)
        })
        .unwrap();
        let (_, said, _) = doctor(&servers[other], &[]);
        assert!(said.contains(&format!("{name} before ")), "{said}");
    }
}
