//! A Eureka server over a registry in memory, for trying a client against it:
//! `cargo run -p portolan-protocol-eureka --example eureka -- 127.0.0.1:8761`

use std::error::Error;

use portolan_catalog::Protocol;
use portolan_listener::{ServerContext, Settings, bind_tcp};
use portolan_registry::{LocalOptions, Registry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let context = ServerContext::new(Settings::default());
    let registry = Registry::local(&LocalOptions::default());
    let port = bind_tcp(&context, Protocol::Eureka, address.parse()?)?;
    println!("listening on http://{}/eureka/", port.address);
    portolan_protocol_eureka::serve(&context, port, registry, &Default::default()).await?;
    Ok(())
}
