//! The Lease service.
//!
//! A grant and a revocation are commands; a renewal is not: it touches the lease clock and never the log.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use portolan_catalog::{Command, LeaseId, Op, Refusal, Revision, Settled, State, Write};
use portolan_listener::{Action, Caller, Resource, Response};
use portolan_registry::Renewed;

use crate::{
    alarm,
    app::{App, allow, done},
    asker::Asker,
    auth::rules::{Access, Who},
    error::{Failure, TTL_TOO_LARGE},
    grpc::{self, Messages},
    permitted,
    wire::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    },
    write,
};

/// Bytes of keep-alive answers that leave together.
const TOGETHER: usize = 16 << 10;

/// A lease is asked for by its id as etcdctl prints it, sixteen hexadecimal digits; zeros are one that has no id yet. What is attached
/// to it is asked for by key.
fn allow_lease(caller: &Caller, action: Action, id: i64) -> Result<(), Failure> {
    let digit =
        |n: u32| char::from_digit((id >> (60 - 4 * n) & 0xf) as u32, 16).map_or(b'0', |c| c as u8);
    let name: [u8; 16] = std::array::from_fn(|n| digit(n as u32));
    allow(
        caller,
        action,
        Resource::Session(std::str::from_utf8(&name).unwrap_or_default()),
    )
}

pub(crate) async fn grant(
    app: Arc<App>,
    caller: Asker,
    request: LeaseGrantRequest,
) -> Result<Bytes, Failure> {
    let (revision, id, ttl) = granted(&app, &caller, request.id, request.ttl).await?;
    Ok(grpc::frame(&LeaseGrantResponse {
        header: Some(app.header(revision)),
        id,
        ttl,
        error: String::new(),
    }))
}

/// Grants a lease of at least the shortest time, under an id of our choice when 0 is asked for. Gives the revision, the id and the time.
pub(crate) async fn granted(
    app: &App,
    caller: &Asker,
    asked: i64,
    ttl: i64,
) -> Result<(Revision, i64, i64), Failure> {
    allow_lease(caller, Action::Write, asked)?;
    app.who(caller)?.is_known()?;
    alarm::check_space(&app.registry.snapshot())?;
    if ttl > write::MAX_TTL {
        return Err(TTL_TOO_LARGE);
    }
    let ttl = ttl.max(write::MIN_TTL);
    loop {
        let id = if asked == 0 {
            i64::try_from(portolan_environment::random_u64() >> 1)
                .unwrap_or(1)
                .max(1)
        } else {
            asked
        };
        let Settled { revision, outcome } =
            app.propose(caller, write::grant_command(id, ttl)).await?;
        match outcome {
            // An id of our own choice that is taken is our bad luck.
            Err(Refusal::LeaseExists) if asked == 0 => {}
            Err(refusal) => return Err(refusal.into()),
            Ok(_) => return Ok((revision, id, ttl)),
        }
    }
}

pub(crate) async fn revoke(
    app: Arc<App>,
    caller: Asker,
    request: LeaseRevokeRequest,
) -> Result<Bytes, Failure> {
    allow_lease(&caller, Action::Write, request.id)?;
    let state = app.registry.snapshot();
    app.auth.who(&state, &caller)?.is_known()?;
    let users = app.auth.head(&state).is_some();
    alarm::not_corrupt(&state)?;
    drop(state);
    let revoke = || Command::Revoke {
        lease: LeaseId::Etcd(request.id),
    };
    let revision = if users {
        let made = |state: &State, who: &Who| {
            permitted::lease(state, who, Access::Write, request.id)?;
            Ok(Write::one(Op::Command(Box::new(revoke()))))
        };
        app.write(&caller, made).await?.0
    } else {
        done(app.propose(&caller, revoke()).await?)?.0
    };
    Ok(grpc::frame(&LeaseRevokeResponse {
        header: Some(app.header(revision)),
    }))
}

