//! The members of the cluster: who they are, and how they come and go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{Revision, servers};
use portolan_listener::{Action, Resource};
use portolan_registry::{Member as Server, MemberChange};
use tokio::time::{Instant, sleep};

use crate::{
    app::{App, allow},
    asker::Asker,
    error::{Code, Failure},
    grpc,
    wire::etcdserverpb::{
        Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, MoveLeaderResponse,
        ResponseHeader,
    },
};

/// How long a server that was asked to join may take until it is a member.
const JOINING: Duration = Duration::from_secs(5);

const NOT_FOUND: Failure = Failure::new(Code::NotFound, "etcdserver: member not found");
const BAD_URLS: Failure = Failure::new(
    Code::InvalidArgument,
    "etcdserver: given member URLs are invalid",
);
const URLS_EXIST: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: Peer URLs already exists",
);
const NOT_LEARNER: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: can only promote a learner member",
);
const NOT_IN_SYNC: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: can only promote a learner member which is in sync with leader",
);
const NOT_LEADER: Failure = Failure::new(Code::FailedPrecondition, "etcdserver: not leader");
const BAD_TRANSFEREE: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: bad leader transferee",
);

/// Calls about members have no revision in their headers.
fn header(app: &App) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: 0,
        ..app.header(Revision::default())
    })
}

fn member(app: &App, server: Server, alone: bool) -> Member {
    let settings = &app.settings;
    if alone || server.own {
        let peers = Some(&server.address).filter(|address| !alone && !address.is_empty());
        return Member {
            id: settings.member_id,
            name: settings.member_name.clone(),
            peer_ur_ls: peers.map(|address| url(address)).into_iter().collect(),
            client_ur_ls: settings.client_urls.clone(),
            is_learner: !server.voter,
        };
    }
    let record = app.registry.read(|state| servers::of(state, server.node));
    let client = record.and_then(|record| record.addresses.get("etcd").cloned());
    Member {
        id: server.node,
        peer_ur_ls: vec![url(&server.address)],
        client_ur_ls: client.iter().map(|address| url(address)).collect(),
        is_learner: !server.voter,
        // To etcd's clients no name means that it has not started yet.
        name: server.name,
    }
}

fn url(address: &str) -> String {
    format!("http://{address}")
}

fn all(app: &App) -> Vec<Member> {
    let servers = app.registry.members();
    let alone = servers.len() == 1;
    let members = servers.into_iter();
    members.map(|server| member(app, server, alone)).collect()
}

pub(crate) async fn list(
    app: Arc<App>,
    caller: Asker,
    request: MemberListRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Operator)?;
    app.who(&caller)?.is_known()?;
    if request.linearizable {
        app.state(false).await?;
    }
    Ok(grpc::frame(&MemberListResponse {
        header: header(&app),
        members: all(&app),
    }))
}

async fn change(app: &App, change: MemberChange) -> Result<(), Failure> {
    let changed = app.registry.change_members(change).await;
    changed.map_err(|why| Failure::saying(Code::Unavailable, format!("etcdserver: {why}")))
}

/// A server of the cluster by its id.
fn find(app: &App, id: u64) -> Result<Server, Failure> {
    let mut servers = app.registry.members().into_iter();
    servers.find(|server| server.node == id).ok_or(NOT_FOUND)
}

fn named(server: &Server) -> String {
    format!("{:016x}", server.node)
}

/// `host:port` of each URL.
fn addresses(urls: &[String]) -> Result<Vec<String>, Failure> {
    let address = |url: &String| {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"))?;
        let (host, port) = rest.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| rest.to_owned())
    };
    let addresses: Option<Vec<String>> = urls.iter().map(address).collect();
    addresses
        .filter(|addresses| !addresses.is_empty())
        .ok_or(BAD_URLS)
}

/// The server at that address is asked to join: it has to run with an empty directory. It gets its vote when it has caught up, asked for
/// as a learner or not.
pub(crate) async fn add(
    app: Arc<App>,
    caller: Asker,
    request: MemberAddRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let addresses = addresses(&request.peer_ur_ls)?;
    let known = |server: &Server| addresses.contains(&server.address);
    if app.registry.members().iter().any(known) {
        return Err(URLS_EXIST);
    }
    let first = addresses.first().cloned().unwrap_or_default();
    change(&app, MemberChange::Add(first)).await?;
    let until = Instant::now() + JOINING;
    loop {
        let servers = app.registry.members();
        if let Some(server) = servers.into_iter().find(known) {
            return Ok(grpc::frame(&MemberAddResponse {
                header: header(&app),
                member: Some(member(&app, server, false)),
                members: all(&app),
            }));
        }
        if Instant::now() > until {
            return Err(Failure::new(
                Code::Unavailable,
                "etcdserver: the server was asked to join and has not done so yet",
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn remove(
    app: Arc<App>,
    caller: Asker,
    request: MemberRemoveRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let server = find(&app, request.id)?;
    change(&app, MemberChange::Remove(named(&server))).await?;
    let mut members = all(&app);
    members.retain(|member| member.id != request.id);
    Ok(grpc::frame(&MemberRemoveResponse {
        header: header(&app),
        members,
    }))
}

/// A server says where it is when it starts; here it can only be confirmed.
pub(crate) async fn update(
    app: Arc<App>,
    caller: Asker,
    request: MemberUpdateRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let addresses = addresses(&request.peer_ur_ls)?;
    let server = find(&app, request.id)?;
    if addresses != [server.address] {
        return Err(Failure::new(
            Code::FailedPrecondition,
            "etcdserver: a server's cluster address is what it says at its start; pass --cluster-listen or --advertise there",
        ));
    }
    Ok(grpc::frame(&MemberUpdateResponse {
        header: header(&app),
        members: all(&app),
    }))
}

pub(crate) async fn promote(
    app: Arc<App>,
    caller: Asker,
    request: MemberPromoteRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let server = find(&app, request.id)?;
    if server.voter {
        return Err(NOT_LEARNER);
    }
    change(&app, MemberChange::Promote(named(&server))).await?;
    let voter = |server: &Server| server.node == request.id && server.voter;
    let until = Instant::now() + JOINING;
    while !app.registry.members().iter().any(voter) {
        if Instant::now() > until {
            return Err(NOT_IN_SYNC);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(grpc::frame(&MemberPromoteResponse {
        header: header(&app),
        members: all(&app),
    }))
}

pub(crate) async fn move_leader(
    app: Arc<App>,
    caller: Asker,
    request: MoveLeaderRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let servers = app.registry.members();
    if !servers.iter().any(|server| server.own && server.leader) {
        return Err(NOT_LEADER);
    }
    let to = servers
        .iter()
        .find(|server| server.node == request.target_id);
    let to = to.filter(|server| server.voter).ok_or(BAD_TRANSFEREE)?;
    change(&app, MemberChange::Transfer(Some(named(to)))).await?;
    Ok(grpc::frame(&MoveLeaderResponse {
        header: header(&app),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_a_port() {
        let of = |text: &str| addresses(&[text.to_owned()]);
        assert_eq!(of("http://10.0.0.1:2380").unwrap(), ["10.0.0.1:2380"]);
        for wrong in ["10.0.0.1:2380", "http://x", "http://:1", "ftp://x:1"] {
            assert_eq!(of(wrong), Err(BAD_URLS), "{wrong}");
        }
        assert_eq!(addresses(&[]), Err(BAD_URLS));
    }
}
