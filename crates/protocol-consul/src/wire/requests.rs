//! The bodies clients send for services, checks, nodes and sessions, decoded but not yet judged.

use super::fields::{Fields, Malformed};
use serde_json::Value;
use std::collections::BTreeMap;

/// A service as `/agent/service/register` (`Name`) or `/catalog/register` (`Service`) spells it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceBody {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) address: String,
    pub(crate) port: i64,
    /// Name, port, whether it is the default one.
    pub(crate) ports: Vec<(String, i64, bool)>,
    pub(crate) socket_path: String,
    pub(crate) tagged_addresses: BTreeMap<String, (String, i64)>,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) weights: Option<(i64, i64)>,
    pub(crate) enable_tag_override: bool,
    pub(crate) kind: String,
    pub(crate) proxy: Option<Value>,
    pub(crate) connect: Option<Value>,
    pub(crate) locality: Option<(String, String)>,
    pub(crate) checks: Vec<CheckBody>,
}

impl ServiceBody {
    /// Reads an agent registration.
    pub(crate) fn of_agent(value: &Value) -> Result<Self, Malformed> {
        let fields = Fields::of(value, "service")?;
        let mut body = Self::read(&fields, "name")?;
        if let Some(check) = fields.get("check") {
            body.checks.extend(CheckBody::of(check)?);
        }
        for check in fields.list("checks")? {
            body.checks.extend(CheckBody::of(check)?);
        }
        Ok(body)
    }

    /// Reads the `Service` of a catalog registration or of a transaction.
    pub(crate) fn of_catalog(value: &Value) -> Result<Self, Malformed> {
        Self::read(&Fields::of(value, "Service")?, "service")
    }

    fn read(fields: &Fields<'_>, name_key: &str) -> Result<Self, Malformed> {
        let mut tagged_addresses = BTreeMap::new();
        for (name, value) in fields.map("taggedaddresses")?.into_iter().flatten() {
            let address = Fields::of(value, "TaggedAddresses")?;
            tagged_addresses.insert(
                name.clone(),
                (address.text("address")?, address.integer("port")?),
            );
        }
        let mut ports = Vec::new();
        for value in fields.list("ports")? {
            let port = Fields::of(value, "Ports")?;
            ports.push((
                port.text("name")?,
                port.integer("port")?,
                port.flag("default")?,
            ));
        }
        let weights = match fields.object("weights")? {
            Some(weights) => Some((weights.integer("passing")?, weights.integer("warning")?)),
            None => None,
        };
        let locality = match fields.object("locality")? {
            Some(locality) => Some((locality.text("region")?, locality.text("zone")?)),
            None => None,
        };
        Ok(Self {
            id: fields.text("id")?,
            name: fields.text(name_key)?,
            tags: fields.texts("tags")?,
            address: fields.text("address")?,
            port: fields.integer("port")?,
            ports,
            socket_path: fields.text("socketpath")?,
            tagged_addresses,
            meta: fields.strings_of("meta")?,
            weights,
            enable_tag_override: fields.flag("enabletagoverride")?,
            kind: fields.text("kind")?,
            proxy: fields.get("proxy").cloned(),
            connect: fields.get("connect").cloned(),
            locality,
            checks: Vec::new(),
        })
    }
}

/// A check in any of its three spellings: agent, inside a service, catalog (with `Definition`).
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckBody {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) notes: String,
    pub(crate) status: String,
    pub(crate) output: String,
    pub(crate) service_id: String,
    pub(crate) kind: String,
    pub(crate) node: String,
    pub(crate) definition: DefinitionBody,
}

/// What a check does. Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DefinitionBody {
    pub(crate) interval: Option<i64>,
    pub(crate) timeout: Option<i64>,
    pub(crate) ttl: Option<i64>,
    pub(crate) http: String,
    pub(crate) method: String,
    pub(crate) header: BTreeMap<String, Vec<String>>,
    pub(crate) body: String,
    pub(crate) disable_redirects: bool,
    pub(crate) tcp: String,
    pub(crate) tcp_use_tls: bool,
    pub(crate) udp: String,
    pub(crate) grpc: String,
    pub(crate) grpc_use_tls: bool,
    pub(crate) h2ping: String,
    pub(crate) h2ping_use_tls: Option<bool>,
    pub(crate) tls_server_name: String,
    pub(crate) tls_skip_verify: bool,
    pub(crate) args: Vec<String>,
    pub(crate) script: String,
    pub(crate) docker_container_id: String,
    pub(crate) shell: String,
    pub(crate) alias_node: String,
    pub(crate) alias_service: String,
    pub(crate) os_service: String,
    pub(crate) success_before_passing: i64,
    pub(crate) failures_before_warning: Option<i64>,
    pub(crate) failures_before_critical: i64,
    pub(crate) deregister_after: Option<i64>,
    pub(crate) output_max_size: i64,
}

