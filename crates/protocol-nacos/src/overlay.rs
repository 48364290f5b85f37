//! What the catalog has no field for: how a client spells the group, and what an operator changed over the owner's head.
//!
//! An operator's weight and metadata outlive the owner's next registration, as in Nacos; so they are kept beside the facts, in the row's
//! extension, and laid over each registration that follows. They go with the row.

use std::collections::BTreeMap;

use bytes::Bytes;
use portolan_catalog::{Meta, Registration, Weight};
use serde::{Deserialize, Serialize};

/// The extension of a row that Nacos' clients registered. Canonical: equal facts have equal bytes, and none have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overlay {
    /// The group as its registrant spells it, where that is not how the catalog would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// An operator's weight, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<u32>,
    /// Pairs that an operator set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) meta: BTreeMap<String, String>,
}

impl Overlay {
    /// That of a row. Bytes that are none of ours are none.
    pub(crate) fn of(row: &Registration) -> Overlay {
        if row.extension.is_empty() {
            return Overlay::default();
        }
        serde_json::from_slice(&row.extension).unwrap_or_default()
    }

    /// Lays it over fresh facts and keeps it with them.
    pub(crate) fn apply(&self, facts: &mut Registration) {
        if let Some(weight) = self.weight {
            (facts.weight, facts.warning_weight) = (Weight(weight), Weight(weight));
        }
        if !self.meta.is_empty() {
            let own: Vec<(String, String)> = facts
                .meta
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            let over = self.meta.clone();
            facts.meta = own.into_iter().chain(over).collect::<Meta>();
        }
        facts.extension = if *self == Overlay::default() {
            Bytes::new()
        } else {
            // Text and numbers can always be written.
            serde_json::to_vec(self).unwrap_or_default().into()
        };
    }
}
