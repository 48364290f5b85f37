//! A client that makes sure, when nothing fails any more, that something can be written and that every server has it.

use bytes::Bytes;

use super::writer::perform;
use super::{Desk, draw, sleep_ms};
use crate::history::{KeyDone, KeyOperation, KeyWork};

const KEY: &str = "probe";

pub(super) async fn run(desk: Desk) {
    let mut server = 1;
    for turn in 0.. {
        let value = Bytes::from(format!("probe.{turn}"));
        let work = KeyWork::Put(value);
        let asked = desk.world.now();
        let done = perform(&desk, server, KEY, &work).await;
        let operation = KeyOperation {
            key: KEY.to_owned(),
            work,
            server,
            asked,
            answered: desk.world.now(),
            done: done.clone(),
        };
        desk.world.history().keys.push(operation);
        if let KeyDone::Written(revision) = done {
            return everywhere(&desk, revision).await;
        }
        server = desk.next_server(server);
        sleep_ms(draw(20, 100)).await;
    }
}

async fn everywhere(desk: &Desk, revision: u64) {
    let mut server = 1;
    while server <= desk.servers {
        match perform(desk, server, KEY, &KeyWork::StaleRead).await {
            KeyDone::Found(at, _) if at >= revision => server += 1,
            _ => sleep_ms(draw(10, 50)).await,
        }
    }
    desk.world.history().served = Some(revision);
}
