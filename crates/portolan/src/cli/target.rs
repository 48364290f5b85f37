//! `SERVICE/INSTANCE`, or `origin:id`.

/// Protocols that an id may begin with.
const ORIGINS: [&str; 9] = [
    "consul",
    "etcd",
    "zookeeper",
    "eureka",
    "nacos",
    "kubernetes",
    "native",
    "mirror",
    "portolan",
];

/// The service, if one is named, and the instance.
pub(super) fn split(text: &str) -> (Option<&str>, &str) {
    let whole = text
        .split_once(':')
        .is_some_and(|(origin, _)| ORIGINS.contains(&origin));
    match text.split_once('/') {
        Some((service, instance)) if !whole && !service.is_empty() && !instance.is_empty() => {
            (Some(service), instance)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_named_in_two_ways() {
        let rows = [
            ("web/10.0.0.1:80", (Some("web"), "10.0.0.1:80")),
            ("web/consul:n1/web-1", (Some("web"), "consul:n1/web-1")),
            ("consul:n1/web-1", (None, "consul:n1/web-1")),
            (
                "etcd:kitex/registry-etcd/web/h:1",
                (None, "etcd:kitex/registry-etcd/web/h:1"),
            ),
            ("web-1", (None, "web-1")),
            ("10.0.0.1:80", (None, "10.0.0.1:80")),
            ("web/", (None, "web/")),
        ];
        for (text, expected) in rows {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
