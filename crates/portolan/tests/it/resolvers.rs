//! Unmodified resolvers and load balancers in front of the DNS ports: HAProxy finds servers through them, unbound resolves their names, also
//! over TLS, and is asked for others; dig asks over TLS and HTTPS.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::server::{self, free_address};
use crate::harness::tally::{Table, skip_test};
use crate::harness::{Server, clients, eventually, http};
use crate::need_binary;

/// How long something may take to show.
const SOON: Duration = Duration::from_secs(15);

/// A program of ours that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    if std::env::var_os("PORTOLAN_TEST_CLIENT_OUTPUT").is_none() {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    Running(command.spawn().unwrap())
}

fn register(server: &Server, body: serde_json::Value) {
    let consul = server.address("consul");
    let path = "/v1/agent/service/register";
    let reply = http::call(consul, "PUT", path, Some(&body.to_string())).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A server with `many` at `count` addresses, `al` at the name of `many`, and `hostn` at a name of somebody else.
fn filled(count: u8) -> Server {
    let server = server::Start::default().go();
    for index in 0..count {
        let address = format!("10.7.0.{index}");
        register(
            &server,
            json!({"Name": "many", "ID": address, "Address": address, "Port": 8000 + u16::from(index)}),
        );
    }
    register(
        &server,
        json!({"Name": "al", "Address": "few.service.consul", "Port": 80}),
    );
    register(
        &server,
        json!({"Name": "few", "Address": "10.8.0.1", "Port": 80}),
    );
    register(
        &server,
        json!({"Name": "hostn", "Address": "host.example.com", "Port": 80}),
    );
    server
}

/// The servers of a backend that HAProxy would use, as `address:port`.
fn up(socket: &Path, backend: &str) -> Result<BTreeSet<String>, String> {
    let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    writeln!(stream, "show servers state {backend}").map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let lines = text.lines().filter(|line| {
        line.split(' ')
            .next()
            .is_some_and(|id| id.parse::<u32>().is_ok())
    });
    Ok(lines
        .map(|line| line.split(' ').collect::<Vec<_>>())
        // Columns: address 4, operational state 5 (2: running), port 18.
        .filter(|columns| columns.len() > 18 && columns[5] == "2" && columns[4] != "-")
        .map(|columns| format!("{}:{}", columns[4], columns[18]))
        .collect())
}

#[test]
fn haproxy_gets_its_servers() {
    need_binary!();
    let program = match clients::program("haproxy") {
        Ok(program) => program,
        Err(reason) => return skip_test("haproxy", &reason, 4),
    };
    let server = filled(30);
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    let configuration = folder.path().join("haproxy.cfg");
    // `few` is the size that HAProxy offers by default, 512 bytes.
    let text = format!(
        "global\n  stats socket {socket} level admin\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n\
         resolvers large\n  nameserver p {dns}\n  accepted_payload_size 8192\n  timeout resolve 200ms\n  timeout retry 200ms\n  hold valid 100ms\n\
         resolvers few\n  nameserver p {dns}\n  timeout resolve 100ms\n  timeout retry 200ms\n  hold valid 50ms\n\
         frontend front\n  bind {front}\n  default_backend ports\n\
         backend ports\n  server-template web 30 _many._tcp.service.consul resolvers large init-addr none\n\
         backend addresses\n  server-template web 30 many.service.consul:80 resolvers large init-addr none\n\
         backend small\n  server-template web 30 _many._tcp.service.consul resolvers few init-addr none\n\
         backend alias\n  server-template web 2 al.service.consul:80 resolvers large init-addr none\n",
        socket = socket.display(),
        dns = server.address("dns"),
        front = free_address(),
    );
    std::fs::write(&configuration, text).unwrap();
    let _haproxy = start(
        &program,
        &["-db", "-f", &configuration.display().to_string()],
    );
    let mut table = Table::new("haproxy");
    let expect = |backend: &str, expected: BTreeSet<String>| {
        eventually(SOON, || {
            let found = up(&socket, backend)?;
            if found == expected {
                return Ok(());
            }
            Err(format!(
                "{} of {} up: {found:?}",
                found.len(),
                expected.len()
            ))
        })
    };
    let all = |port: fn(u8) -> u16| {
        (0..30)
            .map(|index| format!("10.7.0.{index}:{}", port(index)))
            .collect()
    };
    table.cell(
        "30 instances",
        "server-template SRV",
        expect("ports", all(|index| 8000 + u16::from(index))),
    );
    table.cell(
        "30 instances",
        "server-template A",
        expect("addresses", all(|_| 80)),
    );
    // Three at a time, as Consul gives them to who takes 512 bytes, and other ones later.
    let mut seen = BTreeSet::new();
    let changing = eventually(SOON, || {
        let found = up(&socket, "small")?;
        if found.len() < 3 {
            return Err(format!("only {found:?} up"));
        }
        seen.extend(found);
        match seen.len() {
            10.. => Ok(()),
            few => Err(format!("{few} seen over time")),
        }
    });
    table.cell("30 instances", "512 bytes", changing);
    table.cell(
        "alias",
        "server-template A",
        expect("alias", BTreeSet::from(["10.8.0.1:80".to_owned()])),
    );
    table.finish();
}

/// What `dig` says about a name at `resolver`: the code, then the records of the answer without their times to live.
fn dig(resolver: SocketAddr, name: &str, kind: &str) -> Result<(String, BTreeSet<String>), String> {
    let port = resolver.port().to_string();
    let text = clients::run(
        "dig",
        &[
            "@127.0.0.1",
            "-p",
            &port,
            name,
            kind,
            "+tries=1",
            "+time=3",
            "+noall",
            "+comments",
            "+answer",
        ],
    )?;
    let code = text
        .split("status: ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .unwrap_or("no answer")
        .to_owned();
    let records = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            words.remove(1);
            words.join(" ")
        })
        .collect();
    Ok((code, records))
}

