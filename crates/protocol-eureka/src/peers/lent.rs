//! What other protocols registered, shown to the peers: the server that leads registers it there and renews it for as long as it is here.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use portolan_catalog::{Revision, State};
use portolan_registry::Registry;
use tokio::time::{Instant, sleep};

use super::{LENT_BY, Peers, lender};
use crate::read;
use crate::translate;
use crate::wire::{Happened, Instance};

/// How often it is looked whether something is different.
const LOOKED_AT: Duration = Duration::from_secs(2);
/// How often everything is renewed, as a client does it.
const RENEWED: Duration = Duration::from_secs(30);

type Lent = BTreeMap<(String, String), Box<Instance>>;

/// Tells the peers for ever.
pub(crate) async fn tell_always(peers: Weak<Peers>, registry: Registry) {
    let (mut known, mut at): (Lent, _) = (Lent::new(), Revision(0));
    let mut renewed = Instant::now();
    loop {
        let Some(peers) = peers.upgrade() else { return };
        if registry.leads() {
            let state = registry.snapshot();
            if state.revision() != at {
                at = state.revision();
                let lent = lent(&state, &lender(&registry));
                tell_differences(&peers, &known, &lent);
                known = lent;
            }
            if renewed.elapsed() >= RENEWED {
                renewed = Instant::now();
                for ((app, id), it) in &known {
                    peers.lend(Happened::Heartbeat, app, id, Some(it.clone()));
                }
            }
        } else if !known.is_empty() {
            // Whoever leads now tells of everything; what is gone by then lapses at the peers.
            (known, at) = (Lent::new(), Revision(0));
        }
        drop(peers);
        sleep(LOOKED_AT).await;
    }
}

fn lent(state: &State, lender: &str) -> Lent {
    let mut all = Lent::new();
    for endpoint in state.all_endpoints() {
        let app = translate::app_of(&endpoint.key.service);
        for shown in read::shown(state, &app, endpoint) {
            if shown.foreign.is_some() {
                let mut it = shown.render(state, &app);
                it.metadata.insert(LENT_BY.to_owned(), lender.to_owned());
                all.insert((app.clone(), shown.id), Box::new(it));
            }
        }
    }
    all
}

fn tell_differences(peers: &Peers, before: &Lent, now: &Lent) {
    for ((app, id), it) in now {
        if before.get(&(app.clone(), id.clone())) != Some(it) {
            peers.lend(Happened::Register, app, id, Some(it.clone()));
        }
    }
    for (app, id) in before.keys() {
        if !now.contains_key(&(app.clone(), id.clone())) {
            peers.lend(Happened::Cancel, app, id, None);
        }
    }
}

impl Peers {
    fn lend(&self, happened: Happened, app: &str, id: &str, it: Option<Box<Instance>>) {
        for outbox in &self.each {
            outbox.put(happened, app, id, it.clone());
        }
    }
}
