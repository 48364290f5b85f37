//! A server that runs: what is open to whom, what is near a limit, what a member lacks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use portolan_api::{Member, Members, OpenPort, Ports, Version};
use serde_json::json;

use super::super::client::{Path, read};
use super::super::cluster::{heard, status};
use super::super::{Common, Fault, print};

/// What of a limit is used when it is called near.
const NEAR: f64 = 0.8;
/// Entries by which a server may be behind while it follows.
const BEHIND: u64 = 1_000;

/// Looks at the server, prints what there is, and fails when something is to be done.
pub(super) async fn look_at(common: &Common) -> Result<(), Fault> {
    let client = common.client()?;
    let ports: Ports = read(&client.get(&Path::new("/v1/ports")).await?)?;
    let version: Version = read(&client.get(&Path::new("/v1/version")).await?)?;
    let members: Members = read(&client.get(&Path::new("/v1/members")).await?)?;
    let metrics = client.get(&Path::new("/metrics")).await?;
    let samples = samples(&String::from_utf8_lossy(&metrics));
    let mut findings = lacks(&members);
    findings.extend(datacenters(&samples));
    findings.extend(near(&samples));
    findings.extend(standing(&samples));
    let open: Vec<(&OpenPort, &str, &str)> = ports
        .ports
        .iter()
        .map(|port| (port, reach(port), callers(port)))
        .collect();
    if common.json() {
        let open: Vec<_> = open
            .iter()
            .map(|(port, reach, callers)| {
                json!({ "port": port.name, "address": port.address, "open_to": reach, "callers": callers })
            })
            .collect();
        let body = json!({
            "node": ports.node, "version": version.version, "open": open, "findings": findings,
        });
        print::json(body.to_string().as_bytes())?;
    } else {
        print::line(&format!(
            "node {} of version {}",
            ports.node, version.version
        ))?;
        print::gap()?;
        let rows = open.iter().map(|(port, reach, callers)| {
            vec![
                port.name.clone(),
                port.address.clone(),
                (*reach).to_owned(),
                (*callers).to_owned(),
            ]
        });
        print::table(&["PORT", "ADDRESS", "OPEN TO", "CALLERS"], rows)?;
        print::gap()?;
        for finding in &findings {
            print::line(&format!("- {finding}"))?;
        }
        if findings.is_empty() {
            print::line("nothing is near a limit, and no member lacks anything")?;
        }
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err(Fault::Failed(
            "there is something to do, see above".to_owned(),
        )),
        many => Err(Fault::Failed(format!(
            "there are {many} things to do, see above"
        ))),
    }
}

fn reach(port: &OpenPort) -> &'static str {
    let address: Option<SocketAddr> = port.address.parse().ok();
    match address.is_some_and(|address| address.ip().to_canonical().is_loopback()) {
        true => "this machine",
        false => "other machines",
    }
}

fn callers(port: &OpenPort) -> &'static str {
    match (port.certificates, port.tokens) {
        (true, true) => "with a certificate and a token",
        (true, false) => "with a certificate",
        (false, true) => "with a token",
        (false, false) => "anybody",
    }
}

/// What is known of a server that is not heard of.
fn silent(member: &Member) -> String {
    let name = &member.name;
    let when = match member.last_contact_ms {
        Some(_) => format!("last heard of {} ago", heard(member)),
        None => format!("last heard of {}", heard(member)),
    };
    match status(member) {
        "dead" => {
            format!("server {name} was {when}: start it, or `portolan cluster remove {name}`")
        }
        _ => format!(
            "server {name} was not heard of since this one began: it may be on its way, else look at its log"
        ),
    }
}

/// What an agent says that reaches no server.
fn cut(age: Option<u64>) -> String {
    let age = match age {
        Some(ms) => format!("its copy is {} s old", ms / 1000),
        None => "it has reached none since it began, so that the age of its copy is not known"
            .to_owned(),
    };
    format!(
        "this agent reaches no server, and {age}: lookups are answered from the copy, and what is not registered here cannot be written; look at the \
         servers, and at the way to them"
    )
}

