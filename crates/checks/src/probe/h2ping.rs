//! An HTTP/2 connection that answers a ping is a passing check.

use std::time::Duration;

use tokio::time;

use super::Finding;
use super::dial::dial;

pub(super) async fn probe(target: &str, timeout: Duration) -> Finding {
    match time::timeout(timeout, ping(target)).await {
        Ok(Ok(())) => Finding::passing("HTTP2 ping was successful"),
        Ok(Err(why)) => Finding::critical(format!("HTTP2 ping failed: {why}")),
        Err(_) => Finding::critical(format!(
            "Failed to ping {target}: context deadline exceeded"
        )),
    }
}

async fn ping(target: &str) -> Result<(), String> {
    let stream = dial(target).await.map_err(|e| e.to_string())?;
    let (_client, mut connection) = h2::client::handshake(stream)
        .await
        .map_err(|e| e.to_string())?;
    let mut pings = connection.ping_pong().ok_or("no ping on this connection")?;
    tokio::select! {
        pong = pings.ping(h2::Ping::opaque()) => pong.map(|_| ()).map_err(|e| e.to_string()),
        closed = connection => Err(match closed {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        }),
    }
}
