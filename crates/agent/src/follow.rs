//! Following: one request after the other to a server, each answered as soon as there is news.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan_environment as environment;
use tokio::time::{Instant, sleep};

use crate::core::{Base, Core};
use crate::feed::Assembly;
use crate::feed::wire::{Answer, Request, Standing};
use crate::servers::Servers;

/// How long a server keeps a request that it has no news for. Bounds how old a copy may be that is not known to be.
const WAIT: Duration = Duration::from_millis(1000);
/// How long an answer may take beyond that before the server counts as gone.
const LIMIT: Duration = Duration::from_millis(1500);
/// How long the first part of a whole state may take, which has to be encoded (a second for a million rows), and each of the others. Nothing is
/// followed meanwhile: a server that was lost in between must not be waited for.
const FIRST_PART_LIMIT: Duration = Duration::from_secs(10);
const PART_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of entries asked for at a time.
const MOST_BYTES: u32 = 1 << 20;
/// A server that has not come as far as this agent is left for another one after this time.
const BEHIND: Duration = Duration::from_millis(500);
/// When no server has come as far as this agent for this long, they have lost what it has: it takes what they have.
const LOST: Duration = Duration::from_secs(15);
/// Between two tries, at first and at most.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_AT_MOST: Duration = Duration::from_millis(1000);
/// Tries in a row that have to fail before the servers count as gone: each goes to another one.
const FAILURES: u32 = 2;

/// Fetches a whole state.
///
/// # Errors
/// When no server answers, or what it answers cannot be read.
pub(crate) async fn fetch(servers: &dyn Servers) -> io::Result<Base> {
    let mut assembly = Assembly::default();
    let (mut index, mut part) = (None, 0);
    loop {
        let request = Request::Whole { index, part };
        let limit = match part {
            0 => FIRST_PART_LIMIT,
            _ => PART_LIMIT,
        };
        let answer = servers.feed(request.encode(), limit).await?;
        let Answer::Part {
            cluster,
            place,
            parts,
            bytes,
        } = Answer::decode(&answer)?
        else {
            return Err(io::Error::other("the server has begun with a newer state"));
        };
        // Taking a part apart is work, but not so much that others would notice.
        assembly.part(&bytes)?;
        (index, part) = (Some(place.index), part + 1);
        if part >= parts {
            return Ok(Base {
                cluster,
                mark: place.into(),
                state: assembly.finish()?,
            });
        }
    }
}

/// Follows for ever.
pub(crate) async fn follow_always(core: Arc<Core>, servers: Arc<dyn Servers>) {
    let mut follower = Follower {
        core,
        servers,
        failures: 0,
        behind_since: None,
        wait: AGAIN,
    };
    loop {
        follower.once().await;
    }
}

struct Follower {
    core: Arc<Core>,
    servers: Arc<dyn Servers>,
    failures: u32,
    behind_since: Option<Instant>,
    wait: Duration,
}

impl Follower {
    async fn once(&mut self) {
        let (cluster, mark) = self.core.place();
        // Whether everything is here is asked first; only then is there anything to wait for.
        let wait = match self.core.live() && self.failures == 0 {
            true => WAIT,
            false => Duration::ZERO,
        };
        let request = Request::Follow {
            cluster,
            after: mark.into(),
            most_bytes: MOST_BYTES,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(0),
        };
        let answer = self.servers.feed(request.encode(), wait + LIMIT).await;
        let answer = answer.and_then(|bytes| Answer::decode(&bytes));
        let result = match answer {
            Ok(answer) => self.take(answer).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => {}
            Err(error) => self.failed(&error).await,
        }
    }

    fn heard(&mut self, standing: Standing, current: bool) {
        self.failures = 0;
        self.wait = AGAIN;
        let before = self.core.standing.reachable();
        let members = self.core.standing.heard(standing, current);
        // Whoever waits for a leader finds it before it is said that there is one.
        self.servers.heard(&members);
        if self.core.standing.reachable() && !before {
            tracing::info!("the servers can be reached");
            self.core.offer_soon();
        }
    }

    async fn take(&mut self, answer: Answer) -> io::Result<()> {
        match answer {
            Answer::Entries {
                standing,
                batches,
                upto,
                current,
            } => {
                self.behind_since = None;
                if let Err(error) = self.core.take(&batches, upto.into(), current) {
                    tracing::error!(%error, "what the servers sent does not lead to their state; it is fetched as a whole");
                    return self.whole().await;
                }
                self.heard(standing, current);
            }
            Answer::Nothing { standing } => {
                self.behind_since = None;
                self.core.up_to_date();
                self.heard(standing, true);
            }
            Answer::Behind { standing } => self.is_behind(standing).await?,
            Answer::Gone { .. } => self.whole().await?,
            Answer::Part { .. } => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the server answered another question",
                ));
            }
        }
        Ok(())
    }

    async fn is_behind(&mut self, standing: Standing) -> io::Result<()> {
        self.heard(standing, false);
        let now = Instant::now();
        let since = *self.behind_since.get_or_insert(now);
        let behind = now.saturating_duration_since(since);
        if behind > LOST {
            tracing::warn!(
                "the servers have less than this agent has seen; it takes what they have"
            );
            self.behind_since = None;
            return self.whole().await;
        }
        if behind > BEHIND {
            self.servers.turn();
        }
        sleep(Duration::from_millis(100)).await;
        Ok(())
    }

    async fn whole(&mut self) -> io::Result<()> {
        let base = fetch(self.servers.as_ref()).await?;
        tracing::info!(
            revision = base.state.revision().0,
            instances = base.state.instance_count(),
            "the state of the servers was fetched as a whole"
        );
        self.core.replace(base);
        Ok(())
    }

    async fn failed(&mut self, error: &io::Error) {
        self.servers.turn();
        self.failures = self.failures.saturating_add(1);
        if self.failures == FAILURES {
            tracing::warn!(%error, "no server can be reached; lookups are answered from what is here");
        }
        if self.failures >= FAILURES {
            self.core.cut();
        }
        let jitter = 0.5 + environment::random_fraction();
        sleep(self.wait.mul_f64(jitter)).await;
        self.wait = (self.wait * 2).min(AGAIN_AT_MOST);
    }
}
