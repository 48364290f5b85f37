//! Earlier revisions: rows as they were, found by their keys.

use std::cmp::Ordering;
use std::sync::Arc;

use portolan_catalog::stored::index::record_of;
use portolan_catalog::{
    Change, Floors, Key, KeyRange, Keyspace, Record, Revision, ServiceKey, State, Table,
};
use portolan_history::{Damage, Earlier, History, Place, Span, View};

/// There is no state of that revision to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotThen {
    /// It is below the floor, which is given.
    Compacted(Revision),
    /// It has not been reached; the current revision is given.
    Future(Revision),
    /// What would have to be read is damaged.
    Damaged(Damage),
}

impl From<Damage> for NotThen {
    fn from(damage: Damage) -> NotThen {
        NotThen::Damaged(damage)
    }
}

/// The rows of an earlier revision. What it reads costs what is read, not the changes in between; it reads files, briefly for single
/// rows. Leases, marks and lock delays are the present ones.
#[derive(Clone, Debug)]
pub struct Past {
    present: Arc<State>,
    view: Arc<View>,
    history: Arc<History>,
    /// Taken after the view: what is below may be missing in it.
    floors: Floors,
    revision: Revision,
}

/// Records of a range as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastRange {
    /// The first rows, in key order.
    pub rows: Vec<(Key, Arc<Record>)>,
    /// How many there are in the range.
    pub count: usize,
}

impl Past {
    /// `present` was taken before `view`, and `floors` after it.
    pub(crate) fn new(
        present: Arc<State>,
        view: Arc<View>,
        history: Arc<History>,
        floors: Floors,
    ) -> Past {
        Past {
            revision: present.revision(),
            present,
            view,
            history,
            floors,
        }
    }

    /// The revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The state it is seen from.
    pub fn present(&self) -> &Arc<State> {
        &self.present
    }

    /// The rows at another revision, for readers of one keyspace or of everything else. It stays readable for as long as this is held.
    ///
    /// # Errors
    /// [`NotThen`] when that is below the floor or after the state this is seen from.
    pub fn at(&self, space: Option<Keyspace>, revision: Revision) -> Result<Past, NotThen> {
        if revision > self.present.revision() {
            return Err(NotThen::Future(self.present.revision()));
        }
        let floor = self.floors.of(space).max(self.view.floor());
        if revision < floor {
            return Err(NotThen::Compacted(floor));
        }
        Ok(Past {
            revision,
            ..self.clone()
        })
    }

    /// Whether nothing has to be read from files.
    pub fn is_in_memory(&self) -> bool {
        self.view.is_in_memory(self.revision)
    }

    fn noted<T>(&self, read: Result<T, Damage>) -> Result<T, Damage> {
        read.inspect_err(|damage| self.history.report(damage))
    }

    /// One record.
    ///
    /// # Errors
    /// [`Damage`] of a file that would have to be read.
    pub fn record(&self, space: Keyspace, key: &[u8]) -> Result<Option<Arc<Record>>, Damage> {
        let present = self.present.record(space, key);
        // Most records are older than what is asked for.
        if let Some(record) = present.filter(|record| record.modified <= self.revision) {
            return Ok(Some(record.clone()));
        }
        let found = self.view.row(&Span::record(space, key), self.revision);
        Ok(match self.noted(found)? {
            Earlier::Same => present.cloned(),
            Earlier::Was(Change::Record { before, .. }) => before,
            Earlier::Absent | Earlier::Was(_) => None,
        })
    }

    /// The first `most` records of a range, and the count of all.
    ///
    /// # Errors
    /// As [`Past::record`].
    pub fn range(
        &self,
        space: Keyspace,
        range: &KeyRange,
        most: usize,
    ) -> Result<PastRange, Damage> {
        if let KeyRange::One(key) = range {
            let record = self.record(space, key)?;
            return Ok(PastRange {
                count: usize::from(record.is_some()),
                rows: record
                    .map(|record| (key.clone(), record))
                    .into_iter()
                    .take(most)
                    .collect(),
            });
        }
        self.noted(self.merged(space, range, most))
    }

