//! The cluster as an agent knows it: the members that the server it follows has told of.

use std::sync::Arc;

use portolan_catalog::{Cause, Command, Why};
use portolan_environment::watch;
use portolan_registry::{Changed, Cluster, Member, MemberChange};

use crate::decide::Decider;

/// See the module.
#[derive(Debug)]
pub(crate) struct Members {
    decider: Decider,
    left: watch::Sender<bool>,
}

impl Members {
    pub(crate) fn new(decider: Decider) -> Members {
        Members {
            decider,
            left: watch::Sender::new(false),
        }
    }

    /// Resolves when this agent has left.
    pub(crate) async fn left(&self) {
        let mut left = self.left.subscribe();
        // The sender is in here, so it cannot be gone.
        let _left = left.wait_for(|left| *left).await;
    }

    /// A clean leave: the node goes with everything on it, and the agent is to stop.
    async fn leave(&self) -> Result<(), String> {
        self.decider.core.leave();
        let command = Command::DropNode {
            name: self.decider.core.node_name().clone(),
            expect: None,
        };
        let cause = Arc::new(Cause::own(Why::Call));
        let dropped = self.decider.at_leader(vec![(cause, command)]).await;
        // Without servers the node fails by its lease; that it left is in the data directory either way.
        if let Some(Err(unavailable)) = dropped.first() {
            tracing::warn!(%unavailable, "the servers could not be told that this agent leaves");
        }
        let _kept = self.decider.keeper.keep_owned().await;
        self.left.send_replace(true);
        Ok(())
    }
}

impl Cluster for Members {
    fn id(&self) -> u64 {
        self.decider.core.place().0
    }

    fn members(&self) -> Vec<Member> {
        self.decider.core.standing.members()
    }

    fn change(&self, change: MemberChange) -> Changed<'_> {
        Box::pin(async move {
            if !self.decider.core.owns() {
                return Err("the members of another datacenter are changed there".to_owned());
            }
            match change {
                MemberChange::Leave => self.leave().await,
                other => self.decider.servers.change(other).await,
            }
        })
    }
}
