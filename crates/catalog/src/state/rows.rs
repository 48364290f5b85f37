//! Rows in the order of something that is in them, which so is not held a second time: a table takes a pointer per row.
//!
//! The inner nodes of the trees hold rows as well, to tell where to go on, and may go on holding one that was replaced since: at
//! most one in eight, and never shown.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;

use crate::check::Check;
use crate::endpoint::{EndpointKey, Host};
use crate::ids::{CheckKey, InstanceKey, LeaseId, NodeName, Protocol, ServiceKey, SessionId};
use crate::instance::{Instance, Registration};
use crate::lease::{Lease, Session};
use crate::node::Node;
use crate::service::{EndpointRow, Namespace, Service};

/// A row that holds its key.
pub(crate) trait Row: Eq {
    /// What tells it from others.
    type Key: Ord + ?Sized;

    fn key(&self) -> &Self::Key;
}

macro_rules! rows {
    ($($row:ty, $key:ty, |$this:ident| $read:expr;)*) => {$(
        impl Row for $row {
            type Key = $key;

            fn key(&self) -> &$key {
                let $this = self;
                &$read
            }
        }
    )*};
}

rows! {
    Namespace, str, |row| row.name;
    Service, ServiceKey, |row| row.key;
    Instance, InstanceKey, |row| row.facts.key;
    EndpointRow, EndpointKey, |row| row.key;
    Node, NodeName, |row| row.name;
    Check, CheckKey, |row| row.facts.key;
    Session, SessionId, |row| row.id;
    Lease, LeaseId, |row| row.id;
}

/// A table: rows by their key.
pub(crate) struct Rows<R>(OrdSet<ByKey<R>>);

/// Compared by key alone; equality of tables looks at the rows.
struct ByKey<R>(Arc<R>);

/// A key to find a row by.
struct Sought<'k, K: ?Sized>(&'k K);

