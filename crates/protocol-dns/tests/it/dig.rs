//! `dig`, where it is installed, agrees.

use std::process::Command;

use crate::fixture::{Server, options};

fn dig(server: &Server, arguments: &str) -> Option<String> {
    let output = Command::new("dig")
        .args([
            "@127.0.0.1",
            "-p",
            &server.address.port().to_string(),
            "+norecurse",
            "+time=2",
            "+tries=1",
        ])
        .args(arguments.split(' '))
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_reads_what_we_write() {
    let server = Server::filled(&options()).await;
    let rows: &[(&str, &[&str])] = &[
        ("+short api.service.consul A", &["10.0.1.1"]),
        ("+short +tcp api.service.consul A", &["10.0.1.1"]),
        ("+short +noedns api.service.consul A", &["10.0.1.1"]),
        (
            "+short api.service.consul SRV",
            &["1 1 8080 0a000101.addr.dc1.consul."],
        ),
        (
            "+short _api._tcp.service.consul SRV",
            &["1 1 8080 0a000101.addr.dc1.consul."],
        ),
        ("+short v2.web.service.consul A", &["10.0.0.8"]),
        ("+short -x 10.0.0.7", &["alpha.rack.node.dc1.consul."]),
        ("+short six.node.consul AAAA", &["2001:db8::6"]),
        (
            "+short alpha.rack.node.consul TXT",
            &["\"rack=r1\"", "\"as is\""],
        ),
        ("+short consul NS", &["n1.node.dc1.consul."]),
        ("+short consul SOA", &["ns.consul. hostmaster.consul."]),
        (
            "none.service.consul A",
            &["status: NXDOMAIN", "AUTHORITY: 1", "hostmaster.consul."],
        ),
        (
            "web.service.consul AAAA",
            &["status: NOERROR", "ANSWER: 0, AUTHORITY: 1"],
        ),
        (
            "web.service.consul A",
            &["flags: qr aa;", "ANSWER: 2", "udp: 1232"],
        ),
        (
            "+subnet=192.0.2.0/24 web.service.consul A",
            &["ANSWER: 2", "CLIENT-SUBNET: 192.0.2.0/24/0"],
        ),
        ("+cookie web.service.consul A", &["ANSWER: 2", "(good)"]),
        (
            "+edns=1 +noednsneg web.service.consul A",
            &["status: BADVERS"],
        ),
        ("www.example.com A", &["status: REFUSED"]),
        ("version.bind CH TXT", &["status: REFUSED"]),
        ("consul AXFR", &["Transfer failed."]),
        (
            "+short web.default.svc.cluster.local A",
            &["10.0.0.7", "10.0.0.8"],
        ),
    ];
    for (arguments, expected) in rows {
        let Some(said) = dig(&server, arguments) else {
            println!("skipped: no dig");
            return;
        };
        for part in *expected {
            assert!(
                said.contains(part),
                "dig {arguments}: no {part:?} in\n{said}"
            );
        }
        assert!(
            !said.contains("WARNING") && !said.contains("malformed"),
            "dig {arguments}:\n{said}"
        );
    }
}
