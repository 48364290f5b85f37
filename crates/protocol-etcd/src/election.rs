//! The Election service.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use portolan_catalog::{Change, Key, KeyRange, Keyspace, Record, Revision};
use portolan_listener::{Action, Response};
use portolan_registry::{Feed, Selector};

use crate::{
    app::App,
    asker::Asker,
    auth::rules::Access,
    error::{Failure, LEADER_MISSING, NO_ELECTED, NOT_ELECTED, STOPPED},
    grpc::{self, Messages},
    queue::{self, Place, Waiter, without_code},
    read,
    wire::{
        etcdserverpb::{PutRequest, request_op::Request},
        v3electionpb::*,
    },
};

pub(crate) async fn campaign(
    app: Arc<App>,
    caller: Asker,
    request: CampaignRequest,
) -> Result<Bytes, Failure> {
    stand(&app, &caller, request).await.map_err(without_code)
}

async fn stand(app: &Arc<App>, caller: &Asker, request: CampaignRequest) -> Result<Bytes, Failure> {
    let prefix = queue::prefix(&request.name);
    queue::allow_queue(caller, Action::Read, &prefix)?;
    let lease = queue::session(app, caller, request.lease).await?;
    let value = Bytes::copy_from_slice(&request.value);
    let place = queue::join(app, caller, &prefix, lease, value.clone()).await?;
    let waiter = Waiter::new(app, caller, &place);
    if place.found.as_ref().is_some_and(|found| *found != value) {
        say(app, caller, &place, lease, value).await?;
    }
    queue::turn(app, caller, &prefix, place.created).await?;
    waiter.stays();
    Ok(grpc::frame(&CampaignResponse {
        header: Some(app.header(place.seen)),
        leader: Some(LeaderKey {
            name: request.name,
            key: place.key,
            rev: place.created.0 as i64,
            lease,
        }),
    }))
}

/// Changes the value of a place that is still held.
async fn say(
    app: &App,
    caller: &Asker,
    place: &Place,
    lease: i64,
    value: Bytes,
) -> Result<Revision, Failure> {
    let put = Request::RequestPut(PutRequest {
        key: place.key.clone(),
        value,
        lease,
        ..Default::default()
    });
    match queue::change(app, caller, (&place.key, place.created), put).await? {
        (revision, true) => Ok(revision),
        (_, false) => Err(NOT_ELECTED),
    }
}

pub(crate) async fn proclaim(
    app: Arc<App>,
    caller: Asker,
    request: ProclaimRequest,
) -> Result<Bytes, Failure> {
    let leader = held(&caller, request.leader)?;
    let said = async {
        let lease = queue::session(&app, &caller, leader.lease).await?;
        say(&app, &caller, &place(leader), lease, request.value).await
    };
    let revision = said.await.map_err(without_code)?;
    Ok(grpc::frame(&ProclaimResponse {
        header: Some(app.header(revision)),
    }))
}

pub(crate) async fn resign(
    app: Arc<App>,
    caller: Asker,
    request: ResignRequest,
) -> Result<Bytes, Failure> {
    let Place { key, created, .. } = place(held(&caller, request.leader)?);
    let gone = queue::change(&app, &caller, (&key, created), queue::deletion(&key)).await;
    let (revision, _) = gone.map_err(without_code)?;
    Ok(grpc::frame(&ResignResponse {
        header: Some(app.header(revision)),
    }))
}

/// The key that a leader's request is about.
fn held(caller: &Asker, leader: Option<LeaderKey>) -> Result<LeaderKey, Failure> {
    let key = leader.as_ref().map_or(&[][..], |leader| &leader.key);
    crate::app::allow_keys(caller, Action::Write, key, &[])?;
    leader.ok_or(LEADER_MISSING)
}

fn place(leader: LeaderKey) -> Place {
    let created = Revision(u64::try_from(leader.rev).unwrap_or(u64::MAX));
    Place {
        key: leader.key,
        created,
        seen: created,
        found: None,
    }
}

