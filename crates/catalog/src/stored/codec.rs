//! Numbers and lengths: how any value becomes bytes.

#![expect(
    clippy::disallowed_types,
    reason = "the map is only looked up in, never iterated"
)]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::shared::Shared;

/// Levels of nesting, of writes and of the boxes inside them, that are written and read.
///
/// Never lower it: version 0.1.0 wrote without a bound, and the deepest that a client could make it write was an etcd transaction of
/// 50 levels in each other (51 when the innermost is empty), which is as much as the Protobuf decoder takes apart.
pub(super) const NESTING: u8 = 64;

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// What was expected, and where.
    pub what: String,
    /// The feature level that is needed to read it, when a newer version wrote it: it is not damaged then.
    pub newer: Option<u8>,
}

impl Damaged {
    /// What a newer version wrote.
    pub(crate) fn newer(level: u8) -> Damaged {
        Damaged {
            what: format!(
                "it was written by a newer version: feature level {level}, this version knows {}",
                super::LEVEL
            ),
            newer: Some(level),
        }
    }
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Damaged {}

/// A value with a place in logs and snapshots.
pub(crate) trait Stored: Sized {
    /// Whether it is made of texts and numbers alone, so that equal lists of it may be one.
    const PLAIN: bool = false;

    fn put(&self, w: &mut Writer);
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged>;
}

/// Collects bytes.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    depth: u8,
    /// Something was nested deeper than is read; it was left out.
    pub(super) too_deep: bool,
    /// Rows already written, by address, when rows are shared.
    pub(super) rows: Option<HashMap<usize, u64>>,
}

impl Writer {
    /// Appends to `bytes`; every row is written where it stands.
    pub(crate) fn over(bytes: Vec<u8>) -> Writer {
        Writer {
            bytes,
            ..Writer::default()
        }
    }

    /// Writes each row once and then its number. The rows must live as long as the writer is used.
    pub(crate) fn sharing() -> Writer {
        Writer {
            rows: Some(HashMap::new()),
            ..Writer::default()
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What was written since the last call; rows stay known.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub(crate) fn slice(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Runs `write` one level deeper: the other half of [`Reader::deeper`], with the same bound.
    pub(crate) fn deeper(&mut self, write: impl FnOnce(&mut Self)) {
        if self.depth == NESTING {
            self.too_deep = true;
            return;
        }
        self.depth += 1;
        write(self);
        self.depth -= 1;
    }
}

/// Takes bytes apart.
pub(crate) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    length: usize,
    depth: u8,
    pub(super) shared: Option<&'a mut Shared>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: bytes,
            length: bytes.len(),
            depth: 0,
            shared: None,
        }
    }

    /// Reads what a sharing writer wrote; `shared` goes from record to record.
    pub(crate) fn sharing(bytes: &'a [u8], shared: &'a mut Shared) -> Reader<'a> {
        Reader {
            shared: Some(shared),
            ..Reader::new(bytes)
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn damaged(&self, what: &str) -> Damaged {
        Damaged {
            what: format!("{what} at byte {}", self.length - self.rest.len()),
            newer: None,
        }
    }

    pub(crate) fn unknown(&self, what: &str, found: u64) -> Damaged {
        self.damaged(&format!("unknown {what} {found}"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self
            .rest
            .split_first()
            .ok_or_else(|| self.damaged("end of bytes"))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("number too long"))
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.damaged("end of bytes"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Damaged> {
        let count = self.count()?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Damaged> {
        let bytes = self.slice()?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("text that is not UTF-8"))
    }

    /// A length; every counted thing takes a byte at least, so more than is left is damage.
    pub(crate) fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.number()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or_else(|| self.damaged("length too great"))
    }

    /// Runs `read` one level deeper.
    pub(crate) fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<T, Damaged> {
        if self.depth == NESTING {
            return Err(self.damaged("nesting too deep"));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }
}

/// The fields of a struct, in this order. A new field does not compile until it is named here.
macro_rules! stored_struct {
    ($type:ident { $($field:ident),* $(,)? } $(, plain: $plain:literal)?) => {
        impl Stored for $type {
            $(const PLAIN: bool = $plain;)?

            fn put(&self, w: &mut Writer) {
                let $type { $($field),* } = self;
                $($field.put(w);)*
            }

            fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
                Ok($type { $($field: Stored::get(r)?),* })
            }
        }
    };
}

/// The variants of an enum with their numbers, which are never reused.
macro_rules! stored_enum {
    ($type:ident { $($tag:literal => $variant:ident $( ( $($item:ident),* ) )? $( { $($field:ident),* } )? ),* $(,)? }) => {
        impl Stored for $type {
            fn put(&self, w: &mut Writer) {
                match self {
                    $($type::$variant $( ( $($item),* ) )? $( { $($field),* } )? => {
                        w.byte($tag);
                        $( $($item.put(w);)* )?
                        $( $($field.put(w);)* )?
                    })*
                }
            }

            fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
                Ok(match r.byte()? {
                    $($tag => $type::$variant $( ( $({ let $item = Stored::get(r)?; $item }),* ) )? $( { $($field: Stored::get(r)?),* } )?,)*
                    tag => return Err(r.unknown(stringify!($type), u64::from(tag))),
                })
            }
        }
    };
}

macro_rules! stored_number {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            fn put(&self, w: &mut Writer) {
                w.number(u64::from(*self));
            }

            fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
                let number = r.number()?;
                <$type>::try_from(number).map_err(|_| r.damaged("number too great"))
            }
        }
    )*};
}

