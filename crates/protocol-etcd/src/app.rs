//! What every call needs: the registry, who this server says it is, and the answers' headers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use portolan_catalog::{
    Command, Done, Keyspace, OpDone, Refusal, Revision, Settled, State, Write, Written,
    layout::Mode,
};
use portolan_listener::{Action, Caller, Resource, ServerContext};
use portolan_registry::{Registry, Unavailable};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::watch, time::interval};

use crate::{
    asker::Asker,
    auth::{Auth, TokenKind, rows, rules::Who},
    defragment::Defragment,
    error::{Code, Failure, PERMISSION_DENIED, TIMED_OUT, TOO_MANY_REQUESTS},
    key_range::keys,
    watch::events::SharedRenderings,
    wire::etcdserverpb::ResponseHeader,
};

/// How old the term in a header may be, and how often the leader is looked for.
const TERM_AGE: Duration = Duration::from_millis(200);
/// Times that a write is made again because users or roles changed meanwhile.
const ATTEMPTS: usize = 64;
/// Looks in a row without a leader after which streams that want one end: three of etcd's election timeouts.
const LEADERLESS: u32 = 15;

/// Who this server says it is, and what it allows. Stable for the life of a data directory: clients compare the ids.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Identity of the cluster; never 0.
    pub cluster_id: u64,
    /// Identity of this server; never 0.
    pub member_id: u64,
    /// This server's name; never empty, which to etcd's clients means "not started yet".
    pub member_name: String,
    /// Where clients reach this server, such as `http://10.0.0.1:2379`. Clients that follow the member list replace their endpoints by
    /// these. Empty: the listening address, or the address of the outgoing interface when that is a wildcard.
    pub client_urls: Vec<String>,
    /// The etcd version that is claimed. Clients refuse a server that is more than one minor version behind them. Default `3.7.0`.
    pub version: String,
    /// Time between progress notifications of a quiet watcher that asked for them. Default 10 minutes.
    pub progress_interval: Duration,
    /// Bytes of a request that is kept (etcd's `--max-request-bytes`). Default 1.5 MiB.
    pub request_bytes: usize,
    /// Bytes of log and snapshots beyond which writes are refused (etcd's `--quota-backend-bytes`). Default 2 GiB.
    pub quota_bytes: u64,
    /// Which tokens clients are given for a name and a password (etcd's `--auth-token` and `--auth-token-ttl`).
    pub tokens: TokenKind,
    /// bcrypt's cost of a password's hash, 4 to 31 (etcd's `--bcrypt-cost`). Default 10.
    pub password_cost: u32,
    /// Asked for what consensus and disk say at the moment.
    pub standing: Ask<Standing>,
    /// Gives space back. Default: there is none to give.
    pub defragment: Defragment,
}

/// What consensus and disk say of this server at one moment. The default is that of a server alone, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Counts elections.
    pub term: u64,
    /// Somebody leads.
    pub has_leader: bool,
    /// This server leads.
    pub is_leader: bool,
    /// Index of the last committed entry of the log.
    pub committed: u64,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Bytes of log and snapshots.
    pub bytes: u64,
    /// The disk has no room for another entry.
    pub disk_full: bool,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            term: 1,
            has_leader: true,
            is_leader: true,
            committed: 0,
            applied: 0,
            bytes: 0,
            disk_full: false,
        }
    }
}

/// A cheap question to another part of the process.
#[derive(Clone)]
pub struct Ask<T>(Arc<dyn Fn() -> T + Send + Sync>);

impl<T> Ask<T> {
    /// A question that `answer` answers; called inside of requests, so it must not wait.
    pub fn new(answer: impl Fn() -> T + Send + Sync + 'static) -> Ask<T> {
        Ask(Arc::new(answer))
    }
}

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cluster_id: 1,
            member_id: 1,
            member_name: "portolan".to_owned(),
            client_urls: Vec::new(),
            version: "3.7.0".to_owned(),
            progress_interval: Duration::from_secs(600),
            request_bytes: 3 << 19,
            quota_bytes: 2 << 30,
            tokens: TokenKind::default(),
            password_cost: 10,
            standing: Ask::new(Standing::default),
            defragment: Defragment::default(),
        }
    }
}

