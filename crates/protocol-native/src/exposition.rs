//! The two text formats of metrics. Inside there is OpenMetrics; readers that do not ask for it get Prometheus' older format.

/// What a reader of OpenMetrics accepts.
pub(crate) const OPEN: &str = "application/openmetrics-text";
/// The type of OpenMetrics.
pub(crate) const OPEN_KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The type of Prometheus' text format.
pub(crate) const CLASSIC_KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics as Prometheus' text format 0.0.4: a counter's help and type carry the name of its samples, which end in `_total`; units and
/// the end mark are comments nobody wants.
pub(crate) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), help) => {
                let counter = lines
                    .peek()
                    .and_then(|next| next.strip_prefix("# TYPE "))
                    .is_some_and(|next| next.strip_prefix(name) == Some(" counter"));
                let end = if counter { "_total" } else { "" };
                text.push_str(&format!("# HELP {name}{end} {}\n", help.unwrap_or("")));
            }
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                text.push_str(&format!("# TYPE {name}_total counter\n"));
            }
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples() {
        let open = "# HELP a things: of a kind.\n# TYPE a counter\na_total{x=\"# TYPE b counter\"} 1\n# HELP b_seconds how long.\n\
            # TYPE b_seconds histogram\n# UNIT b_seconds seconds\nb_seconds_sum 0.5\nb_seconds_count 1\n\
            b_seconds_bucket{le=\"+Inf\"} 1\n# HELP c now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_total things: of a kind.\n# TYPE a_total counter\na_total{x=\"# TYPE b counter\"} 1\n\
            # HELP b_seconds how long.\n# TYPE b_seconds histogram\nb_seconds_sum 0.5\nb_seconds_count 1\n\
            b_seconds_bucket{le=\"+Inf\"} 1\n# HELP c now.\n# TYPE c gauge\nc 2\n";
        assert_eq!(classic(open), expected);
    }
}