impl<R: Row> Rows<R> {
    pub(crate) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.0.get(&Sought(key)).map(|row| &row.0)
    }

    /// All rows, by key.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<R>> {
        self.0.iter().map(|row| &row.0)
    }

    /// The rows from `first` on, by key.
    pub(crate) fn from<'t>(
        &'t self,
        first: &R::Key,
    ) -> impl Iterator<Item = &'t Arc<R>> + use<'t, R> {
        self.0.range(Sought(first)..).map(|row| &row.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts a row in the place of the one with its key.
    pub(crate) fn put(&mut self, row: Arc<R>) {
        self.0.insert(ByKey(row));
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, key: &R::Key) -> bool {
        self.0.remove(&Sought(key)).is_some()
    }

    /// Moves a row from the earlier side of a change to the later one.
    pub(crate) fn set(&mut self, before: Option<&Arc<R>>, after: Option<&Arc<R>>) {
        match (before, after) {
            (_, Some(after)) => self.put(after.clone()),
            (Some(before), None) => {
                self.remove(before.key());
            }
            (None, None) => {}
        }
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Rows<R> {
        Rows(OrdSet::new())
    }
}

impl<R> Clone for Rows<R> {
    fn clone(&self) -> Rows<R> {
        Rows(self.0.clone())
    }
}

impl<R: Row> PartialEq for Rows<R> {
    fn eq(&self, other: &Rows<R>) -> bool {
        self.len() == other.len() && self.values().zip(other.values()).all(|(a, b)| a == b)
    }
}

impl<R: Row + fmt::Debug> fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl<R> Clone for ByKey<R> {
    fn clone(&self) -> ByKey<R> {
        ByKey(self.0.clone())
    }
}

impl<R: Row> PartialEq for ByKey<R> {
    fn eq(&self, other: &ByKey<R>) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: Row> Eq for ByKey<R> {}

impl<R: Row> PartialOrd for ByKey<R> {
    fn partial_cmp(&self, other: &ByKey<R>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Row> Ord for ByKey<R> {
    fn cmp(&self, other: &ByKey<R>) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

impl<R: Row> Equivalent<ByKey<R>> for Sought<'_, R::Key> {
    fn equivalent(&self, row: &ByKey<R>) -> bool {
        self.compare(row).is_eq()
    }
}

impl<R: Row> Comparable<ByKey<R>> for Sought<'_, R::Key> {
    fn compare(&self, row: &ByKey<R>) -> Ordering {
        self.0.cmp(row.0.key())
    }
}

/// What an index sorts instances by.
pub(crate) trait Facet {
    type Value: Ord + fmt::Debug;

    fn of(facts: &Registration) -> &Self::Value;
}

/// The host an instance is at.
pub(crate) struct AtHost;

impl Facet for AtHost {
    type Value = Host;

    fn of(facts: &Registration) -> &Host {
        &facts.endpoint.host
    }
}

/// The node an instance is on, virtual ones included.
pub(crate) struct OnNode;

impl Facet for OnNode {
    type Value = NodeName;

    fn of(facts: &Registration) -> &NodeName {
        &facts.node
    }
}

/// What keeps an instance alive, if it is not its own heartbeat, which needs no index.
pub(crate) struct UnderLease;

impl UnderLease {
    fn indexed(facts: &Registration) -> bool {
        match &facts.lease {
            None => false,
            Some(LeaseId::Heartbeat(key)) => *key != facts.key,
            Some(_) => true,
        }
    }
}

impl Facet for UnderLease {
    type Value = Option<LeaseId>;

    fn of(facts: &Registration) -> &Option<LeaseId> {
        &facts.lease
    }
}

impl Index<UnderLease> {
    /// Like [`Index::moved`], of those that are in this index.
    pub(crate) fn moved_leased(
        &mut self,
        before: Option<&Arc<Registration>>,
        after: Option<&Arc<Registration>>,
    ) {
        let indexed = |facts: &&Arc<Registration>| UnderLease::indexed(facts);
        self.moved(before.filter(indexed), after.filter(indexed));
    }
}

/// An index: the facts of instances by a facet of theirs, then by key.
pub(crate) struct Index<F>(OrdSet<ByFacet<F>>);

struct ByFacet<F>(Arc<Registration>, std::marker::PhantomData<fn() -> F>);

/// Stands before all entries with this value.
struct First<'v, V>(&'v V);

impl<F: Facet> Index<F> {
    /// Moves an instance from where the facts before had it to where those after have it.
    pub(crate) fn moved(
        &mut self,
        before: Option<&Arc<Registration>>,
        after: Option<&Arc<Registration>>,
    ) {
        if let Some(before) = before {
            self.0.remove(&ByFacet::<F>::new(before));
        }
        if let Some(after) = after {
            self.0.insert(ByFacet::new(after));
        }
    }

    /// Everything, by value and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.0.iter().map(|entry| &*entry.0)
    }

    /// The facts with one value, by key.
    pub(crate) fn with<'t>(
        &'t self,
        value: &F::Value,
    ) -> impl Iterator<Item = &'t Registration> + use<'t, F>
    where
        F::Value: Clone,
    {
        let wanted = value.clone();
        self.0
            .range(First(value)..)
            .map(|entry| entry.0.deref())
            .take_while(move |facts| *F::of(facts) == wanted)
    }
}

impl<F> Default for Index<F> {
    fn default() -> Index<F> {
        Index(OrdSet::new())
    }
}

impl<F> Clone for Index<F> {
    fn clone(&self) -> Index<F> {
        Index(self.0.clone())
    }
}

/// As far as an index can tell: the same instances under the same values.
impl<F: Facet> PartialEq for Index<F> {
    fn eq(&self, other: &Index<F>) -> bool {
        self.0 == other.0
    }
}

impl<F: Facet> fmt::Debug for Index<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|facts| (F::of(facts), &facts.key)))
            .finish()
    }
}

impl<F> ByFacet<F> {
    fn new(facts: &Arc<Registration>) -> ByFacet<F> {
        ByFacet(facts.clone(), std::marker::PhantomData)
    }
}

impl<F> Clone for ByFacet<F> {
    fn clone(&self) -> ByFacet<F> {
        ByFacet::new(&self.0)
    }
}

impl<F: Facet> PartialEq for ByFacet<F> {
    fn eq(&self, other: &ByFacet<F>) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<F: Facet> Eq for ByFacet<F> {}

impl<F: Facet> PartialOrd for ByFacet<F> {
    fn partial_cmp(&self, other: &ByFacet<F>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<F: Facet> Ord for ByFacet<F> {
    fn cmp(&self, other: &ByFacet<F>) -> Ordering {
        F::of(&self.0)
            .cmp(F::of(&other.0))
            .then_with(|| self.0.key.cmp(&other.0.key))
    }
}

impl<F: Facet> Equivalent<ByFacet<F>> for First<'_, F::Value> {
    fn equivalent(&self, _: &ByFacet<F>) -> bool {
        false
    }
}

impl<F: Facet> Comparable<ByFacet<F>> for First<'_, F::Value> {
    fn compare(&self, entry: &ByFacet<F>) -> Ordering {
        self.0.cmp(F::of(&entry.0)).then(Ordering::Less)
    }
}

/// Eureka's instances, by the part of their id that follows the application.
#[derive(Clone, Default)]
pub(crate) struct LocalIds(OrdSet<ByLocalId>);

#[derive(Clone)]
struct ByLocalId(Arc<Registration>);

/// Stands before all entries with this id.
struct FirstId<'v>(&'v str);