/// The etcd front end of one server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) gauges: Gauges,
    /// etcd's own users and roles.
    pub(crate) auth: Auth,
    /// What the watchers of all streams share.
    pub(crate) renderings: SharedRenderings,
    /// As of a moment ago: every answer's header has it, and asking for it costs more than all the rest of a header.
    term: AtomicU64,
    /// Nobody has led for a while.
    leaderless: watch::Sender<bool>,
}

/// How many watchers and streams there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) watchers: Gauge,
    pub(crate) watch_streams: Gauge,
}

impl App {
    pub(crate) fn new(registry: Registry, settings: Settings) -> App {
        let (tokens, cost) = (settings.tokens.clone(), settings.password_cost);
        let auth = Auth::new(&registry.snapshot(), tokens, cost);
        let app = App {
            registry,
            settings,
            auth,
            gauges: Gauges::default(),
            renderings: SharedRenderings::default(),
            term: AtomicU64::new(0),
            leaderless: watch::Sender::new(false),
        };
        app.look_at_the_term();
        app
    }

    /// Keeps the term up to date, and an eye on the leader, until the server drains.
    pub(crate) async fn keep_term(self: Arc<App>, context: ServerContext) {
        let (mut tick, mut without) = (interval(TERM_AGE), 0);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    without = if self.look_at_the_term() { 0 } else { without + 1 };
                    let lost = without >= LEADERLESS;
                    self.leaderless.send_if_modified(|was| std::mem::replace(was, lost) != lost);
                }
                () = context.draining() => return,
            }
        }
    }

    /// Returns whether somebody leads.
    fn look_at_the_term(&self) -> bool {
        let standing = self.standing();
        // A header must not say 0.
        self.term.store(standing.term.max(1), Ordering::Relaxed);
        standing.has_leader
    }

    /// Resolves when nobody has led for a while.
    pub(crate) async fn leaderless(&self) {
        // The sender is ours, so there is no other way to end.
        let _ = self.leaderless.subscribe().wait_for(|lost| *lost).await;
    }

    /// A whole header.
    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.settings.cluster_id,
            member_id: self.settings.member_id,
            revision: revision.0 as i64,
            raft_term: self.term.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        (self.settings.standing.0)()
    }

    /// Proposes what `caller` asked for. A refusal is part of what is settled.
    pub(crate) async fn propose(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<Settled, Failure> {
        Ok(self.registry.propose(caller.call_cause(), command).await?)
    }

    /// Who asks, as of now.
    ///
    /// # Errors
    /// `INVALID_TOKEN`.
    pub(crate) fn who(&self, asker: &Asker) -> Result<Who, Failure> {
        self.registry.read(|state| self.auth.who(state, asker))
    }

    /// Does what `make` makes of the present state, and of who asks in it: it looks whether that may be done.
    ///
    /// Once there are users, what it makes is done only if users and roles are then still the same. If they are not, it is made again. A
    /// server that lags asks again with a newer state before it refuses.
    pub(crate) async fn write(
        &self,
        asker: &Asker,
        make: impl Fn(&State, &Who) -> Result<Write, Failure>,
    ) -> Result<(Revision, Written), Failure> {
        let mut newest = false;
        for _ in 0..ATTEMPTS {
            let state = self.registry.snapshot();
            let made = self
                .auth
                .who(&state, asker)
                .and_then(|who| make(&state, &who));
            let head = self.auth.head(&state);
            drop(state);
            let made = match made {
                Err(failure) if head.is_some() && !newest && may_be_stale(&failure) => {
                    newest = true;
                    self.state(false).await?;
                    continue;
                }
                made => made?,
            };
            let Some(head) = head else {
                return self.propose_write(asker, made).await;
            };
            let guarded = rows::only_if(head, made);
            let (revision, mut outer) = self.propose_write(asker, guarded).await?;
            match outer.results.pop() {
                Some(OpDone::Nested(written)) => return Ok((revision, written)),
                Some(_) => return Err(unexpected("write")),
                // Users or roles are not those that it was allowed by.
                None => newest = true,
            }
        }
        Err(TOO_MANY_REQUESTS)
    }

    async fn propose_write(
        &self,
        asker: &Asker,
        write: Write,
    ) -> Result<(Revision, Written), Failure> {
        match done(self.propose(asker, Command::Write(write)).await?)? {
            (revision, Done::Written(written)) => Ok((revision, written)),
            _ => Err(unexpected("write")),
        }
    }

    /// The state that a linearizable or a serializable read sees.
    pub(crate) async fn state(&self, serializable: bool) -> Result<Arc<State>, Failure> {
        if serializable {
            Ok(self.registry.snapshot())
        } else {
            self.registry
                .linearized()
                .await
                .map_err(|unavailable| match unavailable {
                    // etcd's words for a read that no leader confirmed in time; "no leader" is for those who asked for one.
                    Unavailable::NoLeader => TIMED_OUT,
                    other => other.into(),
                })
        }
    }

    /// Wakes the layouts that a read or watch of these keys is the first use of. Without anybody to decide, the read goes on without them.
    pub(crate) async fn wake(&self, caller: &Caller, key: &[u8], range_end: &[u8]) {
        let asleep = |state: &State| {
            state.layouts().any(|(_, layout)| {
                layout.mode == Mode::Asleep && key.starts_with(layout.form.stem().as_bytes())
            })
        };
        if !asleep(&self.registry.snapshot()) {
            return;
        }
        let range = keys(key, range_end);
        loop {
            let state = self.registry.snapshot();
            let Some(layout) = state.sleeping_layout(Keyspace::Etcd, &range).cloned() else {
                return;
            };
            let woken = self.propose(caller, Command::Wake { layout }).await;
            if !matches!(woken, Ok(Settled { outcome: Ok(_), .. })) {
                return;
            }
        }
    }
}

