//! Answers about one service that are there already: rendered once per change of the service, shared by all who ask.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::{Reply, SHORTEST_PACKED};
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use crate::wire::Params;
use portolan_catalog::{ServiceKey, State};
use portolan_listener::{accepts_gzip, gzip};
use portolan_registry::Slot;

/// A form of a service's answer, as JSON and as gzipped JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    plain: Slot,
    packed: Slot,
}

/// `/health/service/:name`.
pub(crate) const HEALTH: Form = Form {
    plain: Slot::consul(0),
    packed: Slot::consul(1),
};
/// `/health/service/:name?passing`.
pub(crate) const PASSING: Form = Form {
    plain: Slot::consul(2),
    packed: Slot::consul(3),
};
/// `/catalog/service/:name`.
pub(crate) const CATALOG: Form = Form {
    plain: Slot::consul(4),
    packed: Slot::consul(5),
};

/// Whether a request asks for nothing but what a prepared form holds.
pub(crate) fn fits(params: &Params<'_>) -> bool {
    params.only(&[
        "index",
        "wait",
        "passing",
        "stale",
        "consistent",
        "cached",
        "dc",
        "token",
    ])
}

impl Server {
    /// Answers from the view of a service, and with `?index=` waits for news about it first.
    pub(crate) async fn encoded(
        &self,
        request: &Request,
        key: &ServiceKey,
        form: Form,
        render: impl FnOnce(Shown<'_>) -> Vec<u8>,
    ) -> Result<Reply, Failure> {
        let options = request.read_options()?;
        if self.asks_leader(options.consistency) {
            self.state_for(options.consistency).await?;
        }
        if options.index > 0 {
            let news = |state: &State| state.service_index(key).0 > options.index;
            let state = self.snapshot();
            if !news(&state) {
                Box::pin(self.wait(request, &options, &Topic::Service(key.clone()), state, news))
                    .await;
            }
        }
        let view = self.registry.view(key);
        // The state may be newer than the view; the client then has the newer rows under the older index, and asks again.
        let bytes = view.form(form.plain, || render(self.shown(&self.snapshot())).into());
        let freshness = self.freshness(&options, view.changed.0);
        if bytes.len() >= SHORTEST_PACKED && accepts_gzip(request.headers()) {
            let packed = view.form(form.packed, || gzip(bytes));
            return Ok(Reply::packed(packed.clone()).fresh(freshness));
        }
        Ok(Reply::encoded_fresh(bytes.clone(), freshness))
    }
}
