//! A service that registers itself and one that calls it, each request at another endpoint. With a server of Portolan at port 7500:
//!
//! ```text
//! cargo run -p portolan-client --example axum -- serve 127.0.0.1:9001
//! cargo run -p portolan-client --example axum -- serve 127.0.0.1:9002
//! cargo run -p portolan-client --example axum -- call 10
//! ```

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use portolan_client::{Client, Register, Service, Settings};
use tokio::net::TcpListener;

const NAME: &str = "greeter";

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
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/", get(async move || format!("hello from {address}\n")));
    let client = Client::builder().build()?;
    // Registered when it can be called, and deregistered before it can't: `ended` says when.
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
    axum::serve(listener, router)
        .with_graceful_shutdown(ended)
        .await?;
    Ok(())
}

async fn call(times: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = Client::builder().build()?;
    let greeter = client.http(&Service::new(NAME), Settings::default());
    for _ in 0..times {
        let request = Request::get("/").body(Full::new(Bytes::new()))?;
        let answer = greeter.send(request).await?;
        let bytes = answer.into_body().collect().await?.to_bytes();
        print!("{}", String::from_utf8_lossy(&bytes));
    }
    Ok(())
}
