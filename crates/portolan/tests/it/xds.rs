//! xDS' own clients, unmodified: channels of grpc-go and grpcio on `xds:///web`, and Envoy in both forms of the protocol, under load while
//! the instances of the service change. No call may fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::server::{Start, binary, free_address};
use crate::harness::{Driver, Server, clients, eventually, http, same, tally};
use crate::need_binary;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(45);
/// Calls of a window in which every instance has to show.
const WINDOW: u64 = 60;
/// Changes of a run that every change of this repository makes.
const CHANGES: usize = 6;

/// What `portolan xds bootstrap` prints.
fn bootstrap(arguments: &[&str]) -> Value {
    let output = Command::new(binary().unwrap())
        .args(["xds", "bootstrap"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn put(server: &Server, path: &str, body: &Value) {
    let body = body.to_string();
    let reply = http::call(server.address("consul"), "PUT", path, Some(&body)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn id(addr: &str) -> String {
    format!("web-{}", addr.replace([':', '.'], "-"))
}

fn register(server: &Server, addr: &str) {
    let (host, port) = addr.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let body = json!({ "Name": "web", "ID": id(addr), "Address": host, "Port": port });
    put(server, "/v1/agent/service/register", &body);
}

fn deregister(server: &Server, addr: &str) {
    put(
        server,
        &format!("/v1/agent/service/deregister/{}", id(addr)),
        &Value::Null,
    );
}

fn maintenance(server: &Server, addr: &str, enable: bool) {
    put(
        server,
        &format!("/v1/agent/service/maintenance/{}?enable={enable}", id(addr)),
        &Value::Null,
    );
}

/// Calls without a pause, and who answered since a change was seen.
struct Load<'a> {
    caller: &'a mut Driver,
    target: String,
    failures: Vec<String>,
}

impl Load<'_> {
    fn take(&mut self, op: &str) -> Result<BTreeMap<String, u64>, String> {
        let taken = self.caller.call(op, json!({ "target": self.target }))?;
        let failures = taken["failures"].as_array().into_iter().flatten();
        self.failures
            .extend(failures.filter_map(|one| one.as_str().map(str::to_owned)));
        serde_json::from_value(taken["counts"].clone()).map_err(|error| error.to_string())
    }

    /// Waits until exactly these answer, each with a fair share of a window.
    fn settles(&mut self, expected: &[&str]) {
        let mut window: BTreeMap<String, u64> = BTreeMap::new();
        let settled = eventually(SOON, || {
            for (name, count) in self.take("take")? {
                *window.entry(name).or_default() += count;
            }
            let calls: u64 = window.values().sum();
            if calls < WINDOW {
                return Err(format!("{calls} calls, {:?}", self.failures));
            }
            let seen = std::mem::take(&mut window);
            let mut wanted: Vec<&str> = expected.to_vec();
            wanted.sort_unstable();
            let names: Vec<&str> = seen.keys().map(|name| &**name).collect();
            same(&names, &wanted)?;
            let least = calls / (3 * expected.len() as u64);
            match seen.values().all(|count| *count >= least) {
                true => Ok(()),
                false => Err(format!("uneven: {seen:?}")),
            }
        });
        if let Err(why) = settled {
            panic!("{why}; failures: {:?}", self.failures);
        }
        assert!(self.failures.is_empty(), "{:?}", self.failures);
    }

    fn ends(mut self) {
        self.take("end").unwrap();
        assert!(self.failures.is_empty(), "{:?}", self.failures);
    }
}

/// Instances come, are drained, go and come back, so many times; each is seen before the next, and no call fails.
fn change(server: &Server, changes: usize, backends: &[String], load: &mut Load<'_>) {
    let all: Vec<&str> = backends.iter().map(|addr| &**addr).collect();
    load.settles(&all[..2]);
    register(server, all[2]);
    load.settles(&all);
    for number in 0..changes {
        let (one, rest): (&str, Vec<&str>) = {
            let one = all[number % all.len()];
            (
                one,
                all.iter().copied().filter(|addr| *addr != one).collect(),
            )
        };
        match number % 2 {
            0 => {
                maintenance(server, one, true);
                load.settles(&rest);
                maintenance(server, one, false);
            }
            _ => {
                deregister(server, one);
                load.settles(&rest);
                register(server, one);
            }
        }
        load.settles(&all);
    }
}

/// An instance leaves for good: when nobody calls it any more, it ends, and no call fails for that.
fn leave(server: &Server, servers: &mut Driver, backends: &[String], load: &mut Load<'_>) {
    let (gone, rest) = backends.split_first().unwrap();
    deregister(server, gone);
    let rest: Vec<&str> = rest.iter().map(|addr| &**addr).collect();
    load.settles(&rest);
    servers.call("stop", json!({ "addr": gone })).unwrap();
    load.settles(&rest);
}

fn backends(servers: &mut Driver, op: &str) -> Vec<String> {
    (0..3)
        .map(|_| {
            let addr = servers.call(op, json!({})).unwrap();
            addr.as_str().unwrap().to_owned()
        })
        .collect()
}

/// The server counts no response that a client refused.
fn nothing_was_refused(server: &Server) {
    let text = http::call(server.address("native"), "GET", "/metrics", None)
        .unwrap()
        .text();
    let of = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = of("portolan_xds_nacks_total");
    assert_eq!(refused.len(), 4, "{refused:?}");
    assert!(
        refused.iter().all(|line| line.ends_with(" 0")),
        "{refused:?}"
    );
    let undecided = of("portolan_answers_without_decision_total{protocol=\"xds\"}");
    assert!(undecided[0].ends_with(" 0"), "{undecided:?}");
    let accepted = of("portolan_xds_acks_total{kind=\"EDS\"}");
    assert!(!accepted[0].ends_with(" 0"), "{accepted:?}");
}

/// A driver of Go and one that calls, both from the bootstrap file that is printed.
fn drivers(server: &Server, caller: &str) -> Result<(Driver, Driver), String> {
    let own = server.address("xds").to_string();
    let file = bootstrap(&["--server", &own, "--id", caller]);
    let servers = Driver::start("xds-go")?;
    let mut calling = Driver::start(caller)?;
    calling.call("bootstrap", json!({ "bootstrap": file }))?;
    Ok((servers, calling))
}

pub fn channels(name: &str, caller: &str, changes: usize) {
    need_binary!();
    let server = Server::start();
    let (mut servers, mut calling) = match drivers(&server, caller) {
        Ok(drivers) => drivers,
        Err(why) => return tally::skip_test(name, &why, 1),
    };
    let backends = backends(&mut servers, "backend");
    for addr in &backends[..2] {
        register(&server, addr);
    }
    let target = "xds:///web";
    calling
        .call("load", json!({ "target": target, "workers": 2 }))
        .unwrap();
    let mut load = Load {
        caller: &mut calling,
        target: target.to_owned(),
        failures: Vec::new(),
    };
    change(&server, changes, &backends, &mut load);
    leave(&server, &mut servers, &backends, &mut load);
    load.ends();
    nothing_was_refused(&server);
}

#[test]
fn a_channel_of_grpc_go_follows_every_change() {
    channels("xds: grpc-go", "xds-go", CHANGES);
}

#[test]
fn a_channel_of_grpcio_follows_every_change() {
    channels("xds: grpcio", "xds-python", CHANGES);
}

#[test]
fn a_channel_finds_a_service_by_its_names_and_is_told_when_there_is_none() {
    need_binary!();
    let server = Server::start();
    let (mut servers, mut calling) = match drivers(&server, "xds-go") {
        Ok(drivers) => drivers,
        Err(why) => return tally::skip_test("xds: names", &why, 1),
    };
    let addr = backends(&mut servers, "backend").remove(0);
    register(&server, &addr);
    for target in [
        "xds:///web",
        "xds:///WEB",
        "xds:///web:80",
        "xds:///web.service.consul",
        "xds:///web.default.svc.cluster.local:80",
    ] {
        let found = calling.call("once", json!({ "target": target })).unwrap();
        assert_eq!(found, json!(addr), "{target}");
    }
    // Well before the 15 s that a client waits for what does not come.
    let error = calling
        .call("once", json!({ "target": "xds:///nobody" }))
        .unwrap_err();
    assert!(error.contains("Unavailable"), "{error}");
    assert!(error.contains("nobody"), "{error}");
}

/// A running proxy.
struct Envoy {
    child: Child,
    folder: tempfile::TempDir,
}

impl Envoy {
    fn start(server: &Server, program: &str, delta: bool) -> Envoy {
        let folder = tempfile::tempdir().unwrap();
        let (own, admin) = (
            server.address("xds").to_string(),
            free_address().to_string(),
        );
        let mut arguments = vec!["--for", "envoy", "--server", &own, "--admin", &admin];
        if delta {
            arguments.push("--delta");
        }
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap(&arguments).to_string()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg("--config-path")
            .arg(&file)
            .args([
                "--concurrency",
                "1",
                "--use-dynamic-base-id",
                "--log-level",
                "warning",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Envoy { child, folder }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            println!("Envoy said:\n{}", log.unwrap_or_default());
        }
    }
}

/// What a proxy answers to a request for a host.
fn ask(egress: SocketAddr, host: &str) -> Result<u16, String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = http::exchange(egress, request.as_bytes(), Duration::from_secs(10))?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).ok_or("no status")?;
    status.parse().map_err(|_| format!("no status: {text}"))
}

pub fn envoy(name: &str, delta: bool, changes: usize) {
    need_binary!();
    let program = match clients::program("envoy") {
        Ok(program) => program,
        Err(why) => return tally::skip_test(name, &why, 1),
    };
    let mut servers = match Driver::start("xds-go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test(name, &why, 1),
    };
    let egress = free_address();
    let server = Start::default()
        .with("--xds-egress")
        .with(egress.to_string())
        .go();
    let backends = backends(&mut servers, "backend.http");
    for addr in &backends[..2] {
        register(&server, addr);
    }
    let envoy = Envoy::start(&server, &program, delta);
    for host in [
        "web",
        "web.service.consul",
        "web.default.svc.cluster.local:80",
    ] {
        eventually(SOON, || same(&ask(egress, host)?, &200)).unwrap();
    }
    assert_eq!(ask(egress, "nobody"), Ok(404));
    let mut calling = Driver::start("xds-go").unwrap();
    calling
        .call(
            "load.http",
            json!({ "target": "web", "addr": egress.to_string(), "host": "web", "workers": 4 }),
        )
        .unwrap();
    let mut load = Load {
        caller: &mut calling,
        target: "web".to_owned(),
        failures: Vec::new(),
    };
    change(&server, changes, &backends, &mut load);
    // A service that appears and goes is no matter of the other's.
    put(
        &server,
        "/v1/agent/service/register",
        &json!({ "Name": "late", "Address": "127.0.0.1", "Port": backends[2].rsplit_once(':').unwrap().1.parse::<u16>().unwrap() }),
    );
    eventually(SOON, || same(&ask(egress, "late")?, &200)).unwrap();
    put(&server, "/v1/agent/service/deregister/late", &Value::Null);
    eventually(SOON, || same(&ask(egress, "late")?, &503)).unwrap();
    leave(&server, &mut servers, &backends, &mut load);
    load.ends();
    nothing_was_refused(&server);
    drop(envoy);
}

#[test]
fn envoy_follows_every_change_by_the_state_of_the_world() {
    envoy("xds: Envoy", false, CHANGES);
}

#[test]
fn envoy_follows_every_change_by_differences() {
    envoy("xds: Envoy with differences", true, CHANGES);
}
