//! What a server says of itself: its node, its `consul` service, its check, and the layouts of its configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use portolan_catalog::layout::{LayoutState, Mode};
use portolan_catalog::stored::level_of;
use portolan_catalog::{
    Bootstrap, Cause, CheckFacts, CheckKey, Command, Endpoint, Host, InstanceKey, Locality,
    NewCheck, NodeFacts, NodeName, Op, Protocol, PutCheck, Refusal, Register, Registration,
    ServiceKey, Status, Target, Why, Write, limits,
};
use portolan_protocol_consul::CONSUL_VERSION;
use portolan_registry::{Registry, Unavailable};

use crate::config::Layouts;

/// Port under which Consul's servers are registered; clients compare it and nothing listens on it.
const SERVER_PORT: u16 = 8300;

/// This server, as it registers itself.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) name: String,
    /// The node's UUID: the one of the catalog, or a new one.
    pub(crate) id: Arc<str>,
    pub(crate) address: IpAddr,
    /// Its metadata, by configuration.
    pub(crate) meta: BTreeMap<String, String>,
}

impl Own {
    /// Its node.
    pub(crate) fn node(&self) -> NodeFacts {
        let mut node = NodeFacts::new(&self.name, Host::Ip(self.address));
        let family = if self.address.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        };
        let address = self.address.to_string();
        let tags = [
            "lan".to_owned(),
            format!("lan_{family}"),
            "wan".to_owned(),
            format!("wan_{family}"),
        ];
        node.id = self.id.clone();
        node.tagged_addresses = tags.into_iter().map(|tag| (tag, address.clone())).collect();
        let own = [
            ("consul-network-segment", ""),
            ("consul-version", CONSUL_VERSION),
        ];
        let configured = self.meta.iter().map(|(key, value)| (&**key, &**value));
        node.meta = own.into_iter().chain(configured).collect();
        node.locality = None::<Arc<Locality>>;
        node
    }

    fn service(&self) -> Registration {
        let node = NodeName::new(&self.name);
        let key = InstanceKey::new(Protocol::Portolan, format!("{node}/consul"));
        let endpoint = Endpoint::new(Host::Ip(self.address), SERVER_PORT);
        let mut service = Registration::new(key, ServiceKey::plain("consul"), endpoint);
        (service.node, service.inherits_host) = (node, true);
        service
    }

    fn check(&self) -> CheckFacts {
        let key = CheckKey::new(&NodeName::new(&self.name), "serfHealth");
        CheckFacts::new(key, "Serf Health Status")
    }

    /// The first entry of a new catalog.
    pub(crate) fn bootstrap(&self, layouts: &Layouts) -> Bootstrap {
        Bootstrap {
            node: Arc::new(self.node()),
            service: Arc::new(self.service()),
            checks: vec![Arc::new(self.check())],
            // Others are set once the members' level allows them.
            layouts: layouts
                .iter()
                .filter(|(name, state)| {
                    let set = Command::SetLayout {
                        layout: (*name).clone(),
                        state: Some((*state).clone()),
                    };
                    level_of(&set) <= 1
                })
                .map(|(name, state)| (name.clone(), state.clone()))
                .collect(),
        }
    }

    /// Registers this server again, as every start does: equal facts are no change. Layouts become those of the configuration.
    pub(crate) async fn announce(&self, registry: &Registry, layouts: &Layouts) -> Result<()> {
        let node = self.node();
        let name = node.name.clone();
        let known = registry.snapshot();
        let put = Command::PutNode {
            node: Arc::new(node),
            terms: None,
            expect: None,
        };
        let mut commands = vec![
            put,
            Command::Register(Box::new(Register::new(self.service()))),
        ];
        let check = self.check();
        if known.check(&check.key).is_none() {
            let check = NewCheck {
                facts: Arc::new(check),
                status: Status::Passing,
                output: "Agent alive and reachable".into(),
                reported: true,
            };
            commands.push(Command::PutCheck(Box::new(PutCheck {
                check,
                expect: None,
            })));
        }
        // A catalog restored under another name must not go on showing the server it came from; the other members are none of that.
        let members = registry.members();
        let other = |node: &NodeName| members.iter().any(|m| NodeName::new(&m.name) == *node);
        for row in known.instances(&ServiceKey::plain("consul")) {
            if row.key.origin == Protocol::Portolan && row.node != name && !other(&row.node) {
                commands.push(Command::Deregister {
                    target: Target::Instance(row.key.clone()),
                    expect: None,
                });
            }
        }
        // One write, so that a start that does change something is one revision.
        let then = commands
            .into_iter()
            .map(|command| Op::Command(Box::new(command)))
            .collect();
        let write = Write {
            then,
            ..Write::default()
        };
        settled(registry, Command::Write(write)).await?;
        let gone = known.layouts().filter(|(name, _)| !layouts.contains(name));
        let gone: Vec<_> = gone.map(|(name, _)| (name.clone(), None)).collect();
        let wanted = layouts
            .iter()
            .map(|(name, state)| (name.clone(), Some(state.clone())));
        for (layout, state) in gone.into_iter().chain(wanted) {
            if differs(
                known.layouts().find(|(name, _)| **name == layout),
                state.as_ref(),
            ) {
                let mode = state.as_ref().map_or("removed".to_owned(), |s| {
                    format!("{:?}", s.mode).to_lowercase()
                });
                tracing::info!(%layout, mode, "layout is as configured");
                settled(registry, Command::SetLayout { layout, state }).await?;
            }
        }
        Ok(())
    }
}

