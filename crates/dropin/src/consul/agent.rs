//! `agent` and `validate`: flags and configuration files, put one over the other as Consul does.

use std::path::{Path, PathBuf};

use portolan_hcl::parse;
use serde_json::{Map, Value, json};

use super::config_keys::settings_of;
use super::{Done, Failure};
use crate::go_flags::{self, Flag, FlagError, Typed, truth, value};
use crate::settings::Refusal;
use crate::{Outcome, Settings};

/// How a flag is written in a file.
#[derive(Clone, Copy)]
enum Written {
    /// One value.
    One,
    /// A list; each further value is added.
    List,
    /// A whole number.
    Number,
    /// Below `ports`.
    Port,
    /// `KEY:VALUE` in an object.
    Pairs,
}

/// Flags of `consul agent` and where they stand in a file. The truths are in [`TRUTHS`].
const VALUES: &[(&str, &str, Written)] = &[
    ("advertise", "advertise_addr", Written::One),
    ("advertise-wan", "advertise_addr_wan", Written::One),
    ("alt-domain", "alt_domain", Written::One),
    ("bind", "bind_addr", Written::One),
    ("bootstrap-expect", "bootstrap_expect", Written::Number),
    (
        "check_output_max_size",
        "check_output_max_size",
        Written::Number,
    ),
    ("client", "client_addr", Written::One),
    ("data-dir", "data_dir", Written::One),
    ("datacenter", "datacenter", Written::One),
    ("default-query-time", "default_query_time", Written::One),
    ("dns-port", "dns", Written::Port),
    ("domain", "domain", Written::One),
    ("encrypt", "encrypt", Written::One),
    ("grpc-port", "grpc", Written::Port),
    ("grpc-tls-port", "grpc_tls", Written::Port),
    ("http-port", "http", Written::Port),
    ("https-port", "https", Written::Port),
    ("join", "retry_join", Written::List),
    ("join-wan", "retry_join_wan", Written::List),
    // This server's own: a further port, as `portolan serve --listen` has it.
    ("listen", "portolan_listen", Written::List),
    ("log-file", "log_file", Written::One),
    ("log-level", "log_level", Written::One),
    ("log-rotate-bytes", "log_rotate_bytes", Written::Number),
    ("log-rotate-duration", "log_rotate_duration", Written::One),
    (
        "log-rotate-max-files",
        "log_rotate_max_files",
        Written::Number,
    ),
    ("max-query-time", "max_query_time", Written::One),
    ("node", "node_name", Written::One),
    ("node-id", "node_id", Written::One),
    ("node-meta", "node_meta", Written::Pairs),
    ("pid-file", "pid_file", Written::One),
    ("primary-gateway", "primary_gateways", Written::List),
    ("protocol", "protocol", Written::Number),
    ("raft-protocol", "raft_protocol", Written::Number),
    ("recursor", "recursors", Written::List),
    ("retry-interval", "retry_interval", Written::One),
    ("retry-interval-wan", "retry_interval_wan", Written::One),
    ("retry-join", "retry_join", Written::List),
    ("retry-join-wan", "retry_join_wan", Written::List),
    ("retry-max", "retry_max", Written::Number),
    ("retry-max-wan", "retry_max_wan", Written::Number),
    ("segment", "segment", Written::One),
    ("serf-lan-bind", "serf_lan", Written::One),
    ("serf-lan-port", "serf_lan", Written::Port),
    ("serf-wan-bind", "serf_wan", Written::One),
    ("serf-wan-port", "serf_wan", Written::Port),
    ("server-port", "server", Written::Port),
    ("syslog-facility", "syslog_facility", Written::One),
    ("ui-content-path", "ui_content_path", Written::One),
    ("ui-dir", "ui_dir", Written::One),
];

/// Flags that are on or off, and where they stand in a file.
const TRUTHS: &[(&str, &str)] = &[
    ("auto-reload-config", "auto_reload_config"),
    ("bootstrap", "bootstrap"),
    ("disable-host-node-id", "disable_host_node_id"),
    ("disable-keyring-file", "disable_keyring_file"),
    ("enable-local-script-checks", "enable_local_script_checks"),
    ("enable-script-checks", "enable_script_checks"),
    ("log-json", "log_json"),
    ("non-voting-server", "read_replica"),
    ("read-replica", "read_replica"),
    ("rejoin", "rejoin_after_leave"),
    ("server", "server"),
    ("syslog", "enable_syslog"),
    ("ui", "ui"),
];