    fn merged(&self, space: Keyspace, range: &KeyRange, most: usize) -> Result<PastRange, Damage> {
        let span = Span::records(space, range);
        let changed = self.view.changed(&span, self.revision)?;
        let mut changed = changed
            .iter()
            .filter_map(|(key, place)| Some((record_of(key)?.1, place)))
            .peekable();
        let mut count = self.present.count(space, range);
        for (key, place) in changed.clone() {
            match (place.had(), self.present.record(space, key).is_some()) {
                (true, false) => count += 1,
                (false, true) => count -= 1,
                (true, true) | (false, false) => {}
            }
        }
        let mut rows: Vec<Result<(Key, Arc<Record>), &Place>> = Vec::new();
        let mut present = self.present.range(space, range).peekable();
        while rows.len() < most {
            let first = match (present.peek(), changed.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((now, _)), Some((then, _))) => (***now).cmp(*then),
            };
            if first == Ordering::Less {
                rows.extend(
                    present
                        .next()
                        .map(|(key, record)| Ok((key.clone(), record.clone()))),
                );
                continue;
            }
            if first == Ordering::Equal {
                present.next();
            }
            let then = changed.next().map(|(_, place)| place);
            rows.extend(then.filter(|place| place.had()).map(Err));
        }
        let places: Vec<&Place> = rows
            .iter()
            .filter_map(|row| row.as_ref().err().copied())
            .collect();
        let mut read = self.view.rows(&places)?.into_iter();
        let rows = rows
            .into_iter()
            .filter_map(|row| match row {
                Ok(row) => Some(row),
                Err(_) => match read.next()? {
                    Change::Record { key, before, .. } => Some((key, before?)),
                    _ => None,
                },
            })
            .collect();
        Ok(PastRange { rows, count })
    }

    /// The present state with the rows of some spans as they were, and nothing else.
    fn with(&self, spans: &[Span]) -> Result<State, Damage> {
        let mut rows = Vec::new();
        for span in spans {
            let changed = self.view.changed(span, self.revision)?;
            let places: Vec<&Place> = changed.values().collect();
            rows.extend(self.view.rows(&places)?);
        }
        Ok(self.present.with_earlier(&rows, self.revision))
    }

    /// The state with the records of a range as they were; other rows are of no meaning.
    ///
    /// # Errors
    /// As [`Past::record`].
    pub fn records(&self, space: Keyspace, range: &KeyRange) -> Result<State, Damage> {
        self.noted(self.with(&[Span::records(space, range)]))
    }

    /// The state with one service as it was: its row, its endpoints and instances, their checks and nodes; other rows are of no
    /// meaning.
    ///
    /// # Errors
    /// As [`Past::record`].
    pub fn service(&self, service: &ServiceKey) -> Result<State, Damage> {
        self.noted(self.service_rows(service))
    }

    fn service_rows(&self, service: &ServiceKey) -> Result<State, Damage> {
        let first = [
            Span::service(service),
            Span::endpoints(service),
            Span::table(Table::Namespaces),
        ];
        let then = self.with(&first)?;
        // The endpoints of then tell the instances of then; those of now may have been elsewhere.
        let mut instances: Vec<_> = then.instances(service).map(|row| row.key.clone()).collect();
        let now = self.present.instances(service);
        instances.extend(now.map(|row| row.key.clone()));
        instances.sort_unstable();
        instances.dedup();
        let mut nodes: Vec<_> = then
            .instances(service)
            .map(|row| row.node.clone())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        let mut spans = first.to_vec();
        for key in &instances {
            // Most rows are older than what is asked for.
            let present = self.present.instance(key);
            if present.is_none_or(|row| row.modified > self.revision) {
                spans.push(Span::instance(key));
            }
            spans.push(Span::checks_of(key));
        }
        for node in &nodes {
            let present = self.present.node(node);
            if present.is_none_or(|row| row.modified > self.revision) {
                spans.push(Span::node(node));
            }
            spans.push(Span::node_checks(node));
        }
        self.with(&spans)
    }

    /// The whole state as it was, but for records; with those of `space` if one is given. Takes long; not for a thread that serves.
    ///
    /// # Errors
    /// As [`Past::record`].
    pub fn everything(&self, space: Option<Keyspace>) -> Result<State, Damage> {
        let tables = [
            Table::Namespaces,
            Table::Services,
            Table::Instances,
            Table::Endpoints,
            Table::Nodes,
            Table::Checks,
            Table::Sessions,
        ];
        let tables = tables.into_iter().chain(space.map(Table::Records));
        let spans: Vec<Span> = tables.map(Span::table).collect();
        self.noted(self.with(&spans))
    }
}
