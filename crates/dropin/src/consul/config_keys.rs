//! What each key of an agent's configuration means here.

mod connect;
mod security;

use std::net::{IpAddr, UdpSocket};

use serde_json::Value;

use crate::Settings;
use crate::settings::Refusal;

/// Keys that change nothing here and are none the worse for it: what they tune is not there, or is as they want it.
const WITHOUT_EFFECT: &[&str] = &[
    "advertise_addr_ipv4",
    "advertise_addr_ipv6",
    "advertise_addr_wan",
    "advertise_reconnect_timeout",
    "auto_reload_config",
    "autopilot",
    "check_update_interval",
    "default_query_time",
    "disable_anonymous_signature",
    "disable_host_node_id",
    "disable_http_unprintable_char_filter",
    "disable_keyring_file",
    "disable_remote_exec",
    "disable_update_check",
    "discard_check_output",
    "enable_agent_tls_for_checks",
    "enable_central_service_config",
    "enable_debug",
    "gossip_lan",
    "gossip_wan",
    "http_config",
    "leave_on_terminate",
    "limits",
    "log_json",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "max_query_time",
    "peering",
    "performance",
    "primary_datacenter",
    "protocol",
    "raft_logstore",
    "raft_protocol",
    "raft_snapshot_interval",
    "raft_snapshot_threshold",
    "raft_trailing_logs",
    "reconnect_timeout",
    "reconnect_timeout_wan",
    "retry_interval",
    "retry_interval_wan",
    "retry_max",
    "retry_max_wan",
    "rpc",
    "serf_lan",
    "serf_wan",
    "session_ttl_min",
    "skip_leave_on_interrupt",
    "telemetry",
    "translate_wan_addrs",
    "ui",
    "ui_config",
    "ui_content_path",
    "use_streaming_backend",
    "version",
    "xds",
];

/// Keys that people rely on to keep others out: what is not there must not look as if it were.
const SECURITY: &[(&str, &str)] = &[
    (
        "encrypt",
        "there is no gossip to encrypt in this server; give the cluster port certificates instead (ca_file, cert_file, key_file)",
    ),
    (
        "encrypt_verify_incoming",
        "there is no gossip to encrypt in this server",
    ),
    (
        "encrypt_verify_outgoing",
        "there is no gossip to encrypt in this server",
    ),
    (
        "verify_incoming",
        "write tls.https.verify_incoming for the HTTPS port; the cluster port verifies both sides where it has certificates",
    ),
    (
        "verify_incoming_rpc",
        "give the cluster port certificates instead (ca_file, cert_file, key_file): both sides are then verified",
    ),
    (
        "auto_encrypt",
        "certificates are not handed out by this server",
    ),
    (
        "auto_config",
        "certificates are not handed out by this server",
    ),
    ("acl_datacenter", "write an acl block"),
    ("acl_default_policy", "write acl.default_policy"),
    ("acl_master_token", "write acl.tokens.initial_management"),
    ("acl_token", "write acl.tokens.default"),
    ("audit", "there is no audit log in this server"),
    (
        "allow_write_http_from",
        "writes are not told apart by address in this server",
    ),
];

/// Settings of an agent's whole configuration.
pub(super) fn settings_of(config: &Value) -> Result<Settings, Refusal> {
    let mut settings = Settings::default();
    let Value::Object(map) = config else {
        return Err(Refusal::new("expected an object"));
    };
    let reader = Reader { config };
    let dev = reader.truth("dev")?;
    settings.in_memory = dev;
    reader.identity(&mut settings, dev)?;
    reader.addresses(&mut settings)?;
    reader.cluster(&mut settings, dev)?;
    reader.dns(&mut settings)?;
    reader.access(&mut settings)?;
    reader.connect(&mut settings)?;
    for script in ["enable_script_checks", "enable_local_script_checks"] {
        if reader.truth(script)? {
            settings.set("enable-local-script-checks", "true");
            if script == "enable_script_checks" {
                settings.warn(
                    "enable_script_checks: scripts run from local files only, never by a call",
                );
            }
        }
    }
    for (key, value) in map {
        unknown(&mut settings, key, value)?;
    }
    settings.flags.dedup();
    Ok(settings)
}

