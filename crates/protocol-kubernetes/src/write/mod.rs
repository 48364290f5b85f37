//! Requests to commands: what is read of a body, what is filled in, what is proposed, and what the client is told.
//!
//! A write names the version it replaces, so that two writers of one object never undo each other: who comes second is told `Conflict`,
//! and a patch that names no version is applied again.

mod apply;
mod create;
mod delete;
mod prepare;
mod update;
mod valid;

use std::sync::Arc;

use http::StatusCode;
use portolan_catalog::{Done, OpDone, Record, Revision};
use portolan_listener::{Caller, Response};
use serde_json::Value;

use crate::accept::Accepted;
use crate::app::App;
use crate::error::Failure;
use crate::kind::Kind;
use crate::managed;
use crate::object::{self, metadata_mut};
use crate::params::{Params, Validation};
use crate::respond;
use crate::schema;

pub(crate) use apply::apply;
pub(crate) use create::create;
pub(crate) use delete::{delete, delete_all};
pub(crate) use update::{patch, update};

/// How often a write is tried again that met another one.
const ATTEMPTS: u64 = 16;

/// A write as it came.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    pub(crate) kind: &'static Kind,
    /// Empty for kinds without namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: Option<&'static str>,
    pub(crate) params: Params,
    pub(crate) accepted: Accepted,
    /// Who the client's program is, by its own words.
    pub(crate) agent: String,
}

/// An object read of a body, with what the client is to be warned of.
struct Read {
    object: Value,
    warnings: Vec<String>,
    /// Who owns what after an apply; a write of another kind finds out itself.
    owners: Option<Value>,
}

impl Call {
    /// Reads an object of this kind that is not kept: with what the client is to be warned of.
    pub(crate) fn body(&self, body: &[u8]) -> Result<(Value, Vec<String>), Failure> {
        let read = self.read(body)?;
        Ok((read.object, read.warnings))
    }

    /// Reads an object of this kind.
    fn read(&self, body: &[u8]) -> Result<Read, Failure> {
        let object: Value = serde_json::from_slice(body)
            .map_err(|error| Failure::unrecognized(self.kind.kind, &error.to_string(), body))?;
        if !object.is_object() {
            return Err(Failure::bad_request(
                "the object provided is unrecognized (must be of type object)",
            ));
        }
        self.checked(object)
    }

    /// Checks an object's type and fields, and takes out what nobody knows.
    fn checked(&self, mut object: Value) -> Result<Read, Failure> {
        let (kind, version) = (self.kind.kind, self.kind.api_version());
        let given = |field: &str| object[field].as_str().filter(|text| !text.is_empty());
        if let Some(other) = given("apiVersion").filter(|given| *given != version) {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({other}) does not match the expected API version ({version})"
            )));
        }
        if let Some(other) = given("kind").filter(|given| *given != kind) {
            return Err(Failure::bad_request(format!(
                "{other} in version {:?} cannot be handled as a {kind}: no kind {other:?} is registered for this path",
                self.kind.version
            )));
        }
        let checked = schema::check(self.kind.schema, &mut object);
        if let Some(wrong) = checked.mistyped {
            return Err(Failure::bad_request(format!(
                "{kind} in version {:?} cannot be handled as a {kind}: {wrong}",
                self.kind.version
            )));
        }
        let unknown: Vec<String> = checked
            .unknown
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect();
        let warnings = match self.params.validation()? {
            Validation::Strict if !unknown.is_empty() => {
                return Err(Failure::bad_request(format!(
                    "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
                    self.kind.version,
                    unknown.join(", ")
                )));
            }
            Validation::Ignore => Vec::new(),
            Validation::Strict | Validation::Warn => unknown,
        };
        Ok(Read {
            object,
            warnings,
            owners: None,
        })
    }

    /// The body's names must be those of the path.
    fn same_place(&self, object: &Value) -> Result<(), Failure> {
        let (namespace, name) = (
            object::meta(object, "namespace"),
            object::meta(object, "name"),
        );
        if !namespace.is_empty() && namespace != self.namespace {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if !self.name.is_empty() && !name.is_empty() && name != self.name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name
            )));
        }
        Ok(())
    }

    /// Who writes: the manager that the client names, else its program.
    fn manager(&self) -> &str {
        match self.params.get("fieldManager") {
            "" => &self.agent,
            manager => manager,
        }
    }

    /// Notes in `after`, which takes the place of `before`, who owns which of its fields.
    fn own(&self, before: Option<&Value>, after: &mut Value, read: &Read) {
        if let Some(owners) = &read.owners {
            metadata_mut(after).insert("managedFields".into(), owners.clone());
            return;
        }
        let now = object::time(self.app.registry.now());
        let writer = managed::Writer {
            kind: self.kind,
            subresource: self.subresource,
            manager: self.manager(),
            now: &now,
        };
        let asked = &read.object["metadata"]["managedFields"];
        managed::update(&writer, before, after, asked, &read.object);
    }

    /// The answer with an object.
    pub(crate) fn answer(
        &self,
        status: StatusCode,
        object: &Value,
        warnings: &[String],
    ) -> Response {
        let now = self.app.registry.now();
        let shown = self.accepted.form.one(self.kind, object, &self.params, now);
        let mut response = self.accepted.answer(status, &shown, self.kind);
        for warning in warnings {
            respond::warn(&mut response, warning);
        }
        if self.kind.kind == "Endpoints" {
            respond::warn(&mut response, ENDPOINTS_WARNING);
        }
        response
    }
}

/// What every answer about Endpoints says.
pub(crate) const ENDPOINTS_WARNING: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// The version a write made of the object: that of its first operation.
fn written(done: &Done) -> Option<Revision> {
    let Done::Written(written) = done else {
        return None;
    };
    match written.results.first() {
        Some(OpDone::Put { after, .. }) => Some(after.modified),
        _ => None,
    }
}

/// An object's record as one value with its version.
fn current(record: &Record) -> Value {
    object::decode(record)
}
