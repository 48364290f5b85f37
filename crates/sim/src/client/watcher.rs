//! A client that watches, and goes on where it was at another server when its own fails, or now and then for no reason.

use portolan_catalog::{KeyRange, Keyspace};
use portolan_registry::Selector;

use super::{Desk, Heard, draw, sleep_ms};
use crate::front::{Ask, Told};
use crate::history::{WatchStory, Watched};

/// How long watchers go on when the other clients have stopped, to see the last changes.
const LINGER_MS: u64 = 3_000;

pub(super) async fn run(desk: Desk, number: u64) {
    let selectors = match number % 3 {
        0 => vec![Selector::Range(Keyspace::Etcd, KeyRange::prefix(b"k/"))],
        1 => vec![Selector::Everything],
        _ => vec![
            Selector::Range(Keyspace::Etcd, KeyRange::prefix(b"lease/")),
            Selector::Service(portolan_catalog::ServiceKey::plain("web")),
        ],
    };
    let place = {
        let mut history = desk.world.history();
        history.watches.push(WatchStory {
            selectors: selectors.clone(),
            events: Vec::new(),
        });
        history.watches.len() - 1
    };
    let note = |event| {
        if let Some(story) = desk.world.history().watches.get_mut(place) {
            story.events.push(event);
        }
    };
    let mut server = desk.any_server();
    let mut after = None;
    let mut quiet_since = None;
    loop {
        let now = desk.world.now();
        if desk.world.quiet() && now > *quiet_since.get_or_insert(now) + LINGER_MS {
            return;
        }
        let Some(position) = after else {
            match desk.ask(server, Ask::Revision).await {
                Heard::Told(Told::Revision(revision)) => {
                    note(Watched::From { after: revision });
                    after = Some(revision);
                }
                _ => {
                    server = desk.next_server(server);
                    sleep_ms(draw(20, 200)).await;
                }
            }
            continue;
        };
        let ask = Ask::Follow {
            watcher: number,
            selectors: selectors.clone(),
            after: position,
        };
        match desk.ask(server, ask).await {
            Heard::Told(Told::News { batches, through }) => {
                note(Watched::News {
                    server,
                    batches,
                    through,
                });
                after = Some(through);
                if draw(1, 40) == 1 {
                    server = desk.any_server();
                }
            }
            Heard::Told(Told::Cut(_)) => {
                note(Watched::Cut);
                // What it missed it reads elsewhere, and begins anew.
                after = None;
            }
            _ => {
                server = desk.next_server(server);
                sleep_ms(draw(20, 200)).await;
            }
        }
    }
}
