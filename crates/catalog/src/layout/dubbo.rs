//! Dubbo by interface: `<root>/<interface>/providers/<URL>`, everything in the name. A service is named as Dubbo names it in Nacos:
//! `providers:<interface>:<version>:<group>`, where empty parts stay. Consumers, routers and configurators are plain nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::endpoint::{Endpoint, Port, Transport, split_host_port};
use crate::ids::{InstanceKey, Keyspace, ServiceKey};
use crate::instance::{Declared, Instance, Meta, Registration, Weight};
use crate::name::read_flat;
use crate::{bounds, limits};

/// A provider's URL, taken apart.
struct Provider {
    protocol: String,
    address: String,
    path: String,
    interface: String,
    parameters: BTreeMap<String, String>,
}

impl Provider {
    fn parse(text: &str) -> Option<Provider> {
        let (protocol, rest) = text.split_once("://")?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (address, path) = place.split_once('/').unwrap_or((place, ""));
        let address = address
            .rsplit_once('@')
            .map_or(address, |(_, address)| address);
        let parameters: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let interface = parameters.get("interface").map_or(path, String::as_str);
        Some(Provider {
            protocol: protocol.to_owned(),
            address: address.to_owned(),
            path: path.to_owned(),
            interface: interface.to_owned(),
            parameters,
        })
    }

    fn service(&self) -> String {
        let part = |name: &str| self.parameters.get(name).map_or("", String::as_str);
        format!(
            "providers:{}:{}:{}",
            self.interface,
            part("version"),
            part("group")
        )
    }
}

fn provider(root: &str, path: &str) -> Option<Provider> {
    let (interface, url) = path
        .strip_prefix(root)?
        .strip_prefix('/')?
        .split_once("/providers/")?;
    let found = Provider::parse(&decoded(url)?)?;
    (found.interface == decoded(interface)?).then_some(found)
}

pub(super) fn recognise(root: &str, path: &str) -> Option<Registration> {
    let provider = provider(root, path)?;
    let (host, port) = split_host_port(&provider.address).filter(|(_, port)| *port != 0)?;
    let service = provider.service();
    let mut facts = Registration::new(
        InstanceKey::record(Keyspace::Znodes, path),
        read_flat(&service),
        Endpoint {
            host,
            ports: [Port {
                name: provider.protocol.as_str().into(),
                number: port,
                secure: false,
                transport: Transport::Tcp,
            }]
            .into_iter()
            .collect(),
        },
    );
    facts.spelling = service.into();
    let mut all: Meta = provider
        .parameters
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    // Where there is no URL, in Nacos, Dubbo looks for its other parts here.
    for (name, value) in [("protocol", &provider.protocol), ("path", &provider.path)] {
        if all.get(name).is_none() {
            all = all.with(name, value);
        }
    }
    facts.meta = super::curator::bounded(&all);
    if let Some(weight) = provider
        .parameters
        .get("weight")
        .and_then(|w| w.parse().ok())
    {
        facts.weight = Weight::from_units(weight, 100);
    }
    if provider
        .parameters
        .get("disabled")
        .is_some_and(|is| is == "true")
    {
        facts.declared = Declared::OutOfService;
    }
    bounds::check(&facts).is_ok().then_some(facts)
}

/// The service of a provider's node.
pub(super) fn service_at(root: &str, path: &str) -> Option<ServiceKey> {
    Some(read_flat(&provider(root, path)?.service()))
}

pub(super) fn render(
    root: &str,
    name: &str,
    primary: &Instance,
    level: u8,
) -> Option<(String, String)> {
    let mut parts = name.strip_prefix("providers:")?.split(':');
    let (interface, version, group) = (parts.next()?, parts.next()?, parts.next()?);
    let port = primary
        .endpoint
        .ports
        .first()
        .filter(|port| port.number != 0)?;
    if parts.next().is_some() || interface.is_empty() {
        return None;
    }
    let mut parameters: BTreeMap<&str, Arc<str>> = primary
        .meta
        .iter()
        .map(|(name, value)| (name, Arc::from(value)))
        .collect();
    parameters.insert("interface", interface.into());
    for (name, value) in [("version", version), ("group", group)] {
        if !value.is_empty() {
            parameters.insert(name, value.into());
        }
    }
    if primary.weight != Weight::ORDINARY {
        parameters.insert("weight", primary.weight.to_units(100, 1).to_string().into());
    }
    for (name, value) in [
        ("category", "providers"),
        ("dynamic", "true"),
        ("side", "provider"),
    ] {
        parameters.entry(name).or_insert_with(|| value.into());
    }
    let query: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // In Nacos, whose ports have no names, Dubbo has it in the metadata.
    let said = primary
        .meta
        .get("protocol")
        .filter(|_| level >= super::DUBBO_LEVEL);
    let protocol = match &*port.name {
        "" => said.unwrap_or("dubbo"),
        name => name,
    };
    let address = primary.endpoint.host.with_port(port.number);
    let url = encoded(&format!(
        "{protocol}://{address}/{interface}?{}",
        query.join("&")
    ));
    let path = format!("{root}/{}/providers/{url}", encoded(interface));
    (path.len() <= limits::RECORD_KEY).then_some((path, String::new()))
}

/// As Java's `URLEncoder` writes it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// As Java's `URLDecoder` reads it.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let text = "dubbo://10.0.0.1:20880/com.foo.Bar$In?methods=a,b&x=ä b";
        assert_eq!(
            encoded(text),
            "dubbo%3A%2F%2F10.0.0.1%3A20880%2Fcom.foo.Bar%24In%3Fmethods%3Da%2Cb%26x%3D%C3%A4+b"
        );
        assert_eq!(decoded(&encoded(text)).as_deref(), Some(text));
        assert_eq!(decoded("%4"), None);
        assert_eq!(decoded("%zz"), None);
    }
}
