//! In which form and in which encoding a client is answered.

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use portolan_listener::Response;
use serde_json::Value;

use crate::describe::table::Form;
use crate::error::Failure;
use crate::kind::Kind;
use crate::media::{ALL, Media, STREAMED};
use crate::schema;

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) form: Form,
    pub(crate) media: Media,
}

impl Accepted {
    /// An object as it is, in JSON.
    pub(crate) const PLAIN: Accepted = Accepted {
        form: Form::Object,
        media: Media::Json,
    };

    /// Reads what a client accepts: the first of its list that there is.
    ///
    /// # Errors
    /// 406 when there is none of it.
    pub(crate) fn of(headers: &HeaderMap, is_watch: bool) -> Result<Accepted, Failure> {
        let (mut any, mut known) = (false, false);
        for value in headers.get_all(ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default();
                if kind.is_empty() {
                    continue;
                }
                any = true;
                let Some(media) = Media::of(kind) else {
                    continue;
                };
                known = true;
                // Events have no end in YAML, and protobuf has no tables.
                let form = Form::of(parts.filter_map(|part| part.split_once('=')));
                let fits = match (media, form) {
                    (Media::Yaml, _) => !is_watch,
                    (Media::Protobuf, Some(Form::Table(_))) => false,
                    _ => true,
                };
                if let Some(form) = form.filter(|_| fits) {
                    return Ok(Accepted { form, media });
                }
            }
        }
        match (any, is_watch) {
            (false, _) => Ok(Accepted::PLAIN),
            (true, _) if !known => Err(Failure::nothing_acceptable(&ALL)),
            (true, false) => Err(Failure::not_acceptable(&ALL)),
            (true, true) => Err(Failure::not_acceptable(&STREAMED)),
        }
    }

    /// An answer with an object of a kind in its form.
    pub(crate) fn answer(self, status: StatusCode, value: &Value, kind: &Kind) -> Response {
        self.media.answer(status, value, self.schema(kind))
    }

    /// An answer with a list of objects of a kind in its form.
    pub(crate) fn answer_list(self, status: StatusCode, value: &Value, kind: &Kind) -> Response {
        self.media
            .answer(status, value, schema::list_of(self.schema(kind)))
    }

    /// The type of what is answered for one object.
    pub(crate) fn schema(self, kind: &Kind) -> &'static str {
        match self.form {
            Form::Partial(_) => "PartialObjectMetadata",
            Form::Object | Form::Table(_) => kind.schema,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_there_is_is_taken() {
        let of = |accept: &str, is_watch| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let accepted = Accepted::of(&headers, is_watch)?;
            Ok::<_, Failure>((accepted.form, accepted.media))
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let table = (Form::Table("meta.k8s.io/v1"), Media::Json);
        assert_eq!(of(kubectl, false), Ok(table));
        let informer = "application/vnd.kubernetes.protobuf, */*";
        assert_eq!(of(informer, true), Ok((Form::Object, Media::Protobuf)));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        let partial = (Form::Partial("meta.k8s.io/v1"), Media::Protobuf);
        assert_eq!(of(metadata, false), Ok(partial));
        let tables = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1, application/json;as=Table;g=meta.k8s.io;v=v1";
        assert_eq!(of(tables, false), Ok(table));
        assert_eq!(
            of("application/yaml", false),
            Ok((Form::Object, Media::Yaml))
        );
        assert_eq!(of("application/yaml", true).unwrap_err().code, 406);
        assert_eq!(of("application/cbor", false).unwrap_err().code, 406);
        assert_eq!(Accepted::of(&HeaderMap::new(), false), Ok(Accepted::PLAIN));
    }
}
