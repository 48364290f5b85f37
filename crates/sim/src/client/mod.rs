//! The clients: machines of their own, with one clock and one source of randomness, which reach servers over the network.

mod holder;
mod owner;
mod prober;
mod registrar;
mod watcher;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use portolan_environment::Environment;
use rand::RngExt;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::front::{Ask, Told};
use crate::plan::Plan;
use crate::wire::Outside;
use crate::world::World;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a question came to.
#[derive(Debug)]
pub(crate) enum Heard {
    Told(Told),
    /// No answer, or the connection broke: it may have happened.
    Nothing,
}

/// A client's way to the servers.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    world: Arc<World>,
    servers: u64,
}

impl Desk {
    async fn ask(&self, server: u64, ask: Ask) -> Heard {
        let (reply, told) = oneshot::channel();
        self.world.ask(server, ask, reply);
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(told)) => Heard::Told(told),
            Ok(Err(_)) | Err(_) => Heard::Nothing,
        }
    }

    fn any_server(&self) -> u64 {
        draw(1, self.servers)
    }

    /// The one after `server`.
    fn next_server(&self, server: u64) -> u64 {
        server % self.servers + 1
    }
}

/// A number from `least` to `most`.
fn draw(least: u64, most: u64) -> u64 {
    portolan_environment::generator().random_range(least..=most)
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// All clients of a run.
pub(crate) struct Clients {
    runtime: Runtime,
    outside: Arc<dyn Environment>,
    desk: Desk,
}

impl Clients {
    /// Clients that begin to work.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub(crate) fn start(plan: &Plan, world: &Arc<World>, seed: u64) -> Result<Clients, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        let clients = Clients {
            runtime,
            outside: Arc::new(Outside::new(seed, world)),
            desk: Desk {
                world: world.clone(),
                servers: plan.servers,
            },
        };
        let _entered = portolan_environment::enter(clients.outside.clone());
        for number in 1..=plan.writers {
            clients.spawn(writer::run(clients.desk.clone(), number));
        }
        for number in 1..=plan.holders {
            clients.spawn(holder::run(clients.desk.clone(), number));
        }
        for number in 1..=plan.watchers {
            clients.spawn(watcher::run(clients.desk.clone(), number));
        }
        for agent in 1..=plan.agents {
            clients.spawn(owner::run(clients.desk.clone(), agent));
        }
        for number in 1..=plan.registrars {
            clients.spawn(registrar::run(clients.desk.clone(), number));
        }
        Ok(clients)
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let world = self.desk.world.clone();
        world.history().working += 1;
        self.runtime.spawn(async move {
            work.await;
            world.history().working -= 1;
        });
    }

    /// Has a client make sure that every server serves; see [`History::served`](crate::history::History::served).
    pub(crate) fn probe(&self) {
        let _entered = portolan_environment::enter(self.outside.clone());
        self.spawn(prober::run(self.desk.clone()));
    }

    /// One millisecond.
    pub(crate) fn step(&self) {
        let _entered = portolan_environment::enter(self.outside.clone());
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
}