fn flags() -> Vec<Flag> {
    let mut flags: Vec<Flag> = VALUES.iter().map(|(name, ..)| value(name)).collect();
    flags.extend(TRUTHS.iter().map(|(name, _)| truth(name)));
    flags.extend([
        truth("dev"),
        value("config-dir"),
        value("config-file"),
        value("config-format"),
        value("hcl"),
    ]);
    flags
}

/// `agent`.
pub(super) fn run(words: &[String], version: &str) -> Outcome {
    let typed = match go_flags::parse(words, &[&flags()]) {
        Ok(typed) => typed,
        Err(FlagError::Help) => {
            let mut known: Vec<&str> = flags().iter().map(|flag| flag.name).collect();
            known.sort_unstable();
            eprintln!(
                "Usage: consul agent [options]\n\n  Starts the agent (this is Portolan {version}) and runs until an interrupt is received.\n\nOptions:"
            );
            for name in known {
                eprintln!("  -{name}");
            }
            return Outcome::Exit(0);
        }
        Err(error) => {
            eprintln!("==> {error}");
            return Outcome::Exit(1);
        }
    };
    match read(&typed) {
        Ok(settings) => Outcome::Serve(Box::new(settings)),
        Err(refusal) => {
            eprintln!("==> {refusal}");
            Outcome::Exit(1)
        }
    }
}

/// `validate FILE|DIR...`.
pub(super) fn validate(words: &[String]) -> Done {
    let known = [truth("quiet"), value("config-format")];
    let typed =
        go_flags::parse(words, &[&known]).map_err(|error| Failure::new(error.to_string()))?;
    if typed.rest.is_empty() {
        return Err(Failure::new(
            "Must specify at least one config file or directory",
        ));
    }
    let mut all = Typed::default();
    for place in &typed.rest {
        all.flags.push(("config-dir".to_owned(), place.clone()));
    }
    match read(&all) {
        Ok(settings) => {
            for warning in settings.warnings {
                eprintln!("{warning}");
            }
            if !typed.is("quiet") {
                say!("Configuration is valid!");
            }
            Ok(0)
        }
        Err(refusal) => Err(Failure::new(format!("Config validation failed: {refusal}"))),
    }
}

fn read(typed: &Typed) -> Result<Settings, Refusal> {
    if let Some(word) = typed.rest.first() {
        return Err(Refusal::new(format!("unexpected argument {word:?}")));
    }
    let mut config = match typed.is("dev") {
        true => {
            json!({"dev": true, "server": true, "bootstrap": true, "bind_addr": "127.0.0.1", "log_level": "INFO"})
        }
        false => json!({}),
    };
    let mut places = Vec::new();
    for (name, given) in &typed.flags {
        if name == "config-file" || name == "config-dir" {
            places.push(PathBuf::from(given));
        }
    }
    let mut definitions = Vec::new();
    for (name, value) in files(&places)? {
        merge(&mut config, settings_part(&name, value, &mut definitions)?);
    }
    for text in typed.all("hcl") {
        let value = parse(text).map_err(|why| Refusal::new(format!("-hcl: {why}")))?;
        merge(&mut config, settings_part("-hcl", value, &mut definitions)?);
    }
    merge(&mut config, Value::Object(of_flags(typed)?));
    let mut settings = settings_of(&config)?;
    settings.definitions = definitions;
    settings.definition_places = places;
    Ok(settings)
}

/// What the flags say, as a file would.
fn of_flags(typed: &Typed) -> Result<Map<String, Value>, Refusal> {
    let mut config = Map::new();
    for (name, text) in &typed.flags {
        if let Some((_, key)) = TRUTHS.iter().find(|(flag, _)| flag == name) {
            config.insert((*key).to_owned(), Value::Bool(text == "true"));
        }
        let Some((_, key, written)) = VALUES.iter().find(|(flag, ..)| flag == name) else {
            continue;
        };
        let number = || {
            let number: i64 = text.parse().map_err(|_| {
                Refusal::new(format!(
                    "invalid value {text:?} for flag -{name}: parse error"
                ))
            })?;
            Ok::<Value, Refusal>(number.into())
        };
        let place = match written {
            Written::Port => config.entry("ports").or_insert_with(|| json!({})),
            Written::Pairs => config.entry(*key).or_insert_with(|| json!({})),
            Written::List => config.entry(*key).or_insert_with(|| json!([])),
            Written::One | Written::Number => config.entry(*key).or_insert(Value::Null),
        };
        match (written, place) {
            (Written::Port, ports) => ports[*key] = number()?,
            (Written::Number, one) => *one = number()?,
            (Written::List, Value::Array(list)) => list.push(text.as_str().into()),
            (Written::Pairs, pairs) => {
                let (key, value) = text.split_once(':').unwrap_or((text, ""));
                pairs[key] = value.into();
            }
            (_, one) => *one = text.as_str().into(),
        }
    }
    Ok(config)
}