/// Keys that [`Reader`] reads.
const READ: &[&str] = &[
    "acl",
    "addresses",
    "advertise_addr",
    "alt_domain",
    "bind_addr",
    "bootstrap",
    "bootstrap_expect",
    "ca_file",
    "cert_file",
    "client_addr",
    "connect",
    "data_dir",
    "datacenter",
    "default_intention_policy",
    "dev",
    "dns_config",
    "domain",
    "enable_local_script_checks",
    "enable_script_checks",
    "key_file",
    "log_level",
    "node_id",
    "node_meta",
    "node_name",
    "portolan_listen",
    "ports",
    "recursors",
    "retry_join",
    "server",
    "start_join",
    "tls",
    "verify_incoming_https",
    "verify_outgoing",
    "verify_server_hostname",
];

/// Says what is not understood, and refuses what others would rely on.
fn unknown(settings: &mut Settings, key: &str, value: &Value) -> Result<(), Refusal> {
    let off = matches!(value, Value::Null | Value::Bool(false)) || *value == "";
    if READ.contains(&key) || WITHOUT_EFFECT.contains(&key) {
        return Ok(());
    }
    if let Some((_, why)) = SECURITY.iter().find(|(known, _)| *known == key) {
        return match off {
            true => Ok(()),
            false => Err(Refusal::new(format!("{key}: {why}"))),
        };
    }
    match key {
        "watches" => {
            settings.warn("watches: handlers are not run by the agent; `consul watch` runs them");
            Ok(())
        }
        _ if off => Ok(()),
        _ => {
            settings.warn(format!("{key}: not known here and without effect"));
            Ok(())
        }
    }
}

struct Reader<'a> {
    config: &'a Value,
}

