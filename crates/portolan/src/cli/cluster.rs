//! `members`, `cluster`, `leave`.

use clap::{Args, Subcommand};
use http::Method;
use portolan_api as api;

use super::client::{Path, read};
use super::{Common, Fault, print};

/// `members`.
#[derive(Debug, Args)]
pub(crate) struct Members {
    #[command(flatten)]
    common: Common,
}

impl Members {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let bytes = self.common.client()?.get(&Path::new("/v1/members")).await?;
        if self.common.json() {
            return print::json(&bytes);
        }
        let members: api::Members = read(&bytes)?;
        let rows = members.members.into_iter().map(|member| {
            let heard = heard(&member);
            let status = status(&member).to_owned();
            vec![
                member.name,
                member.id,
                member.address,
                member.role,
                status,
                heard,
                match member.last_index {
                    0 => String::new(),
                    index => index.to_string(),
                },
                member.version,
            ]
        });
        let head = [
            "NAME", "ID", "ADDRESS", "ROLE", "STATUS", "HEARD", "INDEX", "VERSION",
        ];
        print::table(&head, rows)
    }
}

/// How a server is; a server of an earlier version only says whether it is alive.
pub(super) fn status(member: &api::Member) -> &str {
    match (member.status.as_str(), member.alive) {
        ("", true) => "alive",
        ("", false) => "dead",
        (said, _) => said,
    }
}

/// When a server was last heard of: how long ago, or before which moment.
pub(super) fn heard(member: &api::Member) -> String {
    match (member.last_contact_ms, &member.dead_since) {
        (Some(ms), _) if member.alive => format!("{ms} ms"),
        (Some(ms), _) => format!("{} s", ms / 1000),
        (None, Some(since)) => format!("before {}", print::time(since)),
        (None, None) => "unknown".to_owned(),
    }
}

/// `cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Have a server with an empty directory join this cluster
    Add(Named),
    /// Take a server's vote and place; stop it before, or it asks to come back
    Remove(Named),
    /// Have another server lead
    Transfer(Transfer),
}

/// A server.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name, cluster address or id; its cluster address where it is to join
    member: String,
    #[command(flatten)]
    common: Common,
}

/// `cluster transfer`.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    /// Its name, cluster address or id; by default the one that has come furthest
    member: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `leave`.
#[derive(Debug, Args)]
pub(crate) struct Leave {
    #[command(flatten)]
    common: Common,
}

async fn change(common: &Common, change: &api::ClusterChange) -> Result<(), Fault> {
    let client = common.client()?;
    let path = Path::new("/v1/cluster");
    let done = client.with_body(Method::POST, &path, change).await?;
    if common.json() {
        return print::json(&done);
    }
    Ok(())
}

impl Cluster {
    pub(super) async fn run(self) -> Result<(), Fault> {
        match self {
            Cluster::Add(named) => {
                let address = crate::config::with_port(&named.member).map_err(Fault::Usage)?;
                change(&named.common, &api::ClusterChange::Add(address)).await
            }
            Cluster::Remove(named) => {
                change(&named.common, &api::ClusterChange::Remove(named.member)).await
            }
            Cluster::Transfer(transfer) => {
                let to = api::ClusterChange::Transfer(transfer.member);
                change(&transfer.common, &to).await
            }
        }
    }
}

impl Leave {
    pub(super) async fn run(self) -> Result<(), Fault> {
        change(&self.common, &api::ClusterChange::Leave).await
    }
}