impl CheckBody {
    /// Reads a check; an empty object and null are none.
    pub(crate) fn of(value: &Value) -> Result<Option<Self>, Malformed> {
        let fields = Fields::of(value, "Check")?;
        if fields.is_empty() {
            return Ok(None);
        }
        let id = match fields.text("checkid")? {
            id if id.is_empty() => fields.text("id")?,
            id => id,
        };
        let mut definition = DefinitionBody::default();
        definition.read(&fields)?;
        if let Some(inner) = fields.object("definition")? {
            definition.read(&inner)?;
        }
        Ok(Some(Self {
            id,
            name: fields.text("name")?,
            notes: fields.text("notes")?,
            status: fields.text("status")?,
            output: fields.text("output")?,
            service_id: fields.text("serviceid")?,
            kind: fields.text("type")?,
            node: fields.text("node")?,
            definition,
        }))
    }
}

impl DefinitionBody {
    /// Takes what `fields` says over what is there.
    fn read(&mut self, fields: &Fields<'_>) -> Result<(), Malformed> {
        let pick = |keys: &[&str]| -> Result<Option<i64>, Malformed> {
            for key in keys {
                if let Some(nanos) = fields.duration(key)? {
                    return Ok(Some(nanos));
                }
            }
            Ok(None)
        };
        self.interval = pick(&["interval", "intervalduration"])?.or(self.interval);
        self.timeout = pick(&["timeout", "timeoutduration"])?.or(self.timeout);
        self.ttl = pick(&["ttl"])?.or(self.ttl);
        self.deregister_after = pick(&[
            "deregistercriticalserviceafter",
            "deregistercriticalserviceafterduration",
        ])?
        .or(self.deregister_after);
        for (key, place) in [
            ("http", &mut self.http),
            ("method", &mut self.method),
            ("body", &mut self.body),
            ("tcp", &mut self.tcp),
            ("udp", &mut self.udp),
            ("grpc", &mut self.grpc),
            ("h2ping", &mut self.h2ping),
            ("tlsservername", &mut self.tls_server_name),
            ("script", &mut self.script),
            ("dockercontainerid", &mut self.docker_container_id),
            ("shell", &mut self.shell),
            ("aliasnode", &mut self.alias_node),
            ("aliasservice", &mut self.alias_service),
            ("osservice", &mut self.os_service),
        ] {
            let text = fields.text(key)?;
            if !text.is_empty() {
                *place = text;
            }
        }
        self.disable_redirects |= fields.flag("disableredirects")?;
        self.tcp_use_tls |= fields.flag("tcpusetls")?;
        self.grpc_use_tls |= fields.flag("grpcusetls")?;
        self.tls_skip_verify |= fields.flag("tlsskipverify")?;
        if fields.get("h2pingusetls").is_some() {
            self.h2ping_use_tls = Some(fields.flag("h2pingusetls")?);
        }
        for key in ["args", "scriptargs"] {
            let args = fields.texts(key)?;
            if !args.is_empty() {
                self.args = args;
            }
        }
        for (name, value) in fields.map("header")?.into_iter().flatten() {
            let values = match value {
                Value::String(text) => vec![text.clone()],
                other => super::fields::texts("Header", other)?,
            };
            self.header.insert(name.clone(), values);
        }
        if let Some(count) = fields.maybe_integer("successbeforepassing")? {
            self.success_before_passing = count;
        }
        if let Some(count) = fields.maybe_integer("failuresbeforecritical")? {
            self.failures_before_critical = count;
        }
        self.failures_before_warning = fields
            .maybe_integer("failuresbeforewarning")?
            .or(self.failures_before_warning);
        if let Some(size) = fields.maybe_integer("outputmaxsize")? {
            self.output_max_size = size;
        }
        Ok(())
    }

    pub(crate) fn is_script(&self) -> bool {
        self.docker_container_id.is_empty() && (!self.args.is_empty() || !self.script.is_empty())
    }

    /// Whether the check is one that is run at an interval.
    pub(crate) fn is_probe(&self) -> bool {
        let probes = [
            &self.http,
            &self.tcp,
            &self.udp,
            &self.grpc,
            &self.h2ping,
            &self.docker_container_id,
            &self.os_service,
        ];
        self.is_script() || probes.iter().any(|target| !target.is_empty())
    }

    pub(crate) fn is_alias(&self) -> bool {
        !self.alias_node.is_empty() || !self.alias_service.is_empty()
    }

