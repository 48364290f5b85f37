//! Patches: three ways to say what is to become of an object.

mod json;
mod merge;
mod strategic;

use serde_json::Value;

use crate::error::Failure;
use crate::kind::Kind;
use crate::schema::Type;

/// A patch as it came.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(Vec<json::Operation>),
    /// RFC 7386.
    Merge(Value),
    /// Lists are joined as their types say.
    Strategic(Value),
}

impl Patch {
    /// Reads a body by its type; none when there is no such patch.
    ///
    /// # Errors
    /// 400 when the body is no patch.
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Option<Patch>, Failure> {
        let value = || -> Result<Value, Failure> {
            serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))
        };
        let object = || -> Result<Value, Failure> {
            let value = value()?;
            match value.is_object() {
                true => Ok(value),
                false => Err(Failure::bad_request(
                    "error decoding patch: a patch is an object",
                )),
            }
        };
        Ok(Some(match content_type {
            "application/json-patch+json" => {
                Patch::Json(json::read(&value()?).map_err(Failure::bad_request)?)
            }
            "application/merge-patch+json" => Patch::Merge(object()?),
            "application/strategic-merge-patch+json" => Patch::Strategic(object()?),
            _ => return Ok(None),
        }))
    }

    /// What the patch makes of `object`.
    ///
    /// # Errors
    /// 422 when it cannot be applied, 500 for directives that cannot be followed, as the API server has it.
    pub(crate) fn apply(&self, kind: &Kind, object: &Value) -> Result<Value, Failure> {
        let mut patched = object.clone();
        let applied = match self {
            Patch::Json(operations) => json::apply(&mut patched, operations),
            Patch::Merge(patch) => {
                merge::apply(&mut patched, patch);
                Ok(())
            }
            Patch::Strategic(patch) => {
                strategic::apply(&mut patched, patch, Some(&Type::Object(kind.schema)))
            }
        };
        match (applied, self) {
            (Ok(()), _) => Ok(patched),
            (Err(why), Patch::Json(_)) => {
                tracing::debug!(why, "a patch cannot be applied");
                Err(Failure::unpatchable())
            }
            (Err(why), _) => Err(Failure::unexpected(why)),
        }
    }
}
