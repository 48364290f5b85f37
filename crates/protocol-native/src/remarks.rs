//! What other protocols know of a service and only they know: who follows it, and who did not accept what was sent.

use std::fmt;
use std::sync::Arc;

use portolan_catalog::{ServiceKey, State};

type Remark = Arc<dyn Fn(&State, &ServiceKey) -> Vec<String> + Send + Sync>;

/// Questions to the protocols that have something to say, for the notes of `why`. Nobody has by default.
#[derive(Clone, Default)]
pub struct Remarks(Vec<Remark>);

impl Remarks {
    /// Has one more asked. It is asked inside of a request, and must not wait.
    pub fn add(
        &mut self,
        remark: impl Fn(&State, &ServiceKey) -> Vec<String> + Send + Sync + 'static,
    ) {
        self.0.push(Arc::new(remark));
    }

    pub(crate) fn of(&self, state: &State, service: &ServiceKey) -> Vec<String> {
        self.0
            .iter()
            .flat_map(|remark| remark(state, service))
            .collect()
    }
}

impl fmt::Debug for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remarks").field(&self.0.len()).finish()
    }
}