#[test]
fn unbound_resolves_every_kind_of_name() {
    need_binary!();
    let program = match clients::program("unbound").and_then(|own| {
        clients::program("dig")?;
        Ok(own)
    }) {
        Ok(program) => program,
        Err(reason) => return skip_test("unbound", &reason, 14),
    };
    let server = filled(12);
    let folder = TempDir::new().unwrap();
    let mut table = Table::new("unbound");
    for (kind, address) in [("stub", "stub-addr"), ("forward", "forward-addr")] {
        let resolver = free_address();
        let configuration = folder.path().join(format!("{kind}.conf"));
        let text = format!(
            "server:\n  interface: 127.0.0.1\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{folder}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-ip6: no\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
             access-control: 127.0.0.0/8 allow\n  local-zone: \"10.in-addr.arpa.\" nodefault\n\
             remote-control:\n  control-enable: no\n\
             {kind}-zone:\n  name: \"consul\"\n  {address}: 127.0.0.1@{dns}\n\
             {kind}-zone:\n  name: \"10.in-addr.arpa\"\n  {address}: 127.0.0.1@{dns}\n",
            port = resolver.port(),
            folder = folder.path().display(),
            dns = server.address("dns").port(),
        );
        std::fs::write(&configuration, text).unwrap();
        let _unbound = start(
            &program,
            &["-d", "-c", &configuration.display().to_string()],
        );
        let records = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let many: BTreeSet<String> = (0..12)
            .map(|index| format!("many.service.consul. IN A 10.7.0.{index}"))
            .collect();
        let ports: BTreeSet<String> = (0..12)
            .map(|index| {
                let port = 8000 + index;
                format!("_many._tcp.service.consul. IN SRV 1 1 {port} 0a0700{index:02x}.addr.dc1.consul.")
            })
            .collect();
        // An address of a name with ports is asked for first: were it an alias, the alias would hide the ports.
        let rows: [(&str, &str, &str, BTreeSet<String>); 7] = [
            ("many.service.consul", "A", "NOERROR", many),
            ("_many._tcp.service.consul", "SRV", "NOERROR", ports),
            (
                "al.service.consul",
                "A",
                "NOERROR",
                records(&[
                    "al.service.consul. IN CNAME few.service.consul.",
                    "few.service.consul. IN A 10.8.0.1",
                ]),
            ),
            (
                "_hostn._tcp.service.consul",
                "A",
                "NOERROR",
                BTreeSet::new(),
            ),
            (
                "_hostn._tcp.service.consul",
                "SRV",
                "NOERROR",
                records(&["_hostn._tcp.service.consul. IN SRV 1 1 80 host.example.com."]),
            ),
            ("none.service.consul", "A", "NXDOMAIN", BTreeSet::new()),
            (
                "1.0.8.10.in-addr.arpa",
                "PTR",
                "NOERROR",
                records(&["1.0.8.10.in-addr.arpa. IN PTR few.service.dc1.consul."]),
            ),
        ];
        for (name, qtype, code, expected) in rows {
            let outcome = eventually(SOON, || {
                let found = dig(resolver, name, qtype)?;
                if found == (code.to_owned(), expected.clone()) {
                    return Ok(());
                }
                Err(format!("expected {code} {expected:?}, found {found:?}"))
            });
            table.cell(kind, &format!("{qtype} {name}"), outcome);
        }
    }
    table.finish();
}

