//! When checks run, how many at a time, and what becomes news.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portolan_catalog::{
    Check, CheckKey, Command, Endpoint, Host, InstanceKey, NewCheck, NodeName, Probe, Register,
    Registration, ServiceKey, Status, Thresholds,
};
use portolan_registry::Registry;
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{Bench, Web, check, http_probe, node, put, reply, settings};

async fn eventually(what: &str, wanted: impl Fn() -> bool) {
    let wait = async {
        while !wanted() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(15), wait).await.is_ok(),
        "{what}"
    );
}

#[tokio::test]
async fn dropping_a_check_ends_its_probe_at_once() {
    let silent = Web::start(|_| String::new()).await;
    let bench = Bench::start();
    let mut facts = check("slow", http_probe(&silent.url("/")));
    facts.timeout_ms = 60_000;
    let key = facts.key.clone();
    bench.apply(put(facts)).await;
    eventually("the probe is open", || {
        silent.open.load(Ordering::SeqCst) == 1
    })
    .await;
    bench.apply(Command::DropCheck { key, expect: None }).await;
    eventually("the probe is closed", || {
        silent.open.load(Ordering::SeqCst) == 0
    })
    .await;
    eventually("nothing is scheduled", || {
        bench.meters.scheduled.get() == 0 && bench.meters.running.get() == 0
    })
    .await;
}

#[tokio::test]
async fn a_changed_definition_starts_anew() {
    let old = Web::start(|_| String::new()).await;
    let new = Web::start(|_| reply("200 OK", "new")).await;
    let bench = Bench::start();
    let mut facts = check("moved", http_probe(&old.url("/")));
    facts.timeout_ms = 60_000;
    bench.apply(put(facts.clone())).await;
    eventually("the old probe is open", || {
        old.open.load(Ordering::SeqCst) == 1
    })
    .await;
    facts.probe = http_probe(&new.url("/"));
    bench.apply(put(facts.clone())).await;
    bench.until("moved", |c| c.status == Status::Passing).await;
    eventually("the old probe is closed", || {
        old.open.load(Ordering::SeqCst) == 0
    })
    .await;
    // Another node takes it over: this one stops.
    facts.owner = Some(NodeName::new("n2"));
    bench.apply(put(facts)).await;
    eventually("nothing is scheduled", || bench.meters.scheduled.get() == 0).await;
    let seen = new.seen.load(Ordering::SeqCst);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(new.seen.load(Ordering::SeqCst), seen);
}

#[tokio::test]
async fn checks_of_others_are_left_alone_and_old_ones_are_found_at_start() {
    let web = Web::start(|_| reply("200 OK", "")).await;
    let registry = Registry::local(&Default::default());
    let cause = || portolan_catalog::Cause::call(portolan_catalog::Protocol::Consul, None);
    let mut foreign = check("foreign", http_probe(&web.url("/foreign")));
    foreign.owner = None;
    registry
        .propose(cause(), put(foreign))
        .await
        .unwrap()
        .outcome
        .unwrap();
    registry
        .propose(cause(), put(check("mine", http_probe(&web.url("/mine")))))
        .await
        .unwrap()
        .outcome
        .unwrap();
    let meters = portolan_checks::Meters::default();
    let runner = portolan_checks::start(registry.clone(), settings(), meters.clone());
    let reported = |id: &str| {
        registry
            .snapshot()
            .check(&CheckKey::new(&node(), id))
            .unwrap()
            .reported
    };
    eventually("the old check ran", || reported("mine")).await;
    assert!(!reported("foreign"));
    assert_eq!(meters.scheduled.get(), 1);
    runner.finish().await;
    let seen = web.seen.load(Ordering::SeqCst);
    sleep(Duration::from_millis(1300)).await;
    assert_eq!(
        web.seen.load(Ordering::SeqCst),
        seen,
        "a finished runner probes no more"
    );
}

#[tokio::test]
async fn thresholds_hold_a_status_back() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let web = Web::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => reply("200 OK", ""),
        _ => reply("500 Internal Server Error", ""),
    })
    .await;
    let bench = Bench::start();
    let mut facts = check("steady", http_probe(&web.url("/")));
    facts.thresholds = Thresholds {
        failures_before_critical: 2,
        ..Thresholds::default()
    };
    assert_eq!(bench.result(facts).await.0, Status::Passing);
    bench
        .until("steady", |c| c.status == Status::Critical)
        .await;
    assert_eq!(calls.load(Ordering::SeqCst), 3, "one failure is not enough");
}

fn counting() -> impl Fn(&str) -> String + Send + Sync + 'static {
    let calls = AtomicUsize::new(0);
    move |_| {
        reply(
            "200 OK",
            &format!("call {}", calls.fetch_add(1, Ordering::SeqCst)),
        )
    }
}

