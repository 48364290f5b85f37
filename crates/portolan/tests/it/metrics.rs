//! Metrics as whoever scrapes them sees them: well formed, complete, and no more of them the more services there are.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::json;

use crate::harness::etcd::{self, Etcd};
use crate::harness::{Server, http, server};
use crate::need_binary;

fn scraped(server: &Server) -> String {
    let reply = http::call(server.address("native"), "GET", "/metrics", None).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    reply.text()
}

/// Something of everything: each protocol answers well and badly.
fn used(server: &Server, names: std::ops::Range<u32>) {
    let (consul, eureka) = (server.address("consul"), server.address("eureka"));
    for number in names {
        let body = json!({ "Name": format!("s{number}"), "Address": "10.0.0.1", "Port": 80 });
        let paths = [
            (
                "PUT",
                "/v1/agent/service/register".to_owned(),
                Some(body.to_string()),
            ),
            ("GET", format!("/v1/health/service/s{number}"), None),
            ("GET", format!("/no/such/path/{number}"), None),
            ("PUT", format!("/v1/kv/k{number}"), Some("v".to_owned())),
        ];
        for (method, path, body) in paths {
            http::call(consul, method, &path, body.as_deref()).unwrap();
        }
        http::call(eureka, "GET", &format!("/eureka/apps/s{number}"), None).unwrap();
        http::call(
            server.address("native"),
            "GET",
            &format!("/v1/why/s{number}"),
            None,
        )
        .unwrap();
    }
    etcd::runtime().block_on(async {
        let client = Etcd::connect(server.address("etcd")).await.unwrap();
        client.put("k", b"v").await.unwrap();
        client.get("k").await.unwrap();
    });
}

/// A sample's name and labels, and its value.
fn sample(line: &str) -> (&str, &str, f64) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let value = value.parse().expect(line);
    match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect(line), value),
        None => (series, "", value),
    }
}

/// The family that a sample belongs to.
fn family<'a>(name: &'a str, types: &BTreeMap<&str, &str>) -> &'a str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|end| name.strip_suffix(end))
        .find(|base| types.get(base) == Some(&"histogram"))
        .unwrap_or(name)
}

#[test]
fn the_text_is_what_prometheus_reads() {
    need_binary!();
    let server = Server::start();
    used(&server, 0..3);
    let text = scraped(&server);
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped: BTreeSet<&str> = BTreeSet::new();
    let mut series: BTreeSet<&str> = BTreeSet::new();
    let mut closed: BTreeSet<String> = BTreeSet::new();
    let mut open = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(helped.insert(name), "two helps of {name}");
                assert!(!help.trim().is_empty(), "{line}");
            }
            ["#", "TYPE", name, kind] => {
                assert!(types.insert(name, kind).is_none(), "two types of {name}");
                assert!(helped.contains(name), "{name} has no help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            }
            _ => {
                assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
                let (name, labels, value) = sample(line);
                let family = family(name, &types);
                let kind = types
                    .get(family)
                    .unwrap_or_else(|| panic!("{name} has no type"));
                assert!(!value.is_nan(), "{line}");
                assert_eq!(
                    *kind == "counter",
                    name.ends_with("_total"),
                    "counters end in _total, and nothing else does: {line}"
                );
                let own = name.starts_with("portolan_") || name.starts_with("process_");
                assert!(own && !name.contains("portolan_portolan"), "{line}");
                let bad = ["_ms", "_milliseconds", "_microseconds", "_us"];
                assert!(
                    !bad.iter()
                        .any(|unit| family.trim_end_matches("_total").ends_with(unit)),
                    "times are in seconds: {line}"
                );
                for label in labels.split("\",").filter(|label| !label.is_empty()) {
                    assert!(label.contains("=\""), "{line}");
                }
                assert!(
                    series.insert(line.rsplit_once(' ').unwrap().0),
                    "twice: {line}"
                );
                if family != open {
                    closed.insert(std::mem::replace(&mut open, family.to_owned()));
                    assert!(!closed.contains(family), "{family} is in two places");
                }
            }
        }
    }
    for protocol in ["consul", "etcd", "eureka", "native"] {
        for start in ["portolan_requests_total", "portolan_request_seconds_count"] {
            let wanted = format!("{start}{{protocol=\"{protocol}\"");
            assert!(text.contains(&wanted), "no {wanted}");
        }
    }
    for name in [
        "portolan_build_info",
        "process_open_fds",
        "process_resident_memory_bytes",
        "portolan_log_sync_seconds_total",
        "portolan_guarded_checks",
        "portolan_server_limit_used",
    ] {
        assert!(text.contains(&format!("\n{name}")), "no {name}");
    }
}

#[test]
fn there_are_no_more_series_when_there_are_more_services() {
    need_binary!();
    let server = Server::start();
    let count = || {
        scraped(&server)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    used(&server, 0..5);
    // The first scrape makes series of its own.
    count();
    let before = count();
    used(&server, 5..60);
    assert_eq!(count(), before);
}

#[test]
fn every_limit_that_can_be_set_is_shown() {
    need_binary!();
    let help = Command::new(server::binary().unwrap())
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let flags: Vec<String> = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--limit-"))
        .map(|name| name.replace('-', "_"))
        .collect();
    assert!(flags.len() >= 16, "{flags:?}");
    let server = Server::start();
    let text = scraped(&server);
    for limit in flags {
        let wanted = format!("limit=\"{limit}\"}}");
        let shown = |line: &&str| line.starts_with("portolan_limit{protocol=\"consul\"");
        assert!(
            text.lines()
                .filter(shown)
                .any(|line| line.contains(&wanted)),
            "no portolan_limit of {limit}"
        );
    }
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("portolan_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn the_board_and_the_page_name_metrics_that_there_are() {
    need_binary!();
    let server = Server::start();
    used(&server, 0..1);
    // A limit that is met makes the series of those that are turned away.
    let head = "PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    let limit = std::time::Duration::from_secs(10);
    http::exchange(server.address("consul"), head.as_bytes(), limit).unwrap();
    let text = scraped(&server);
    let there: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    // No port of this server can be reached from elsewhere.
    let elsewhere = "portolan_insecure_listen";
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, least) in [("deploy/grafana.json", 40), ("docs/operating.md", 70)] {
        let names = named(&std::fs::read_to_string(root.join(file)).unwrap());
        assert!(names.len() >= least, "{file} names {}", names.len());
        for name in names.iter().filter(|name| *name != elsewhere) {
            assert!(there.contains(name.as_str()), "{file}: there is no {name}");
        }
    }
}
