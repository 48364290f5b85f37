//! A client of an agent: keeps instances registered there, removes them, and looks up what the agent says, whether or not there are servers.

use super::{Desk, Heard, draw, sleep_ms};
use crate::edge;
use crate::front::{Ask, Told};
use crate::history::OwnedStory;

/// Instances of one client.
const INSTANCES: u64 = 3;

pub(super) async fn run(desk: Desk, agent: u64) {
    let fresh = |instance: u64, port: u64| {
        let mut history = desk.world.history();
        history.owned.push(OwnedStory {
            agent,
            place: (format!("10.1.{agent}.{instance}"), port),
            there: Some(false),
        });
        history.owned.len() - 1
    };
    let mut places: Vec<usize> = (0..INSTANCES)
        .map(|instance| fresh(instance, 9000))
        .collect();
    let mut port = 9000;
    let to = edge::machine(agent);
    loop {
        sleep_ms(draw(100, 700)).await;
        if desk.world.quiet() {
            return;
        }
        if draw(0, 1) == 0 {
            if let Heard::Told(Told::Owned(owned)) = desk.ask(to, Ask::Owned).await {
                compare(&desk, agent, owned);
            }
            continue;
        }
        let instance = draw(0, INSTANCES - 1);
        let slot = usize::try_from(instance).unwrap_or(0);
        let at = places[slot];
        let register = draw(0, 2) > 0;
        let ask = {
            let mut history = desk.world.history();
            let story = &mut history.owned[at];
            // Until it is told otherwise.
            story.there = None;
            Ask::Own {
                place: story.place.clone(),
                register,
            }
        };
        match desk.ask(to, ask).await {
            Heard::Told(Told::Spoke(true)) => desk.world.history().owned[at].there = Some(register),
            // It may be decided yet: another instance takes its place.
            _ => {
                port += 1;
                places[slot] = fresh(instance, port);
            }
        }
    }
}

/// An agent that runs answers, lists what it said is registered at it, and does not list what it said is removed.
fn compare(
    desk: &Desk,
    agent: u64,
    owned: Option<std::collections::BTreeSet<crate::protocols::Place>>,
) {
    let now = desk.world.now();
    let mut history = desk.world.history();
    history.looks += 1;
    let Some(owned) = owned else {
        let what = format!("agent {agent} did not answer a lookup at {now} ms");
        return history.wrong_looks.push(what);
    };
    let own = history.owned.iter().filter(|story| story.agent == agent);
    let wrong: Vec<String> = own
        .filter_map(|story| {
            let place = &story.place;
            match (story.there?, owned.contains(place)) {
                (true, false) => Some(format!(
                    "agent {agent} does not list its own {place:?} at {now} ms"
                )),
                (false, true) => Some(format!(
                    "agent {agent} lists {place:?}, which was removed there, at {now} ms"
                )),
                _ => None,
            }
        })
        .collect();
    history.wrong_looks.extend(wrong);
}