pub(crate) async fn leader(
    app: Arc<App>,
    caller: Asker,
    request: LeaderRequest,
) -> Result<Bytes, Failure> {
    let prefix = queue::prefix(&request.name);
    queue::allow_queue(&caller, Action::Read, &prefix)?;
    let state = app.state(false).await.map_err(without_code)?;
    let asked = app.auth.who(&state, &caller);
    asked
        .and_then(|who| who.may(Access::Read, &prefix, &queue::end_of(&prefix)))
        .map_err(without_code)?;
    let range = KeyRange::prefix(&prefix);
    let (key, record) = queue::first(&state, &range).ok_or(NO_ELECTED)?;
    Ok(grpc::frame(&reply(&app, state.revision(), key, record)))
}

fn reply(app: &App, revision: Revision, key: &Key, record: &Record) -> LeaderResponse {
    LeaderResponse {
        header: Some(app.header(revision)),
        kv: Some(read::key_value(key, record)),
    }
}

/// Every leader, and everything that a leader says.
pub(crate) async fn observe(app: Arc<App>, caller: Asker, mut messages: Messages) -> Response {
    let begun = async {
        let request: LeaderRequest = match messages.only().await {
            Ok(request) => request,
            Err(status) => {
                crate::app::allow(&caller, Action::Watch, portolan_listener::Resource::Public)?;
                return Err(status.into());
            }
        };
        let prefix = queue::prefix(&request.name);
        queue::allow_queue(&caller, Action::Watch, &prefix)?;
        let asked = app.who(&caller);
        asked
            .and_then(|who| who.may(Access::Read, &prefix, &queue::end_of(&prefix)))
            .map_err(without_code)?;
        Ok(KeyRange::prefix(&prefix))
    };
    match begun.await {
        Ok(range) => {
            let observed = Observed {
                app,
                caller,
                range,
                step: Step::Look,
                ready: VecDeque::new(),
            };
            grpc::streaming(Box::new(observed), |mut observed| async move {
                Some((observed.next().await, observed))
            })
        }
        Err(failure) => grpc::unary(Err::<_, Failure>(failure)),
    }
}

struct Observed {
    app: Arc<App>,
    caller: Asker,
    range: KeyRange,
    step: Step,
    ready: VecDeque<Bytes>,
}

enum Step {
    /// Who leads has to be found out.
    Look,
    /// Nobody leads; the whole queue is followed.
    Nobody(Feed),
    /// The leader's key is followed.
    Somebody(Feed),
}

impl Observed {
    async fn next(&mut self) -> Result<Bytes, Failure> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            let leads = matches!(self.step, Step::Somebody(_));
            let feed = match &mut self.step {
                Step::Look => {
                    self.look().await?;
                    continue;
                }
                Step::Nobody(feed) | Step::Somebody(feed) => feed,
            };
            let batch = tokio::select! {
                batch = feed.next() => batch,
                () = self.caller.draining() => return Err(STOPPED),
            };
            // What is missed is looked up.
            let Ok(batch) = batch else {
                self.step = Step::Look;
                continue;
            };
            for change in &batch.changes {
                let Change::Record {
                    space: Keyspace::Etcd,
                    key,
                    after,
                    ..
                } = change
                else {
                    continue;
                };
                match after {
                    Some(record) if self.range.contains(key) => {
                        let reply = reply(&self.app, record.modified, key, record);
                        self.ready.push_back(grpc::frame(&reply));
                        if !leads {
                            self.follow(key, record.modified);
                            break;
                        }
                    }
                    None if leads => {
                        self.step = Step::Look;
                        break;
                    }
                    _ => {}
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let state = self.app.state(false).await?;
        let revision = state.revision();
        match queue::first(&state, &self.range) {
            Some((key, record)) => {
                let reply = reply(&self.app, revision, key, record);
                self.ready.push_back(grpc::frame(&reply));
                self.follow(&key.clone(), revision);
            }
            None => {
                let selector = Selector::Range(Keyspace::Etcd, self.range.clone());
                if let Ok(feed) = self.app.registry.follow(vec![selector], revision) {
                    self.step = Step::Nobody(feed);
                }
            }
        }
        Ok(())
    }

    fn follow(&mut self, key: &Key, after: Revision) {
        let selector = Selector::Key(Keyspace::Etcd, key.clone());
        self.step = match self.app.registry.follow(vec![selector], after) {
            Ok(feed) => Step::Somebody(feed),
            Err(_) => Step::Look,
        };
    }
}