/// Takes definitions of services and checks out of a file; what is left are settings.
fn settings_part(
    name: &str,
    value: Value,
    definitions: &mut Vec<(String, String)>,
) -> Result<Value, Refusal> {
    let Value::Object(mut map) = value else {
        return Err(Refusal::new(format!("{name}: expected an object")));
    };
    let mut found = Map::new();
    for key in ["service", "services", "check", "checks"] {
        if let Some(value) = map.remove(key).filter(|value| !value.is_null()) {
            found.insert(key.to_owned(), value);
        }
    }
    if !found.is_empty() {
        definitions.push((name.to_owned(), Value::Object(found).to_string()));
    }
    Ok(Value::Object(map))
}

/// Every file, folders opened: their `.json` and `.hcl` files in order of name, not those of folders in them.
fn files(places: &[PathBuf]) -> Result<Vec<(String, Value)>, Refusal> {
    let mut read = Vec::new();
    for place in places {
        let failed =
            |error: std::io::Error| Refusal::new(format!("config: {}: {error}", place.display()));
        if place.is_dir() {
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(place).map_err(failed)? {
                inside.push(entry.map_err(failed)?.path());
            }
            inside.sort();
            for path in inside {
                let ending = path.extension().and_then(|ending| ending.to_str());
                if matches!(ending, Some("json" | "hcl")) && path.is_file() {
                    read.push(file(&path)?);
                }
            }
        } else {
            read.push(file(place)?);
        }
    }
    Ok(read)
}

fn file(path: &Path) -> Result<(String, Value), Refusal> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refusal::new(format!("config: {name}: {error}")))?;
    let value = parse(&text).map_err(|why| Refusal::new(format!("config: {name}: {why}")))?;
    Ok((name, value))
}

/// The definitions of services and checks in files and folders, as they stand there now.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn definitions(places: &[PathBuf]) -> Result<Vec<(String, String)>, Refusal> {
    let mut definitions = Vec::new();
    for (name, value) in files(places)? {
        settings_part(&name, value, &mut definitions)?;
    }
    Ok(definitions)
}

