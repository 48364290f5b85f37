//! Derived records: one per awake layout and per serving endpoint that has no own record of that layout.

use std::sync::Arc;

use bytes::Bytes;

use super::transaction::Transaction;
use crate::endpoint::EndpointKey;
use crate::ids::Keyspace;
use crate::layout::{Dialect, Form, LayoutState, Mode, dialect};
use crate::outcome::{Done, Outcome, Refusal};
use crate::record::{Derived, Key, Record};
use crate::service::EndpointRow;
use crate::state::State;
use crate::work::{Work, count};

/// Endpoints that one command derives for a layout that wakes, from feature level 2 on.
const SLICE: usize = 1000;

impl Transaction<'_> {
    /// Brings the derived records of one endpoint up to date.
    pub(super) fn derive(&mut self, key: &EndpointKey, row: Option<&Arc<EndpointRow>>) {
        let deriving: Vec<(Arc<str>, Arc<LayoutState>)> = self
            .state
            .layouts
            .iter()
            .filter(|(name, layout)| self.state.derives(name, layout))
            .map(|(name, layout)| (name.clone(), layout.clone()))
            .collect();
        for (name, layout) in deriving {
            self.derive_for(&name, &layout, key, row);
        }
    }

    fn derive_for(
        &mut self,
        name: &Arc<str>,
        layout: &LayoutState,
        key: &EndpointKey,
        row: Option<&Arc<EndpointRow>>,
    ) {
        count(Work::Rendered);
        let wanted = row
            .filter(|row| row.health.serves() && !row.members.iter().any(|m| layout.form.owns(m)))
            .and_then(|row| {
                let service = self.state.tables.services.get(&key.service)?;
                layout.form.render(row, service, self.state.level)
            });
        let from = Derived {
            endpoint: key.clone(),
            layout: name.clone(),
        };
        self.place(layout.form.keyspace(), from, wanted);
    }

    /// Puts a derived record where it is wanted and takes it from where it was.
    fn place(&mut self, space: Keyspace, from: Derived, wanted: Option<(Key, Bytes)>) {
        let present = self.state.tables.derived.get(&from).cloned();
        if let Some(present) =
            present.filter(|key| wanted.as_ref().is_none_or(|(wanted, _)| wanted != key))
        {
            self.remove_record(space, &present);
        }
        let Some((key, value)) = wanted else { return };
        let before = self.state.tables.records[space as usize].get(&key).cloned();
        match &before {
            // Somebody else's: a client wrote here, or another endpoint renders to the same key.
            Some(record) if record.derived_from.as_deref() != Some(&from) => return,
            Some(record) if record.value.as_ref() == Some(&value) => return,
            _ => {}
        }
        let record = Record {
            value: Some(value),
            version: before.as_ref().map_or(1, |r| r.version + 1),
            derived_from: Some(Arc::new(from)),
            created: before.as_ref().map_or(self.revision, |r| r.created),
            modified: self.revision,
            created_at: before.as_ref().map_or(self.at, |r| r.created_at),
            modified_at: self.at,
            ..Record::empty()
        };
        self.put_derived(space, &key, record);
    }

    /// A client's record is gone: an endpoint that renders to its key gets it back.
    pub(super) fn make_room(&mut self, space: Keyspace, key: &Key) {
        let awake = self
            .state
            .layouts
            .iter()
            .filter(|(name, l)| self.state.derives(name, l) && l.form.keyspace() == space);
        let rows = awake.flat_map(|(_, layout)| rendered_at(self.state, &layout.form, key));
        let waiting: Vec<EndpointKey> = rows.map(|row| row.key.clone()).collect();
        for endpoint in waiting {
            self.dirty.entry(endpoint).or_default();
        }
    }

    /// What layouts show of endpoints has changed, where nodes of ZooKeeper are derived.
    pub(super) fn derive_nodes_anew(&mut self) {
        let mut layouts = self.state.layouts.iter();
        let derives = layouts.any(|(name, layout)| {
            layout.form.keyspace() == Keyspace::Znodes && self.state.derives(name, layout)
        });
        if !derives {
            return;
        }
        let rows = self.state.tables.endpoints.values();
        let all: Vec<EndpointKey> = rows.map(|row| row.key.clone()).collect();
        for endpoint in all {
            self.dirty.entry(endpoint).or_default();
        }
    }

    /// Derives the records of some more endpoints for a layout that is being woken, and wakes it after the last one. A layout with
    /// very many endpoints takes several commands, so that nobody else waits for all of them; it counts as asleep until then, and
    /// endpoints that change meanwhile are derived as if it were awake.
    fn wake_more(&mut self, name: &Arc<str>, layout: &Arc<LayoutState>) {
        let next = self.state.waking.get(name);
        let endpoints = &self.state.tables.endpoints;
        let slice = if self.state.level < 2 {
            endpoints.len()
        } else {
            SLICE
        };
        let rows: Vec<Arc<EndpointRow>> = match next {
            Some(next) => endpoints.from(next).take(slice + 1).cloned().collect(),
            None => endpoints.values().take(slice + 1).cloned().collect(),
        };
        for row in rows.iter().take(slice) {
            self.derive_for(name, layout, &row.key, Some(row));
        }
        match rows.get(slice) {
            Some(next) => self.put_waking(name, Some(next.key.clone())),
            None => {
                let awake = LayoutState {
                    mode: Mode::Awake,
                    ..(**layout).clone()
                };
                self.put_layout(name, Some(Arc::new(awake)));
                self.put_waking(name, None);
            }
        }
    }

    pub(super) fn wake(&mut self, name: &Arc<str>) -> Outcome {
        let layout = self
            .state
            .layouts
            .get(name)
            .cloned()
            .ok_or(Refusal::NoLayout)?;
        if layout.mode == Mode::Asleep {
            self.wake_more(name, &layout);
        }
        Ok(Done::Nothing)
    }

    /// A layout that was awake stays awake when it is set again as asleep with the same form: that is every restart. One that is
    /// to be awake wakes as it would for a reader.
    pub(super) fn set_layout(&mut self, name: &Arc<str>, state: Option<&LayoutState>) -> Outcome {
        let before = self.state.layouts.get(name).cloned();
        let kept = |b: &LayoutState, s: &LayoutState| {
            b.form.settles(&s.form)
                && b.mode == Mode::Awake
                && s.mode == Mode::Asleep
                && b.level == s.level
        };
        match (&before, state) {
            (Some(before), Some(state)) if **before == *state || kept(before, state) => {
                return Ok(Done::Nothing);
            }
            (None, None) => return Ok(Done::Nothing),
            _ => {}
        }
        let placed: Vec<Key> = self
            .state
            .tables
            .derived
            .iter()
            .filter(|(derived, _)| derived.layout == *name)
            .map(|(_, key)| key.clone())
            .collect();
        if let Some(before) = before {
            for key in placed {
                self.remove_record(before.form.keyspace(), &key);
            }
        }
        self.put_waking(name, None);
        self.put_layout(name, state.cloned().map(Arc::new));
        if let Some(state) = state.filter(|state| state.mode == Mode::Awake) {
            let asleep = Arc::new(LayoutState {
                mode: Mode::Asleep,
                ..state.clone()
            });
            self.put_layout(name, Some(asleep.clone()));
            self.wake_more(name, &asleep);
        }
        Ok(Done::Nothing)
    }

    /// The first native record a layout recognised wakes it.
    pub(super) fn wake_for(&mut self, space: Keyspace, key: &[u8], value: &[u8]) {
        let asleep: Vec<Arc<str>> = self
            .state
            .layouts
            .iter()
            .filter(|(_, l)| l.mode == Mode::Asleep && l.form.keyspace() == space)
            .filter(|(_, l)| l.form.read(key, value).is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in asleep {
            let _known = self.wake(&name);
        }
        self.settle_dialect(space, key, value);
    }

    /// The first client's node decides whose payload a root speaks; what was rendered in another one is rendered anew.
    fn settle_dialect(&mut self, space: Keyspace, key: &[u8], value: &[u8]) {
        let open: Vec<(Arc<str>, LayoutState)> = self
            .state
            .layouts
            .iter()
            .filter(|(_, l)| l.form.keyspace() == space && l.mode != Mode::Off)
            .filter_map(|(name, l)| match &l.form {
                Form::Curator {
                    root,
                    dialect: Dialect::Open,
                } if l.form.recognise(key, value).is_some() => {
                    let form = Form::Curator {
                        root: root.clone(),
                        dialect: dialect(value),
                    };
                    let settled = LayoutState {
                        form,
                        mode: Mode::Awake,
                        level: l.level,
                    };
                    Some((name.clone(), settled))
                }
                _ => None,
            })
            .collect();
        for (name, settled) in open {
            let _set = self.set_layout(&name, Some(&settled));
        }
    }
}

impl State {
    /// Whether records are derived for a layout: it is awake, or being woken.
    fn derives(&self, name: &Arc<str>, layout: &LayoutState) -> bool {
        layout.mode == Mode::Awake || self.waking.contains_key(name)
    }
}

/// Endpoints that `form` may render to `key`: those to look at again when the record under it goes.
fn rendered_at<'a>(state: &'a State, form: &Form, key: &Key) -> Vec<&'a Arc<EndpointRow>> {
    match form.rendered_to(key) {
        None => Vec::new(),
        Some((service, None)) => state.endpoints(&service).collect(),
        Some((service, Some((host, port)))) => {
            let key = EndpointKey {
                service,
                host,
                port,
                sole: None,
            };
            state.endpoint(&key).into_iter().collect()
        }
    }
}
