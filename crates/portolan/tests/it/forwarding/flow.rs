//! What needs more than one request: balancing, retries, outliers, changes of the catalog, and the end of the server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use super::wire::{Answer, Wire, get, once};
use super::{Backend, Stage};
use crate::harness::{eventually, same};
use crate::need_binary;

fn who(answer: &Answer) -> String {
    answer
        .first_line()
        .split(' ')
        .next()
        .unwrap_or("")
        .to_owned()
}

/// Who answers so many requests.
fn shares(stage: &Stage, path: &str, fields: &str, times: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    let mut wire = Wire::open(stage.gateway());
    for _ in 0..times {
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let answer = wire.answer(false);
        assert_eq!(answer.status, 200, "{answer:?}");
        *shares.entry(who(&answer)).or_insert(0) += 1;
    }
    shares
}

#[test]
fn requests_are_spread_as_the_service_says() {
    need_binary!();
    let stage = Stage::new(&[]);
    let even = shares(&stage, "/web/", "", 20);
    assert_eq!(even.into_values().collect::<Vec<_>>(), [10, 10]);
    let heavy = Backend::new();
    let light = Backend::new();
    for (backend, weight) in [(&heavy, 3), (&light, 1)] {
        let weights = json!({"Weights": {"Passing": weight, "Warning": 1}});
        stage.register("weighted", backend, weights);
    }
    let found = shares(&stage, "/weighted/", "", 40);
    assert_eq!(found[&heavy.name()], 30);
    let backends: Vec<Backend> = (0..4).map(|_| Backend::new()).collect();
    for (service, meta) in [
        (
            "hashed",
            json!({"lb": "maglev", "lb-hash": "header:X-User"}),
        ),
        ("sticky", json!({"lb": "ring", "lb-hash": "cookie:sid"})),
        ("first", json!({"lb": "first"})),
    ] {
        for backend in &backends {
            stage.register(service, backend, json!({ "Meta": meta }));
        }
    }
    let mut owners = std::collections::BTreeSet::new();
    for user in 0..20 {
        let found = shares(&stage, "/hashed/", &format!("X-User: u{user}\r\n"), 3);
        assert_eq!(found.len(), 1, "one user, one endpoint");
        owners.extend(found.into_keys());
    }
    assert!(owners.len() > 1, "{owners:?}");
    assert_eq!(shares(&stage, "/first/", "", 10).len(), 1);
    let answer = get(stage.gateway(), "a", "/sticky/");
    let cookie = answer.field("set-cookie").expect("a cookie");
    let pair = cookie.split(';').next().unwrap();
    let found = shares(&stage, "/sticky/", &format!("Cookie: {pair}\r\n"), 10);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(who(&answer), 10)]);
    // A path by which to choose that no service knows is told.
    let odd = Backend::new();
    stage.register("odd", &odd, json!({"Meta": {"lb": "fastest"}}));
    let why = crate::harness::http::get_json(stage.server.address("native"), "/v1/why/odd");
    assert!(why.unwrap().to_string().contains("fastest"));
}

#[test]
fn health_decides_and_too_little_of_it_does_not() {
    need_binary!();
    let stage = Stage::new(&[]);
    let backends: Vec<Backend> = (0..4).map(|_| Backend::new()).collect();
    for backend in &backends {
        let check = json!({"Check": {"TTL": "600s", "Status": "passing"}});
        stage.register("checked", backend, check);
    }
    let fail = |backend: &Backend| {
        let id = backend.id("checked");
        stage.consul(&format!("/v1/agent/check/fail/service:{id}"), &json!(null));
    };
    let asked = |count: usize| {
        eventually(Duration::from_secs(20), || {
            same(&shares(&stage, "/checked/", "", 12).len(), &count)
        })
        .unwrap();
    };
    asked(4);
    fail(&backends[0]);
    asked(3);
    fail(&backends[1]);
    asked(2);
    fail(&backends[2]);
    asked(4);
    // Maintenance is no illness: nobody is sent there, whatever the others do.
    let maintenance = |backend: &Backend, on: bool| {
        let id = backend.id("checked");
        let path = format!("/v1/agent/service/maintenance/{id}?enable={on}");
        stage.consul(&path, &json!(null));
    };
    backends
        .iter()
        .for_each(|backend| maintenance(backend, true));
    let answer = stage.until("a", "/checked/", 503);
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    assert!(answer.field("x-portolan-error").is_some());
    maintenance(&backends[3], false);
    asked(1);
    // Nothing registered any more.
    for backend in &backends {
        stage.deregister("checked", backend);
    }
    stage.until("a", "/checked/", 503);
}

