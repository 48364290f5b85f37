//! A datagram that is answered, or vanishes without a complaint, is a passing check.

#![allow(
    clippy::disallowed_methods,
    reason = "a probe reaches out to what it checks"
)]

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time;

use super::Finding;
use super::dial::{resolve, words};

pub(super) async fn probe(target: &str, timeout: Duration) -> Finding {
    match time::timeout(timeout, exchange(target)).await {
        Ok(Err(why)) => Finding::critical(why),
        // Silence is what a healthy service that does not know the message does.
        Ok(Ok(())) | Err(_) => Finding::passing(format!("UDP connect {target}: Success")),
    }
}

async fn exchange(target: &str) -> Result<(), String> {
    let addresses = resolve(target).await.map_err(|e| e.to_string())?;
    let address = addresses[0];
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let failed =
        |step: &str, error: &std::io::Error| format!("{step} udp {address}: {}", words(error));
    let socket = UdpSocket::bind(any).await.map_err(|e| failed("dial", &e))?;
    socket
        .connect(address)
        .await
        .map_err(|e| failed("dial", &e))?;
    socket.send(&[]).await.map_err(|e| failed("write", &e))?;
    let mut byte = [0];
    match socket.recv(&mut byte).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed("read", &error)),
    }
}
