//! Consul's HTTP API over a catalog in memory: `cargo run -p portolan-protocol-consul --example serve -- 127.0.0.1:8500`.

use std::net::SocketAddr;

use portolan_catalog::Protocol;
use portolan_listener::{ServerContext, Settings as ListenerSettings, bind_tcp};
use portolan_protocol_consul::{ServerInfo, serve};
use portolan_registry::{LocalOptions, Registry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("127.0.0.1:8500")
        .parse()?;
    let registry = Registry::local(&LocalOptions::default());
    let context = ServerContext::new(ListenerSettings::default());
    let port = bind_tcp(&context, Protocol::Consul, address)?;
    println!("listening on {}", port.address);
    serve(
        &context,
        port,
        registry,
        ServerInfo {
            node_name: "n1".into(),
            ..ServerInfo::default()
        },
    );
    tokio::signal::ctrl_c().await?;
    context.finish().await;
    Ok(())
}
