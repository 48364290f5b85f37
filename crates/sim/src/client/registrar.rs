//! A client that registers and removes instances of one service, through the protocols by turns, and compares what all of them list.

use super::{Desk, Heard, draw, sleep_ms};
use crate::front::{Ask, Told};
use crate::history::{InstanceStory, Listing};
use crate::protocols::Spoken;

/// Instances of one client.
const INSTANCES: u64 = 4;

pub(super) async fn run(desk: Desk, number: u64) {
    let fresh = |instance: u64, port: u64| {
        let spoken = Spoken::ALL[usize::try_from(instance + number).unwrap_or(0) % 3];
        let mut history = desk.world.history();
        history.instances.push(InstanceStory {
            place: (format!("10.0.{number}.{instance}"), port),
            spoken,
            there: Some(false),
            told: Vec::new(),
        });
        history.instances.len() - 1
    };
    let mut places: Vec<usize> = (0..INSTANCES)
        .map(|instance| fresh(instance, 8000))
        .collect();
    let mut port = 8000;
    let mut server = desk.any_server();
    loop {
        sleep_ms(draw(100, 500)).await;
        if desk.world.quiet() {
            return;
        }
        if draw(0, 3) == 0 {
            let to = desk.any_server();
            if let Heard::Told(Told::Listed(revision, lists)) = desk.ask(to, Ask::List).await {
                desk.world.history().listings.push(Listing {
                    server: to,
                    revision,
                    lists,
                });
            }
            continue;
        }
        // As behind a load balancer: what was registered at one server is removed at another.
        if draw(0, 2) == 0 {
            server = desk.any_server();
        }
        let instance = draw(0, INSTANCES - 1);
        let slot = usize::try_from(instance).unwrap_or(0);
        let at = places[slot];
        let register = draw(0, 2) > 0;
        let told = {
            let mut history = desk.world.history();
            let story = &mut history.instances[at];
            // Until it is told otherwise.
            story.there = None;
            Ask::Speak {
                spoken: story.spoken,
                place: story.place.clone(),
                register,
            }
        };
        match desk.ask(server, told).await {
            Heard::Told(Told::Spoke(true)) => {
                let now = desk.world.now();
                let story = &mut desk.world.history().instances[at];
                story.there = Some(register);
                story.told.push((now, register));
            }
            // It may be decided yet, after whatever comes next: another instance takes its place.
            _ => {
                port += 1;
                places[slot] = fresh(instance, port);
                server = desk.next_server(server);
            }
        }
    }
}
