//! gRPC: a service that registers itself, and calls that are balanced among its endpoints. With a server of Portolan at port 7500:
//!
//! ```text
//! cargo run -p portolan-client --features tonic --example tonic -- serve 127.0.0.1:9101
//! cargo run -p portolan-client --features tonic --example tonic -- serve 127.0.0.1:9102
//! cargo run -p portolan-client --features tonic --example tonic -- call 10
//! ```

use std::error::Error;
use std::net::SocketAddr;

use portolan_client::{Client, Register, Service, Settings};
use tonic::transport::Server;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const NAME: &str = "health";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => serve(address.parse()?).await,
        ["call", times] => call(times.parse()?).await,
        _ => Err("say `serve ADDRESS` or `call TIMES`".into()),
    }
}

async fn serve(address: SocketAddr) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let client = Client::builder().build()?;
    let registration = client
        .register(Register {
            service: NAME.to_owned(),
            host: Some(address.ip().to_string()),
            port: address.port(),
            ..Register::default()
        })
        .await?;
    println!("registered as {:?}", registration.instance());
    let ended = async move {
        if let Err(error) = client.ended().await {
            eprintln!("{error}");
        }
    };
    let server = Server::builder().add_service(health);
    server.serve_with_shutdown(address, ended).await?;
    Ok(())
}

async fn call(times: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = Client::builder().build()?;
    let service = client.grpc(&Service::new(NAME), Settings::default());
    let mut health = HealthClient::new(service);
    for _ in 0..times {
        let answer = health.check(HealthCheckRequest::default()).await?;
        println!("{:?}", answer.into_inner().status());
    }
    Ok(())
}
