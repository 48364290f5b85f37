//! What goes wrong, as Consul says it: a status and one line of plain text.

use crate::wire::Malformed;
use http::StatusCode;
use std::borrow::Cow;

/// An answer that is not the one the client hoped for. Bodies are plain text; clients match on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// 400: the client must change its request.
    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404: there is no such thing.
    pub(crate) fn missing(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 500: Consul's status for whatever its servers refuse.
    pub(crate) fn server(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::bad(format!("Request decode failed: {}", error.0))
    }
}
