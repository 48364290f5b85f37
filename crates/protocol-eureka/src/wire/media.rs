//! Content negotiation as Spring's server does it.

/// One of the two spellings of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/xml`
    Xml,
}

impl Format {
    /// The `Content-Type` of answers; no charset is named.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Xml => "application/xml",
        }
    }

    /// What an `Accept` header asks for: JSON when it contains `json`, XML when absent or when it takes XML or
    /// anything, `None` (406) when it can take neither.
    pub fn accepted(accept: Option<&str>) -> Option<Format> {
        let Some(accept) = accept else {
            return Some(Format::Xml);
        };
        let accept = accept.to_ascii_lowercase();
        if accept.contains("json") {
            Some(Format::Json)
        } else if accept.trim().is_empty()
            || accept.contains("xml")
            || accept.contains("*/*")
            || accept.contains("application/*")
        {
            Some(Format::Xml)
        } else {
            None
        }
    }

    /// What a `Content-Type` header says a body is; `None` (415) when it is neither.
    pub fn sent(content_type: Option<&str>) -> Option<Format> {
        let essence = content_type?
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if essence == "application/json" || essence.ends_with("+json") {
            Some(Format::Json)
        } else if essence == "application/xml" || essence == "text/xml" {
            Some(Format::Xml)
        } else {
            None
        }
    }
}

/// How much of an instance a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Every field.
    Full,
    /// What a caller needs to send a request (`X-Eureka-Accept: compact`).
    Compact,
}

impl Detail {
    /// What the header `X-Eureka-Accept` asks for.
    pub fn accepted(header: Option<&str>) -> Detail {
        match header {
            Some(value) if value.trim().eq_ignore_ascii_case("compact") => Detail::Compact,
            Some(_) | None => Detail::Full,
        }
    }
}

/// Format and detail together: one encoding of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The spelling.
    pub format: Format,
    /// The fields.
    pub detail: Detail,
}

impl Shape {
    /// Every encoding there is, in the order of [`Shape::index`].
    pub const ALL: [Shape; 4] = [
        Shape::new(Format::Json, Detail::Full),
        Shape::new(Format::Json, Detail::Compact),
        Shape::new(Format::Xml, Detail::Full),
        Shape::new(Format::Xml, Detail::Compact),
    ];

    /// A shape from its parts.
    pub const fn new(format: Format, detail: Detail) -> Shape {
        Shape { format, detail }
    }

    /// Its place in [`Shape::ALL`].
    pub const fn index(self) -> usize {
        let format = match self.format {
            Format::Json => 0,
            Format::Xml => 2,
        };
        match self.detail {
            Detail::Full => format,
            Detail::Compact => format + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Detail, Format, Shape};

    #[test]
    fn accept_is_read_as_spring_reads_it() {
        let rows = [
            (None, Some(Format::Xml)),
            (Some("*/*"), Some(Format::Xml)),
            (Some("application/json"), Some(Format::Json)),
            (
                Some("application/json, application/*+json"),
                Some(Format::Json),
            ),
            (Some("application/vnd.x+json"), Some(Format::Json)),
            (Some("application/xml"), Some(Format::Xml)),
            (
                Some("text/html,application/xhtml+xml,application/xml;q=0.9"),
                Some(Format::Xml),
            ),
            (Some("text/html"), None),
        ];
        for (accept, expected) in rows {
            assert_eq!(Format::accepted(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn a_body_is_json_or_xml_or_refused() {
        let rows = [
            (Some("application/json"), Some(Format::Json)),
            (Some("application/json;charset=UTF-8"), Some(Format::Json)),
            (Some("Application/XML"), Some(Format::Xml)),
            (Some("application/x-www-form-urlencoded"), None),
            (Some("text/plain"), None),
            (None, None),
        ];
        for (sent, expected) in rows {
            assert_eq!(Format::sent(sent), expected, "{sent:?}");
        }
        assert_eq!(Detail::accepted(Some("compact")), Detail::Compact);
        assert_eq!(Detail::accepted(Some("full")), Detail::Full);
        for (at, shape) in Shape::ALL.into_iter().enumerate() {
            assert_eq!(shape.index(), at);
        }
    }
}
