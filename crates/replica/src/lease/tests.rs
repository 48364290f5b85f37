//! The clock with time that stands still until the test moves it.

use portolan_catalog::{
    Bootstrap, CheckFacts, CheckKey, Endpoint, Entry, Host, InstanceKey, Keyspace, NodeFacts,
    NodeName, Op, Protocol, Put, Register, Registration, ServiceKey, Terms, Write,
};
use portolan_registry::{Backend, Renewed, WallClock};
use tokio::time::advance;

use super::*;

struct Rig {
    registry: Registry,
    clock: Clock,
    stats: Arc<Stats>,
}

/// A registry whose proposals are applied at once, and a clock that only moves when told.
fn rig() -> Rig {
    let start = Instant::now();
    let wall: WallClock =
        Arc::new(move || Timestamp(1_700_000_000_000 + start.elapsed().as_millis() as u64));
    let node = NodeFacts::new("n1", Host::new("127.0.0.1"));
    let mut service = Registration::new(
        InstanceKey::new(Protocol::Portolan, "n1/consul"),
        ServiceKey::plain("consul"),
        Endpoint::new(Host::new("127.0.0.1"), 8300),
    );
    service.node = node.name.clone();
    let check = CheckFacts::new(
        CheckKey::new(&node.name, "serfHealth"),
        "Serf Health Status",
    );
    let mut state = State::default();
    state.apply(&Entry {
        at: wall(),
        cause: Arc::new(Cause::own(Why::Start)),
        command: Command::Bootstrap(Box::new(Bootstrap {
            node: Arc::new(node),
            service: Arc::new(service),
            checks: vec![Arc::new(check)],
            layouts: Vec::new(),
        })),
    });
    let (registry, backend) = Backend::new(state.clone(), wall.clone(), 1 << 16);
    let publisher = backend.publisher();
    let applying = publisher.clone();
    tokio::spawn(async move {
        let Backend { mut proposals, .. } = backend;
        while let Some(proposal) = proposals.recv().await {
            let applied = state.apply(&Entry {
                at: wall(),
                cause: proposal.cause,
                command: proposal.command,
            });
            applying.publish(state.clone(), applied.batch.as_slice());
            for lease in &applied.leases {
                applying.deadlines().update(&state, lease, Instant::now());
            }
            let _gone = proposal.answer.send(Ok(applied.settled));
        }
    });
    let stats = Arc::new(Stats::default());
    let clock = Clock::new(
        registry.clone(),
        publisher,
        stats.clone(),
        GuardOptions::default(),
        Instant::now(),
    );
    Rig {
        registry,
        clock,
        stats,
    }
}

impl Rig {
    async fn propose(&self, command: Command) {
        let cause = Cause::call(Protocol::Native, None);
        let settled = self.registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }

    async fn grant(&self, id: i64, ttl_ms: u64) {
        self.propose(Command::Grant {
            lease: LeaseId::Etcd(id),
            terms: Some(Terms::strict(ttl_ms)),
            session: None,
        })
        .await;
    }

    async fn register(&self, service: &str, host: &str, port: u16, terms: Terms) -> LeaseId {
        let key = InstanceKey::new(Protocol::Eureka, format!("{service}/{host}:{port}"));
        let mut facts = Registration::new(
            key.clone(),
            ServiceKey::plain(service),
            Endpoint::new(Host::new(host), port),
        );
        facts.lease = Some(LeaseId::Heartbeat(key.clone()));
        self.propose(Command::Register(Box::new(Register {
            terms: Some(terms),
            ..Register::new(facts)
        })))
        .await;
        LeaseId::Heartbeat(key)
    }

    /// Lets time pass in ticks, with `each` before every tick.
    async fn pass(&mut self, time: Duration, mut each: impl FnMut(&Registry)) {
        for _ in 0..time.as_millis() / TICK.as_millis() {
            advance(TICK).await;
            each(&self.registry);
            self.clock.tick(Instant::now()).await;
        }
    }

