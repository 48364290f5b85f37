//! What is to happen in a run. Everything is drawn from the seed, and may be changed before the run.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::fault::{self, Planned};

/// How long faults go on.
const FAULTS_MS: u64 = 30_000;

/// What is to happen. Times are milliseconds of virtual time.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// Servers: 3, and 5 with one seed of eight.
    pub servers: u64,
    /// Clients that write and read keys.
    pub writers: u64,
    /// Clients that hold leases.
    pub holders: u64,
    /// Clients that watch.
    pub watchers: u64,
    /// Clients that register instances through the protocols.
    pub registrars: u64,
    /// Agents, each with a client that registers at it and looks up what it says: two with one seed of three.
    pub agents: u64,
    /// Messages lost in a thousand, always.
    pub loss: u32,
    /// How long a message travels at most, always; they overtake each other.
    pub delay_ms: u64,
    /// A server writes a snapshot when its log has grown by so much.
    pub snapshot_bytes: u64,
    /// How much faster each server's clock runs, in millionths; slower when negative.
    pub drift_ppm: Vec<i64>,
    /// When clients stop, messages arrive and nothing fails any more.
    pub heal_ms: u64,
    /// The faults, by time.
    pub timeline: Vec<Planned>,
    /// A fault planted in the product, by its name; only builds for that know any.
    pub mutation: Option<&'static str>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Plan {
        Plan::with_servers(seed, None)
    }

    /// The same with a number of servers; none leaves it to the seed.
    #[must_use]
    pub fn with_servers(seed: u64, servers: Option<u64>) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed);
        let drawn = if rng.random_range(0..8_u32) == 0 {
            5
        } else {
            3
        };
        let servers = servers.unwrap_or(drawn).max(1);
        let plan = Plan {
            seed,
            servers,
            writers: rng.random_range(3..=6),
            holders: rng.random_range(2..=4),
            watchers: 3,
            registrars: rng.random_range(1..=3),
            loss: [0, 0, 10, 50][rng.random_range(0..4_u32) as usize],
            delay_ms: rng.random_range(1..=20),
            snapshot_bytes: rng.random_range(8..=96_u64) << 10,
            drift_ppm: (0..servers)
                .map(|_| rng.random_range(-50_000..=50_000))
                .collect(),
            heal_ms: FAULTS_MS,
            timeline: fault::draw(&mut rng, servers, FAULTS_MS),
            agents: 0,
            mutation: None,
        };
        match rng.random_range(0..3_u32) {
            0 => plan.with_agents(),
            _ => plan,
        }
    }

    /// The same with two agents, which lose their servers and their power as well; as it is where it has agents.
    #[must_use]
    pub fn with_agents(mut self) -> Plan {
        if self.agents > 0 {
            return self;
        }
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0xa6e7);
        self.agents = 2;
        fault::draw_for_agents(&mut rng, self.agents, self.heal_ms, &mut self.timeline);
        self
    }
}
