//! What the port tells of itself, computed when it is read.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::app::App;

/// Adds the port's own series.
pub(crate) fn register(app: &Arc<App>) {
    let figures = Figures(Arc::downgrade(app));
    app.context.metrics().register_collector(figures);
}

#[derive(Debug)]
struct Figures(Weak<App>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(app) = self.0.upgrade() else {
            return Ok(());
        };
        let sessions = ConstGauge::new(app.connections().len() as i64);
        sessions.encode(encoder.encode_descriptor(
            "zookeeper_sessions_connected",
            "sessions with a connection to this server",
            None,
            sessions.metric_type(),
        )?)?;
        if let Some(watches) = app.watches.count_now() {
            let watches = ConstGauge::new(watches as i64);
            watches.encode(encoder.encode_descriptor(
                "zookeeper_watches",
                "paths that connections watch, each path of each connection once",
                None,
                watches.metric_type(),
            )?)?;
        }
        let events = ConstCounter::new(app.watches.events());
        events.encode(encoder.encode_descriptor(
            "zookeeper_notifications",
            "notifications of watches that were queued",
            None,
            events.metric_type(),
        )?)
    }
}
