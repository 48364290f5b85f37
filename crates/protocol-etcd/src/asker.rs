//! Who asks: the caller that the port knows, and the token that the call shows to etcd's own authentication.

use std::ops::Deref;

use http::HeaderValue;
use portolan_listener::Caller;

/// A caller with its token. What a token is worth is found out in the state that a call is answered from, not before.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    caller: Caller,
    token: Shown,
}

/// The metadata in which a call can show a token, as they came: nothing is copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// `token`, which is what clients of gRPC send.
    token: Option<HeaderValue>,
    /// `authorization`, which is what those of the JSON gateway send.
    authorization: Option<HeaderValue>,
}

impl Shown {
    /// Takes note of a header, if it is one of those. Of several of one name the first counts.
    pub(crate) fn note(&mut self, name: &str, value: &HeaderValue) {
        let place = match name {
            "token" => &mut self.token,
            "authorization" => &mut self.authorization,
            _ => return,
        };
        if place.is_none() {
            // The value is a slice of the connection's buffer, shared.
            *place = Some(value.clone());
        }
    }

    /// The token that counts; none when none is shown.
    fn bytes(&self) -> Option<&[u8]> {
        let value = self.token.as_ref().or(self.authorization.as_ref())?;
        let bytes = value.as_bytes();
        Some(bytes.strip_prefix(b"Bearer ").unwrap_or(bytes))
    }
}

impl Asker {
    pub(crate) fn new(caller: Caller, token: Shown) -> Asker {
        Asker { caller, token }
    }

    /// The token that is shown.
    pub(crate) fn token(&self) -> Option<&[u8]> {
        self.token.bytes()
    }
}

impl Deref for Asker {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_counts_and_before_any_authorization() {
        type Headers = &'static [(&'static str, &'static str)];
        let rows: [(Headers, Option<&str>); 5] = [
            (&[], None),
            (&[("token", "a"), ("token", "b")], Some("a")),
            (&[("authorization", "a"), ("token", "b")], Some("b")),
            (&[("authorization", "Bearer a")], Some("a")),
            (&[("other", "a")], None),
        ];
        for (headers, expected) in rows {
            let mut shown = Shown::default();
            for (name, value) in headers {
                shown.note(name, &HeaderValue::from_static(value));
            }
            assert_eq!(shown.bytes(), expected.map(str::as_bytes), "{headers:?}");
        }
    }
}
