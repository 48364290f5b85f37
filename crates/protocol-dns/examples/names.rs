//! A DNS server over a local catalog with as many services as asked for, for measurements: `n0.service.consul` is 10.0.0.0, and so on.
//!
//! `names PORT COUNT THREADS`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration, ServiceKey,
};
use portolan_listener::{ServerContext, Settings};
use portolan_protocol_dns::{Encrypted, Options, serve};
use portolan_registry::{LocalOptions, Registry};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str| -> Result<u32> {
        let text = arguments
            .next()
            .with_context(|| format!("{what} is missing: names PORT COUNT THREADS"))?;
        text.parse()
            .with_context(|| format!("{what} {text:?} is not a number"))
    };
    let (port, count, workers) = (
        number("the port")?,
        number("the count")?,
        number("the number of threads")?,
    );
    let registry = Registry::local(&LocalOptions::default());
    let cause = Arc::new(Cause::call(Protocol::Native, None));
    for index in 0..count {
        let name = format!("n{index}");
        let [_, a, b, c] = index.to_be_bytes();
        let host = Host::Ip(IpAddr::V4(Ipv4Addr::new(10, a, b, c)));
        let facts = Registration::new(
            InstanceKey::new(Protocol::Native, name.as_str()),
            ServiceKey::plain(&name),
            Endpoint::new(host, 8080),
        );
        registry
            .propose(
                cause.clone(),
                Command::Register(Box::new(Register::new(facts))),
            )
            .await?;
    }
    let context = ServerContext::new(Settings::default());
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?)),
        workers: workers as usize,
        ..Options::default()
    };
    let address = serve(
        &context,
        &registry,
        &Default::default(),
        &options,
        Encrypted::default(),
    )?;
    println!("listening dns {address}");
    tokio::signal::ctrl_c().await?;
    context.finish().await;
    Ok(())
}