pub(crate) async fn time_to_live(
    app: Arc<App>,
    caller: Asker,
    request: LeaseTimeToLiveRequest,
) -> Result<Bytes, Failure> {
    allow_lease(&caller, Action::Read, request.id)?;
    let state = app.state(false).await?;
    let who = app.auth.who(&state, &caller)?;
    who.is_known()?;
    if request.keys {
        permitted::lease(&state, &who, Access::Read, request.id)?;
    }
    let id = LeaseId::Etcd(request.id);
    let mut response = LeaseTimeToLiveResponse {
        header: Some(app.header(state.revision())),
        id: request.id,
        ttl: -1,
        ..Default::default()
    };
    if let Some(lease) = state.lease(&id)
        && let Some((remaining, _)) = app.registry.lease_time(&id).await?
    {
        response.ttl = remaining.as_secs() as i64;
        response.granted_ttl = (lease.terms.ttl_ms() / 1000) as i64;
        if request.keys {
            response.keys = permitted::keys(&state, &id)
                .map(|key| Bytes::copy_from_slice(&key))
                .collect();
        }
    }
    Ok(grpc::frame(&response))
}

pub(crate) async fn leases(
    app: Arc<App>,
    caller: Asker,
    _: LeaseLeasesRequest,
) -> Result<Bytes, Failure> {
    // The list is for everyone; which of its items, is asked for each.
    allow(&caller, Action::Read, Resource::Public)?;
    let state = app.registry.snapshot();
    let who = app.auth.who(&state, &caller)?;
    if !matches!(who, Who::Anyone) {
        who.is_known()?;
        // etcd's list is whole or refused.
        for lease in state.leases() {
            if let LeaseId::Etcd(id) = lease.id {
                permitted::lease(&state, &who, Access::Read, id)?;
            }
        }
    }
    let leases = state.leases().filter_map(|lease| match lease.id {
        LeaseId::Etcd(id) if allow_lease(&caller, Action::Read, id).is_ok() => {
            Some(LeaseStatus { id })
        }
        _ => None,
    });
    Ok(grpc::frame(&LeaseLeasesResponse {
        header: Some(app.header(state.revision())),
        leases: leases.collect(),
    }))
}

/// One answer to each request, in order; a lease that is not there has no time left, which does not end the stream.
pub(crate) async fn keep_alive(app: Arc<App>, caller: Asker, messages: Messages) -> Response {
    // The stream is for everyone; each lease is asked for.
    if let Err(failure) = allow(&caller, Action::Read, Resource::Public) {
        return grpc::unary(Err(failure));
    }
    let leaving = caller.clone();
    let draining = Box::pin(async move { leaving.draining().await });
    let stream = KeepAlive {
        app,
        caller,
        messages,
        draining,
    };
    grpc::streaming(stream, |mut stream| async move {
        stream.next().await.map(|answers| (answers, stream))
    })
}

struct KeepAlive {
    app: Arc<App>,
    caller: Asker,
    messages: Messages,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl KeepAlive {
    /// Answers everything that has arrived.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let mut together: Option<BytesMut> = None;
        loop {
            let request = tokio::select! {
                biased;
                request = self.messages.next::<LeaseKeepAliveRequest>() => request,
                () = self.draining.as_mut() => return Some(Err(crate::error::STOPPED)),
            };
            let answer = match request {
                Ok(Some(request)) => renew(&self.app, &self.caller, request.id).await,
                Ok(None) => return together.map(|answers| Ok(answers.freeze())),
                Err(status) => Err(status.into()),
            };
            let answer = match answer {
                Ok(answer) => grpc::frame(&answer),
                Err(failure) => return Some(Err(failure)),
            };
            let more = self.messages.has_next();
            match &mut together {
                None if !more => return Some(Ok(answer)),
                None => together = Some(BytesMut::from(&answer[..])),
                Some(answers) => answers.extend_from_slice(&answer),
            }
            if !more
                || together
                    .as_ref()
                    .is_some_and(|answers| answers.len() >= TOGETHER)
            {
                return together.map(|answers| Ok(answers.freeze()));
            }
        }
    }
}

async fn renew(app: &App, caller: &Asker, id: i64) -> Result<LeaseKeepAliveResponse, Failure> {
    allow_lease(caller, Action::Write, id)?;
    // Taken before the renewal: a client must not see a renewal at a revision at which the lease is gone.
    let header = app.header(app.registry.read(|state| {
        let who = app.auth.who(state, caller)?;
        if !matches!(who, Who::Anyone) {
            who.is_known()?;
            permitted::lease(state, &who, Access::Write, id)?;
        }
        Ok::<_, Failure>(state.revision())
    })?);
    let lease = LeaseId::Etcd(id);
    let ttl = match app.registry.renew(&lease).await? {
        Renewed::For(time) => time.as_secs() as i64,
        Renewed::Unknown => 0,
    };
    Ok(LeaseKeepAliveResponse {
        header: Some(header),
        id,
        ttl,
    })
}
