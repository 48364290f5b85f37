//! Every key of the configuration, once: its name is the flag, the entry of the file and, in capitals, the variable.

use std::time::Duration;

use clap::{Arg, ArgAction};

use super::Config;
use super::value::{Setting, print_bytes};

/// How often a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Once.
    One,
    /// Once, and as a flag without a value.
    Switch,
    /// Any number of times; a higher layer replaces the lower one's.
    Many,
    /// Any number of times; entries of all layers count, `NAME=VALUE` each.
    Named,
}

/// Which values of a TOML file a key takes; every one can be a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Texts.
    Text,
    /// Whole numbers too.
    Number,
    /// `true` and `false` too.
    Truth,
}

/// One key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    hint: &'static str,
    help: &'static str,
    /// Takes a value.
    pub(crate) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Forgets what lower layers said; for lists.
    pub(crate) clear: fn(&mut Config),
    show: fn(&Config) -> String,
}

impl Key {
    /// The variable: `PORTOLAN_DATA_DIR`.
    pub(crate) fn variable(&self) -> String {
        format!(
            "PORTOLAN_{}",
            self.name.replace('-', "_").to_ascii_uppercase()
        )
    }

    /// Which values of a file it takes.
    pub(crate) fn takes(&self) -> Takes {
        match self.hint {
            "N" | "BYTES" | "LINES" | "THOUSANDTHS" => Takes::Number,
            "BOOL" => Takes::Truth,
            _ => Takes::Text,
        }
    }

    /// The flag.
    pub(crate) fn argument(&self) -> Arg {
        let default = (self.show)(&Config::default());
        let help = if default.is_empty() {
            self.help.to_owned()
        } else {
            format!("{} [default: {default}]", self.help)
        };
        let argument = Arg::new(self.name)
            .long(self.name)
            .value_name(self.hint)
            .help(help)
            .help_heading(self.heading());
        match self.shape {
            Shape::One => argument.action(ArgAction::Set).overrides_with(self.name),
            Shape::Switch => argument
                .action(ArgAction::Set)
                .overrides_with(self.name)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            Shape::Many | Shape::Named => argument.action(ArgAction::Append),
        }
    }

    fn heading(&self) -> &'static str {
        let group = self.name.split('-').next().unwrap_or_default();
        match group {
            "limit" => "Limits of each port",
            "history" => "History",
            "dns" => "DNS",
            "storage" => "Log and snapshots",
            "etcd" => "etcd",
            "guard" => "Mass-expiry guard",
            "check" | "enable" => "Health checks",
            "log" => "Logging",
            _ => "Server",
        }
    }
}

macro_rules! one {
    ($name:literal, $hint:literal, $help:literal, $($field:ident).+) => {
        Key {
            name: $name,
            shape: Shape::One,
            hint: $hint,
            help: $help,
            set: |config, text| {
                config.$($field).+ = Setting::parse(text)?;
                Ok(())
            },
            clear: |_| {},
            show: |config| config.$($field).+.print(),
        }
    };
}

macro_rules! bytes {
    ($name:literal, $help:literal, $($field:ident).+) => {
        Key {
            show: |config| print_bytes(u64::try_from(config.$($field).+).unwrap_or(u64::MAX)),
            ..one!($name, "BYTES", $help, $($field).+)
        }
    };
}

macro_rules! switch {
    ($name:literal, $help:literal, $($field:ident).+) => {
        Key { shape: Shape::Switch, ..one!($name, "BOOL", $help, $($field).+) }
    };
}

macro_rules! many {
    ($name:literal, $hint:literal, $help:literal, $($field:ident).+) => {
        Key {
            name: $name,
            shape: Shape::Many,
            hint: $hint,
            help: $help,
            set: |config, text| {
                config.$($field).+.push(text.trim().parse().map_err(|error| format!("{error}"))?);
                Ok(())
            },
            clear: |config| config.$($field).+.clear(),
            show: |config| {
                let all: Vec<String> = config.$($field).+.iter().map(ToString::to_string).collect();
                all.join(" ")
            },
        }
    };
}

/// A name of DNS: labels of 1 to 63 letters, digits, `-` and `_`, at most 253 in all.
fn domain(text: &str) -> Result<String, String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        (1..=63).contains(&label.len()) && label.chars().all(good)
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("{text:?} is not a name of DNS, such as consul"));
    }
    Ok(name)
}