/// What members lack, and what the cluster lacks of members.
fn lacks(all: &Members) -> Vec<String> {
    let members = &all.members;
    // An agent has no server of its own that would be alive.
    if members.iter().all(|member| !member.alive) {
        return vec![cut(all.copy_age_ms)];
    }
    let mut found = Vec::new();
    let newest = members.iter().map(|member| member.level).max().unwrap_or(0);
    let furthest = members.iter().map(|member| member.last_index).max();
    for member in members {
        let name = &member.name;
        if !member.alive {
            found.push(silent(member));
            continue;
        }
        if member.role == "learner" {
            found.push(format!(
                "server {name} has no vote yet: it gets one when it has come up with the others"
            ));
        }
        let behind = furthest.unwrap_or(0).saturating_sub(member.last_index);
        if behind > BEHIND {
            found.push(format!(
                "server {name} is {behind} entries behind: look at its disk and its connection"
            ));
        }
        if member.level < newest && member.level > 0 {
            found.push(format!(
                "server {name} of version {} knows feature level {}, others know {newest}: what is new waits until it is upgraded",
                member.version, member.level
            ));
        }
    }
    if members.iter().all(|member| member.role != "leader") {
        found.push(
            "there is no leader: writes fail until a majority of the servers is there".to_owned(),
        );
    }
    let voters = members
        .iter()
        .filter(|member| member.role != "learner")
        .count();
    if voters == 2 {
        found.push(
            "there are two voters, and the loss of either stops writes: add a third server, or remove one".to_owned(),
        );
    }
    found
}

/// Other datacenters whose servers are not heard of.
fn datacenters(samples: &Samples) -> Vec<String> {
    let of = |name: &str, labels: &str| samples.get(&(name.to_owned(), labels.to_owned()));
    let connected = samples.iter().filter(|((name, _), connected)| {
        name == "portolan_datacenter_connected" && **connected == 0.0
    });
    connected
        .map(|((_, labels), _)| {
            let name = labels.replace("datacenter=", "").replace('"', "");
            let state = match (
                of("portolan_datacenter_copy_age_seconds", labels),
                of("portolan_datacenter_copy_revision", labels),
            ) {
                (Some(age), _) => format!("was last heard of {age:.0} s ago, and is answered for from a copy of that age"),
                (None, Some(_)) => "was not heard of since this server began, and is answered for from an older copy".to_owned(),
                (None, None) => "was never reached, and cannot be answered for".to_owned(),
            };
            format!("datacenter {name} {state}: look at the servers there, at --peer-datacenter and at the link")
        })
        .collect()
}

/// A metric's name and labels, and its value.
type Samples = BTreeMap<(String, String), f64>;

/// The samples of Prometheus' text.
fn samples(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').to_owned();
            Some(((name.to_owned(), labels), value.parse().ok()?))
        })
        .collect()
}

/// Limits of which much is used.
fn near(samples: &Samples) -> Vec<String> {
    let mut found = Vec::new();
    for family in [
        "portolan_limit",
        "portolan_server_limit",
        "portolan_catalog_limit",
    ] {
        for ((name, labels), used) in samples {
            if name.strip_suffix("_used") != Some(family) {
                continue;
            }
            let limit = samples.get(&(family.to_owned(), labels.clone()));
            let Some(limit) = limit.filter(|limit| **limit > 0.0 && used / **limit >= NEAR) else {
                continue;
            };
            let labels = labels.replace('"', "").replace(',', ", ");
            found.push(format!(
                "{used} of {limit} are used ({labels}): raise the limit, or look at who uses it"
            ));
        }
    }
    let of = |name: &str| samples.get(&(name.to_owned(), String::new())).copied();
    for (used, limit, what) in [
        (
            "process_open_fds",
            "process_max_fds",
            "open files and connections of the process (ulimit -n, LimitNOFILE)",
        ),
        (
            "portolan_cluster_connections_in",
            "portolan_cluster_connections_limit",
            "connections of the cluster port (--cluster-connections)",
        ),
    ] {
        if let (Some(used), Some(limit)) = (of(used), of(limit))
            && limit > 0.0
            && used / limit >= NEAR
        {
            found.push(format!("{used} of {limit} {what} are used"));
        }
    }
    found
}

