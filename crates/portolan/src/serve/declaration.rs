//! What a server tells the catalog of itself at every start: its node, its scripts, its definitions.

use std::time::Duration;

use anyhow::Result;
use portolan_protocol_consul::Definitions;
use portolan_registry::{Registry, Unavailable};
use tokio::time::Instant;

use super::bootstrap::Own;
use super::definitions::LocalDefinitions;
use super::scripts;
use crate::config::{Layouts, ScriptCheck};

/// How long a start waits until this server is registered.
const PATIENCE: Duration = Duration::from_secs(10);
/// While it waits, it tries again after this.
const SOON: Duration = Duration::from_millis(100);
/// And later after this.
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
    /// Declares it. A member of a cluster whose servers have not agreed on a leader, or on a feature level, tries for a while, then goes on
    /// later and serves what it knows meanwhile.
    pub(crate) async fn declare(self) -> Result<()> {
        let begun = Instant::now();
        // An agent serves its copy at once.
        let patience = match self.agent {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        loop {
            match self.once().await {
                Err(error) if self.may_wait() && is_unavailable(&error) => {
                    if begun.elapsed() >= patience {
                        tracing::warn!(%error, "this server registers itself when that is possible");
                        break;
                    }
                    tokio::time::sleep(SOON).await;
                }
                done => return done,
            }
        }
        tokio::spawn(async move {
            while let Err(error) = self.once().await {
                tracing::debug!(%error, "this server is not registered yet");
                tokio::time::sleep(AGAIN).await;
            }
        });
        Ok(())
    }

    /// Whether others decide, who may not be there yet.
    fn may_wait(&self) -> bool {
        self.agent || self.registry.members().len() != 1
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