/// The result of a settled command, or its refusal in etcd's words.
pub(crate) fn done(settled: Settled) -> Result<(Revision, Done), Failure> {
    let Settled { revision, outcome } = settled;
    outcome
        .map(|done| (revision, done))
        .map_err(|refusal: Refusal| refusal.into())
}

/// Whether a newer state may say otherwise: what users, roles and tokens decided.
fn may_be_stale(failure: &Failure) -> bool {
    let codes = [
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::InvalidArgument,
        Code::FailedPrecondition,
    ];
    codes.contains(&failure.code)
}

/// Asks whether `caller` may do `action` to the keys of a request.
pub(crate) fn allow_keys(
    caller: &Caller,
    action: Action,
    key: &[u8],
    range_end: &[u8],
) -> Result<(), Failure> {
    let resource = match range_end {
        [] => Resource::Record {
            keyspace: "etcd",
            key,
        },
        [0] => Resource::Range {
            keyspace: "etcd",
            start: key,
            end: &[],
        },
        end => Resource::Range {
            keyspace: "etcd",
            start: key,
            end,
        },
    };
    allow(caller, action, resource)
}

/// Asks whether `caller` may do `action` to `resource`.
pub(crate) fn allow(
    caller: &Caller,
    action: Action,
    resource: Resource<'_>,
) -> Result<(), Failure> {
    caller
        .allow(action, resource)
        .map_err(|_| PERMISSION_DENIED)
}

/// An internal error, without details for the client.
pub(crate) fn unexpected(what: &'static str) -> Failure {
    tracing::error!(
        what,
        "an answer of the catalog is not of the kind that was asked for"
    );
    Failure::new(crate::error::Code::Internal, "etcdserver: internal error")
}
