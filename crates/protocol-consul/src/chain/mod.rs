//! Discovery chains: what config entries together say about how a service is reached.

mod compile;
mod customized;
mod flatten;

use crate::config::entries::{self, Entries};
use crate::connect;
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use crate::wire::Fields;
use http::Method;
use portolan_catalog::KeyRange;
use portolan_listener::Action;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) use compile::compile;

/// What a chain is asked for with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) service: String,
    pub(crate) datacenter: String,
    pub(crate) trust_domain: String,
    /// In place of what entries say, unless empty.
    pub(crate) mesh_gateway: String,
    /// In place of what entries say, unless empty.
    pub(crate) protocol: String,
    /// In place of what entries say, unless 0; nanoseconds.
    pub(crate) connect_timeout: i64,
}

impl Asked {
    /// To find out whether it can be compiled.
    pub(crate) fn plain(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            datacenter: "dc1".to_owned(),
            ..Self::default()
        }
    }
}

/// GET and POST /v1/discovery-chain/:service
pub(crate) async fn get(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let service = request.named("service", "Missing chain name")?;
    request.allow(Action::Read, sight::service(&service))?;
    let mut asked = Asked {
        service,
        datacenter: match request.params().get("compile-dc") {
            "" => server.info.datacenter.to_string(),
            name => name.to_owned(),
        },
        ..Asked::default()
    };
    if *request.method() == Method::POST {
        overridden(&mut asked, &request.json().await?)?;
    }
    asked.trust_domain = connect::trust_domain(&server, &request).await?;
    let topic = Topic::Records(entries::SPACE, KeyRange::prefix(entries::ROOT.as_bytes()));
    server
        .watched(&request, &topic, |shown| {
            let chain = compile(&Entries::of(shown.state), &asked).map_err(Failure::server)?;
            Reply::json(&json!({"Chain": chain}))
        })
        .await
}

fn overridden(asked: &mut Asked, body: &Value) -> Result<(), Failure> {
    let fields = Fields::of(body, "discovery chain")?;
    if let Some(gateway) = fields.object("overridemeshgateway")? {
        asked.mesh_gateway = gateway.text("mode")?;
        if !matches!(&*asked.mesh_gateway, "" | "none" | "local" | "remote") {
            return Err(Failure::bad("Invalid OverrideMeshGateway.Mode parameter"));
        }
    }
    asked.protocol = fields.text("overrideprotocol")?;
    asked.connect_timeout = fields.duration("overrideconnecttimeout")?.unwrap_or(0);
    Ok(())
}
