//! An instance that is registered for as long as something lives.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use portolan_api::{Deregister, Deregistered, Register, Registered, Renew, Renewed};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Inner;
use crate::error::Error;

/// How long an instance outlives its process unless said.
const TTL_MS: u64 = 15_000;
/// Renewals in the time of a lease.
const RENEWALS: u32 = 3;
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the servers may take to remove it.
const REMOVING: Duration = Duration::from_secs(3);

/// A registered instance; dropped, it is deregistered by a task of its own. A runtime that ends first leaves that to the lease's time:
/// [`Registration::deregister`] waits for it.
#[derive(Debug)]
pub struct Registration {
    instance: watch::Receiver<Option<String>>,
    gone: oneshot::Receiver<Result<(), Error>>,
    stop: DropGuard,
}

impl Registration {
    pub(crate) async fn begin(
        client: Arc<Inner>,
        mut what: Register,
    ) -> Result<Registration, Error> {
        if client.ending.is_cancelled() {
            return Err(Error::Ended);
        }
        what.ttl_ms.get_or_insert(TTL_MS);
        let first = match register(&client, &what).await {
            Ok(registered) => Some(registered),
            Err(refused @ Error::Refused { .. }) => return Err(refused),
            Err(error) => {
                tracing::warn!(service = what.service, %error, "an instance cannot be registered yet");
                None
            }
        };
        let (tell, instance) = watch::channel(first.as_ref().map(|first| first.instance.clone()));
        let (said, gone) = oneshot::channel();
        let stop = client.ending.child_token();
        let keeper = Keeper {
            client: client.clone(),
            what,
            tell,
            stop: stop.clone(),
        };
        client.registrations.spawn(async move {
            // Nobody may be listening.
            let _ = said.send(keeper.run(first).await);
        });
        Ok(Registration {
            instance,
            gone,
            stop: stop.drop_guard(),
        })
    }

    /// The instance's id, such as `native:web/10.0.0.1:80`; none until a server has taken it.
    pub fn instance(&self) -> Option<String> {
        self.instance.borrow().clone()
    }

    /// Waits until a server has taken it.
    ///
    /// # Errors
    /// [`Error::Ended`] when it was ended before.
    pub async fn taken(&mut self) -> Result<String, Error> {
        let taken = self.instance.wait_for(Option::is_some).await;
        let taken = taken.map_err(|_| Error::Ended)?;
        taken.clone().ok_or(Error::Ended)
    }

    /// Deregisters it and waits for that.
    ///
    /// # Errors
    /// When no server could be told; it is gone after its lease's time then.
    pub async fn deregister(self) -> Result<(), Error> {
        drop(self.stop);
        self.gone.await.unwrap_or(Err(Error::Ended))
    }
}

async fn register(client: &Inner, what: &Register) -> Result<Registered, Error> {
    client
        .servers
        .ask(Method::POST, "/v1/register", Some(what))
        .await
}

/// Keeps one registered.
struct Keeper {
    client: Arc<Inner>,
    what: Register,
    tell: watch::Sender<Option<String>>,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(self, first: Option<Registered>) -> Result<(), Error> {
        let mut registered = first;
        let mut pause = match &registered {
            Some(registered) => self.rest(registered.ttl_ms),
            None => AGAIN,
        };
        // Begun before the end is looked at, so that an instance is never registered after it was deregistered.
        while self.stop.run_until_cancelled(sleep(pause)).await.is_some() {
            pause = self.step(&mut registered).await;
        }
        let Some(registered) = registered else {
            return Ok(());
        };
        let what = Deregister {
            instance: registered.instance,
            ..Deregister::default()
        };
        let servers = &self.client.servers;
        let asked = servers.ask(Method::POST, "/v1/deregister", Some(&what));
        let late = || Error::Unreachable(format!("no answer within {REMOVING:?}"));
        let gone: Result<Deregistered, Error> = timeout(REMOVING, asked)
            .await
            .unwrap_or_else(|_| Err(late()));
        match gone {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                let service = &self.what.service;
                tracing::warn!(service, %error, "an instance could not be deregistered");
                Err(error)
            }
        }
    }

    /// Renews or registers; says how long to rest.
    async fn step(&self, registered: &mut Option<Registered>) -> Duration {
        let service = &self.what.service;
        if let Some(known) = registered {
            let renew = Renew {
                instance: known.instance.clone(),
            };
            let servers = &self.client.servers;
            let renewed: Result<Renewed, Error> =
                servers.ask(Method::POST, "/v1/renew", Some(&renew)).await;
            match renewed {
                Ok(renewed) => return self.rest(Some(renewed.ttl_ms)),
                Err(error) if error.is_not_found() => {
                    tracing::info!(service, "the servers have forgotten an instance");
                }
                Err(error) => {
                    tracing::warn!(service, %error, "an instance cannot be renewed");
                    return AGAIN;
                }
            }
        }
        match register(&self.client, &self.what).await {
            Ok(new) => {
                let rest = self.rest(new.ttl_ms);
                self.tell.send_replace(Some(new.instance.clone()));
                *registered = Some(new);
                rest
            }
            Err(error) => {
                tracing::warn!(service, %error, "an instance cannot be registered");
                AGAIN
            }
        }
    }

    /// Until the next renewal: not all instances at once.
    fn rest(&self, ttl_ms: Option<u64>) -> Duration {
        let ttl = ttl_ms.or(self.what.ttl_ms).unwrap_or(TTL_MS);
        (Duration::from_millis(ttl) / RENEWALS).mul_f64(rand::random_range(0.8..1.0))
    }
}
