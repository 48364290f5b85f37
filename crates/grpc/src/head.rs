//! What a call says before its first message. Read once per call, in one pass: most calls say nothing.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};

use crate::status::{Code, Status};

const TYPE: &str = "application/grpc";

/// What a call asks for beside its message.
#[derive(Debug, Default)]
pub struct Head {
    /// Its messages may be packed with gzip, and so are the answers then.
    pub packed: bool,
    /// How long the client waits for the end of the answer.
    pub patience: Option<Duration>,
    /// The content type, if it is one with a name for the format behind it: answered as it was asked.
    pub named: Option<HeaderValue>,
}

/// A call that is turned away for its head, with the HTTP status that gRPC's own servers give to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of HTTP.
    pub status: StatusCode,
    /// Of gRPC.
    pub failure: Status,
}

impl From<Status> for Refused {
    fn from(failure: Status) -> Refused {
        Refused {
            status: StatusCode::OK,
            failure,
        }
    }
}

/// Whether a content type is gRPC's: `application/grpc`, alone or with `+format` or `;parameters`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(TYPE.as_bytes()))
        .is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}

impl Head {
    /// Nothing has to be done to the answer.
    pub fn is_plain(&self) -> bool {
        !self.packed && self.patience.is_none() && self.named.is_none()
    }

    /// Reads the headers of a gRPC call, and gives those that are not gRPC's own to `other`.
    ///
    /// # Errors
    /// A timeout that is none, an encoding that is not known, and what `other` refuses.
    pub fn of(
        headers: &HeaderMap,
        mut other: impl FnMut(&str, &HeaderValue) -> Result<(), Refused>,
    ) -> Result<Head, Refused> {
        let mut head = Head::default();
        let mut unknown = None;
        for (name, value) in headers {
            match name.as_str() {
                "content-type" if value.len() > TYPE.len() => head.named = named(value),
                "grpc-timeout" => head.patience = Some(timeout(value)?),
                "grpc-encoding" => match value.as_bytes() {
                    b"identity" | b"" => {}
                    b"gzip" => head.packed = true,
                    _ => unknown = Some(value),
                },
                name => other(name, value)?,
            }
        }
        match unknown {
            Some(encoding) => Err(Status::saying(
                Code::Unimplemented,
                format!(
                    "grpc: Decompressor is not installed for grpc-encoding {:?}",
                    String::from_utf8_lossy(encoding.as_bytes())
                ),
            )
            .into()),
            None => Ok(head),
        }
    }
}

/// Parameters behind `;` are dropped, a name behind `+` is kept.
fn named(kind: &HeaderValue) -> Option<HeaderValue> {
    (kind.as_bytes().get(TYPE.len()) == Some(&b'+')).then(|| kind.clone())
}

/// A timeout as gRPC writes it: at most eight digits and a unit.
fn timeout(value: &HeaderValue) -> Result<Duration, Refused> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let malformed = |why: &str| Refused {
        status: StatusCode::BAD_REQUEST,
        failure: Status::saying(
            Code::Internal,
            format!("malformed grpc-timeout: {why}: {text:?}"),
        ),
    };
    if text.len() < 2 {
        return Err(malformed("transport: timeout string is too short"));
    }
    if text.len() > 9 {
        return Err(malformed("transport: timeout string is too long"));
    }
    let unit: fn(u64) -> Duration = match text.as_bytes().last() {
        Some(b'H') => |n| Duration::from_secs(n * 3600),
        Some(b'M') => |n| Duration::from_secs(n * 60),
        Some(b'S') => Duration::from_secs,
        Some(b'm') => Duration::from_millis,
        Some(b'u') => Duration::from_micros,
        Some(b'n') => Duration::from_nanos,
        _ => return Err(malformed("transport: timeout unit is not recognized")),
    };
    let digits = &text[..text.len() - 1];
    match digits.parse() {
        Ok(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(unit(number)),
        _ => Err(malformed("not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &[u8]) -> Result<Head, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        Head::of(&headers, |_, _| Ok(()))
    }

    #[test]
    fn timeouts() {
        let rows = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("300m", Some(Duration::from_millis(300))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("10x", None),
            ("+5S", None),
            ("-5S", None),
            ("123456789S", None),
            ("5é", None),
        ];
        for (text, expected) in rows {
            let read = of("grpc-timeout", text.as_bytes());
            match (read, expected) {
                (Ok(head), Some(expected)) => assert_eq!(head.patience, Some(expected), "{text}"),
                (Err(refused), None) => assert_eq!(
                    (refused.status, refused.failure.code),
                    (StatusCode::BAD_REQUEST, Code::Internal),
                    "{text}"
                ),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn content_types() {
        let rows = [
            ("application/grpc", true, None),
            (
                "application/grpc+proto",
                true,
                Some("application/grpc+proto"),
            ),
            ("application/grpc;charset=x", true, None),
            ("application/grpc-web", false, None),
            ("application/grpcx", false, None),
            ("application/json", false, None),
            ("", false, None),
        ];
        for (text, expected, name) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            assert_eq!(is_grpc(&headers), expected, "{text}");
            if expected {
                let named = Head::of(&headers, |_, _| Ok(())).unwrap().named;
                assert_eq!(named.as_ref().map(|kind| kind.to_str().unwrap()), name);
            }
        }
    }
}