    /// The `Type` of the check.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            d if !d.http.is_empty() => "http",
            d if !d.tcp.is_empty() => "tcp",
            d if !d.udp.is_empty() => "udp",
            d if !d.grpc.is_empty() => "grpc",
            d if !d.h2ping.is_empty() => "h2ping",
            d if !d.docker_container_id.is_empty() => "docker",
            d if d.is_script() => "script",
            d if !d.os_service.is_empty() => "os_service",
            d if d.is_alias() => "alias",
            d if d.ttl.is_some() => "ttl",
            _ => "",
        }
    }
}

/// A node as `/catalog/register` and transactions spell it (the transaction's keys are `ID`, `Node`, `Meta`).
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeBody {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) tagged_addresses: BTreeMap<String, String>,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) locality: Option<(String, String)>,
}

impl NodeBody {
    pub(crate) fn of(fields: &Fields<'_>, meta_key: &str) -> Result<Self, Malformed> {
        let locality = match fields.object("locality")? {
            Some(locality) => Some((locality.text("region")?, locality.text("zone")?)),
            None => None,
        };
        Ok(Self {
            id: fields.text("id")?,
            name: fields.text("node")?,
            address: fields.text("address")?,
            tagged_addresses: fields.strings_of("taggedaddresses")?,
            meta: fields.strings_of(meta_key)?,
            locality,
        })
    }
}

/// The body of `/session/create`.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionBody {
    pub(crate) node: String,
    pub(crate) name: String,
    /// Nanoseconds.
    pub(crate) lock_delay: Option<i64>,
    pub(crate) behavior: String,
    pub(crate) ttl: String,
    /// None means the default of `serfHealth`; an empty list means none.
    pub(crate) node_checks: Option<Vec<String>>,
    pub(crate) service_checks: Vec<String>,
}

impl SessionBody {
    pub(crate) fn of(value: &Value) -> Result<Self, Malformed> {
        let fields = Fields::of(value, "Session")?;
        // A bare number below 1000 counts seconds, otherwise nanoseconds, whatever the type says.
        let lock_delay = match fields.get("lockdelay") {
            Some(Value::Number(number)) => match number.as_i64() {
                Some(small @ 0..1000) => Some(small * 1_000_000_000),
                other => other,
            },
            _ => fields.duration("lockdelay")?,
        };
        let node_checks = match (
            fields.maybe_texts("nodechecks")?,
            fields.maybe_texts("checks")?,
        ) {
            (Some(mut new), Some(old)) => {
                new.extend(old);
                Some(new)
            }
            (new, old) => new.or(old),
        };
        let mut service_checks = Vec::new();
        for check in fields.list("servicechecks")? {
            service_checks.push(Fields::of(check, "ServiceChecks")?.text("id")?);
        }
        Ok(Self {
            node: fields.text("node")?,
            name: fields.text("name")?,
            lock_delay,
            behavior: fields.text("behavior")?,
            ttl: fields.text("ttl")?,
            node_checks,
            service_checks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn checks_are_read_in_every_spelling() {
        let table = [
            (json!({"http": "http://x", "interval": "10s"}), "http"),
            (
                json!({"HTTP": "http://x", "Interval": 1_000_000_000}),
                "http",
            ),
            (
                json!({"TTL": "10s", "deregister_critical_service_after": "1m"}),
                "ttl",
            ),
            (json!({"script_args": ["x"], "interval": "1s"}), "script"),
            (
                json!({"Definition": {"TCP": "x:1", "IntervalDuration": 5}}),
                "tcp",
            ),
            (json!({"alias_service": "db"}), "alias"),
            (json!({"Status": "passing"}), ""),
        ];
        for (value, kind) in table {
            let check = CheckBody::of(&value).unwrap().unwrap();
            assert_eq!(check.definition.kind(), kind, "{value}");
        }
        assert!(CheckBody::of(&json!({})).unwrap().is_none());
        assert!(CheckBody::of(&Value::Null).unwrap().is_none());
        let error = CheckBody::of(&json!({"http": "x", "interval": "nope"})).unwrap_err();
        assert!(error.0.contains("invalid duration"), "{}", error.0);
    }

    #[test]
    fn nulls_are_absent() {
        let body = json!({"name": "web", "Tags": null, "Check": null, "Checks": null, "Meta": null, "Weights": null});
        let service = ServiceBody::of_agent(&body).unwrap();
        assert_eq!(
            (
                service.name.as_str(),
                service.tags.len(),
                service.checks.len()
            ),
            ("web", 0, 0)
        );
    }

    #[test]
    fn lock_delays_come_in_three_units() {
        for (value, nanos) in [
            (json!({"LockDelay": 15}), Some(15_000_000_000)),
            (
                json!({"LockDelay": 15_000_000_000_i64}),
                Some(15_000_000_000),
            ),
            (json!({"LockDelay": "0s"}), Some(0)),
            (json!({}), None),
        ] {
            assert_eq!(
                SessionBody::of(&value).unwrap().lock_delay,
                nanos,
                "{value}"
            );
        }
    }
}