#[test]
fn what_is_safe_is_tried_elsewhere_and_who_fails_is_left_out() {
    need_binary!();
    let stage = Stage::new(&["--gateway-workers", "1"]);
    stage.register_nobody("broken", 1);
    for backend in &stage.backends {
        stage.register("broken", backend, json!({}));
    }
    // Nothing of a request reached an endpoint that is not there: any method may be tried elsewhere.
    for _ in 0..10 {
        assert_eq!(get(stage.gateway(), "a", "/broken/").status, 200);
        let post = "POST /broken/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let answer = once(stage.gateway(), post);
        assert!(answer.body.contains("body: 5"), "{answer:?}");
    }
    let endpoint = "service=\"broken\",endpoint=\"127.0.0.1:1\"";
    let ejected = stage.figure("portolan_gateway_ejections_total", endpoint);
    assert_eq!(ejected, 1.0, "five failures in a row take it out");
    let failures = stage.figure("portolan_gateway_failures_total", endpoint);
    assert_eq!(failures, 5.0, "and then it is asked no more");
    let retries = stage.figure("portolan_gateway_retries_total", "broken");
    assert_eq!(retries, 5.0);
    // An endpoint that hangs up was sent the request: only what may be done twice is.
    let hanging = Backend::new();
    for backend in [&hanging, &stage.backends[0]] {
        stage.register("hanging", backend, json!({}));
    }
    hanging.set_mute(true);
    for _ in 0..4 {
        assert_eq!(get(stage.gateway(), "a", "/hanging/").status, 200);
    }
    let post = "POST /hanging/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let statuses: Vec<u16> = (0..2).map(|_| once(stage.gateway(), post).status).collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    // When nobody is there, the budget holds.
    (1..=3).for_each(|port| stage.register_nobody("nobody", port));
    let mut wire = Wire::open(stage.gateway());
    for _ in 0..200 {
        wire.send("GET /nobody/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(wire.answer(false).status, 502);
    }
    let retries = stage.figure("portolan_gateway_retries_total", "nobody");
    // Three a second for ten seconds, and a fifth of two hundred; more only if this took longer than that.
    assert!(retries <= 130.0, "{retries}");
    let refused = stage.figure("portolan_gateway_retries_refused_total", "nobody");
    assert!(refused > 0.0);
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    need_binary!();
    let stage = Stage::new(&[]);
    let backend = Backend::new();
    stage.register("timed", &backend, json!({"Meta": {"timeout": "200ms"}}));
    let answer = get(stage.gateway(), "a", "/timed/slow");
    assert_eq!(answer.status, 504);
    assert!(answer.field("x-portolan-error").is_some());
    assert_eq!(get(stage.gateway(), "a", "/timed/").status, 200);
    assert_eq!(
        get(stage.gateway(), "a", "/web/slow").status,
        200,
        "others wait longer"
    );
}

#[test]
fn bodies_go_through_in_constant_memory() {
    need_binary!();
    let stage = Stage::new(&[]);
    let resident = || {
        let path = format!("/proc/{}/status", stage.server.pid());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(get(stage.gateway(), "a", "/web/").status, 200);
    let before = resident();
    const SIZE: usize = 64 << 20;
    let mut wire = Wire::open(stage.gateway());
    wire.send(format!(
        "POST /web/ HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
    ));
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..SIZE / chunk.len() {
        wire.send(&chunk);
    }
    assert!(wire.answer(false).body.contains(&format!("body: {SIZE}")));
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB more for 64 MiB");
}

#[test]
fn a_change_ends_nothing_and_no_request_is_lost() {
    need_binary!();
    let mut stage = Stage::new(&[]);
    let stop = AtomicBool::new(false);
    let (done, failed) = (AtomicU32::new(0), AtomicU32::new(0));
    let gateway = stage.gateway();
    let connections = AtomicU32::new(0);
    let load = || {
        let mut wire = Wire::open(gateway);
        connections.fetch_add(1, Ordering::SeqCst);
        while !stop.load(Ordering::SeqCst) {
            wire.send("GET /web/ HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = wire.answer(false);
            match answer.status {
                200 => done.fetch_add(1, Ordering::SeqCst),
                _ => {
                    eprintln!("{answer:?}");
                    wire = Wire::open(gateway);
                    failed.fetch_add(1, Ordering::SeqCst)
                }
            };
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|_| {
            scope.spawn(load);
        });
        for _ in 0..10 {
            let before = done.load(Ordering::SeqCst);
            let fresh = Backend::new();
            stage.register("web", &fresh, json!({}));
            let seen = eventually(Duration::from_secs(20), || {
                match fresh.requests() > 0 && done.load(Ordering::SeqCst) > before + 20 {
                    true => Ok(()),
                    false => Err("the new endpoint is not asked".to_owned()),
                }
            });
            if seen.is_err() {
                stop.store(true, Ordering::SeqCst);
            }
            seen.unwrap();
            // Drained first: what is under way ends, and then the endpoint may go.
            let old = stage.backends.remove(0);
            stage.deregister("web", &old);
            let asked = old.requests();
            let before = done.load(Ordering::SeqCst);
            let quiet = eventually(Duration::from_secs(20), || {
                match done.load(Ordering::SeqCst) > before + 20 {
                    true => Ok(old.requests()),
                    false => Err("nothing goes on".to_owned()),
                }
            });
            if quiet.is_err() {
                stop.store(true, Ordering::SeqCst);
            }
            assert!(quiet.unwrap() <= asked + 8);
            stage.backends.push(fresh);
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    assert_eq!(connections.load(Ordering::SeqCst), 4, "no connection ended");
}

#[test]
fn the_end_of_the_server_loses_no_request() {
    need_binary!();
    let mut stage = Stage::new(&[]);
    let gateway = stage.gateway();
    let (answered, lost) = (AtomicU32::new(0), AtomicU32::new(0));
    let begun = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (answered, lost, begun) = (&answered, &lost, &begun);
            scope.spawn(move || {
                let mut wire = Wire::open(gateway);
                let path = ["/web/", "/web/pause"][number % 2];
                for _ in 0..100_000 {
                    wire.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
                    begun.fetch_add(1, Ordering::SeqCst);
                    let answer = wire.answer(false);
                    if answer.status != 200 {
                        lost.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                    if answer.field("connection").as_deref() == Some("close") {
                        return;
                    }
                }
            });
        }
        let busy = eventually(Duration::from_secs(20), || {
            match begun.load(Ordering::SeqCst) > 50 {
                true => Ok(()),
                false => Err("no load".to_owned()),
            }
        });
        let ended = stage.server.terminate(Duration::from_secs(20));
        busy.unwrap();
        assert!(ended.unwrap().success());
    });
    assert_eq!(
        lost.load(Ordering::SeqCst),
        0,
        "of {}",
        answered.load(Ordering::SeqCst)
    );
}

#[test]
fn http2_and_the_access_log() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let stage = Stage::new(&["--gateway-access-log", log.to_str().unwrap()]);
    // The preface, empty settings, and a request of one HEADERS frame: GET http web.gateway.localhost /two, without compression.
    let mut wire = Wire::open(stage.gateway());
    let mut block = vec![0x82, 0x86];
    for (index, value) in [(4_u8, "/two"), (1, "web.gateway.localhost")] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    wire.stream.write_all(&bytes).unwrap();
    let mut body = Vec::new();
    let mut head = [0; 9];
    loop {
        wire.stream.read_exact(&mut head).unwrap();
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        wire.stream.read_exact(&mut payload).unwrap();
        let (kind, flags, stream) = (head[3], head[4], head[8]);
        assert!(
            kind != 3 && kind != 7,
            "reset or told to go away: {payload:?}"
        );
        if stream == 1 && kind == 0 {
            body.extend(payload);
        }
        if stream == 1 && flags & 1 == 1 {
            break;
        }
    }
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains(" GET /two HTTP/1.1"), "{text}");
    assert!(text.contains("via: 2 portolan"), "{text}");
    let lines = eventually(Duration::from_secs(20), || {
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let lines: Result<Vec<serde_json::Value>, _> =
            text.lines().map(serde_json::from_str).collect();
        let lines = lines.map_err(|error| error.to_string())?;
        match lines.is_empty() {
            true => Err("no line".to_owned()),
            false => Ok(lines),
        }
    });
    let line = &lines.unwrap()[0];
    assert_eq!(line["service"], "web");
    assert_eq!(line["status"], 200);
    assert_eq!(line["path"], "/two");
    assert_eq!(line["protocol"], "HTTP/2.0");
    assert_eq!(line["aborted"], false);
    assert_eq!(line["trace"].as_str().unwrap().len(), 32);
}