impl Reader<'_> {
    fn truth(&self, key: &str) -> Result<bool, Refusal> {
        match &self.config[key] {
            Value::Null => Ok(false),
            Value::Bool(on) => Ok(*on),
            Value::String(text) if text == "true" || text == "false" => Ok(text == "true"),
            other => Err(Refusal::new(format!("{key}: {other} is not true or false"))),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, Refusal> {
        match &self.config[key] {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => Ok(Some(text)),
            other => Err(Refusal::new(format!("{key}: {other} is not a text"))),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<&str>, Refusal> {
        match &self.config[key] {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => Ok(vec![text]),
            Value::Array(list) => list
                .iter()
                .map(|item| {
                    item.as_str()
                        .ok_or_else(|| Refusal::new(format!("{key}: {item} is not a text")))
                })
                .collect(),
            other => Err(Refusal::new(format!("{key}: {other} is not a list"))),
        }
    }

    /// A port below `ports`; none when it is off.
    fn port(&self, name: &str, default: u16) -> Result<Option<u16>, Refusal> {
        match &self.config["ports"][name] {
            Value::Null => Ok(Some(default)),
            value => match value.as_i64() {
                Some(-1) => Ok(None),
                Some(0) => Ok(Some(default)),
                Some(port) => u16::try_from(port)
                    .map(Some)
                    .map_err(|_| Refusal::new(format!("ports.{name}: {port} is not a port"))),
                None => Err(Refusal::new(format!("ports.{name}: {value} is not a port"))),
            },
        }
    }

    fn identity(&self, settings: &mut Settings, dev: bool) -> Result<(), Refusal> {
        match self.text("data_dir")? {
            Some(directory) => settings.set("data-dir", directory),
            None if dev => {}
            None => return Err(Refusal::new("data_dir cannot be empty")),
        }
        for (key, flag) in [
            ("node_name", "node-name"),
            ("node_id", "node-id"),
            ("datacenter", "datacenter"),
        ] {
            if let Some(text) = self.text(key)? {
                settings.set(flag, text);
            }
        }
        match &self.config["node_meta"] {
            Value::Null => {}
            Value::Object(pairs) => {
                for (key, value) in pairs {
                    settings.set("node-meta", format!("{key}={}", plain(value)));
                }
            }
            other => return Err(Refusal::new(format!("node_meta: {other} is not an object"))),
        }
        if let Some(level) = self.text("log_level")? {
            let level = match level.to_ascii_lowercase().as_str() {
                "err" => "error".to_owned(),
                level => level.to_owned(),
            };
            settings.set("log-level", level);
        }
        Ok(())
    }

    /// Where the agent's own ports are: `addresses` before `client_addr`.
    fn addresses(&self, settings: &mut Settings) -> Result<(), Refusal> {
        let client = self.text("client_addr")?.unwrap_or("127.0.0.1");
        let of = |name: &str| match self.config["addresses"][name].as_str() {
            Some(text) if !text.is_empty() => (format!("addresses.{name}"), text),
            _ => ("client_addr".to_owned(), client),
        };
        let mut exposed = false;
        for (name, protocol, default) in [("http", "consul", 8500), ("dns", "dns", 8600)] {
            let (key, text) = of(name);
            let Some(port) = self.port(name, default)? else {
                continue;
            };
            let mut several = text.split_whitespace();
            let first = several.next().unwrap_or("127.0.0.1");
            if several.next().is_some() {
                settings.warn(format!("{key}: only the first address, {first}, is opened"));
            }
            let address = address(&key, first)?;
            exposed |= !address.is_loopback();
            settings.set("listen", format!("{protocol}={}", join(address, port)));
        }
        self.https(settings, client)?;
        settings.set("listen", "native=127.0.0.1:0");
        for further in self.texts("portolan_listen")? {
            settings.set("listen", further);
        }
        let acl = security::block(&self.config["acl"]);
        let guarded = acl["enabled"] == true && acl["default_policy"] == "deny";
        if exposed && !guarded {
            settings.set("insecure-listen", "true");
            settings.consent(
                "client_addr: the agent's ports are open to other machines, without access control",
            );
        }
        Ok(())
    }

    fn cluster(&self, settings: &mut Settings, dev: bool) -> Result<(), Refusal> {
        let bind = address("bind_addr", self.text("bind_addr")?.unwrap_or("0.0.0.0"))?;
        let advertised = match self.text("advertise_addr")? {
            Some(text) => Some(address("advertise_addr", text)?),
            None if bind.is_unspecified() => own_address(),
            None => Some(bind),
        };
        if let Some(advertised) = advertised {
            settings.set("advertise", advertised.to_string());
        }
        let server = self.truth("server")?;
        if server && self.truth("rejoin_after_leave")? {
            settings.set("rejoin", "true");
        }
        if let Some(port) = self.port("server", 8300)? {
            settings.set("cluster-listen", join(bind, port));
        }
        let keys = ["ca_file", "cert_file", "key_file"];
        let mut files = Vec::new();
        for key in keys {
            files.extend(self.text(key)?.map(|file| (key, file)));
        }
        let wanted = self.truth("verify_outgoing")? || self.truth("verify_server_hostname")?;
        match files.len() {
            0 if wanted => {
                return Err(Refusal::new(
                    "verify_outgoing: needs ca_file, cert_file and key_file",
                ));
            }
            0 => {
                if !bind.is_loopback() {
                    settings.set("insecure-cluster", "true");
                    settings.consent("bind_addr: the cluster port is open to other machines, in the clear and without certificates");
                }
            }
            3 => {
                for (key, file) in files {
                    let flag = key.trim_end_matches("_file");
                    settings.set(&format!("cluster-{flag}"), file);
                }
            }
            _ => {
                return Err(Refusal::new(
                    "ca_file, cert_file and key_file are given together",
                ));
            }
        }
        for key in ["retry_join", "start_join"] {
            for place in self.texts(key)? {
                if place.starts_with("provider=") {
                    return Err(Refusal::new(format!(
                        "{key}: {place:?}: machines are not looked up at cloud providers, name one"
                    )));
                }
                settings.set("join", cluster_place(place));
            }
        }
        if !server {
            settings.set("agent", "true");
            return Ok(());
        }
        let expect = match &self.config["bootstrap_expect"] {
            Value::Null => 0,
            value => value.as_u64().ok_or_else(|| {
                Refusal::new(format!("bootstrap_expect: {value} is not a number"))
            })?,
        };
        let alone = self.truth("bootstrap")?;
        if alone && expect > 0 {
            return Err(Refusal::new(
                "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
            ));
        }
        if dev && expect > 0 {
            return Err(Refusal::new("'bootstrap_expect' cannot be set in dev mode"));
        }
        settings.may_found = alone || expect > 0;
        let expect = if alone && !dev { 1 } else { expect };
        if expect > 0 {
            settings.set("bootstrap-expect", expect.to_string());
        }
        Ok(())
    }

    fn dns(&self, settings: &mut Settings) -> Result<(), Refusal> {
        for (key, flag) in [("domain", "dns-domain"), ("alt_domain", "dns-alt-domain")] {
            if let Some(name) = self.text(key)? {
                settings.set(flag, name.trim_matches('.'));
            }
        }
        for recursor in self.texts("recursors")? {
            if recursor.contains("{{") {
                return Err(Refusal::new(format!(
                    "recursors: templates such as {recursor:?} are not read, write the address"
                )));
            }
            settings.set("dns-recursor", recursor);
        }
        let Value::Object(config) = &self.config["dns_config"] else {
            return Ok(());
        };
        for (key, value) in config {
            match key.as_str() {
                "node_ttl" => settings.set("dns-node-ttl", plain(value)),
                "service_ttl" => {
                    for (name, ttl) in value.as_object().into_iter().flatten() {
                        settings.set("dns-service-ttl", format!("{name}={}", plain(ttl)));
                    }
                }
                "only_passing" => settings.set("dns-only-passing", plain(value)),
                "enable_truncate" => settings.set("dns-truncate", plain(value)),
                "a_record_limit" => settings.set("dns-a-record-limit", plain(value)),
                "udp_answer_limit" => settings.set("dns-udp-answer-limit", plain(value)),
                "enable_additional_node_meta_txt" => {
                    settings.set("dns-node-meta-txt", plain(value));
                }
                "recursor_timeout" => settings.set("dns-recursor-timeout", plain(value)),
                "recursor_strategy" => match plain(value).as_str() {
                    "" | "sequential" => {}
                    "random" => settings.set("dns-recursor-random", "true"),
                    other => {
                        return Err(Refusal::new(format!(
                            "dns_config.recursor_strategy: Invalid setting: {other:?}; it is sequential or random"
                        )));
                    }
                },
                "allow_stale"
                | "max_stale"
                | "disable_compression"
                | "use_cache"
                | "cache_max_age"
                | "soa"
                | "prefer_namespace" => {}
                other => settings.warn(format!(
                    "dns_config.{other}: not known here and without effect"
                )),
            }
        }
        Ok(())
    }
}

/// A scalar as a flag takes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn join(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// An address, or what is needed instead of a template.
fn address(key: &str, text: &str) -> Result<IpAddr, Refusal> {
    if text.contains("{{") {
        return Err(Refusal::new(format!(
            "{key}: templates such as {text:?} are not read, write the address"
        )));
    }
    if text.starts_with("unix://") || text.starts_with('/') {
        return Err(Refusal::new(format!(
            "{key}: unix sockets such as {text:?} are not opened yet, write an address"
        )));
    }
    if text == "localhost" {
        return Ok([127, 0, 0, 1].into());
    }
    text.trim_matches(['[', ']'])
        .parse()
        .map_err(|_| Refusal::new(format!("{key}: {text:?} is not an IP address")))
}

/// A member to join. Consul's members are named by their gossip port, where nobody listens here.
fn cluster_place(place: &str) -> String {
    match place.rsplit_once(':') {
        Some((host, "8301")) => format!("{host}:8300"),
        _ => place.to_owned(),
    }
}

/// The address that this machine uses towards others. Nothing is sent: the system only chooses a way.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address of the documentation networks, RFC 5737.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}