/// What a figure alone says.
fn standing(samples: &Samples) -> Vec<String> {
    const FIGURES: [(&str, &str); 8] = [
        (
            "portolan_leader_lost",
            "no leader is heard of: writes fail until there is one",
        ),
        (
            "portolan_disk_full",
            "the disk is full: writes are refused until there is room",
        ),
        (
            "portolan_guard_active",
            "the mass-expiry guard holds removals back: see `portolan guard`",
        ),
        (
            "portolan_snapshots_failed_total",
            "snapshots could not be written: look at the disk",
        ),
        (
            "portolan_history_files_damaged",
            "files of the history are damaged: look at the disk",
        ),
        (
            "portolan_log_lines_dropped_total",
            "log lines were dropped because nobody took them",
        ),
        (
            "portolan_panics_total",
            "requests ended in a panic: please report what the log says of it",
        ),
        (
            "portolan_answers_without_decision_total",
            "answers were given without asking whether they may be: please report it",
        ),
    ];
    let mut found = Vec::new();
    for (name, what) in FIGURES {
        let sum: f64 = samples
            .iter()
            .filter(|((known, _), _)| known == name)
            .map(|(_, value)| value)
            .sum();
        if sum > 0.0 {
            found.push(what.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, role: &str, level: u8) -> Member {
        Member {
            name: name.to_owned(),
            role: role.to_owned(),
            alive: true,
            level,
            version: "0.1.0".to_owned(),
            ..Member::default()
        }
    }

    #[test]
    fn what_members_lack_is_said() {
        let good = [
            member("n1", "leader", 4),
            member("n2", "voter", 4),
            member("n3", "voter", 4),
        ];
        let lacks = |members: &[Member]| {
            lacks(&Members {
                members: members.to_vec(),
                ..Members::default()
            })
        };
        assert_eq!(lacks(&good), Vec::<String>::new());
        let bad = [
            Member {
                last_index: 5000,
                ..member("n1", "leader", 4)
            },
            Member {
                alive: false,
                last_contact_ms: Some(60_000),
                ..member("n2", "voter", 4)
            },
            member("n3", "learner", 3),
        ];
        let said = lacks(&bad).join("\n");
        for part in [
            "n2 was last heard of 60 s ago",
            "n3 has no vote yet",
            "n3 is 5000 entries behind",
            "n3 of version 0.1.0 knows feature level 3, others know 4",
            "two voters",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(lacks(&[member("n1", "voter", 4)])[0].contains("no leader"));
        let restarted = [
            member("n1", "leader", 4),
            Member {
                alive: false,
                status: "dead".to_owned(),
                dead_since: Some("2026-11-20T20:02:53.5Z".to_owned()),
                ..member("n2", "voter", 4)
            },
        ];
        let said = lacks(&restarted).join("\n");
        assert!(
            said.contains("n2 was last heard of before 2026-11-20 20:02:53Z"),
            "{said}"
        );
    }

    #[test]
    fn an_agent_without_servers_and_a_datacenter_without_a_link_are_said() {
        let gone = Member {
            alive: false,
            status: "unknown".to_owned(),
            last_contact_ms: Some(65_000),
            ..member("n1", "voter", 4)
        };
        let said = lacks(&Members {
            members: vec![gone],
            copy_age_ms: Some(65_000),
            ..Members::default()
        });
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("its copy is 65 s old"), "{said:?}");
        let said = lacks(&Members::default());
        assert!(said[0].contains("has reached none"), "{said:?}");
        let text = "portolan_datacenter_connected{datacenter=\"dc2\"} 0.0\n\
            portolan_datacenter_copy_age_seconds{datacenter=\"dc2\"} 12.3\n\
            portolan_datacenter_connected{datacenter=\"dc3\"} 0.0\n\
            portolan_datacenter_connected{datacenter=\"dc4\"} 1.0\n";
        let said = datacenters(&samples(text));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("dc2 was last heard of 12 s ago"),
            "{said:?}"
        );
        assert!(said[1].contains("dc3 was never reached"), "{said:?}");
    }

    #[test]
    fn what_is_near_a_limit_is_said() {
        let text = "# HELP portolan_limit x\nportolan_limit{protocol=\"etcd\",limit=\"connections\"} 10\n\
            portolan_limit_used{protocol=\"etcd\",limit=\"connections\"} 9\n\
            portolan_limit{protocol=\"dns\",limit=\"connections\"} 10\n\
            portolan_limit_used{protocol=\"dns\",limit=\"connections\"} 2\n\
            process_max_fds 100\nprocess_open_fds 80\nportolan_disk_full 1\nportolan_guard_active 0\n\
            portolan_panics_total{protocol=\"etcd\"} 0\n";
        let samples = samples(text);
        let said = near(&samples);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("9 of 10 are used (protocol=etcd, limit=connections)"),
            "{said:?}"
        );
        assert_eq!(standing(&samples).len(), 1);
    }
}
