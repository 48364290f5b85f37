//! The client: what all registrations and discoveries of a process share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portolan_api::Register;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::balanced::Balanced;
use crate::builder::Builder;
use crate::discovery::{Discovery, Followed, Following, Listing};
use crate::endpoint::Service;
use crate::error::Error;
use crate::follow::follow;
use crate::http::Http;
use crate::kept::Kept;
use crate::registration::Registration;
use crate::servers::Servers;
use crate::settings::Settings;

/// Talks to the servers of one cluster, or to the agent of this machine. Clones share everything; it needs a runtime of tokio around it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) servers: Servers,
    pub(crate) kept: Option<Kept>,
    linger: Duration,
    pub(crate) region: String,
    pub(crate) zone: String,
    followed: Mutex<HashMap<Service, Weak<Following>>>,
    /// Cancelled when everything is to be deregistered.
    pub(crate) ending: CancellationToken,
    pub(crate) registrations: TaskTracker,
}

impl Client {
    /// How to make one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(servers: Servers, kept: Option<Kept>, builder: Builder) -> Client {
        Client(Arc::new(Inner {
            servers,
            kept,
            linger: builder.linger,
            region: builder.region,
            zone: builder.zone,
            followed: Mutex::default(),
            ending: CancellationToken::new(),
            registrations: TaskTracker::new(),
        }))
    }

    /// Registers an instance and keeps it registered while what comes back lives. Without `ttl_ms` it is 15 s: a process that dies is gone
    /// after so long. Returns when the first server has answered, or none did: then it goes on trying.
    ///
    /// # Errors
    /// [`Error::Refused`] when a server does not take it as it is, [`Error::Ended`] after [`Client::ended`].
    pub async fn register(&self, what: Register) -> Result<Registration, Error> {
        Registration::begin(self.0.clone(), what).await
    }

    /// Follows a service.
    ///
    /// # Panics
    /// Outside a runtime of tokio.
    pub fn discover(&self, service: &Service) -> Discovery {
        let mut followed = self
            .0
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(following) = followed.get(service).and_then(Weak::upgrade) {
            return Discovery::new(following);
        }
        followed.retain(|_, following| following.strong_count() > 0);
        let shared = Arc::new(Followed {
            service: service.clone(),
            listing: watch::Sender::new(Arc::new(Listing::default())),
            lost: Mutex::default(),
        });
        let task = tokio::spawn(follow(self.0.clone(), shared.clone()));
        let following = Arc::new(Following {
            followed: shared,
            _task: AbortOnDropHandle::new(task),
        });
        followed.insert(service.clone(), Arc::downgrade(&following));
        Discovery::new(following)
    }

    /// Requests of HTTP, balanced among the endpoints of a service; a request's body is bytes. It is a [`tower::Service`].
    pub fn http(&self, service: &Service, settings: Settings) -> Balanced<Http> {
        self.balanced(service, settings, Http::new())
    }

    /// The same over another transport.
    pub fn balanced<T>(&self, service: &Service, settings: Settings, transport: T) -> Balanced<T> {
        let place = (self.0.region.as_str(), self.0.zone.as_str());
        Balanced::new(self.discover(service), place, settings, transport)
    }

    /// Deregisters everything that was registered through this client, and waits for that, at most for as long as a server may take.
    /// Nothing can be registered afterwards.
    pub async fn deregister_all(&self) {
        self.0.ending.cancel();
        self.0.registrations.close();
        self.0.registrations.wait().await;
    }

    /// Waits for SIGTERM or an interrupt, deregisters everything, and waits a little ([`Builder::linger`]): what a server may be given as the sign to
    /// end gracefully, so that nobody is sent here any more when it stops to accept.
    ///
    /// # Errors
    /// When signals cannot be waited for.
    pub async fn ended(&self) -> std::io::Result<()> {
        signal().await?;
        self.deregister_all().await;
        sleep(self.0.linger).await;
        Ok(())
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
