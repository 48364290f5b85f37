//! A registry without consensus and without a disk, for tests and examples: one task that applies.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::layout::LayoutState;
use portolan_catalog::{
    Applied, Bootstrap, Cause, CheckFacts, CheckKey, Command, Endpoint, Entry, Host, InstanceKey,
    NodeFacts, Protocol, Registration, ServiceKey, Settled, State, Timestamp, Why, stored,
};
use portolan_history::History;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::backend::{Backend, Proposal, Publisher, WallClock};
use crate::entries::Mark;
use crate::registry::Registry;

/// How a local registry starts.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Name of the server's own node; `n1` by default.
    pub node: String,
    /// Its address; 127.0.0.1 by default.
    pub address: Host,
    /// Bytes of history in memory; 256 KiB by default. What is older is in files, which are in memory as well.
    pub history_bytes: u64,
    /// Layouts; none by default.
    pub layouts: Vec<(Arc<str>, LayoutState)>,
}

impl Default for LocalOptions {
    fn default() -> LocalOptions {
        LocalOptions {
            node: "n1".into(),
            address: Host::new("127.0.0.1"),
            history_bytes: 256 << 10,
            layouts: Vec::new(),
        }
    }
}

impl LocalOptions {
    fn bootstrap(&self) -> Command {
        let mut node = NodeFacts::new(&self.node, self.address.clone());
        node.id = "00000000-0000-4000-8000-000000000001".into();
        let key = InstanceKey::new(Protocol::Portolan, format!("{}/consul", node.name));
        let mut service = Registration::new(
            key,
            ServiceKey::plain("consul"),
            Endpoint::new(self.address.clone(), 8300),
        );
        (service.node, service.inherits_host) = (node.name.clone(), true);
        let check = CheckFacts::new(
            CheckKey::new(&node.name, "serfHealth"),
            "Serf Health Status",
        );
        Command::Bootstrap(Box::new(Bootstrap {
            node: Arc::new(node),
            service: Arc::new(service),
            checks: vec![Arc::new(check)],
            layouts: self.layouts.clone(),
        }))
    }
}

impl Registry {
    /// A registry in this process's memory, with its node, its service and its `serfHealth` check. Needs a tokio runtime;
    /// goes away with the last handle. Time is tokio's: it stands still and jumps in tests that pause it.
    pub fn local(options: &LocalOptions) -> Registry {
        let start = Instant::now();
        let wall: WallClock = Arc::new(move || {
            let passed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            Timestamp(1_700_000_000_000 + passed)
        });
        let mut state = State::default();
        let first = Entry {
            at: wall(),
            cause: Arc::new(Cause::own(Why::Start)),
            command: options.bootstrap(),
        };
        let _first: Applied = state.apply(&first);
        let raised = Entry {
            command: Command::RaiseLevel {
                level: stored::LEVEL,
            },
            ..first
        };
        let _raised: Applied = state.apply(&raised);
        let history = Arc::new(History::in_memory(options.history_bytes));
        let (registry, backend) = Backend::with_history(state.clone(), wall.clone(), 1024, history);
        let publisher = backend.publisher();
        publisher.entries().begin(LOCAL_CLUSTER, 1, &state);
        let Backend {
            proposals,
            mut barriers,
            ..
        } = backend;
        tokio::spawn(async move {
            while let Some(answer) = barriers.recv().await {
                let _gone = answer.send(Ok(()));
            }
        });
        let delivering = tokio::spawn(registry.deliver_changes());
        let local = Local {
            index: 1,
            state,
            publisher,
            wall,
        };
        tokio::spawn(async move {
            local.run(proposals).await;
            delivering.abort();
        });
        registry
    }
}

/// The id that a local registry says its cluster has.
const LOCAL_CLUSTER: u64 = 1;

struct Local {
    index: u64,
    state: State,
    publisher: Publisher,
    wall: WallClock,
}

impl Local {
    async fn run(mut self, mut proposals: Receiver<Proposal>) {
        let mut tick = interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                proposal = proposals.recv() => {
                    let Some(Proposal { cause, command, answer }) = proposal else { return };
                    let settled = self.apply(cause, command);
                    let _gone = answer.send(Ok(settled));
                }
                _ = tick.tick() => self.lapse(),
            }
        }
    }

    /// Applies a command as a restarted server would: what is applied was read back from its stored bytes, and is refused without them.
    fn apply(&mut self, cause: Arc<Cause>, command: Command) -> Settled {
        let entry = Entry {
            at: (self.wall)(),
            cause,
            command,
        };
        let mut bytes = Vec::new();
        if let Err(refusal) = stored::encode_entry(&entry, stored::LEVEL, &mut bytes) {
            return Settled {
                revision: self.state.revision(),
                outcome: Err(refusal),
            };
        }
        let read = stored::decode_entries(&bytes);
        assert_eq!(
            read.as_deref(),
            Ok(std::slice::from_ref(&entry)),
            "a command must be read as it was written"
        );
        let applied = self.state.apply(&entry);
        self.index += 1;
        if applied.replaced {
            self.publisher.replace(self.state.clone());
            self.publisher
                .deadlines()
                .reset(&self.state, Instant::now());
            let entries = self.publisher.entries();
            entries.begin(LOCAL_CLUSTER, self.index, &self.state);
        } else {
            self.publisher
                .publish(self.state.clone(), applied.batch.as_slice());
            let kept = (Mark::of(self.index, &self.state), bytes.into());
            self.publisher
                .entries()
                .push([kept], self.index, &self.state);
        }
        let history = self.publisher.history();
        if history.is_heavy()
            && let Err(error) = history.work(|| true)
        {
            tracing::error!(%error, "the history cannot be moved on");
        }
        for lease in &applied.leases {
            self.publisher
                .deadlines()
                .update(&self.state, lease, Instant::now());
        }
        applied.settled
    }

    fn lapse(&mut self) {
        for due in self.publisher.deadlines().due(Instant::now(), 500) {
            let ago = u64::try_from(due.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let since = Timestamp((self.wall)().0.saturating_sub(ago));
            let command = Command::Lapse {
                lease: due.lease,
                stage: due.stage,
                generation: due.generation,
            };
            self.apply(Arc::new(Cause::own(Why::Silence { since })), command);
        }
    }
}