/// `dig` at a port, with further arguments: its whole answer.
fn dig_says(port: SocketAddr, arguments: &[&str]) -> Result<String, String> {
    let port = port.port().to_string();
    let mut all = vec!["@127.0.0.1", "-p", &port, "+tries=1", "+time=3"];
    all.extend(arguments);
    clients::run("dig", &all)
}

#[test]
fn dig_and_unbound_over_tls_https_and_as_recursor() {
    need_binary!();
    let program = match clients::program("unbound").and_then(|own| {
        clients::program("dig")?;
        Ok(own)
    }) {
        Ok(program) => program,
        Err(reason) => return skip_test("encrypted dns", &reason, 9),
    };
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let made = Command::new(server::binary().unwrap())
        .args([
            "tls",
            "create",
            "n1",
            "--dir",
            &folder.path().display().to_string(),
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (recursor, forwarder) = (free_address(), free_address());
    let server = server::Start::default()
        .with("--listen=dns+tls=127.0.0.1:0")
        .with("--listen=dns+https=127.0.0.1:0")
        .with(format!("--tls-cert={}", file("n1.pem")))
        .with(format!("--tls-key={}", file("n1-key.pem")))
        .with(format!("--dns-recursor={recursor}"))
        .go();
    for (name, host) in [("web", "10.8.0.1"), ("hostn", "host.example.com")] {
        register(&server, json!({"Name": name, "Address": host, "Port": 80}));
    }
    let unbound = |name: &str, address: SocketAddr, rest: &str| {
        let text = format!(
            "server:\n  interface: 127.0.0.1\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{folder}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-ip6: no\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
             access-control: 127.0.0.0/8 allow\n{rest}remote-control:\n  control-enable: no\n",
            port = address.port(),
            folder = folder.path().display(),
        );
        std::fs::write(file(name), text).unwrap();
        start(&program, &["-d", "-c", &file(name)])
    };
    // What the recursor knows of the world.
    let _recursor = unbound(
        "recursor.conf",
        recursor,
        "  local-zone: \"example.com.\" static\n  local-data: \"host.example.com. 300 IN A 10.60.0.1\"\n  local-data: \"example.com. 300 IN SOA ns.example.com. me.example.com. 1 2 3 4 60\"\n",
    );
    // A resolver that asks this server over TLS.
    let _forwarder = unbound(
        "forwarder.conf",
        forwarder,
        &format!(
            "forward-zone:\n  name: \"consul\"\n  forward-tls-upstream: yes\n  forward-addr: 127.0.0.1@{}\n",
            server.address("dns+tls").port()
        ),
    );
    let mut table = Table::new("encrypted dns");
    let authority = format!("+tls-ca={}", file("cluster-ca.pem"));
    let (plain, tls, https) = (
        server.address("dns"),
        server.address("dns+tls"),
        server.address("dns+https"),
    );
    let rows: [(&str, SocketAddr, &[&str], &[&str]); 9] = [
        (
            "tls",
            tls,
            &["+tls", "+short", "web.service.consul"],
            &["10.8.0.1"],
        ),
        (
            "tls",
            tls,
            &[
                "+tls",
                &authority,
                "+tls-hostname=server.dc1.portolan",
                "+short",
                "web.service.consul",
            ],
            &["10.8.0.1"],
        ),
        (
            "https",
            https,
            &["+https", "+short", "web.service.consul"],
            &["10.8.0.1"],
        ),
        (
            "https",
            https,
            &["+https-get", "+short", "web.service.consul"],
            &["10.8.0.1"],
        ),
        (
            "https",
            https,
            &["+https", "+short", "host.example.com"],
            &["10.60.0.1"],
        ),
        (
            "recursor",
            plain,
            &["host.example.com"],
            &["status: NOERROR", "flags: qr rd ra;", "10.60.0.1"],
        ),
        (
            "recursor",
            plain,
            &["none.example.com"],
            &["status: NXDOMAIN", "me.example.com."],
        ),
        (
            "recursor",
            plain,
            &["hostn.service.consul"],
            &["host.example.com.", "10.60.0.1"],
        ),
        (
            "forwarder",
            forwarder,
            &["+short", "web.service.consul"],
            &["10.8.0.1"],
        ),
    ];
    for (group, port, arguments, expected) in rows {
        let outcome = eventually(SOON, || {
            let said = dig_says(port, arguments)?;
            match expected.iter().find(|part| !said.contains(**part)) {
                None => Ok(()),
                Some(part) => Err(format!("no {part:?} in {said}")),
            }
        });
        table.cell(group, &arguments.join(" "), outcome);
    }
    table.finish();
}
