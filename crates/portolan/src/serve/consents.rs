//! What is open to other machines because somebody said so, said again and again.

use std::time::Duration;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(3600);

/// Says each of `consents` at once and every hour, for ever.
pub(super) async fn remind(consents: Vec<String>) {
    if consents.is_empty() {
        return;
    }
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        for consent in &consents {
            tracing::warn!("{consent}");
        }
    }
}
