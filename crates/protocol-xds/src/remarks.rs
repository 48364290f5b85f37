//! What people are to know of a service's life over xDS, for `why`.

use std::fmt;
use std::sync::Arc;

use portolan_catalog::{ServiceKey, State};

use crate::app::App;
use crate::watch::member::Member;

/// Clients that are named one by one.
const NAMED: usize = 10;

/// Answers what is to be said of a service. Cheap to clone.
#[derive(Clone)]
pub struct Remarks(Arc<App>);

impl fmt::Debug for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remarks")
    }
}

impl Remarks {
    pub(crate) fn new(app: Arc<App>) -> Remarks {
        Remarks(app)
    }

    /// Sentences: instances that no client is told of, metadata that cannot be read, and clients that follow the service and did not accept
    /// the last response of a kind. Empty when all is well.
    pub fn of(&self, state: &State, service: &ServiceKey) -> Vec<String> {
        let mut said = self.0.reader.remarks(state, service);
        let mut refused = self.refused(service);
        let more = refused.len().saturating_sub(NAMED);
        refused.truncate(NAMED);
        said.extend(refused);
        if more > 0 {
            said.push(format!(
                "xDS: {more} more clients refused what they were sent"
            ));
        }
        said
    }

    fn refused(&self, service: &ServiceKey) -> Vec<String> {
        let followers = self.0.hub.followers(service);
        let of_one = |member: &Arc<Member>| -> Vec<String> {
            let who = who(member);
            let refusals = member.refusals().into_iter();
            let said = refusals.map(|(kind, refusal)| {
                format!(
                    "xDS: {who} refused the {} response of version {}, and goes on with what it had: {}",
                    kind.short(),
                    refusal.version,
                    refusal.reason
                )
            });
            said.collect()
        };
        followers.iter().flat_map(of_one).collect()
    }
}

/// `gRPC Go 1.83.0 "host-1" at 127.0.0.1:40000`.
fn who(member: &Member) -> String {
    let client = member.client.get();
    let agent = client
        .map(|client| &*client.agent)
        .filter(|agent| !agent.is_empty());
    format!(
        "{} \"{}\" at {}",
        agent.unwrap_or("a client"),
        client.map_or("", |client| &client.id),
        member.peer
    )
}
