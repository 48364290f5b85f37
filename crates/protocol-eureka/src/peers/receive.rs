//! Lists of peers: each entry by the rules of the call it stands for, and an answer for each. What came so is told to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderValue};
use portolan_catalog::Why;
use portolan_listener::{Action, Caller, Params, Request, Resource, Response, read_body_decoded};

use super::{LENT_BY, lender};
use crate::App;
use crate::error::Problem;
use crate::translate;
use crate::wire::replication::{Happened, Outcome, Replicated, decode_batch, encode_outcomes};
use crate::wire::{Format, Status};
use crate::write::{Renewal, Writer};

/// POST `/peerreplication/batch/`
pub(crate) async fn batch(
    app: Arc<App>,
    mut request: Request,
    _: Params,
) -> Result<Response, Problem> {
    let caller = Caller::of(&request);
    let limits = caller.context().limits().clone();
    let unpacked = limits.body_bytes.max(limits.decompressed_bytes);
    let body = read_body_decoded(&mut request, unpacked, unpacked).await?;
    let list = decode_batch(&body).map_err(|why| Problem::Malformed(Format::Json, why))?;
    // An empty list is about nothing.
    if list.is_empty() {
        caller.allow(Action::Read, Resource::Public)?;
    }
    for one in &list {
        let service = translate::service_of(&one.app);
        let resource = Resource::Service {
            namespace: service.namespace(),
            name: service.name(),
        };
        caller.allow(Action::Register, resource)?;
    }
    if let Some(peers) = &app.peers {
        let count = list.len() as u64;
        peers.figures.received.fetch_add(count, Ordering::Relaxed);
    }
    // A peer waits for a fifth of a second: what is about different instances is decided together, so that the disk is waited for once.
    let mut instances: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, one) in list.iter().enumerate() {
        instances.entry((&one.app, &one.id)).or_default().push(at);
    }
    let (app, caller, list) = (&app, &caller, &list);
    let each = instances.into_values().map(|places| async move {
        let mut outcomes = Vec::with_capacity(places.len());
        for at in places {
            let writer = Writer {
                registry: &app.registry,
                cause: caller.cause(Why::Call),
                now: app.now(),
            };
            outcomes.push((at, one(&writer, &list[at]).await));
        }
        outcomes
    });
    let mut outcomes = Vec::with_capacity(list.len());
    for (at, outcome) in join_all(each).await.into_iter().flatten() {
        match outcome {
            Ok(outcome) => outcomes.push((at, outcome)),
            // Nobody can decide now: the peer keeps the list and tells it again.
            Err(problem @ (Problem::Unavailable(_) | Problem::Contended)) => return Err(problem),
            Err(problem) => {
                let status = problem.status().as_u16();
                outcomes.push((at, answered(status)));
            }
        }
    }
    outcomes.sort_by_key(|(at, _)| *at);
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    let mut response = Response::new(encode_outcomes(&outcomes).into());
    let json = HeaderValue::from_static(Format::Json.content_type());
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn answered(status: u16) -> Outcome {
    Outcome {
        status,
        instance: None,
    }
}

async fn one(writer: &Writer<'_>, told: &Replicated) -> Result<Outcome, Problem> {
    let (app, id) = (&*told.app, &*told.id);
    match told.happened {
        Some(Happened::Register) => {
            let Some(sent) = &told.instance else {
                return Ok(answered(500));
            };
            let own = sent.metadata.get(LENT_BY) == Some(&lender(writer.registry));
            if !own && sent.check_registration(app).is_ok() {
                writer.register(sent).await?;
            }
            // Whatever comes of it, as the original answers.
            Ok(answered(200))
        }
        Some(Happened::Heartbeat) => {
            let renewed = writer
                .renew_for_peer(app, id, told.dirty_at, told.overridden)
                .await;
            match renewed? {
                Renewal::Done => Ok(answered(200)),
                Renewal::Newer(instance) => Ok(Outcome {
                    status: 409,
                    instance: Some(*instance),
                }),
            }
        }
        Some(Happened::Cancel) => {
            writer.cancel_own(app, id).await?;
            Ok(answered(200))
        }
        Some(Happened::StatusUpdate) => {
            let value = told.status.unwrap_or(Status::Unknown).as_str();
            writer.impose(app, id, Some(value), told.dirty_at).await?;
            Ok(answered(200))
        }
        Some(Happened::DeleteStatusOverride) => {
            let value = told.status.map(Status::as_str);
            writer.release(app, id, value).await?;
            Ok(answered(200))
        }
        None => Ok(answered(500)),
    }
}
