//! Sharing: what a snapshot holds once, the restored state holds once.
//!
//! Rows are numbered in the stream. Texts, keys and lists are not: equal ones are recognised by their bytes when they are read.

use std::any::TypeId;
use std::sync::Arc;

use super::codec::{Damaged, Reader, Stored, Writer, get_all, put_all};

/// Kinds of keys for [`Reader::shared_key`], and of how many texts each is made.
pub(crate) const SERVICE_KEY: u8 = 0;
pub(crate) const NODE_NAME: u8 = 1;
pub(crate) const CHECK_KEY: u8 = 2;
const TEXTS: [u8; 3] = [3, 1, 2];

impl Reader<'_> {
    /// A text; equal ones are one allocation in a sharing stream.
    pub(super) fn shared_text(&mut self) -> Result<Arc<str>, Damaged> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(Arc::default());
        }
        let Some(shared) = &mut self.shared else {
            return Ok(text.into());
        };
        if let Some(known) = shared.texts.get(text) {
            return Ok(known.clone());
        }
        let new: Arc<str> = text.into();
        shared.texts.insert(new.clone());
        Ok(new)
    }

    /// A key that is made of texts: made once for equal bytes in a sharing stream.
    pub(crate) fn shared_key<T: Clone + Send + Sync + 'static>(
        &mut self,
        kind: u8,
        make: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<T, Damaged> {
        let start = self.rest;
        for _ in 0..TEXTS[usize::from(kind)] {
            self.slice()?;
        }
        let consumed = &start[..start.len() - self.rest.len()];
        let known = self
            .shared
            .as_ref()
            .and_then(|shared| shared.keys[usize::from(kind)].get(consumed));
        if let Some(known) = known.and_then(|known| known.downcast_ref::<T>()) {
            return Ok(known.clone());
        }
        let after = self.rest;
        self.rest = start;
        let made = make(self)?;
        self.rest = after;
        if let Some(shared) = &mut self.shared {
            shared.keys[usize::from(kind)].insert(consumed.into(), Arc::new(made.clone()));
        }
        Ok(made)
    }

    /// A list of plain values; equal ones are one allocation in a sharing stream: instances of one service tend to have the
    /// same tags, metadata and ports.
    pub(crate) fn shared_list<T: Clone + Default + Send + Sync + 'static>(
        &mut self,
        make: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<T, Damaged> {
        let start = self.rest;
        let made = make(self)?;
        let consumed = &start[..start.len() - self.rest.len()];
        if consumed == [0] {
            return Ok(T::default());
        }
        let Some(shared) = &mut self.shared else {
            return Ok(made);
        };
        let lists = shared.lists.entry(TypeId::of::<T>()).or_default();
        let known = lists.get(consumed).and_then(|known| known.downcast_ref());
        if let Some(known) = known {
            return Ok(T::clone(known));
        }
        lists.insert(consumed.into(), Arc::new(made.clone()));
        Ok(made)
    }
}

impl<T: Stored + Send + Sync + 'static> Stored for Arc<[T]> {
    fn put(&self, w: &mut Writer) {
        put_all(self, w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        match T::PLAIN {
            true => r.shared_list(get_all),
            false => get_all(r),
        }
    }
}

/// A row: in a sharing stream its number, followed by the row itself where the number is new.
impl<T: Stored + Send + Sync + 'static> Stored for Arc<T> {
    fn put(&self, w: &mut Writer) {
        if let Some(rows) = &mut w.rows {
            let next = rows.len() as u64;
            let number = *rows.entry(Arc::as_ptr(self).addr()).or_insert(next);
            w.number(number);
            if number != next {
                return;
            }
            return w.deeper(|w| (**self).put(w));
        }
        (**self).put(w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let Some(shared) = &mut r.shared else {
            return T::get(r).map(Arc::new);
        };
        let known = shared.rows.len() as u64;
        let number = r.number()?;
        if number > known {
            return Err(r.unknown("row", number));
        }
        let place = number as usize;
        if number < known {
            let row = r
                .shared
                .as_ref()
                .and_then(|shared| shared.rows[place].clone());
            return row
                .and_then(|row| row.downcast::<T>().ok())
                .ok_or_else(|| r.damaged("row of another kind"));
        }
        // Rows inside this one take later numbers, so its place is taken before they are read.
        if let Some(shared) = &mut r.shared {
            shared.rows.push(None);
        }
        let row = Arc::new(r.deeper(T::get)?);
        if let Some(shared) = &mut r.shared {
            shared.rows[place] = Some(row.clone());
        }
        Ok(row)
    }
}
