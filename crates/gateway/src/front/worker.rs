//! One thread of the gateway: its connections, its services, its connections to endpoints. It shares with the others what is counted, the
//! table of routes and the catalog, and waits for none of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portolan_balance::{Generator, Moment};
use portolan_catalog::ServiceKey;
use tokio::sync::mpsc::Receiver;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::acceptor::Accepted;
use super::connection;
use super::control::Control;
use crate::gateway::Gateway;
use crate::upstream::Cluster;

/// How long connections without a request stay open while the server stops: a request may be on its way.
const GRACE: Duration = Duration::from_millis(500);

/// One thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    clusters: RefCell<HashMap<ServiceKey, Rc<Cluster>>>,
    connections: RefCell<HashMap<u64, Rc<Control>>>,
    next: Cell<u64>,
    began: Instant,
    draining: Cell<bool>,
    pub(crate) generator: Rc<RefCell<Generator>>,
}

/// Runs a thread until all connections are over, after the acceptor is.
pub(crate) fn run(gateway: Arc<Gateway>, accepted: Receiver<Accepted>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, serve(gateway, accepted)),
        Err(error) => tracing::error!(%error, "a thread of the gateway cannot start"),
    }
}

async fn serve(gateway: Arc<Gateway>, mut accepted: Receiver<Accepted>) {
    let seed = portolan_environment::random_u64();
    let worker = Rc::new(Worker {
        gateway,
        clusters: RefCell::default(),
        connections: RefCell::default(),
        next: Cell::default(),
        began: Instant::now(),
        draining: Cell::default(),
        generator: Rc::new(RefCell::new(Generator::new(seed))),
    });
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = accepted.recv() => match next {
                Some(accepted) => {
                    tokio::task::spawn_local(connection::serve(worker.clone(), accepted));
                }
                None => break,
            },
            _ = seconds.tick() => worker.tick(),
        }
    }
    worker.drain().await;
}

impl Worker {
    /// Time since this thread began.
    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Whether the server stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The service as the catalog has it now.
    pub(crate) fn cluster(&self, key: &ServiceKey, now: Moment) -> Option<Rc<Cluster>> {
        let Gateway {
            registry, figures, ..
        } = &*self.gateway;
        let known = self.clusters.borrow().get(key).cloned();
        if let Some(cluster) = known {
            if cluster.refresh(registry, figures, now) {
                return Some(cluster);
            }
            cluster.leave();
            self.clusters.borrow_mut().remove(key);
            return None;
        }
        let view = registry.view(key);
        view.service.as_ref()?;
        let requests = self.gateway.settings.requests_per_service;
        let cluster = Rc::new(Cluster::new(key, view, figures, requests, now));
        self.clusters
            .borrow_mut()
            .insert(key.clone(), cluster.clone());
        Some(cluster)
    }

    /// Watches over a connection until what is returned is dropped.
    pub(crate) fn watch(self: &Rc<Worker>, control: &Rc<Control>) -> Watched {
        let number = self.next.get();
        self.next.set(number + 1);
        self.connections
            .borrow_mut()
            .insert(number, control.clone());
        Watched(self.clone(), number)
    }

    fn tick(&self) {
        for control in self.connections.borrow().values() {
            control.tick(&self.gateway.limits);
        }
        let now = self.now();
        let Gateway {
            registry,
            figures,
            settings,
            ..
        } = &*self.gateway;
        self.clusters.borrow_mut().retain(|_, cluster| {
            let there = cluster.refresh(registry, figures, now);
            cluster.sweep(settings.upstream_idle);
            if !there && cluster.is_quiet() {
                cluster.leave();
            }
            there || !cluster.is_quiet()
        });
    }

    /// Answers what is there and what is on its way, and closes connections as they fall quiet.
    async fn drain(&self) {
        self.draining.set(true);
        let begun = Instant::now();
        let mut ticks = interval(Duration::from_millis(20));
        while !self.connections.borrow().is_empty() {
            ticks.tick().await;
            for control in self.connections.borrow().values() {
                let quiet = control.shared.in_flight() == 0 && !control.shared.in_head();
                if begun.elapsed() > GRACE && quiet {
                    control.close();
                }
                if begun.elapsed() > self.gateway.limits.drain_timeout {
                    control.abort();
                }
            }
            // Aborted ones have only to be polled once more.
            if begun.elapsed() > self.gateway.limits.drain_timeout + GRACE {
                return;
            }
        }
    }
}

/// A connection that is watched over.
#[derive(Debug)]
pub(crate) struct Watched(Rc<Worker>, u64);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.connections.borrow_mut().remove(&self.1);
        self.0.gateway.figures.connections().dec();
    }
}