/// Every key.
pub(crate) static KEYS: &[Key] = &[
    one!(
        "data-dir",
        "DIR",
        "Where the catalog is kept; made if it is not there",
        data_dir
    ),
    Key {
        name: "listen",
        shape: Shape::Named,
        hint: "NAME=ADDR|off",
        help: "Address of one protocol (consul, dns, etcd, eureka, native), or off; port 0 takes any free port",
        set: |config, text| config.listen.set(text),
        clear: |_| {},
        show: |config| config.listen.print(),
    },
    Key {
        set: |config, text| {
            config.node_name = Some(super::node_name(text)?);
            Ok(())
        },
        ..one!(
            "node-name",
            "NAME",
            "Name of this server's node; by default the one the data directory belongs to, else the host's name",
            node_name
        )
    },
    Key {
        set: |config, text| {
            config.node_id = Some(super::node_id(text)?);
            Ok(())
        },
        ..one!(
            "node-id",
            "UUID",
            "Id of this server's node; by default one that is drawn at the first start and kept",
            node_id
        )
    },
    Key {
        name: "node-meta",
        shape: Shape::Named,
        hint: "KEY=VALUE",
        help: "A pair of metadata of this server's node",
        set: |config, text| super::add_node_meta(&mut config.node_meta, text),
        clear: |_| {},
        show: |_| String::new(),
    },
    many!(
        "definitions-dir",
        "DIR",
        "A folder of service and check definitions (*.json, as Consul has them), read at the start, at SIGHUP and at PUT /v1/agent/reload",
        definitions_dirs
    ),
    switch!(
        "enable-local-script-checks",
        "Allow checks of definition files to run programs",
        enable_local_script_checks
    ),
    Key {
        set: |config, text| {
            // As Consul has it: in lower case, and a label of DNS.
            let name = text.trim().to_ascii_lowercase();
            let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
                return Err(format!(
                    "{text:?} cannot be a datacenter's name; use letters, digits, - and _, at most 63 of them"
                ));
            }
            config.datacenter = name;
            Ok(())
        },
        ..one!(
            "datacenter",
            "DC",
            "Name of the datacenter, as Consul and DNS say it",
            datacenter
        )
    },
    one!(
        "advertise",
        "IP",
        "Address of this server's node; by default the one Consul's port listens on, if that is not a wildcard, else 127.0.0.1",
        advertise
    ),
    switch!(
        "insecure-listen",
        "Allow ports that other machines can reach, although nobody has to say who they are",
        insecure_listen
    ),
    many!(
        "allowed-host",
        "NAME",
        "A further name under which browsers may reach this server",
        allowed_hosts
    ),
    one!(
        "cluster-listen",
        "ADDR",
        "Address for other servers; clusters of several servers are not built yet",
        cluster_listen
    ),
    many!(
        "join",
        "ADDR",
        "A server to join; clusters of several servers are not built yet",
        join
    ),
    Key {
        name: "layout",
        shape: Shape::Named,
        hint: "LAYOUT",
        help: "Records of a framework on etcd: kitex, kratos, services (each also =off, =asleep, =awake), go-zero=KEY, grpc=TARGET, NAME=/path/{service}/{address} (after consul-kv: or znodes: in another keyspace); kitex, kratos and services sleep until they are used",
        set: |config, text| config.layouts.set(text),
        clear: |_| {},
        show: |_| String::new(),
    },
    one!(
        "worker-threads",
        "N",
        "Threads that serve requests, 0 for one per core and at least two",
        worker_threads
    ),
    one!("log-format", "FORMAT", "human or json", log.format),
    one!(
        "log-level",
        "FILTER",
        "error, warn, info, debug or trace, also per crate: info,portolan_replica=debug",
        log.level
    ),
    one!(
        "log-queue",
        "LINES",
        "Lines that wait for a slow reader of the log; further ones are dropped and counted",
        log.queue
    ),
    one!(
        "limit-connections",
        "N",
        "Open connections",
        limits.connections
    ),
    one!(
        "limit-connections-per-peer",
        "N",
        "Open connections from one address",
        limits.connections_per_peer
    ),
    one!(
        "limit-streams-per-connection",
        "N",
        "Requests in flight on one HTTP/2 connection",
        limits.streams_per_connection
    ),
    bytes!(
        "limit-header-bytes",
        "Size of a request's head",
        limits.header_bytes
    ),
    one!(
        "limit-header-count",
        "N",
        "Header fields of one request",
        limits.header_count
    ),
    one!(
        "limit-header-timeout",
        "TIME",
        "Time for a request's head to arrive",
        limits.header_timeout
    ),
    bytes!(
        "limit-body-bytes",
        "Size of a request's body",
        limits.body_bytes
    ),
    bytes!(
        "limit-decompressed-bytes",
        "Size a compressed body may unpack to",
        limits.decompressed_bytes
    ),
    one!(
        "limit-body-timeout",
        "TIME",
        "Time for a request's body to arrive",
        limits.body_timeout
    ),
    bytes!(
        "limit-linger-bytes",
        "What is read of a client that is still sending when it has been refused",
        limits.linger_bytes
    ),
    one!(
        "limit-linger-timeout",
        "TIME",
        "Time for that",
        limits.linger_timeout
    ),
    one!(
        "limit-write-timeout",
        "TIME",
        "How long a client may refuse to take bytes",
        limits.write_timeout
    ),
    one!(
        "limit-idle-timeout",
        "TIME",
        "How long a connection may be open without a request",
        limits.idle_timeout
    ),
    one!(
        "limit-pending-reset-streams",
        "N",
        "HTTP/2 streams reset before they were accepted",
        limits.pending_reset_streams
    ),
    one!(
        "limit-keepalive-interval",
        "TIME",
        "Silence after which an HTTP/2 client is asked for a sign of life",
        limits.keepalive_interval
    ),
    one!(
        "limit-keepalive-timeout",
        "TIME",
        "Time for that sign of life",
        limits.keepalive_timeout
    ),
    one!(
        "limit-json-depth",
        "N",
        "Nesting of JSON",
        limits.json_depth
    ),
    one!(
        "limit-drain-timeout",
        "TIME",
        "Time that open requests have to end when the server stops",
        limits.drain_timeout
    ),
    Key {
        name: "history-age",
        shape: Shape::One,
        hint: "TIME",
        help: "How long changes are kept, for watches that resume, reads at an earlier time and why",
        set: |config, text| {
            let age = Duration::parse(text)?.as_millis();
            config.retention.age_ms = u64::try_from(age).unwrap_or(u64::MAX);
            Ok(())
        },
        clear: |_| {},
        show: |config| Duration::from_millis(config.retention.age_ms).print(),
    },
    one!(
        "history-changes",
        "N",
        "How many changes are kept; 0 is no bound",
        retention.changes
    ),
    bytes!(
        "history-bytes",
        "How large the files of changes may be; never more than a tenth of what the disk has for them",
        retention.disk_bytes
    ),
    bytes!(
        "history-memory-bytes",
        "How much memory the newest changes may take; older ones are in files",
        retention.memory_bytes
    ),
    bytes!(
        "storage-segment-bytes",
        "Size of a file of the log; smaller on a small disk",
        storage.segment_bytes
    ),
    bytes!(
        "storage-reserve-bytes",
        "Space kept back for the moment the disk is full",
        storage.reserve_bytes
    ),
    bytes!(
        "storage-snapshot-bytes",
        "Growth of the log after which a snapshot is written",
        storage.snapshot_bytes
    ),
    one!(
        "storage-queue",
        "N",
        "Commands that wait to be written",
        storage.queue
    ),
    one!(
        "storage-queue-wait",
        "TIME",
        "Time that a command waits for a place among them before it is refused",
        storage.queue_wait
    ),
    one!(
        "storage-decision-timeout",
        "TIME",
        "Time after which a command that was not decided is answered as unknown",
        storage.decision_timeout
    ),
    bytes!(
        "etcd-request-bytes",
        "Size of what one etcd request may keep",
        etcd.request_bytes
    ),
    one!(
        "etcd-progress-interval",
        "TIME",
        "Time between progress notifications of a quiet etcd watch",
        etcd.progress_interval
    ),
    one!(
        "guard-share",
        "THOUSANDTHS",
        "Share of all instances that must not fall silent at once",
        guard.share
    ),
    one!("guard-least", "N", "And at least so many", guard.least),
    one!(
        "guard-service-share",
        "THOUSANDTHS",
        "Share of one service's instances that must not fall silent at once",
        guard.service_share
    ),
    one!(
        "guard-service-least",
        "N",
        "And at least so many of it",
        guard.service_least
    ),
    one!(
        "check-probes",
        "N",
        "Health checks that run at a time",
        checks.probes
    ),
    one!(
        "check-output-interval",
        "TIME",
        "How long changed output of a check alone is held back",
        checks.output_interval
    ),
    Key {
        name: "check-script",
        shape: Shape::Named,
        hint: "ID=TIME PROGRAM...",
        help: "A program that is run as a check of this server's node; no other program is ever run",
        set: |config, text| config.checks.add(text),
        clear: |_| {},
        show: |_| String::new(),
    },
    Key {
        set: |config, text| {
            config.dns.domain = domain(text)?;
            Ok(())
        },
        ..one!("dns-domain", "NAME", "Consul's domain", dns.domain)
    },
    Key {
        set: |config, text| {
            config.dns.alt_domain = Some(domain(text)?);
            Ok(())
        },
        ..one!(
            "dns-alt-domain",
            "NAME",
            "A further name of it",
            dns.alt_domain
        )
    },
    Key {
        set: |config, text| {
            config.dns.cluster_domain = domain(text)?;
            Ok(())
        },
        ..one!(
            "dns-cluster-domain",
            "NAME",
            "The Kubernetes zone",
            dns.cluster_domain
        )
    },
    one!(
        "dns-node-ttl",
        "TIME",
        "TTL of answers about nodes",
        dns.node_ttl
    ),
    Key {
        name: "dns-service-ttl",
        shape: Shape::Named,
        hint: "NAME=TIME",
        help: "TTL of answers about a service; the name may end in * or be *",
        set: |config, text| {
            let (name, ttl) = text
                .rsplit_once('=')
                .ok_or_else(|| format!("{text:?} is not NAME=TIME, such as web*=5s"))?;
            let ttl = Duration::parse(ttl.trim())?;
            let name = name.trim();
            config.dns.service_ttl.retain(|(known, _)| known != name);
            config.dns.service_ttl.push((name.to_owned(), ttl));
            Ok(())
        },
        clear: |_| {},
        show: |_| String::new(),
    },
    one!(
        "dns-cluster-ttl",
        "TIME",
        "TTL of answers of the Kubernetes zone",
        dns.cluster_ttl
    ),
    one!(
        "dns-negative-ttl",
        "TIME",
        "How long absence may be remembered, at most 5s",
        dns.negative_ttl
    ),
    switch!(
        "dns-only-passing",
        "Leave out instances with a warning",
        dns.only_passing
    ),
    one!(
        "dns-udp-answer-limit",
        "N",
        "Answers in one UDP reply to a client without EDNS, or that takes 512 bytes; 1 to 8",
        dns.udp_answer_limit
    ),
    one!(
        "dns-a-record-limit",
        "N",
        "Addresses in any one reply, 0 for all",
        dns.a_record_limit
    ),
    switch!(
        "dns-truncate",
        "Set TC when answers were left out; by default not, as in Consul: HAProxy and others drop such a reply",
        dns.truncate
    ),
    bytes!(
        "dns-max-udp-size",
        "Largest UDP reply about Consul's domain, 512 to 65467",
        dns.max_udp_size
    ),
    bytes!(
        "dns-cluster-max-udp-size",
        "Largest UDP reply about the Kubernetes zone, where TC is always set when answers were left out",
        dns.cluster_max_udp_size
    ),
    switch!(
        "dns-node-meta-txt",
        "Add a node's metadata as TXT records to SRV answers and to its address",
        dns.node_meta_txt
    ),
    many!(
        "dns-allow",
        "NETWORK",
        "A network whose questions are answered",
        dns.allow
    ),
    bytes!(
        "dns-cache-bytes",
        "Bytes of prepared answers that are kept",
        dns.cache_bytes
    ),
    one!(
        "dns-workers",
        "N",
        "UDP threads, 0 for one per core",
        dns.workers
    ),
    one!(
        "dns-tcp-idle",
        "TIME",
        "How long a DNS connection may be silent",
        dns.tcp_idle
    ),
];
