//! Agents: one that runs answers every lookup, lists what was registered at it and nothing that was removed at it, and in the end has what the
//! servers have, and they what it owns and nothing that was removed at it.

use std::sync::Arc;

use portolan_catalog::{NodeName, State};

use super::{Findings, Violation};
use crate::history::OwnedStory;

/// What an agent came to.
pub(crate) struct Last {
    pub(crate) agent: u64,
    pub(crate) node: NodeName,
    /// Its copy; none where it shows what the servers do not have.
    pub(crate) copy: Option<Arc<State>>,
}

/// What agents said that must not be.
pub(crate) fn check_looks(wrong: &[String]) -> Vec<Violation> {
    let mut findings = Findings::new("agents");
    for what in wrong {
        findings.add(|| what.clone());
    }
    findings.into_violations()
}

/// Judges the end, when nothing has failed for a while; `servers` are the states of all servers.
pub(crate) fn check(
    agents: &[Last],
    servers: &[(u64, Arc<State>)],
    stories: &[OwnedStory],
) -> Vec<Violation> {
    let mut findings = Findings::new("agents");
    for last in agents {
        let Some(copy) = &last.copy else {
            let agent = last.agent;
            findings.add(|| format!("agent {agent} has not come back to what the servers have"));
            continue;
        };
        let all = servers
            .iter()
            .map(|(id, state)| (format!("server {id}"), state));
        let own = (format!("agent {}", last.agent), copy);
        for (who, state) in all.chain([own]) {
            if state.revision() == copy.revision() && !state.same_rows(copy) {
                findings.add(|| {
                    format!(
                        "agent {} and {who} differ at revision {}",
                        last.agent,
                        copy.revision().0
                    )
                });
            }
            let own = stories.iter().filter(|story| story.agent == last.agent);
            for story in own {
                let Some(there) = story.there else { continue };
                if lists(state, &last.node, story) == there {
                    continue;
                }
                findings.add(|| {
                    let (place, agent) = (&story.place, last.agent);
                    match there {
                        true => format!("{place:?} of agent {agent} is not at {who} in the end"),
                        false => format!(
                            "{place:?} was removed at agent {agent} and is at {who} in the end"
                        ),
                    }
                });
            }
        }
    }
    findings.into_violations()
}

fn lists(state: &State, node: &NodeName, story: &OwnedStory) -> bool {
    let (address, port) = &story.place;
    state.instances_on(node).any(|row| {
        row.endpoint.host.to_string() == *address && u64::from(row.endpoint.port()) == *port
    })
}

#[cfg(test)]
mod tests {
    use portolan_catalog::{
        Cause, Command, Endpoint, Entry, Host, InstanceKey, Protocol, Register, Registration,
        ServiceKey, Timestamp,
    };

    use super::*;

    fn state(port: u16) -> Arc<State> {
        let mut state = State::default();
        let key = InstanceKey::new(Protocol::Eureka, "edge/1");
        let endpoint = Endpoint::new(Host::new("10.1.1.1"), port);
        let mut facts = Registration::new(key, ServiceKey::plain("edge"), endpoint);
        facts.node = NodeName::new("edge-1");
        state.apply(&Entry {
            at: Timestamp(1),
            cause: Arc::new(Cause::call(Protocol::Eureka, None)),
            command: Command::Register(Box::new(Register::new(facts))),
        });
        Arc::new(state)
    }

    #[test]
    fn what_an_agent_owns_is_everywhere_and_nothing_else_is() {
        let last = |copy| Last {
            agent: 1,
            node: NodeName::new("edge-1"),
            copy,
        };
        let story = |port, there| OwnedStory {
            agent: 1,
            place: ("10.1.1.1".to_owned(), port),
            there,
        };
        let (one, other) = (state(1), state(2));
        let servers = [(1, one.clone())];
        let stories = [story(1, Some(true)), story(2, Some(false)), story(3, None)];
        let judge = |copy, stories: &[OwnedStory]| check(&[last(copy)], &servers, stories).len();
        assert_eq!(judge(Some(one.clone()), &stories), 0);
        assert_eq!(judge(None, &stories), 1, "not back");
        assert_eq!(judge(Some(one.clone()), &[story(2, Some(true))]), 2, "lost");
        assert_eq!(judge(Some(one), &[story(1, Some(false))]), 2, "come back");
        assert_eq!(judge(Some(other), &[]), 1, "another state");
        assert_eq!(check_looks(&["no answer".to_owned()]).len(), 1);
    }
}
