//! gzip, where clients ask for it or send it.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Whether the client takes gzip: `gzip`, `x-gzip` or `*` is named and not weighed `q=0` (RFC 9110 section 12.5.3).
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or("").split(',') {
            let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
            let wanted = !is_zero(weight);
            match coding.trim() {
                name if name.eq_ignore_ascii_case("gzip")
                    || name.eq_ignore_ascii_case("x-gzip") =>
                {
                    return wanted;
                }
                "*" => any = Some(wanted),
                _ => {}
            }
        }
    }
    any.unwrap_or(false)
}

fn is_zero(weight: &str) -> bool {
    let Some((name, value)) = weight.split_once('=') else {
        return false;
    };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>() == Ok(0.0)
}

/// Packs `bytes` at the fast level: a registry's answers shrink tenfold already there.
pub fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(bytes.len() / 4 + 64),
        Compression::fast(),
    );
    // Writing to a `Vec` does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// Why packed bytes were not unpacked.
pub(crate) enum UnpackError {
    TooLarge,
    Broken,
}

/// Unpacks `bytes`, and stops one byte after `limit`.
pub(crate) fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, UnpackError> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| UnpackError::Broken)?;
    if out.len() > limit {
        return Err(UnpackError::TooLarge);
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_accepted_when_named_and_not_weighed_nought() {
        let rows = [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("deflate, GZIP;q=0.5"), true),
            (Some("gzip;q=0"), false),
            (Some("gzip; q=0.0, *"), false),
            (Some("*"), true),
            (Some("*;q=0"), false),
            (Some("identity, br"), false),
            (Some("x-gzip"), true),
        ];
        for (value, accepted) in rows {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(accepts_gzip(&headers), accepted, "{value:?}");
        }
    }

    #[test]
    fn unpacking_stops_at_its_limit() {
        let packed = gzip(&vec![b'a'; 1 << 20]);
        assert!(packed.len() < 10_000);
        assert!(matches!(gunzip(&packed, 1 << 20), Ok(bytes) if bytes.len() == 1 << 20));
        assert!(matches!(
            gunzip(&packed, (1 << 20) - 1),
            Err(UnpackError::TooLarge)
        ));
        assert!(matches!(gunzip(b"not gzip", 100), Err(UnpackError::Broken)));
        assert!(matches!(
            gunzip(&packed[..packed.len() / 2], 1 << 21),
            Err(UnpackError::Broken)
        ));
    }
}