impl LocalIds {
    pub(crate) fn moved(
        &mut self,
        before: Option<&Arc<Registration>>,
        after: Option<&Arc<Registration>>,
    ) {
        let of_eureka = |facts: &&Arc<Registration>| facts.key.origin == Protocol::Eureka;
        if let Some(before) = before.filter(of_eureka) {
            self.0.remove(&ByLocalId(before.clone()));
        }
        if let Some(after) = after.filter(of_eureka) {
            self.0.insert(ByLocalId(after.clone()));
        }
    }

    /// The facts of the instances with this id, by application.
    pub(crate) fn with<'t>(&'t self, id: &'t str) -> impl Iterator<Item = &'t Registration> {
        self.0
            .range(FirstId(id)..)
            .map(|entry| &*entry.0)
            .take_while(move |facts| facts.key.local() == id)
    }
}

impl fmt::Debug for LocalIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.iter().map(|entry| &entry.0.key);
        f.debug_list().entries(keys).finish()
    }
}

impl PartialEq for LocalIds {
    fn eq(&self, other: &LocalIds) -> bool {
        self.0 == other.0
    }
}

impl PartialEq for ByLocalId {
    fn eq(&self, other: &ByLocalId) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByLocalId {}

impl PartialOrd for ByLocalId {
    fn partial_cmp(&self, other: &ByLocalId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByLocalId {
    fn cmp(&self, other: &ByLocalId) -> Ordering {
        let (a, b) = (&self.0.key, &other.0.key);
        a.local().cmp(b.local()).then_with(|| a.cmp(b))
    }
}

impl Equivalent<ByLocalId> for FirstId<'_> {
    fn equivalent(&self, _: &ByLocalId) -> bool {
        false
    }
}

impl Comparable<ByLocalId> for FirstId<'_> {
    fn compare(&self, entry: &ByLocalId) -> Ordering {
        self.0.cmp(entry.0.key.local()).then(Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn facts(id: u32, host: u8, tag: &str) -> Arc<Registration> {
        let key = InstanceKey::new(Protocol::Native, format!("{id:04}"));
        let host = Host::Ip([10, 0, 0, host].into());
        let mut facts = Registration::new(key, ServiceKey::plain("web"), Endpoint::new(host, 80));
        facts.tags = Arc::from([Arc::from(tag)]);
        Arc::new(facts)
    }

    #[test]
    fn an_index_holds_the_latest_facts_and_finds_them_by_value() {
        let mut index = Index::<AtHost>::default();
        let all: Vec<_> = (0..200)
            .map(|id| facts(id, (id % 3) as u8, "old"))
            .collect();
        for facts in &all {
            index.moved(None, Some(facts));
        }
        let retagged = facts(7, 1, "new");
        index.moved(Some(&all[7]), Some(&retagged));
        index.moved(Some(&all[10]), Some(&facts(10, 2, "old")));
        index.moved(Some(&all[4]), None);
        let at = |host: u8| -> Vec<String> {
            let host = Host::Ip([10, 0, 0, host].into());
            index
                .with(&host)
                .map(|facts| facts.key.id.to_string())
                .collect()
        };
        let expected = |host: u32| -> Vec<String> {
            (0..200)
                .filter(|id| *id != 4 && if *id == 10 { host == 2 } else { id % 3 == host })
                .map(|id| format!("{id:04}"))
                .collect()
        };
        for host in 0..3 {
            assert_eq!(at(host as u8), expected(host));
        }
        assert!(at(3).is_empty());
        let held = index.with(&Host::Ip([10, 0, 0, 1].into()));
        let tags: Vec<_> = held.filter(|f| &*f.tags[0] == "new").collect();
        assert_eq!(
            tags.len(),
            1,
            "the later facts took the place of those before"
        );
    }

    #[test]
    fn tables_with_equal_keys_and_other_rows_are_not_equal() {
        let node = |address: u8| {
            Arc::new(Lease {
                granted_at: crate::Timestamp(u64::from(address)),
                id: LeaseId::Etcd(1),
                terms: crate::Terms::strict(1),
                generation: 1,
                stage: 0,
            })
        };
        let (mut a, mut b) = (Rows::default(), Rows::default());
        a.put(node(1));
        b.put(node(2));
        assert_ne!(a, b);
        a.put(node(2));
        assert_eq!(a, b, "a row takes the place of the one with its key");
        assert_eq!(a.len(), 1);
        assert!(a.remove(&LeaseId::Etcd(1)));
        assert!(!a.remove(&LeaseId::Etcd(1)));
    }
}
