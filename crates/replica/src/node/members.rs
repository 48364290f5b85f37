//! What a running server answers about the cluster, and what the leader does when somebody comes or goes.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan_cluster::forward::Leader;
use portolan_cluster::members::{About, Change, Request, Response, Server, ask};
use portolan_cluster::message::{decode, encode};
use portolan_environment::watch;
use portolan_environment::{ANYBODY, Answer, Peer, Transport};
use portolan_registry::{Changed, Cluster, Member, MemberChange, Registry};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::presence::Presence;
use crate::broken::Broken;
use crate::consensus::{MemberNode, RaftNode};
use crate::departure;
use crate::disk::Disk;
use crate::log::Log;
use crate::stats::Stats;

/// Servers with a vote at most.
const VOTERS: usize = 7;
/// Servers without a vote at most.
const LEARNERS: usize = 16;
/// How long another server may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a change of the members may take.
const CHANGING: Duration = Duration::from_secs(10);
/// A member that was not heard of for so long may be replaced by one of its name.
const ABSENT: Duration = Duration::from_secs(3);
/// How long handing over may take.
const HANDING: Duration = Duration::from_secs(2);

/// This server as a member.
pub(crate) struct Members {
    pub(crate) own: Server,
    pub(crate) version: String,
    pub(crate) cluster: u64,
    pub(crate) raft: RaftNode,
    pub(crate) registry: Registry,
    pub(crate) stats: Arc<Stats>,
    pub(crate) log: Arc<Log>,
    /// Where it is noted that this server has left.
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) broken: Arc<Broken>,
    pub(crate) presence: Presence,
    /// Changes of the members come one after the other.
    pub(crate) changing: Mutex<()>,
    /// This server has left, or is about to: it does not ask to be taken in again.
    pub(crate) leaving: watch::Sender<Leaving>,
}

