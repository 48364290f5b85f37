//! What every port shares and every protocol is given: limits, metrics, the drain signal, and what a port may be opened on.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use portolan_catalog::Protocol;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::access::{Action, Decision, Policy, Principal, Resource};
use crate::browser::{LocalNames, Names};
use crate::caller::{Caller, ConnectionContext};
use crate::limits::Limits;
use crate::metrics::Metrics;

/// What the configuration says about ports.
#[derive(Clone, Default)]
pub struct Settings {
    /// Bounds for every port.
    pub limits: Limits,
    /// Allow ports that other machines can reach (`--insecure-listen`), although nobody has to prove who they are.
    pub insecure_listen: bool,
    /// Whoever comes has to prove who they are: ports may be opened to other machines.
    pub guarded: bool,
    /// This server's name, accepted as a `Host`.
    pub node_name: String,
    /// Further names accepted as a `Host` on loopback ports, and as an `Origin` on all (`--allowed-host`).
    pub allowed_hosts: Vec<String>,
    /// Domains that this server answers by DNS: names in them are accepted as a `Host`.
    pub zones: Vec<String>,
    /// Names that the machine itself gives to its addresses, accepted as a `Host`.
    pub local_names: Option<LocalNames>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limits", &self.limits)
            .field("insecure_listen", &self.insecure_listen)
            .field("guarded", &self.guarded)
            .field("node_name", &self.node_name)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("zones", &self.zones)
            .finish_non_exhaustive()
    }
}

/// The shared handle. Cloning is a pointer copy; one per process.
#[derive(Clone, Debug)]
pub struct ServerContext {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    insecure_listen: bool,
    guarded: bool,
    names: Names,
    /// None: everybody may do everything.
    policy: ArcSwapOption<Arc<dyn Policy>>,
    metrics: Metrics,
    draining: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl ServerContext {
    /// A context with its own metrics registry.
    pub fn new(settings: Settings) -> ServerContext {
        ServerContext::with_metrics(settings, Metrics::new())
    }

    /// A context that counts into `metrics`.
    pub fn with_metrics(settings: Settings, metrics: Metrics) -> ServerContext {
        let names = Names::new(&settings.node_name, &settings.allowed_hosts)
            .with_zones(&settings.zones)
            .with_local(settings.local_names);
        ServerContext {
            inner: Arc::new(Inner {
                limits: settings.limits,
                insecure_listen: settings.insecure_listen,
                guarded: settings.guarded,
                names,
                policy: ArcSwapOption::empty(),
                metrics,
                draining: CancellationToken::new(),
                abort: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// The bounds of every port.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The process's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Whether ports that other machines can reach are allowed.
    pub fn insecure_listen(&self) -> bool {
        self.inner.insecure_listen
    }

    /// Whether whoever comes has to prove who they are.
    pub fn guarded(&self) -> bool {
        self.inner.guarded
    }

    /// The host names that browsers may use.
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// Puts `policy` in force for every decision from now on, on every port; `None` allows everything.
    pub fn set_policy(&self, policy: Option<Arc<dyn Policy>>) {
        self.inner.policy.store(policy.map(Arc::new));
    }

    /// What the policy in force says.
    pub(crate) fn decide(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Decision {
        // A guard, not a copy: copies would count references that all cores share.
        match &*self.inner.policy.load() {
            None => Decision::Allow,
            Some(policy) => policy.decide(principal, action, resource),
        }
    }

    /// Whether there is a policy that may deny `principal` something.
    pub(crate) fn restricts(&self, principal: &Principal) -> bool {
        let policy = self.inner.policy.load();
        policy
            .as_ref()
            .is_some_and(|policy| !policy.unrestricted(principal))
    }

    /// The policy's own words for a denial.
    pub(crate) fn explain(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Option<String> {
        let policy = self.inner.policy.load();
        policy.as_ref()?.explain(principal, action, resource)
    }

    /// An anonymous caller for one message of a protocol without HTTP, and for tests.
    pub fn caller(&self, protocol: Protocol, peer: SocketAddr) -> Caller {
        self.caller_as(protocol, peer, Principal::Anonymous)
    }

    /// As [`ServerContext::caller`], for somebody known.
    pub fn caller_as(&self, protocol: Protocol, peer: SocketAddr, principal: Principal) -> Caller {
        let connection = ConnectionContext::new(self.clone(), protocol, principal.clone());
        Caller::new(Arc::new(connection), peer, principal)
    }

    /// Begins to drain: no new connections, no further requests on old ones, [`ServerContext::draining`] resolves. Returns at once.
    pub fn drain(&self) {
        self.inner.draining.cancel();
        self.inner.tasks.close();
    }

    /// Whether [`ServerContext::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Resolves when [`ServerContext::drain`] is called.
    pub async fn draining(&self) {
        self.inner.draining.cancelled().await;
    }

    /// Drains, waits for open requests up to [`Limits::drain_timeout`], then closes what is left. True when nothing had to be cut.
    pub async fn finish(&self) -> bool {
        self.drain();
        let clean = tokio::time::timeout(self.inner.limits.drain_timeout, self.inner.tasks.wait())
            .await
            .is_ok();
        self.inner.abort.cancel();
        // Cut tasks have only to be polled once more; a handler that blocks its thread is left behind.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.inner.tasks.wait()).await;
        clean
    }

    /// Runs `work` beside the ports, as a datagram worker: [`ServerContext::finish`] waits for it, then drops it; a panic in it is counted.
    /// It should end by itself when [`ServerContext::draining`] resolves. Must be called inside a Tokio runtime.
    pub fn spawn(&self, protocol: Protocol, work: impl Future<Output = ()> + Send + 'static) {
        let context = self.clone();
        self.inner.tasks.spawn(async move {
            let abort = context.inner.abort.clone();
            abort
                .run_until_cancelled(context.not_panicking(protocol, work))
                .await;
        });
    }

    /// Calls `work`; a panic in it is counted and logged, and `None` comes back: one datagram ends, its worker goes on.
    pub fn guard<T>(&self, protocol: Protocol, work: impl FnOnce() -> T) -> Option<T> {
        let caught = catch_unwind(AssertUnwindSafe(work));
        caught
            .map_err(|panic| self.panicked(protocol, &*panic))
            .ok()
    }

    /// As [`ServerContext::guard`], for a future.
    pub async fn not_panicking<T>(
        &self,
        protocol: Protocol,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let caught = AssertUnwindSafe(work).catch_unwind().await;
        caught
            .map_err(|panic| self.panicked(protocol, &*panic))
            .ok()
    }

    fn panicked(&self, protocol: Protocol, panic: &(dyn Any + Send)) {
        self.inner.metrics.panic_counter(protocol).inc();
        error!(%protocol, message = message_of(panic), "a handler panicked");
    }

    pub(crate) fn abort(&self) -> &CancellationToken {
        &self.inner.abort
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