/// Puts one layer over another: objects are joined, lists continued, everything else replaced.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(under), Value::Array(over)) => under.extend(over),
        (Value::Object(_) | Value::Array(_), Value::Null) => {}
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Settings, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let typed = go_flags::parse(&words, &[&flags()]).map_err(|error| error.to_string())?;
        read(&typed).map_err(|refusal| refusal.0)
    }

    fn flag<'a>(settings: &'a Settings, name: &'a str) -> Vec<&'a str> {
        let all = settings.flags.iter().filter(|(known, _)| known == name);
        all.map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn a_development_agent_keeps_nothing_and_asks_nobody() {
        let settings = of("-dev -node n1").unwrap();
        assert!(settings.in_memory && settings.may_found);
        assert_eq!(
            flag(&settings, "listen"),
            [
                "consul=127.0.0.1:8500",
                "dns=127.0.0.1:8600",
                "native=127.0.0.1:0"
            ]
        );
        assert_eq!(flag(&settings, "node-name"), ["n1"]);
        assert_eq!(settings.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_known_example_of_three_servers_and_an_agent() {
        let first = of("-server -ui -node=server-1 -bootstrap-expect=3 -client=0.0.0.0 -data-dir=/consul/data -bind=127.0.0.1").unwrap();
        assert!(first.may_found && !first.in_memory);
        assert_eq!(flag(&first, "bootstrap-expect"), ["3"]);
        assert_eq!(flag(&first, "cluster-listen"), ["127.0.0.1:8300"]);
        assert!(flag(&first, "listen").contains(&"consul=0.0.0.0:8500"));
        assert_eq!(flag(&first, "insecure-listen"), ["true"]);
        assert!(
            first.consents.iter().any(|w| w.contains("client_addr")),
            "{:?}",
            first.consents
        );
        let second =
            of("-server -node=server-2 -retry-join=consul1 -data-dir=/d -bind=127.0.0.1").unwrap();
        assert!(!second.may_found);
        assert_eq!(flag(&second, "join"), ["consul1"]);
        let agent =
            of("-ui -node=client1 -retry-join=consul1 -data-dir=/d -bind=127.0.0.1").unwrap();
        assert_eq!(flag(&agent, "agent"), ["true"]);
    }

    #[test]
    fn files_are_layers_and_definitions_are_apart() {
        let folder = tempdir();
        std::fs::write(folder.join("a.hcl"), "datacenter = \"east\"\nserver = true\nbootstrap = true\nbind_addr = \"127.0.0.1\"\ndata_dir = \"/d\"\nports { http = 18500 dns = -1 }\nretry_join = [\"a\"]").unwrap();
        std::fs::write(folder.join("b.json"), "{\"node_name\":\"n2\",\"retry_join\":[\"b:8300\"],\"service\":{\"name\":\"web\",\"port\":80}}").unwrap();
        std::fs::write(folder.join("c.txt"), "not read").unwrap();
        let line = format!("-config-dir {} -http-port 28500", folder.display());
        let settings = of(&line).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(flag(&settings, "datacenter"), ["east"]);
        assert_eq!(flag(&settings, "join"), ["a", "b:8300"]);
        assert_eq!(
            flag(&settings, "listen"),
            ["consul=127.0.0.1:28500", "native=127.0.0.1:0"]
        );
        assert_eq!(settings.definitions.len(), 1);
        assert!(settings.definitions[0].1.contains("\"web\""));
    }

    #[test]
    fn recursors_are_asked_as_consul_asks_them() {
        let settings = of("-dev -recursor 10.0.0.2 -recursor=10.0.0.3:5353 -hcl dns_config{recursor_timeout=\"1s\",recursor_strategy=\"random\"}").unwrap();
        assert_eq!(
            flag(&settings, "dns-recursor"),
            ["10.0.0.2", "10.0.0.3:5353"]
        );
        assert_eq!(flag(&settings, "dns-recursor-timeout"), ["1s"]);
        assert_eq!(flag(&settings, "dns-recursor-random"), ["true"]);
        assert_eq!(settings.warnings, Vec::<String>::new());
    }

    #[test]
    fn what_security_hangs_on_is_refused_and_the_rest_is_named() {
        for (line, part) in [
            ("-server -bootstrap", "data_dir cannot be empty"),
            ("-dev -encrypt=x", "encrypt"),
            (
                "-dev -hcl acl{enabled=true,default_policy=\"closed\"}",
                "acl.default_policy",
            ),
            (
                "-dev -hcl acl{enabled=true,enable_key_list_policy=true}",
                "enable_key_list_policy",
            ),
            ("-dev -hcl acl_token=\"x\"", "write acl.tokens.default"),
            ("-dev -hcl verify_incoming=true", "verify_incoming"),
            (
                "-dev -hcl dns_config{recursor_strategy=\"x\"}",
                "recursor_strategy",
            ),
            ("-dev -recursor {{GetPrivateIP}}", "recursors"),
            (
                "-dev -hcl ports{https=8501} -hcl verify_incoming_https=true",
                "ports.https: needs a certificate",
            ),
            (
                "-dev -hcl tls{internal_rpc{verify_incoming=true}}",
                "tls.internal_rpc.verify_incoming",
            ),
            (
                "-dev -datacentre=x",
                "flag provided but not defined: -datacentre",
            ),
            ("-dev -hcl x=", "-hcl: line 1"),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let settings =
            of("-dev -hcl speling=1 -hcl performance{raft_multiplier=1} -hcl acl{enabled=false}")
                .unwrap();
        assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
        assert!(settings.warnings[0].contains("speling"));
        let secure = of("-dev -hcl ports{https=8501} -hcl tls{defaults{cert_file=\"c\",key_file=\"k\",ca_file=\"a\"},https{verify_incoming=true}}").unwrap();
        assert!(flag(&secure, "listen").contains(&"consul+tls=127.0.0.1:8501"));
        for (name, file) in [("tls-cert", "c"), ("tls-key", "k"), ("tls-client-ca", "a")] {
            assert_eq!(flag(&secure, name), [file]);
        }
        let closed = of("-dev -hcl ports{https=8501}").unwrap();
        assert!(closed.warnings[0].contains("ports.https: there is no certificate"));
        let open = of("-dev -hcl acl{enabled=true}").unwrap();
        assert_eq!(flag(&open, "access-control"), ["true"]);
        assert_eq!(flag(&open, "access-default-allow"), ["true"]);
        let closed =
            of("-dev -client=0.0.0.0 -hcl acl{enabled=true,default_policy=\"deny\",tokens{initial_management=\"root\"}}").unwrap();
        assert!(flag(&closed, "access-default-allow").is_empty());
        assert!(flag(&closed, "insecure-listen").is_empty());
        assert_eq!(flag(&closed, "access-initial-management"), ["root"]);
    }

    fn tempdir() -> PathBuf {
        let name = format!("portolan-agent-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}