/// A layout that somebody woke is as configured: it stays awake over restarts.
fn differs(known: Option<(&Arc<str>, &Arc<LayoutState>)>, wanted: Option<&LayoutState>) -> bool {
    let Some((_, known)) = known else {
        return wanted.is_some();
    };
    let woken = |wanted: &LayoutState| {
        known.form.settles(&wanted.form) && known.mode == Mode::Awake && wanted.mode == Mode::Asleep
    };
    wanted != Some(&**known) && !wanted.is_some_and(woken)
}

/// Proposes and wants it done.
pub(crate) async fn settled(registry: &Registry, command: Command) -> Result<()> {
    let settled = registry.propose(Cause::own(Why::Start), command).await?;
    match settled.outcome {
        Ok(_) => Ok(()),
        // Servers that were just started have not told each other yet what they know.
        Err(Refusal::Limit(what)) if what == limits::LEVEL => {
            Err(anyhow::Error::new(Unavailable::NoLeader).context(what))
        }
        Err(Refusal::NodeTaken { id }) => Err(anyhow!(
            "this server's node has the id {id}, which is fixed at the first start in a data directory: leave --node-id out or pass that id; another \
             id needs another --node-name and an empty --data-dir"
        )),
        Err(refusal) => Err(anyhow!(
            "the catalog refused this server's own registration: {refusal:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_registry::LocalOptions;

    #[tokio::test]
    async fn a_second_start_is_no_change() {
        let options = LocalOptions {
            node: "other".into(),
            ..LocalOptions::default()
        };
        let registry = Registry::local(&options);
        let own = Own {
            name: "n9".into(),
            id: "6ba7b810-9dad-41d1-80b4-00c04fd430c8".into(),
            address: [127, 0, 0, 1].into(),
            meta: [("rack".to_owned(), "r1".to_owned())].into(),
        };
        own.announce(&registry, &Layouts::default()).await.unwrap();
        let first = registry.snapshot();
        let consul: Vec<_> = first
            .instances(&ServiceKey::plain("consul"))
            .map(|row| row.node.to_string())
            .collect();
        assert_eq!(consul, ["n9"]);
        let node = first.node(&NodeName::new("n9")).unwrap();
        assert_eq!(node.meta.get("rack"), Some("r1"));
        own.announce(&registry, &Layouts::default()).await.unwrap();
        assert_eq!(registry.snapshot().revision(), first.revision());
    }

    #[tokio::test]
    async fn a_directory_of_an_earlier_version_gets_the_layouts_of_this_one() {
        let kitex = LayoutState::asleep(portolan_catalog::layout::Form::Kitex);
        let options = LocalOptions {
            node: "n9".into(),
            layouts: vec![("kitex".into(), kitex)],
            ..LocalOptions::default()
        };
        let registry = Registry::local(&options);
        let own = Own {
            name: "n9".into(),
            id: "00000000-0000-4000-8000-000000000001".into(),
            address: [127, 0, 0, 1].into(),
            meta: BTreeMap::new(),
        };
        own.announce(&registry, &Layouts::default()).await.unwrap();
        let now = registry.snapshot();
        let layouts: Vec<_> = now.layouts().map(|(name, l)| (&**name, l.mode)).collect();
        let asleep =
            ["curator", "dubbo", "kitex", "kratos", "services"].map(|name| (name, Mode::Asleep));
        assert_eq!(layouts, asleep);
    }
}
