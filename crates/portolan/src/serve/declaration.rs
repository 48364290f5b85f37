//! What a server tells the catalog of itself at every start: its node, its scripts, its definitions.

use std::time::Duration;

use anyhow::Result;
use portolan_protocol_consul::Definitions;
use portolan_registry::{Registry, Unavailable};

use super::bootstrap::Own;
use super::definitions::LocalDefinitions;
use super::scripts;
use crate::config::{Layouts, ScriptCheck};

/// A member of a cluster without a leader tries again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Everything this server declares.
pub(crate) struct Declaration {
    pub(crate) registry: Registry,
    /// An agent registers its node by itself, and is no server.
    pub(crate) agent: bool,
    pub(crate) own: Own,
    pub(crate) layouts: Layouts,
    pub(crate) scripts: Vec<ScriptCheck>,
    pub(crate) definitions: LocalDefinitions,
    pub(crate) defined: Definitions,
}

impl Declaration {
    /// Declares it. A member of a cluster without a leader does so later, and serves what it knows meanwhile.
    pub(crate) async fn declare(self) -> Result<()> {
        let alone = self.registry.members().len() == 1;
        match self.once().await {
            Err(error) if (self.agent || !alone) && is_unavailable(&error) => {
                tracing::warn!(%error, "this server registers itself when the cluster has a leader");
                tokio::spawn(async move {
                    while let Err(error) = self.once().await {
                        tracing::debug!(%error, "this server is not registered yet");
                        tokio::time::sleep(AGAIN).await;
                    }
                });
                Ok(())
            }
            done => done,
        }
    }

    async fn once(&self) -> Result<()> {
        if !self.agent {
            self.own.announce(&self.registry, &self.layouts).await?;
        }
        let programs = LocalDefinitions::programs(&self.defined);
        scripts::announce(&self.registry, &self.own, &self.scripts, &programs).await?;
        self.definitions.apply(&self.defined).await
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unavailable>().is_some()
}
