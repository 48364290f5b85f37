//! Marks: last revisions of whole tables and of services, moved once per batch from its changes.

use crate::change::{Batch, Change};
use crate::ids::Revision;
use crate::service::ServiceMarks;
use crate::state::State;

impl State {
    /// Moves the marks for a batch that has just been applied.
    pub(super) fn mark(&mut self, batch: &Batch) {
        let revision = batch.revision;
        for change in &batch.changes {
            let mark = match change {
                Change::Instance { .. } => &mut self.marks.instances,
                Change::Service { .. } => &mut self.marks.services,
                Change::Node { .. } => &mut self.marks.nodes,
                Change::Check { .. } => &mut self.marks.checks,
                Change::Session { .. } => &mut self.marks.sessions,
                Change::Endpoint { .. } | Change::Namespace { .. } | Change::Record { .. } => {
                    continue;
                }
            };
            *mark = revision;
        }
        for service in &batch.services {
            let marks = self.service_marks.entry(service.clone()).or_default();
            marks.changed = revision;
            marks.changed_at = batch.at;
        }
        for change in &batch.changes {
            self.mark_members(change, batch);
        }
        for service in &batch.services {
            if self.service_marks(service).empty_since.is_some() {
                self.empty.insert(service.clone());
            } else {
                self.empty.remove(service);
            }
        }
    }

    fn mark_members(&mut self, change: &Change, batch: &Batch) {
        match change {
            Change::Instance { before, after } => {
                let (before, after) = (
                    before.as_ref().map(|r| &r.service),
                    after.as_ref().map(|r| &r.service),
                );
                if before == after {
                    return;
                }
                if let Some(marks) = before.and_then(|service| self.service_marks.get_mut(service))
                {
                    marks.members = marks.members.saturating_sub(1);
                    marks.empty_since = (marks.members == 0).then_some(batch.at);
                }
                if let Some(service) = after {
                    let marks = self.service_marks.entry(service.clone()).or_default();
                    marks.members += 1;
                    marks.empty_since = None;
                }
            }
            Change::Service {
                before: None,
                after: Some(row),
            } => {
                let marks: &mut ServiceMarks =
                    self.service_marks.entry(row.key.clone()).or_default();
                marks.empty_since = (marks.members == 0).then_some(batch.at);
            }
            Change::Service {
                before: Some(row),
                after: None,
            } => {
                self.service_marks.remove(&row.key);
                self.marks.services_gone = Revision::max(self.marks.services_gone, batch.revision);
            }
            Change::Service { .. }
            | Change::Endpoint { .. }
            | Change::Namespace { .. }
            | Change::Node { .. }
            | Change::Check { .. }
            | Change::Session { .. }
            | Change::Record { .. } => {}
        }
    }
}
