//! The mass-expiry guard: when very many fall silent at once, the registry is more likely to be unreachable than they are to have stopped.
//!
//! What is held back is removal, and that all of an agent's node turns critical. It is held back while the instances that fell silent, together with those let go within one time to live, are more than
//! 15 % of all and at least 10, or at least half and at least 5 of one service, and are not all in one place. A process, a host or an
//! agent that dies is removed as always. The guard ends when renewals return, or when an operator says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use portolan_catalog::guard::{Mode, Removals, Report};
use portolan_catalog::{
    Command, Expect, Host, Instance, InstanceKey, Key, KeyRange, Keyspace, NodeName, Op, Put,
    ServiceKey, State, Write,
};
use tokio::time::Instant;

/// The numbers.
#[derive(Clone, Copy, Debug)]
pub struct GuardOptions {
    /// Share of all instances above which removal stops, in thousandths; default 150.
    pub share: u64,
    /// And at least this many instances; default 10.
    pub least: usize,
    /// Share of one service from which on removal stops, in thousandths; default 500.
    pub service_share: u64,
    /// And at least this many of it; default 5.
    pub service_least: usize,
}

impl Default for GuardOptions {
    fn default() -> Self {
        GuardOptions {
            share: 150,
            least: 10,
            service_share: 500,
            service_least: 5,
        }
    }
}

/// What dies as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Where an instance that speaks for itself listens.
    Host(Host),
    /// The node of the agent that speaks for it, whatever addresses its instances have.
    Agent(NodeName),
}

/// An instance that is silent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suspect {
    pub(crate) instance: InstanceKey,
    pub(crate) service: ServiceKey,
    pub(crate) place: Place,
    /// Members of its service.
    pub(crate) members: u32,
}

impl Suspect {
    pub(crate) fn of(state: &State, key: &InstanceKey) -> Option<Self> {
        let instance = state.instance(key)?;
        let place = Place::Host(instance.endpoint.host.clone());
        Some(Suspect::at(state, instance, place))
    }

    /// Everything on an agent's node.
    pub(crate) fn on_agent(state: &State, node: &NodeName) -> Vec<Self> {
        let on = state.instances_on(node);
        on.map(|instance| Suspect::at(state, instance, Place::Agent(node.clone())))
            .collect()
    }

    fn at(state: &State, instance: &Instance, place: Place) -> Self {
        Suspect {
            instance: instance.key.clone(),
            service: instance.service.clone(),
            place,
            members: state.service_marks(&instance.service).members,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    Everything,
    Services(BTreeSet<ServiceKey>),
}

/// Judges. Knows no clock but what it is given.
#[derive(Debug)]
pub(crate) struct Guard {
    options: GuardOptions,
    held: Held,
    silent: usize,
    /// Let go within the last window: until when it counts, and who.
    gone: VecDeque<(Instant, Suspect)>,
}

impl Guard {
    pub(crate) fn new(options: GuardOptions) -> Self {
        Guard {
            options,
            held: Held::Nothing,
            silent: 0,
            gone: VecDeque::new(),
        }
    }

    /// Whether anything is held back at present.
    pub(crate) fn holds(&self) -> bool {
        self.held != Held::Nothing
    }

    /// Decides anew what is held back, from everyone who is silent now; `all` is the number of all instances.
    pub(crate) fn judge(&mut self, silent: &[Suspect], all: usize, mode: Mode, now: Instant) {
        self.gone.retain(|(until, _)| *until > now);
        let before = std::mem::take(&mut self.held);
        self.held = match mode {
            Mode::Off => Held::Nothing,
            Mode::On => Held::Everything,
            Mode::Auto => self.numbers(silent, all),
        };
        if before == Held::Nothing {
            self.silent = silent.len();
        }
    }

    fn numbers(&self, silent: &[Suspect], all: usize) -> Held {
        let known: BTreeSet<&InstanceKey> = silent.iter().map(|s| &s.instance).collect();
        let gone: Vec<&Suspect> = self
            .gone
            .iter()
            .map(|(_, suspect)| suspect)
            .filter(|gone| !known.contains(&gone.instance))
            .collect();
        let everyone = || silent.iter().chain(gone.iter().copied());
        let count = silent.len() + gone.len();
        let share = |part: usize, whole: usize| part as u64 * 1000 / (whole.max(1) as u64);
        let mut places: BTreeMap<&Place, usize> = BTreeMap::new();
        for suspect in everyone() {
            *places.entry(&suspect.place).or_default() += 1;
        }
        if count >= self.options.least
            && share(count, all + gone.len()) > self.options.share
            && !one_place(&places, count)
        {
            return Held::Everything;
        }
        let mut services: BTreeMap<&ServiceKey, (usize, u32, BTreeMap<&Place, usize>)> =
            BTreeMap::new();
        for suspect in everyone() {
            let (count, members, places) = services.entry(&suspect.service).or_default();
            *count += 1;
            *members = (*members).max(suspect.members);
            *places.entry(&suspect.place).or_default() += 1;
        }
        let held: BTreeSet<ServiceKey> = services
            .into_iter()
            .filter(|(_, (count, members, places))| {
                *count >= self.options.service_least
                    && share(*count, *members as usize) >= self.options.service_share
                    && !one_place(places, *count)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if held.is_empty() {
            Held::Nothing
        } else {
            Held::Services(held)
        }
    }

    /// Whether a lease with these instances must not lapse now.
    pub(crate) fn holds_back(&self, instances: &[Suspect]) -> bool {
        match &self.held {
            Held::Nothing => false,
            Held::Everything => true,
            Held::Services(services) => instances
                .iter()
                .any(|suspect| services.contains(&suspect.service)),
        }
    }

    /// Notes that a lease lapses: it counts for a while.
    pub(crate) fn let_go(&mut self, instances: Vec<Suspect>, window: Duration, now: Instant) {
        for suspect in instances {
            self.gone.push_back((now + window, suspect));
        }
    }

    pub(crate) fn report(&self) -> Option<Report> {
        let services = match &self.held {
            Held::Nothing => return None,
            Held::Everything => Vec::new(),
            Held::Services(services) => services.iter().cloned().collect(),
        };
        Some(Report {
            count: self.silent,
            services,
        })
    }
}

/// The command that writes what is held back into the catalog, or takes it out.
pub(crate) fn tell(removals: Removals, report: Option<&Report>) -> Command {
    let key = Key::from(removals.setting());
    let op = match report {
        Some(report) => Op::Put(Box::new(Put {
            quiet: true,
            ..Put::new(Keyspace::Settings, key, report.to_string().into())
        })),
        None => Op::Delete {
            space: Keyspace::Settings,
            range: KeyRange::One(key),
            expect: Expect::Any,
        },
    };
    Command::Write(Write::one(op))
}

/// Whether nine in ten of `count` are in one place: its death explains them, and the odd straggler elsewhere does not change that.
fn one_place(places: &BTreeMap<&Place, usize>, count: usize) -> bool {
    places.values().any(|in_it| in_it * 10 >= count * 9)
}
