//! One request, as handlers see it.

use crate::error::Failure;
use crate::sight::Sight;
use crate::wire::{Params, ReadOptions, is_cache_control};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use portolan_catalog::{Cause, Why};
use portolan_listener::{
    Action, BodyError, Caller, Request as HttpRequest, Resource, json_depth_within, read_body,
    read_body_decoded,
};
use serde_json::Value;

/// A request with its caller. The body is read when a handler asks for it.
#[derive(Debug)]
pub(crate) struct Request {
    http: HttpRequest,
    captured: portolan_listener::Params,
    pub(crate) caller: Caller,
    /// What of lists the caller sees; none for everything.
    pub(crate) sight: Option<std::sync::Arc<Sight>>,
    /// Why the token it shows is worth nothing.
    pub(crate) refused: Option<Failure>,
}

impl Request {
    pub(crate) fn new(http: HttpRequest, captured: portolan_listener::Params) -> Self {
        let caller = Caller::of(&http);
        Self {
            http,
            captured,
            caller,
            sight: None,
            refused: None,
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.http.headers()
    }

    pub(crate) fn method(&self) -> &Method {
        self.http.method()
    }

    /// The path as it came.
    pub(crate) fn uri_path(&self) -> &str {
        self.http.uri().path()
    }

    /// The query string as it came.
    pub(crate) fn raw_query(&self) -> &str {
        self.http.uri().query().unwrap_or_default()
    }

    pub(crate) fn params(&self) -> Params<'_> {
        Params::parse(self.raw_query())
    }

    /// The common parameters of a read.
    ///
    /// # Errors
    /// 400 with Consul's sentences, also for a `Cache-Control` header that cannot be read. What it asks for is always so:
    /// every answer is made now.
    pub(crate) fn read_options(&self) -> Result<ReadOptions, Failure> {
        if let Some(header) = self.http.headers().get(CACHE_CONTROL)
            && !is_cache_control(header.as_bytes())
        {
            return Err(Failure::bad("Invalid Cache-Control header."));
        }
        ReadOptions::parse(&self.params())
    }

    /// A captured piece of the path, as it came.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.captured.raw(name)
    }

    /// A captured piece of the path, percent-decoded once.
    ///
    /// # Errors
    /// 400 when it is not UTF-8 or holds a NUL, which no name can.
    pub(crate) fn path(&self, name: &str) -> Result<String, Failure> {
        let text = percent_decode_str(self.captured.raw(name))
            .decode_utf8()
            .map_err(|_| Failure::bad("the path is not UTF-8"))?;
        if text.contains('\0') {
            return Err(Failure::bad("the path holds a NUL byte"));
        }
        Ok(text.into_owned())
    }

    /// As [`Request::path`]; an empty one is refused with `missing`.
    pub(crate) fn named(&self, name: &str, missing: &'static str) -> Result<String, Failure> {
        match self.path(name)? {
            text if text.is_empty() => Err(Failure::bad(missing)),
            text => Ok(text),
        }
    }

    /// The service a lookup names. What of it the caller may not see is left out.
    ///
    /// # Errors
    /// 400 when it is not named, 403 when the token is worth nothing.
    pub(crate) fn service(&self) -> Result<String, Failure> {
        let name = self.named("service", "Missing service name")?;
        self.listed()?;
        Ok(name)
    }

    /// Asks whether the caller may.
    pub(crate) fn allow(&self, action: Action, resource: Resource<'_>) -> Result<(), Failure> {
        let decision = self.caller.allow(action, resource);
        match &self.refused {
            Some(refused) if resource != Resource::Public => Err(refused.clone()),
            _ => Ok(decision?),
        }
    }

    /// Says that everybody may ask this: what the answer shows of the catalog goes through [`Shown`](crate::read::Shown), which leaves
    /// out what is not for the caller.
    pub(crate) fn listed(&self) -> Result<(), Failure> {
        self.allow(Action::Read, Resource::Public)?;
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// Who causes what this request proposes.
    pub(crate) fn cause(&self) -> Cause {
        self.caller.cause(Why::Call)
    }

    /// The length of the body as the client announced it, if it did.
    pub(crate) fn announced(&self) -> Option<u64> {
        let length = self.http.headers().get(CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    }

    /// The whole body, at most `limit` bytes.
    pub(crate) async fn body(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let unpacked = self
            .caller
            .context()
            .limits()
            .decompressed_bytes
            .min(limit.max(1 << 20));
        read_body_decoded(&mut self.http, limit, unpacked).await
    }

    /// The body as it came, whatever it says of its encoding.
    pub(crate) async fn raw_body(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        read_body(&mut self.http, limit).await
    }

    /// The body as JSON; no body is null. What cannot be read as JSON is told in the inner error.
    pub(crate) async fn json_body(&mut self) -> Result<Result<Value, String>, Failure> {
        let limit = self.caller.context().limits().body_bytes;
        let bytes = self.body(limit).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Ok(Value::Null));
        }
        if !json_depth_within(&bytes, self.caller.context().limits().json_depth) {
            return Ok(Err("the body is nested too deeply".to_owned()));
        }
        Ok(serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
    }

    /// As [`Request::json_body`], with the words nearly every request has for what cannot be read.
    pub(crate) async fn json(&mut self) -> Result<Value, Failure> {
        let body = self.json_body().await?;
        body.map_err(|why| Failure::bad(format!("Request decode failed: {why}")))
    }

    /// As [`Request::json`], for requests that mean nothing without a body.
    pub(crate) async fn json_object(&mut self) -> Result<Value, Failure> {
        match self.json().await? {
            Value::Null => Err(Failure::bad("Request decode failed: EOF")),
            value => Ok(value),
        }
    }
}
