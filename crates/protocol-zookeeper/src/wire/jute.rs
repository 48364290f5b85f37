//! Jute's primitives: big-endian numbers, and lengths before what they count, where -1 is null.
//!
//! Reading never panics, and allocates no more than the bytes that are there.

use bytes::Bytes;

/// Bytes that are not what they should be: the request is answered `MarshallingError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Takes values off a frame.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over a frame without its length.
    pub fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader { rest: frame }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// `int`.
    pub fn int(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// `long`.
    pub fn long(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// `boolean`: anything but zero is true.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        self.array::<1>().map(|[byte]| byte != 0)
    }

    /// `buffer`; none is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.int()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed)?;
                self.take(length).map(Some)
            }
        }
    }

    /// `ustring`. Null reads as empty; bytes that are not UTF-8 become U+FFFD, as in Java.
    pub fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.buffer()?.unwrap_or_default();
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// `vector<T>`; none is null.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<Vec<T>>, Malformed> {
        let count = match self.int()? {
            -1 => return Ok(None),
            count => usize::try_from(count).map_err(|_| Malformed)?,
        };
        // An item takes four bytes at least.
        if count > self.rest.len() / 4 {
            return Err(Malformed);
        }
        (0..count)
            .map(|_| item(self))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// Makes one frame: its length stands in front when it is finished.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer::with_capacity(96)
    }
}

impl Writer {
    /// A frame that is expected to have about so many bytes.
    pub fn with_capacity(bytes: usize) -> Writer {
        let mut frame = Vec::with_capacity(4 + bytes);
        frame.extend_from_slice(&[0; 4]);
        Writer { bytes: frame }
    }

    /// `int`.
    pub fn int(&mut self, value: i32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// `long`.
    pub fn long(&mut self, value: i64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// `boolean`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.bytes.push(u8::from(value));
        self
    }

    /// A length or a count.
    pub fn length(&mut self, length: usize) -> &mut Self {
        self.int(i32::try_from(length).unwrap_or(i32::MAX))
    }

    /// `buffer`; none is null.
    pub fn buffer(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.length(bytes.len());
                self.bytes.extend_from_slice(bytes);
                self
            }
        }
    }

    /// `ustring`.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.buffer(Some(value.as_bytes()))
    }

    /// The frame with its length.
    pub fn finish(mut self) -> Bytes {
        let length = u32::try_from(self.bytes.len() - 4).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());
        Bytes::from(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.int(-2).long(i64::MIN).boolean(true);
        writer
            .buffer(None)
            .buffer(Some(b""))
            .text("ä")
            .length(1)
            .text("x");
        let frame = writer.finish();
        assert_eq!(frame[..4], u32::to_be_bytes(frame.len() as u32 - 4));
        let mut reader = Reader::new(&frame[4..]);
        assert_eq!(reader.int(), Ok(-2));
        assert_eq!(reader.long(), Ok(i64::MIN));
        assert_eq!(reader.boolean(), Ok(true));
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
        assert_eq!(reader.text(), Ok("ä".into()));
        assert_eq!(reader.list(Reader::text), Ok(Some(vec!["x".into()])));
        assert!(reader.is_empty());
        assert_eq!(reader.int(), Err(Malformed));
    }

    #[test]
    fn lengths_beyond_the_frame_and_below_null_are_refused() {
        for length in [-2, i32::MIN, 5, i32::MAX] {
            let bytes = [&length.to_be_bytes()[..], b"abcd"].concat();
            assert_eq!(Reader::new(&bytes).buffer(), Err(Malformed), "{length}");
            assert_eq!(
                Reader::new(&bytes).list(Reader::int),
                Err(Malformed),
                "{length}"
            );
        }
        assert_eq!(Reader::new(&[0xff; 4]).list(Reader::int), Ok(None));
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0xff]).text(),
            Ok("\u{fffd}".into())
        );
    }
}