/// How far this server is with leaving its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaving {
    /// It stays.
    #[default]
    No,
    /// It is about to.
    Soon,
    /// It has left.
    Left,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl Members {
    pub(crate) async fn about(&self) -> About {
        let status = self.raft.status();
        About {
            server: self.own.clone(),
            cluster: self.cluster,
            promised: self.cluster,
            version: self.version.clone(),
            term: status.term,
            leader: self.leader.borrow().clone(),
            last_index: status.last_index,
            applied_index: self.stats.applied_index.get(),
            ..About::default()
        }
    }

    /// Term and index of the last entry in the log.
    pub(crate) fn last_entry(&self) -> (u64, u64) {
        let (_, last) = self.log.ends();
        last.map_or((0, 0), |last| (last.term, last.index))
    }

    pub(crate) fn leads(&self) -> bool {
        let leader = self.leader.borrow();
        leader
            .as_ref()
            .is_some_and(|leader| leader.node == self.own.node)
    }

    /// The answer of a server that does not lead.
    fn elsewhere(&self) -> Response {
        match self.leader.borrow().clone() {
            Some(leader) if leader.node != self.own.node => Response::Elsewhere(leader),
            _ => Response::Refused("the cluster has no leader now".to_owned()),
        }
    }

    /// Whether a server, or an agent, may ask this. Who is no member may ask who is there, and a server to be taken in.
    fn may_ask(&self, from: u64, request: &Request) -> bool {
        match request {
            Request::Meet(_) => true,
            Request::Join(server) => server.node == from,
            _ => self
                .raft
                .membership()
                .iter()
                .any(|member| member.node == from),
        }
    }

    async fn reply(&self, request: Request) -> Response {
        match request {
            Request::Meet(_) => Response::Met {
                about: Box::new(self.about().await),
                others: Vec::new(),
            },
            Request::Join(server) if self.leads() => self.join(&server).await,
            Request::Change(change) if self.leads() => self.change(change).await,
            Request::Join(_) | Request::Change(_) => self.elsewhere(),
            Request::Promise { .. } | Request::Invite { .. } => Response::Refused(format!(
                "server {} belongs to cluster {:016x}",
                self.own.name, self.cluster
            )),
            Request::Release { .. } => Response::Done,
            Request::Broken { leader, term } => Response::Broken {
                broken: self.broken.is(leader, term),
                last: self.last_entry(),
            },
            Request::Hold => {
                let mut leader = self.leader.clone();
                let own = self.own.node;
                let other = |leader: &Option<Leader>| leader.as_ref().is_none_or(|l| l.node != own);
                // It ends with the server at the latest.
                let _ended = leader.wait_for(other).await;
                Response::Done
            }
        }
    }

    /// Takes a server in, without a vote; it gets one when it has caught up.
    async fn join(&self, server: &Server) -> Response {
        let _one = self.changing.lock().await;
        let members = self.raft.membership();
        let welcome = Response::Welcome {
            cluster: self.cluster,
        };
        if let Some(known) = members.iter().find(|member| member.node == server.node) {
            if known.address == server.address && known.name == server.name {
                return welcome;
            }
        } else if let Some(why) = self.objection(&members, server) {
            return Response::Refused(why);
        }
        for old in &members {
            let same = old.name == server.name || old.address == server.address;
            if !same || old.node == server.node {
                continue;
            }
            if let Err(why) = self.remove(old.node).await {
                return Response::Refused(why);
            }
            tracing::info!(
                name = server.name,
                old = old.node,
                new = server.node,
                "a server takes the place of one that is gone"
            );
        }
        let admitting = self.raft.admit(server.node, &server.address, &server.name);
        match in_time(admitting).await {
            Ok(()) => {
                tracing::info!(
                    name = server.name,
                    address = server.address,
                    node = server.node,
                    "a server was taken in"
                );
                welcome
            }
            Err(why) => Response::Refused(why),
        }
    }

    fn objection(&self, members: &[MemberNode], server: &Server) -> Option<String> {
        let agreed = self.registry.read(portolan_catalog::State::level);
        if server.level < agreed {
            return Some(format!(
                "server {} knows feature level {}, the cluster is at {agreed}: start it with the version that the others have",
                server.name, server.level
            ));
        }
        let named = members.iter().find(|member| member.name == server.name);
        if let Some(named) = named
            && named.address != server.address
            && (named.node == self.own.node || !self.absent(named.node, ABSENT))
        {
            return Some(format!(
                "the cluster has a server of the name {} at {}: pass another --node-name",
                named.name, named.address
            ));
        }
        let learners = members.iter().filter(|member| !member.voter).count();
        (learners >= LEARNERS).then(|| "the cluster has too many servers already".to_owned())
    }

    /// How long ago a member answered the last time, if it ever did while this server runs.
    fn heard(&self, node: u64) -> Option<Duration> {
        let answered = self.raft.progress().get(&node).and_then(|(_, age)| *age);
        let seen = self.presence.of(node).map(|seen| seen.at.elapsed());
        [answered, seen].into_iter().flatten().min()
    }

    /// Whether a member was asked for so long and has not answered.
    pub(crate) fn absent(&self, node: u64, limit: Duration) -> bool {
        node != self.own.node
            && self.presence.silent(node).is_some_and(|age| age > limit)
            && self.heard(node).is_none_or(|age| age > limit)
    }

    /// Whether a member has answered within so long. One of which nothing is known yet is neither present nor absent.
    fn present(&self, node: u64, limit: Duration) -> bool {
        node == self.own.node || self.heard(node).is_some_and(|age| age <= limit)
    }

    /// Removes a member, if enough of those that stay are there.
    pub(crate) async fn remove(&self, node: u64) -> Result<(), String> {
        let members = self.raft.membership();
        let Some(member) = members.iter().find(|member| member.node == node) else {
            return Ok(());
        };
        if member.voter {
            let stay: Vec<&MemberNode> = members
                .iter()
                .filter(|other| other.voter && other.node != node)
                .collect();
            let there = stay
                .iter()
                .filter(|other| self.present(other.node, ABSENT))
                .count();
            if there < stay.len() / 2 + 1 {
                return Err(format!(
                    "without server {} only {there} of {} servers with a vote would be there: no majority",
                    member.name,
                    stay.len()
                ));
            }
        }
        in_time(self.raft.remove(node)).await
    }

    /// The members that have caught up and have no vote yet get one.
    pub(crate) async fn promote(&self) -> Result<(), String> {
        let members = self.raft.membership();
        let voters = members.iter().filter(|member| member.voter).count();
        let last = self.raft.status().last_index;
        let progress = self.raft.progress();
        let ready: BTreeSet<u64> = members
            .iter()
            .filter(|member| !member.voter && !member.address.is_empty())
            .filter(|member| match progress.get(&member.node) {
                Some((index, Some(age))) => {
                    index + NEAR >= last && *index > 0 && *age < Duration::from_secs(1)
                }
                _ => false,
            })
            .map(|member| member.node)
            .take(VOTERS.saturating_sub(voters))
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        let _one = self.changing.lock().await;
        in_time(self.raft.promote(ready.clone())).await?;
        for node in ready {
            let name = members.iter().find(|member| member.node == node);
            let name = name.map_or("", |member| &member.name);
            tracing::info!(name, node, "a server has caught up and has a vote");
        }
        Ok(())
    }

    fn find(&self, named: &str) -> Result<MemberNode, String> {
        let members = self.raft.membership();
        let id = u64::from_str_radix(named, 16).ok();
        members
            .into_iter()
            .find(|member| {
                member.name == named || member.address == named || Some(member.node) == id
            })
            .ok_or_else(|| format!("the cluster has no server {named:?}"))
    }

    /// Does what an operator wants.
    async fn change(&self, change: Change) -> Response {
        let done = match change {
            Change::Remove(named) => match self.find(&named) {
                Ok(member) if member.node == self.own.node => self.leave_as_leader().await,
                Ok(member) => {
                    let _one = self.changing.lock().await;
                    self.remove(member.node).await
                }
                Err(why) => Err(why),
            },
            Change::Transfer(named) => self.hand_over(named.as_deref()).await,
            Change::Promote(named) => match self.find(&named) {
                Ok(member) if member.voter => Err(format!("server {named} has a vote already")),
                Ok(_) => self.promote().await,
                Err(why) => Err(why),
            },
            Change::Add(address) => self.invite(&address).await,
        };
        match done {
            Ok(()) => Response::Done,
            Err(why) => Response::Refused(why),
        }
    }

    async fn invite(&self, address: &str) -> Result<(), String> {
        let request = Request::Invite {
            address: self.own.address.clone(),
        };
        let transport = self.transport.as_ref();
        match ask(transport, ANYBODY, address, &request, LIMIT).await {
            Ok(Response::Done) => Ok(()),
            Ok(Response::Refused(why)) => Err(why),
            Ok(_) => Err(format!("{address} answered something else")),
            Err(error) => Err(format!("{address} cannot be reached: {error}")),
        }
    }

    /// Hands leadership to a named server, or to the one that has come furthest.
    pub(crate) async fn hand_over(&self, named: Option<&str>) -> Result<(), String> {
        let to = match named {
            Some(named) => {
                let member = self.find(named)?;
                if !member.voter {
                    return Err(format!("server {named} has no vote"));
                }
                member.node
            }
            None => {
                let members = self.raft.membership();
                let progress = self.raft.progress();
                let others = members
                    .iter()
                    .filter(|m| m.voter && m.node != self.own.node);
                let best = others
                    .filter_map(|member| {
                        let (index, age) = progress.get(&member.node)?;
                        let fresh = age.is_some_and(|age| age < Duration::from_secs(1));
                        fresh.then_some((*index, member.node))
                    })
                    .max();
                best.ok_or("no other server with a vote is there")?.1
            }
        };
        if to == self.own.node {
            return Ok(());
        }
        self.raft.transfer(to).await?;
        let mut leader = self.leader.clone();
        let own = self.own.node;
        let other = |leader: &Option<Leader>| leader.as_ref().is_some_and(|l| l.node != own);
        match timeout(HANDING, leader.wait_for(other)).await {
            Ok(Ok(leader)) => {
                let leader = leader.as_ref().map_or(0, |leader| leader.node);
                tracing::info!(leader, "leadership was handed over");
                Ok(())
            }
            _ => Err("the other server did not begin to lead in time".to_owned()),
        }
    }

    /// Resolves when this server has left.
    pub(crate) async fn left(&self) {
        let mut leaving = self.leaving.subscribe();
        // It ends with the server at the latest.
        let _ended = leaving.wait_for(|leaving| *leaving == Leaving::Left).await;
    }

    /// This server leaves for good. One that is alone just stops.
    async fn leave(&self) -> Result<(), String> {
        self.leaving.send_replace(Leaving::Soon);
        let gone = match self.raft.members() <= 1 {
            true => Ok(()),
            false => self.leave_others().await,
        };
        let next = if gone.is_ok() {
            Leaving::Left
        } else {
            Leaving::No
        };
        self.leaving.send_replace(next);
        gone
    }

    async fn leave_others(&self) -> Result<(), String> {
        let cannot = |doing: &str, error: io::Error| {
            format!("cannot {doing} the file \"left\" of the data directory: {error}")
        };
        // Before anybody is told: whatever happens from here on, no start undoes it unasked.
        departure::note(self.disk.as_ref()).map_err(|error| cannot("write", error))?;
        let own = format!("{:016x}", self.own.node);
        let remove = Request::Change(Change::Remove(own));
        let gone = self.ask_leader(&remove).await;
        if gone.is_err()
            && let Err(error) = departure::forget(self.disk.as_ref())
        {
            tracing::error!("{}", cannot("remove", error));
        }
        gone
    }

    /// A leader that leaves hands over first; the next one removes it.
    async fn leave_as_leader(&self) -> Result<(), String> {
        let voters = self.raft.membership().iter().filter(|m| m.voter).count();
        if voters == 1 {
            return Err("the last server of a cluster cannot leave it".to_owned());
        }
        self.hand_over(None).await?;
        self.ask_leader(&Request::Change(Change::Remove(format!(
            "{:016x}",
            self.own.node
        ))))
        .await
    }

    /// Has the leader do something, whoever that is.
    pub(crate) async fn ask_leader(&self, request: &Request) -> Result<(), String> {
        let until = Instant::now() + CHANGING;
        let mut last = "the cluster has no leader now".to_owned();
        while Instant::now() < until {
            let leader = self.leader.borrow().clone();
            let answer = match leader {
                Some(leader) if leader.node == self.own.node => {
                    Ok(Box::pin(self.reply(request.clone())).await)
                }
                Some(leader) => {
                    let (to, address) = (leader.node, &leader.address);
                    ask(self.transport.as_ref(), to, address, request, CHANGING).await
                }
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            };
            match answer {
                Ok(Response::Done | Response::Welcome { .. }) => return Ok(()),
                Ok(Response::Refused(why)) => return Err(why),
                Ok(_) => {}
                Err(error) => last = error.to_string(),
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(last)
    }
}

/// Entries that a server may be behind when it gets its vote.
const NEAR: u64 = 256;

async fn in_time(change: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    timeout(CHANGING, change)
        .await
        .map_err(|_| "the change was not decided in time".to_owned())?
}

impl Cluster for Members {
    fn id(&self) -> u64 {
        self.cluster
    }

    fn members(&self) -> Vec<Member> {
        let status = self.raft.status();
        let progress = self.raft.progress();
        let heard = self.registry.last_contact();
        let leader = status
            .leader
            .filter(|_| heard.is_some_and(|age| age <= Member::ALIVE));
        let describe = |member: MemberNode| {
            let own = member.node == self.own.node;
            let seen = self.presence.of(member.node);
            let matching = progress.get(&member.node);
            let answered = matching.and_then(|(_, age)| *age);
            let led = heard.filter(|_| status.leader == Some(member.node));
            let asked = seen.as_ref().map(|seen| seen.at.elapsed());
            let about = seen.as_ref().map(|seen| &seen.about);
            let told = about.map_or(0, |about| about.last_index);
            Member {
                node: member.node,
                name: match member.name.is_empty() && own {
                    true => self.own.name.clone(),
                    false => member.name,
                },
                address: member.address,
                voter: member.voter,
                leader: leader == Some(member.node),
                own,
                last_contact: match own {
                    true => Some(Duration::ZERO),
                    false => [answered, asked, led].into_iter().flatten().min(),
                },
                last_index: match own {
                    true => status.last_index,
                    false => matching.map_or(0, |(index, _)| *index).max(told),
                },
                term: about.map_or(status.term, |about| about.term),
                version: match own {
                    true => self.version.clone(),
                    false => about.map_or_else(String::new, |about| about.version.clone()),
                },
                level: about.map_or(self.own.level, |about| about.server.level),
                round_trip: seen.as_ref().map(|seen| seen.round_trip),
            }
        };
        self.raft.membership().into_iter().map(describe).collect()
    }

    fn change(&self, change: MemberChange) -> Changed<'_> {
        Box::pin(async move {
            let change = match change {
                MemberChange::Leave => return self.leave().await,
                MemberChange::Add(address) => Change::Add(address),
                MemberChange::Remove(named) => Change::Remove(named),
                MemberChange::Transfer(named) => Change::Transfer(named),
                MemberChange::Promote(named) => Change::Promote(named),
            };
            self.ask_leader(&Request::Change(change)).await
        })
    }
}

impl Peer for Members {
    fn answer(&self, from: u64, request: Vec<u8>) -> Answer<'_> {
        Box::pin(async move {
            let request = decode(&request)?;
            let response = match self.may_ask(from, &request) {
                true => self.reply(request).await,
                false => Response::Refused("that is between the servers of a cluster".to_owned()),
            };
            Ok(encode(&response))
        })
    }
}