#[tokio::test]
async fn changed_output_alone_is_held_back() {
    let bench = Bench::start();
    let web = Web::start(counting()).await;
    bench
        .result(check("chatty", http_probe(&web.url("/"))))
        .await;
    let revision = bench.registry.snapshot().revision();
    eventually("two more runs", || bench.meters.held.get() >= 2).await;
    assert_eq!(bench.registry.snapshot().revision(), revision);

    let mut eager = settings();
    eager.output_interval = Duration::from_millis(1500);
    let bench = Bench::with(eager);
    let web = Web::start(counting()).await;
    bench
        .result(check("chatty", http_probe(&web.url("/"))))
        .await;
    let row = bench
        .until("chatty", |c: &Check| !c.output.ends_with("call 0"))
        .await;
    assert!(row.output.ends_with("call 2"), "{}", row.output);
    assert_eq!(row.status, Status::Passing);
}

#[tokio::test(start_paused = true)]
async fn a_first_run_comes_after_a_part_of_the_interval_and_the_next_an_interval_later() {
    let mut settings = settings();
    settings.jitter = Arc::new(|| 0.25);
    let bench = Bench::with(settings);
    // Refused before anything is sent, so the paused clock is all that passes.
    let mut facts = check("timed", http_probe("http://169.254.1.1/"));
    facts.interval_ms = 40_000;
    let start = Instant::now();
    bench.apply(put(facts)).await;
    let ran = |n: u64| {
        let probes = bench.meters.probes.clone();
        async move {
            while probes.get() < n {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    ran(1).await;
    let first = start.elapsed();
    ran(2).await;
    let second = start.elapsed();
    assert!((10.0..10.5).contains(&first.as_secs_f64()), "{first:?}");
    assert!((50.0..51.0).contains(&second.as_secs_f64()), "{second:?}");
    // An interval beyond all bounds waits for ever and harms nobody.
    let mut never = check("never", http_probe("http://169.254.1.1/"));
    (never.interval_ms, never.timeout_ms) = (u64::MAX, u64::MAX);
    bench.apply(put(never)).await;
    // An interval below the shortest is raised.
    let mut fast = check("fast", http_probe("http://169.254.1.1/"));
    fast.interval_ms = 1;
    bench.apply(put(fast)).await;
    let before = bench.meters.probes.get();
    sleep(Duration::from_secs(10)).await;
    let ran = bench.meters.probes.get() - before;
    assert!((9..=11).contains(&ran), "{ran} runs in ten seconds");
}

/// Resident kilobytes of this process.
fn resident_kb() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or(0);
    pages * 4
}

async fn many(bench: &Bench, services: usize, each: usize, make: impl Fn(&str) -> Probe) {
    for s in 0..services {
        let key = InstanceKey::consul(&node(), &format!("s-{s}"));
        let endpoint = Endpoint::new(Host::new("10.0.0.1"), 80);
        let mut facts =
            Registration::new(key.clone(), ServiceKey::plain(&format!("s-{s}")), endpoint);
        facts.node = node();
        let mut register = Register::new(facts);
        for c in 0..each {
            let mut facts = check(&format!("c-{s}-{c}"), make(&format!("{s}-{c}")));
            facts.instance = Some(key.clone());
            facts.interval_ms = 3_600_000;
            register.checks.push(NewCheck {
                facts: Arc::new(facts),
                status: Status::Critical,
                output: Arc::default(),
                reported: false,
            });
        }
        bench.apply(Command::Register(Box::new(register))).await;
    }
}

#[tokio::test]
async fn a_hundred_thousand_checks_need_no_hundred_thousand_tasks() {
    let mut settings = settings();
    settings.jitter = Arc::new(|| 1.0);
    let bench = Bench::with(settings);
    let quiet = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    many(&bench, 1000, 100, |_| Probe::Tcp {
        target: "127.0.0.1:1".into(),
        tls: None,
    })
    .await;
    eventually("all are scheduled", || {
        bench.meters.scheduled.get() == 100_000
    })
    .await;
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, quiet, "a waiting check is no task");

    // What a runner of its own costs, beside the catalog's rows.
    let before = resident_kb();
    let meters = portolan_checks::Meters::default();
    let mut second = crate::bench::settings();
    second.jitter = Arc::new(|| 1.0);
    let runner = portolan_checks::start(bench.registry.clone(), second, meters.clone());
    eventually("the second runner has them too", || {
        meters.scheduled.get() == 100_000
    })
    .await;
    let cost = resident_kb().saturating_sub(before);
    assert!(cost < 64 << 10, "{cost} KiB for 100,000 jobs");
    runner.finish().await;
    bench.runner.finish().await;
}

#[tokio::test]
async fn no_more_probes_run_than_the_bound_allows() {
    let most = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (peak, now) = (most.clone(), open.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let now = now.clone();
            tokio::spawn(async move {
                let mut stream = stream;
                sleep(Duration::from_millis(20)).await;
                // Counted down before the client can see the answer and start the next.
                now.fetch_sub(1, Ordering::SeqCst);
                let answer = reply("200 OK", "");
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
            });
        }
    });
    let mut settings = settings();
    settings.probes = 8;
    let bench = Bench::with(settings);
    let url = format!("http://{address}/");
    many(&bench, 4, 50, |_| http_probe(&url)).await;
    let reported = || {
        bench
            .registry
            .snapshot()
            .checks()
            .filter(|c| c.reported && c.status == Status::Passing)
            .count()
            >= 200
    };
    eventually("all ran", reported).await;
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at a time");
    assert_eq!(bench.meters.reports.get(), 200);
}