    fn renew(&self, leases: &[LeaseId]) {
        renew(&self.registry, leases);
    }

    fn services(&self, name: &str) -> usize {
        self.registry
            .read(|state| state.instances(&ServiceKey::plain(name)).count())
    }

    fn told(&self) -> Option<Report> {
        let told = |state: &State| Some(held(state, Removals::Silent)?.report);
        self.registry.read(told)
    }

    fn held(&self) -> bool {
        self.told().is_some()
    }
}

fn renew(registry: &Registry, leases: &[LeaseId]) {
    for lease in leases {
        let renewed = futures_util::FutureExt::now_or_never(registry.renew(lease));
        assert!(
            matches!(renewed, Some(Ok(Renewed::For(_)))),
            "{lease:?}: {renewed:?}"
        );
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn eureka() -> Terms {
    Terms::heartbeat(90_000)
}

#[tokio::test(start_paused = true)]
async fn a_silent_lease_lapses_in_time_and_a_renewed_one_does_not() {
    let mut rig = rig();
    rig.grant(1, 5000).await;
    rig.grant(2, 5000).await;
    let renewed = [LeaseId::Etcd(2)];
    for _ in 0..4 {
        rig.pass(SECOND, |_| {}).await;
        rig.renew(&renewed);
    }
    assert_eq!(rig.registry.snapshot().leases().count(), 2);
    rig.pass(SECOND + TICK, |_| {}).await;
    let left: Vec<_> = rig
        .registry
        .snapshot()
        .leases()
        .map(|lease| lease.id.clone())
        .collect();
    assert_eq!(left, renewed);
    assert_eq!(rig.stats.lapses.get(), 1);
}

/// Consul's promise: at least one TTL, at most two, and in practice two.
#[tokio::test(start_paused = true)]
async fn a_session_lives_for_two_of_its_ttls_after_its_last_renewal() {
    let mut rig = rig();
    let session = |n| LeaseId::Session(portolan_catalog::SessionId([n; 16]));
    for n in [1, 2] {
        rig.propose(Command::Grant {
            lease: session(n),
            terms: Some(Terms::session(10_000)),
            session: None,
        })
        .await;
    }
    let alive = |rig: &Rig, n| rig.registry.snapshot().lease(&session(n)).is_some();
    rig.pass(19 * SECOND, |_| {}).await;
    assert!(alive(&rig, 1) && alive(&rig, 2), "at 1.9 TTL");
    rig.renew(&[session(2)]);
    rig.pass(2 * SECOND, |_| {}).await;
    assert!(!alive(&rig, 1), "gone by 2 TTL and a second");
    rig.pass(17 * SECOND, |_| {}).await;
    assert!(alive(&rig, 2), "at 1.9 TTL after its renewal");
    rig.pass(2 * SECOND, |_| {}).await;
    assert!(!alive(&rig, 2));
}

#[tokio::test(start_paused = true)]
async fn stages_follow_one_another_and_a_renewal_revives() {
    let mut rig = rig();
    let terms = Terms::two_stages(15_000, 30_000);
    let one = rig.register("web", "10.0.0.1", 80, terms.clone()).await;
    let two = rig.register("web", "10.0.0.2", 80, terms).await;
    rig.pass(15 * SECOND + TICK, |_| {}).await;
    let critical = |rig: &Rig| {
        let state = rig.registry.snapshot();
        state
            .instances(&ServiceKey::plain("web"))
            .filter(|instance| !instance.health.serves())
            .count()
    };
    assert_eq!((rig.services("web"), critical(&rig)), (2, 2));
    assert!(matches!(
        rig.registry.renew(&one).await,
        Ok(Renewed::For(_))
    ));
    assert_eq!(critical(&rig), 1);
    rig.pass(15 * SECOND, |_| {}).await;
    assert_eq!(rig.services("web"), 1);
    assert_eq!(rig.registry.renew(&two).await, Ok(Renewed::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_process_expires_nothing() {
    let mut rig = rig();
    rig.grant(1, 5000).await;
    rig.pass(4 * SECOND, |_| {}).await;
    // Stopped for half a minute: full time again.
    advance(30 * SECOND).await;
    rig.clock.tick(Instant::now()).await;
    assert_eq!(rig.registry.remaining(&LeaseId::Etcd(1)), Some(5 * SECOND));
    rig.pass(4 * SECOND, |_| {}).await;
    assert_eq!(rig.registry.snapshot().leases().count(), 1);
    rig.pass(31 * SECOND, |_| {}).await;
    assert_eq!(rig.registry.snapshot().leases().count(), 0);

    // A short pause holds decisions back for as long as it lasted.
    rig.grant(2, 5000).await;
    rig.pass(Duration::from_millis(4800), |_| {}).await;
    advance(Duration::from_millis(600)).await;
    rig.clock.tick(Instant::now()).await;
    assert_eq!(rig.registry.snapshot().leases().count(), 1);
    rig.pass(Duration::from_millis(300), |_| {}).await;
    rig.renew(&[LeaseId::Etcd(2)]);
    rig.pass(4 * SECOND, |_| {}).await;
    assert_eq!(rig.registry.snapshot().leases().count(), 1);
    assert_eq!(rig.stats.pauses.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_gives_everyone_full_time_and_a_round_lapses_a_bounded_number() {
    let mut rig = rig();
    for id in 0..1200 {
        rig.grant(id, 5000).await;
    }
    rig.pass(4 * SECOND, |_| {}).await;
    rig.clock.begin(Instant::now(), Duration::ZERO);
    assert_eq!(rig.registry.remaining(&LeaseId::Etcd(7)), Some(5 * SECOND));
    rig.pass(Duration::from_millis(4900), |_| {}).await;
    let mut counts = Vec::new();
    for _ in 0..4 {
        rig.pass(TICK, |_| {}).await;
        counts.push(rig.registry.snapshot().leases().count());
    }
    assert_eq!(counts, [700, 200, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_adds_what_the_one_before_may_have_promised() {
    let mut rig = rig();
    rig.grant(1, 5000).await;
    rig.pass(4 * SECOND, |_| {}).await;
    rig.clock.begin(Instant::now(), SECOND);
    assert_eq!(rig.registry.remaining(&LeaseId::Etcd(1)), Some(5 * SECOND));
    rig.pass(Duration::from_millis(5900), |_| {}).await;
    assert_eq!(rig.registry.snapshot().leases().count(), 1);
    rig.pass(3 * TICK, |_| {}).await;
    assert_eq!(rig.registry.snapshot().leases().count(), 0);
}

/// Registers `count` instances, each on a host of its own, and has them renew every thirty seconds, spread over them.
async fn crowd(rig: &mut Rig, service: &str, count: usize) -> Vec<LeaseId> {
    let mut leases = Vec::new();
    for place in 0..count {
        let host = format!("10.0.{}.{}", place / 250, place % 250 + 1);
        leases.push(rig.register(service, &host, 80, eureka()).await);
    }
    let beating = leases.clone();
    let mut tick = 0;
    rig.pass(31 * SECOND, |registry| {
        beat(registry, &beating, tick);
        tick += 1;
    })
    .await;
    leases
}

/// Renews those whose turn it is in this tick.
fn beat(registry: &Registry, leases: &[LeaseId], tick: usize) {
    let turn: Vec<_> = leases
        .iter()
        .enumerate()
        .filter(|(place, _)| place * 300 / leases.len() == tick % 300)
        .map(|(_, lease)| lease.clone())
        .collect();
    renew(registry, &turn);
}

/// A node with an agent, and twelve instances on it that renew nothing themselves.
async fn agent(rig: &mut Rig, number: usize) -> LeaseId {
    let node = NodeName::new(&format!("a{number}"));
    let address = Host::new(&format!("10.1.0.{number}"));
    let mut facts = NodeFacts::new(node.as_str(), address);
    facts.lease = Some(LeaseId::Agent(node.clone()));
    let stage = |after_ms, then| portolan_catalog::Stage { after_ms, then };
    let stages = [
        stage(10_000, Then::Critical),
        stage(3_600_000, Then::Remove),
    ];
    rig.propose(Command::PutNode {
        node: Arc::new(facts),
        terms: Some(Terms {
            stages: stages.into_iter().collect(),
            guarded: true,
        }),
        expect: None,
    })
    .await;
    for instance in 0..12 {
        let key = InstanceKey::new(Protocol::Consul, format!("a{number}/web{instance}"));
        let host = Host::new(&format!("10.2.{number}.{instance}"));
        let mut facts = Registration::new(key, ServiceKey::plain("web"), Endpoint::new(host, 80));
        facts.node = node.clone();
        rig.propose(Command::Register(Box::new(Register::new(facts))))
            .await;
    }
    LeaseId::Agent(node)
}

#[tokio::test(start_paused = true)]
async fn one_agent_that_dies_is_critical_in_time_and_a_third_of_them_is_not() {
    let mut rig = rig();
    let mut agents = Vec::new();
    for number in 0..10 {
        agents.push(agent(&mut rig, number).await);
    }
    let lapsed = |rig: &Rig| {
        let state = rig.registry.snapshot();
        let mut leases = state.leases();
        leases.by_ref().filter(|lease| lease.stage > 0).count()
    };
    let mut tick = 0;
    // Every three seconds, by turns.
    let mut beat = |registry: &Registry, agents: &[LeaseId]| {
        tick += 1;
        let turn = agents.iter().enumerate();
        let turn: Vec<_> = turn
            .filter(|(place, _)| (tick + place * 3) % 30 == 0)
            .map(|(_, lease)| lease.clone())
            .collect();
        renew(registry, &turn);
    };
    // One alone dies, and an hour later it still counts for nobody else.
    rig.pass(10 * SECOND, |registry| beat(registry, &agents))
        .await;
    rig.pass(11 * SECOND, |registry| beat(registry, &agents[1..]))
        .await;
    assert_eq!((lapsed(&rig), rig.held()), (1, false));
    rig.pass(60 * SECOND, |registry| beat(registry, &agents[1..]))
        .await;
    let back = rig.registry.renew(&agents[0]).await;
    assert!(matches!(back, Ok(Renewed::For(_))), "{back:?}");
    rig.pass(4 * SECOND, |registry| beat(registry, &agents))
        .await;
    assert_eq!((lapsed(&rig), rig.held()), (0, false));
    // Three at once.
    rig.pass(60 * SECOND, |registry| beat(registry, &agents[3..]))
        .await;
    assert_eq!((lapsed(&rig), rig.held()), (0, true));
    assert_eq!(rig.stats.guard.get(), 1);
    rig.renew(&agents[..3]);
    rig.pass(4 * SECOND, |registry| beat(registry, &agents))
        .await;
    assert_eq!((lapsed(&rig), rig.held()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn mass_silence_holds_removals_back_until_renewals_return() {
    let mut rig = rig();
    let leases = crowd(&mut rig, "web", 100).await;
    rig.grant(1, 60_000).await;
    let revision = rig.registry.snapshot().revision();
    // Sixty fall silent for two minutes: nothing is removed, and one setting says so.
    let mut tick = 0;
    rig.pass(120 * SECOND, |registry| {
        beat(registry, &leases[60..], tick);
        tick += 1;
    })
    .await;
    assert_eq!(rig.services("web"), 100);
    assert!(rig.held());
    assert_eq!(rig.stats.guard.get(), 1);
    assert_eq!(rig.registry.snapshot().revision(), revision.next());
    // Strict leases are not guarded.
    assert!(rig.registry.snapshot().lease(&LeaseId::Etcd(1)).is_none());
    // All but two return: the guard ends, the two go.
    rig.renew(&leases[2..]);
    rig.pass(5 * SECOND, |_| {}).await;
    assert!(!rig.held());
    assert_eq!(rig.services("web"), 98);
    assert_eq!(rig.stats.guard.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_is_removed_in_time() {
    let mut rig = rig();
    let leases = crowd(&mut rig, "web", 80).await;
    let mut dying = Vec::new();
    for port in 0..20 {
        dying.push(rig.register("web", "10.9.9.9", 8000 + port, eureka()).await);
    }
    let mut tick = 0;
    rig.pass(91 * SECOND, |registry| {
        beat(registry, &leases, tick);
        tick += 1;
    })
    .await;
    assert_eq!(rig.services("web"), 80);
    assert!(!rig.held());
}

#[tokio::test(start_paused = true)]
async fn half_of_one_service_is_held_back_and_a_process_elsewhere_is_not() {
    let mut rig = rig();
    let others = crowd(&mut rig, "web", 100).await;
    let mut small = Vec::new();
    for place in 0..10 {
        let host = format!("10.7.0.{place}");
        small.push(rig.register("small", &host, 80, eureka()).await);
    }
    let mut tick = 0;
    rig.pass(120 * SECOND, |registry| {
        beat(registry, &others[1..], tick);
        if tick % 300 == 0 {
            renew(registry, &small[5..]);
        }
        tick += 1;
    })
    .await;
    assert_eq!((rig.services("small"), rig.services("web")), (10, 99));
    let told = rig.told().unwrap();
    assert_eq!(told.services, [ServiceKey::plain("small")]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_and_begins_it() {
    let mut rig = rig();
    crowd(&mut rig, "web", 100).await;
    rig.pass(100 * SECOND, |_| {}).await;
    assert_eq!(rig.services("web"), 100);
    assert!(rig.held());
    let mode = |text: &'static str| {
        let put = Put::new(
            Keyspace::Settings,
            portolan_catalog::Key::from(portolan_catalog::guard::MODE),
            text.into(),
        );
        Command::Write(Write::one(Op::Put(Box::new(put))))
    };
    rig.propose(mode("off")).await;
    rig.pass(3 * SECOND, |_| {}).await;
    assert_eq!(rig.services("web"), 0);
    assert!(!rig.held());
    rig.propose(mode("on")).await;
    rig.register("one", "10.0.0.1", 80, eureka()).await;
    rig.pass(100 * SECOND, |_| {}).await;
    assert_eq!(rig.services("one"), 1);
    assert!(rig.held());
}

/// The backend never answers: what the clock proposes is in flight while the process stands still.
#[tokio::test(start_paused = true)]
async fn a_pause_while_a_lapse_is_in_flight_gives_everyone_full_time() {
    let wall: WallClock = Arc::new(|| Timestamp(1_700_000_000_000));
    let mut state = State::default();
    for (id, ttl_ms) in [(1, 1000), (2, 30_000)] {
        state.apply(&Entry {
            at: wall(),
            cause: Arc::new(Cause::own(Why::Start)),
            command: Command::Grant {
                lease: LeaseId::Etcd(id),
                terms: Some(Terms::strict(ttl_ms)),
                session: None,
            },
        });
    }
    let (registry, backend) = Backend::new(state, wall, 16);
    let stats = Arc::new(Stats::default());
    let mut clock = Clock::new(
        registry.clone(),
        backend.publisher(),
        stats.clone(),
        GuardOptions::default(),
        Instant::now(),
    );
    clock.begin(Instant::now(), Duration::ZERO);
    for _ in 0..9 {
        tokio::time::sleep(TICK).await;
        clock.tick(Instant::now()).await;
    }
    tokio::time::sleep(TICK).await;
    let ticking = tokio::spawn(async move {
        clock.tick(Instant::now()).await;
        clock
    });
    tokio::time::sleep(TICK).await;
    assert_eq!(
        registry.waiting(),
        1,
        "the lapse of the first lease is in flight"
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    ticking.await.unwrap();
    let left = registry.remaining(&LeaseId::Etcd(2)).unwrap();
    assert!(left > Duration::from_secs(29), "{left:?}");
    assert_eq!(stats.pauses.get(), 1);
}