stored_number!(u16, u32, u64);

impl Stored for u8 {
    fn put(&self, w: &mut Writer) {
        w.byte(*self);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.byte()
    }
}

impl Stored for usize {
    fn put(&self, w: &mut Writer) {
        w.number(*self as u64);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        usize::try_from(r.number()?).map_err(|_| r.damaged("number too great"))
    }
}

impl Stored for i64 {
    fn put(&self, w: &mut Writer) {
        w.number(((*self << 1) ^ (*self >> 63)) as u64);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let number = r.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

impl Stored for i32 {
    fn put(&self, w: &mut Writer) {
        i64::from(*self).put(w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        i32::try_from(i64::get(r)?).map_err(|_| r.damaged("number too great"))
    }
}

impl Stored for bool {
    fn put(&self, w: &mut Writer) {
        w.byte(u8::from(*self));
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        match r.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(r.unknown("truth value", u64::from(byte))),
        }
    }
}

impl Stored for Arc<str> {
    const PLAIN: bool = true;

    fn put(&self, w: &mut Writer) {
        w.slice(self.as_bytes());
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.shared_text()
    }
}

impl Stored for Bytes {
    fn put(&self, w: &mut Writer) {
        w.slice(self);
    }

    /// Copies, so that a value does not keep a whole segment of the log in memory.
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.slice().map(Bytes::copy_from_slice)
    }
}

impl<T: Stored> Stored for Option<T> {
    fn put(&self, w: &mut Writer) {
        match self {
            None => w.byte(0),
            Some(value) => {
                w.byte(1);
                value.put(w);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(if bool::get(r)? {
            Some(T::get(r)?)
        } else {
            None
        })
    }
}

pub(super) fn put_all<T: Stored>(items: &[T], w: &mut Writer) {
    w.number(items.len() as u64);
    for item in items {
        item.put(w);
    }
}

pub(super) fn get_all<T: Stored, C: FromIterator<T>>(r: &mut Reader<'_>) -> Result<C, Damaged> {
    let count = r.count()?;
    (0..count).map(|_| T::get(r)).collect()
}

impl<T: Stored> Stored for Vec<T> {
    fn put(&self, w: &mut Writer) {
        put_all(self, w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        get_all(r)
    }
}

impl<T: Stored> Stored for Box<[T]> {
    fn put(&self, w: &mut Writer) {
        put_all(self, w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        get_all(r)
    }
}

impl<T: Stored> Stored for SmallVec<[T; 1]> {
    fn put(&self, w: &mut Writer) {
        put_all(self, w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        get_all(r)
    }
}

impl<T: Stored, const N: usize> Stored for [T; N]
where
    [T; N]: Default,
{
    fn put(&self, w: &mut Writer) {
        put_all(self, w);
    }

    /// Fewer than there are room for leave defaults: a later version may have more.
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let count = r.count()?;
        let mut items: [T; N] = Default::default();
        for place in 0..count {
            let item = T::get(r)?;
            *items
                .get_mut(place)
                .ok_or_else(|| r.damaged("too many items"))? = item;
        }
        Ok(items)
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn put(&self, w: &mut Writer) {
        self.0.put(w);
        self.1.put(w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok((A::get(r)?, B::get(r)?))
    }
}

impl<T: Stored> Stored for Box<T> {
    fn put(&self, w: &mut Writer) {
        w.deeper(|w| (**self).put(w));
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.deeper(|r| T::get(r).map(Box::new))
    }
}

impl Stored for IpAddr {
    fn put(&self, w: &mut Writer) {
        match self {
            IpAddr::V4(ip) => {
                w.byte(4);
                w.bytes.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                w.byte(6);
                w.bytes.extend_from_slice(&ip.octets());
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        match r.byte()? {
            4 => Ok(IpAddr::from(octets::<4>(r)?)),
            6 => Ok(IpAddr::from(octets::<16>(r)?)),
            family => Err(r.unknown("address family", u64::from(family))),
        }
    }
}

pub(crate) fn octets<const N: usize>(r: &mut Reader<'_>) -> Result<[u8; N], Damaged> {
    let mut octets = [0; N];
    octets.copy_from_slice(r.take(N)?);
    Ok(octets)
}

impl Stored for SocketAddr {
    fn put(&self, w: &mut Writer) {
        self.ip().put(w);
        self.port().put(w);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(SocketAddr::new(IpAddr::get(r)?, u16::get(r)?))
    }
}
