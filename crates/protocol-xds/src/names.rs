//! Which service a resource's name means.
//!
//! A name is a service's flat name, or one of its names in DNS with any port behind it: `web`, `web:80`, `web.default.svc.cluster.local:80`,
//! `web.service.consul`. The flat name comes first, since it may itself look like one of the others.

use std::sync::Arc;

use portolan_catalog::{ServiceKey, State, name};

/// The zones in which services have names.
#[derive(Clone, Debug)]
pub(crate) struct Zones {
    /// Of Kubernetes.
    pub(crate) cluster: Arc<str>,
    /// Of Consul.
    pub(crate) domain: Arc<str>,
}

/// What a name means at the moment, and what has to change for it to mean something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The service, whether or not it is there.
    pub(crate) service: ServiceKey,
    /// The service whose appearance would come first; none where that is `service` itself.
    pub(crate) first: Option<ServiceKey>,
    /// No service has this label yet; any new one may get it.
    pub(crate) open: bool,
}

impl Zones {
    pub(crate) fn meaning(&self, state: &State, asked: &str) -> Meaning {
        let whole = name::read_flat(asked);
        if state.service(&whole).is_some() || !asked.contains([':', '.']) {
            return Meaning {
                service: whole,
                first: None,
                open: false,
            };
        }
        let mut open = false;
        let host = without_port(asked);
        let service = match self.label(host) {
            Some((label, namespace)) => {
                let labelled = state.service_by_label(&namespace, &label).cloned();
                open = labelled.is_none();
                labelled.unwrap_or_else(|| ServiceKey::new(&namespace, "", &label))
            }
            None => name::read_flat(self.below_the_domain(host).unwrap_or(host)),
        };
        Meaning {
            first: (whole != service).then_some(whole),
            service,
            open,
        }
    }

    /// Label and namespace of a name in Kubernetes' zone: `web.default.svc`, with or without the zone.
    fn label(&self, host: &str) -> Option<(String, String)> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let rest = host
            .strip_suffix(&*self.cluster)
            .and_then(|rest| rest.strip_suffix('.'))
            .unwrap_or(&host);
        let (label, namespace) = rest.strip_suffix(".svc")?.split_once('.')?;
        let single = |part: &str| !part.is_empty() && !part.contains('.');
        (single(label) && single(namespace)).then(|| (label.to_owned(), namespace.to_owned()))
    }

    /// The flat name in `web.service.consul`.
    fn below_the_domain<'a>(&self, host: &'a str) -> Option<&'a str> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let end = host.len().checked_sub(self.domain.len())?;
        let tail = host.get(end..)?;
        if !tail.eq_ignore_ascii_case(&self.domain) {
            return None;
        }
        let rest = host[..end].strip_suffix('.')?;
        let end = rest.len().checked_sub(".service".len())?;
        let word = rest.get(end..)?;
        (end > 0 && word.eq_ignore_ascii_case(".service")).then(|| &rest[..end])
    }

    /// The names in DNS of a service, for requests that carry them: `web.service.consul`, `web.default.svc.cluster.local`, and shorter.
    pub(crate) fn hosts(&self, flat: &str, namespace: &str, label: &str) -> [String; 4] {
        [
            format!("{flat}.service.{}", self.domain),
            format!("{label}.{namespace}.svc.{}", self.cluster),
            format!("{label}.{namespace}.svc"),
            format!("{label}.{namespace}"),
        ]
    }
}

fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_service() {
        let zones = Zones {
            cluster: "cluster.local".into(),
            domain: "consul".into(),
        };
        let state = State::default();
        let rows = [
            ("web", "default", "web", false),
            ("WEB", "default", "web", false),
            ("web:80", "default", "web", false),
            ("web.default.svc.cluster.local:80", "default", "web", true),
            ("web.prod.svc.cluster.local.", "prod", "web", true),
            ("Web.prod.svc", "prod", "web", true),
            ("web.service.consul", "default", "web", false),
            ("web.Service.Consul.:80", "default", "web", false),
            ("a--b--prod", "prod", "a", false),
            ("com.foo.Bar", "default", "com.foo.bar", false),
            ("a.b.default.svc", "default", "a.b.default.svc", false),
            (".service.consul", "default", ".service.consul", false),
            ("service.consul", "default", "service.consul", false),
            ("é.service.consul", "default", "é", false),
            (":", "default", ":", false),
            (":80", "default", "", false),
            ("", "default", "", false),
        ];
        for (text, namespace, service, open) in rows {
            let meaning = zones.meaning(&state, text);
            assert_eq!(
                (
                    meaning.service.namespace(),
                    meaning.service.name(),
                    meaning.open
                ),
                (namespace, service, open),
                "{text}"
            );
        }
    }
}
