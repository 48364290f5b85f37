//! A connection that opens is a passing check.

use std::time::Duration;

use tokio::time;

use super::Finding;
use super::dial::dial;

pub(super) async fn probe(target: &str, timeout: Duration) -> Finding {
    match time::timeout(timeout, dial(target)).await {
        Ok(Ok(_)) => Finding::passing(format!("TCP connect {target}: Success")),
        Ok(Err(error)) => Finding::critical(error.to_string()),
        Err(_) => Finding::critical(format!("dial tcp {target}: i/o timeout")),
    }
}
