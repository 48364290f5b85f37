//! Keeps the table as the catalog has it. What a change did not touch is not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portolan_api as api;
use portolan_catalog::{Batch, Change, KeyRange, Keyspace, Revision, ServiceKey, State};
use portolan_registry::{Feed, Registry, Selector};

use super::rule::Rule;
use super::table::Table;
use super::tags;
use crate::figures::Figures;

/// The table of now.
pub(crate) type Followed = Arc<ArcSwap<Table>>;

/// What the table is made of.
#[derive(Debug, Default)]
struct Sources {
    explicit: Vec<Rule>,
    tags: BTreeMap<ServiceKey, Vec<Rule>>,
}

impl Sources {
    fn of(state: &State) -> Sources {
        let mut sources = Sources::default();
        sources.read_routes(state);
        for service in state.services() {
            sources.read_service(state, &service.key);
        }
        sources
    }

    fn read_routes(&mut self, state: &State) {
        let all = KeyRange::prefix(api::ROUTES.as_bytes());
        let read = |(key, record): (&portolan_catalog::Key, &Arc<portolan_catalog::Record>)| {
            let route: Option<api::Route> = serde_json::from_slice(&record.bytes()).ok();
            let rule = route.as_ref().and_then(Rule::explicit);
            if rule.is_none() {
                tracing::warn!(?key, "a route cannot be read and is not served");
            }
            rule
        };
        self.explicit = state
            .range(Keyspace::Settings, &all)
            .filter_map(read)
            .collect();
    }

    /// Whether the rules of a service are others than before.
    fn read_service(&mut self, state: &State, service: &ServiceKey) -> bool {
        let endpoints = state.endpoints(service);
        let mut all: Vec<&str> = endpoints
            .flat_map(|row| row.primary().tags.iter().map(|tag| &**tag))
            .filter(|tag| tag.starts_with("traefik.") || tag.starts_with("urlprefix-"))
            .collect();
        all.sort_unstable();
        all.dedup();
        let (rules, _) = tags::rules(service, all.into_iter());
        match self.tags.get(service) {
            None if rules.is_empty() => false,
            Some(before) if *before == rules => false,
            Some(_) if rules.is_empty() => self.tags.remove(service).is_some(),
            _ => {
                self.tags.insert(service.clone(), rules);
                true
            }
        }
    }

    fn table(&self) -> Table {
        let tags = self.tags.values().flatten().cloned();
        Table::new(self.explicit.iter().cloned(), tags)
    }

    /// Whether a batch made a difference.
    fn take(&mut self, state: &State, batch: &Batch) -> bool {
        let routes = batch.changes.iter().any(|change| {
            matches!(change, Change::Record { space: Keyspace::Settings, key, .. } if key.starts_with(api::ROUTES.as_bytes()))
        });
        if routes {
            self.read_routes(state);
        }
        let mut changed = routes;
        for service in batch.services.iter() {
            changed |= self.read_service(state, service);
        }
        changed
    }
}

fn open(registry: &Registry, after: Revision) -> Option<Feed> {
    registry.follow(vec![Selector::Everything], after).ok()
}

/// Keeps `table` as the catalog has it, until the task is dropped.
pub(crate) async fn follow(registry: Registry, table: Followed, figures: Figures) {
    let publish = |sources: &Sources| {
        let fresh = sources.table();
        figures.rules(fresh.len());
        table.store(Arc::new(fresh));
    };
    loop {
        let state = registry.snapshot();
        let mut sources = Sources::of(&state);
        publish(&sources);
        let Some(mut feed) = open(&registry, state.revision()) else {
            tokio::task::yield_now().await;
            continue;
        };
        drop(state);
        while let Ok(batch) = feed.next().await {
            // Taken after the batch was there, so that it is in what is read.
            let mut changed = sources.take(&registry.snapshot(), &batch);
            // What is there already is taken along: one table for all of it.
            let cut = loop {
                match feed.try_next() {
                    Ok(Some(batch)) => changed |= sources.take(&registry.snapshot(), &batch),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            if changed {
                publish(&sources);
            }
            if cut {
                break;
            }
        }
    }
}
