//! Services and namespaces: rows that instances bring with them, and declarations.

use std::sync::Arc;

use super::transaction::Transaction;
use crate::command::Command;
use crate::ids::{Protocol, Revision, ServiceKey};
use crate::name;
use crate::outcome::{Done, Outcome, Refusal};
use crate::service::{Namespace, Protocols, Service, ServiceSettings};

impl Transaction<'_> {
    pub(super) fn add_service(
        &mut self,
        key: &ServiceKey,
        spelling: &Arc<str>,
        declared_by: Protocols,
        ephemeral: Option<bool>,
    ) {
        let row = Service {
            key: key.clone(),
            spelling: spelling.clone(),
            label: self.label_for(key),
            declared_by,
            ephemeral,
            settings: Arc::new(ServiceSettings::default()),
            created: self.revision,
            modified: self.revision,
        };
        self.set_service(key, Some(Arc::new(row)));
    }

    fn label_for(&self, key: &ServiceKey) -> Arc<str> {
        let label = name::label(key);
        match self.state.service_by_label(key.namespace(), &label) {
            Some(owner) if owner != key => name::label_taken(key).into(),
            _ => label.into(),
        }
    }

    pub(super) fn declare(&mut self, command: &Command) -> Outcome {
        let Command::Declare {
            service,
            spelling,
            protocol,
            settings,
            ephemeral,
            create_only,
        } = command
        else {
            return Ok(Done::Nothing);
        };
        if service.name().is_empty()
            || [service.namespace(), service.group()]
                .into_iter()
                .any(name::reserved)
        {
            return Err(Refusal::Reserved(spelling.clone()));
        }
        let before = self.state.service(service).cloned();
        if *create_only
            && before
                .as_ref()
                .is_some_and(|row| row.declared_by.contains(*protocol))
        {
            return Err(Refusal::Exists);
        }
        if before.is_none() {
            self.add_service(service, spelling, Protocols::default(), *ephemeral);
        }
        let Some(row) = self.state.service(service).cloned() else {
            return Err(Refusal::NoService);
        };
        let declared = Service {
            declared_by: row.declared_by.with(*protocol),
            settings: settings.clone().unwrap_or_else(|| row.settings.clone()),
            ephemeral: ephemeral.or(row.ephemeral),
            ..(*row).clone()
        };
        if declared != *row {
            self.set_service(
                service,
                Some(Arc::new(Service {
                    modified: self.revision,
                    ..declared
                })),
            );
        }
        Ok(Done::Nothing)
    }

    pub(super) fn forget(&mut self, service: &ServiceKey, protocol: Option<Protocol>) -> Outcome {
        let row = self
            .state
            .service(service)
            .cloned()
            .ok_or(Refusal::NoService)?;
        let members = self.state.endpoints(service).next().is_some();
        let declared_by = protocol.map_or(row.declared_by, |p| row.declared_by.without(p));
        if members && protocol.is_some()
            || protocol.is_none() && (members || !declared_by.is_empty())
        {
            return Err(Refusal::NotEmpty);
        }
        if declared_by.is_empty() {
            self.set_service(service, None);
        } else {
            let row = Service {
                declared_by,
                modified: self.revision,
                ..(*row).clone()
            };
            self.set_service(service, Some(Arc::new(row)));
        }
        Ok(Done::Nothing)
    }

    pub(super) fn declare_namespace(
        &mut self,
        spelling: &Arc<str>,
        title: &Arc<str>,
        description: &Arc<str>,
        protocol: Protocol,
    ) -> Outcome {
        if spelling.is_empty() || name::reserved(spelling) {
            return Err(Refusal::Reserved(spelling.clone()));
        }
        let key = name::fold(spelling);
        let before = self.state.namespace(&key).cloned();
        let row = Namespace {
            name: key.clone(),
            spelling: before
                .as_ref()
                .map_or_else(|| spelling.clone(), |b| b.spelling.clone()),
            title: title.clone(),
            description: description.clone(),
            declared_by: before
                .as_ref()
                .map(|b| b.declared_by)
                .unwrap_or_default()
                .with(protocol),
            created: before.as_ref().map_or(self.revision, |b| b.created),
            modified: before.as_ref().map_or(self.revision, |b| b.modified),
        };
        if before.as_deref() != Some(&row) {
            self.set_namespace(
                &key,
                Some(Arc::new(Namespace {
                    modified: self.revision,
                    ..row
                })),
            );
        }
        Ok(Done::Nothing)
    }

    pub(super) fn forget_namespace(&mut self, spelling: &Arc<str>, protocol: Protocol) -> Outcome {
        let key = name::fold(spelling);
        let Some(row) = self.state.namespace(&key).cloned() else {
            return Ok(Done::Nothing);
        };
        if self.state.services_in(&key).next().is_some() {
            return Err(Refusal::NotEmpty);
        }
        let declared_by = row.declared_by.without(protocol);
        let after = (!declared_by.is_empty()).then(|| {
            Arc::new(Namespace {
                declared_by,
                modified: self.revision,
                ..(*row).clone()
            })
        });
        self.set_namespace(&key, after);
        Ok(Done::Nothing)
    }

    pub(super) fn compact(
        &mut self,
        space: Option<crate::Keyspace>,
        revision: Revision,
    ) -> Outcome {
        if revision > self.state.revision {
            return Err(Refusal::Future(self.state.revision));
        }
        let floor = self.state.floors.of(space);
        let compacted = match space {
            Some(space) => self.state.floors.was_compacted(space),
            None => floor.0 > 0,
        };
        if revision <= floor && (compacted || revision.0 > 0) {
            return Err(Refusal::Compacted(floor));
        }
        self.keep_floors();
        match space {
            Some(space) => {
                self.state.floors.spaces[space as usize] = revision;
                self.state.floors.compacted_at_zero[space as usize] |= revision.0 == 0;
            }
            None => self.state.floors.all = revision,
        }
        if space.is_none() {
            self.sweep(revision);
        }
        Ok(Done::Nothing)
    }

    /// Drops tombstones below the floor and lock delays that are over; neither is a change.
    fn sweep(&mut self, floor: Revision) {
        let old: Vec<_> = self.state.tombstones.below(floor).cloned().collect();
        for (revision, space, key) in old {
            let swept = &mut self.state.marks.swept[space as usize];
            *swept = revision.max(*swept);
            self.put_tombstone((space, key), None);
        }
        let over: Vec<_> = self
            .state
            .lock_delays
            .iter()
            .filter(|(_, until)| **until <= self.at)
            .map(|(k, _)| k.clone())
            .collect();
        for key in over {
            self.put_lock_delay(key, None);
        }
    }
}
