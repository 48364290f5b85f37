//! The zones that DNS answers, and how large its answers are.

use std::time::Duration;

use super::super::bounds::{ANY, DAY, MIB, bounds};
use super::super::key::{Area, Key, Shape, bytes, many, one, switch};
use super::super::value::Setting;

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

pub(super) static AREA: Area = Area {
    heading: "DNS",
    keys: &[
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
        many!(
            "dns-recursor",
            "ADDR",
            "A server that is asked for names outside the zones, IP or IP:PORT; several are asked one after another; without any, those names are refused",
            dns.recursors
        ),
        one!(
            "dns-recursor-timeout",
            "TIME",
            "How long a recursor has for an answer",
            dns.recursor_timeout
        ),
        switch!(
            "dns-recursor-random",
            "Begin with any recursor, not with the first",
            dns.recursor_random
        ),
        one!(
            "dns-recursor-questions",
            "N",
            "Questions in flight to recursors; above it the answer is SERVFAIL",
            dns.recursor_questions
        ),
        bytes!(
            "dns-recursor-cache-bytes",
            "Bytes of recursors' answers that are kept",
            dns.recursor_cache_bytes
        ),
        one!(
            "dns-rate-limit",
            "N",
            "Replies over UDP that a network (/24, /56) gets each second, of each kind; 0 for all",
            dns.rate_limit
        ),
        many!(
            "dns-rate-limit-exempt",
            "NETWORK",
            "A network that gets all replies",
            dns.rate_limit_exempt
        ),
    ],
    bounds: bounds! {
        "dns-udp-answer-limit" whole dns.udp_answer_limit, 1, 8, Ones;
        "dns-negative-ttl" ms dns.negative_ttl, 0, 5000, Milliseconds;
        "dns-max-udp-size" whole dns.max_udp_size, 512, 65_467, Bytes;
        "dns-cluster-max-udp-size" whole dns.cluster_max_udp_size, 512, 65_467, Bytes;
        "dns-cache-bytes" size dns.cache_bytes, MIB, ANY, Bytes;
        "dns-workers" size dns.workers, 0, 1024, Ones;
        "dns-tcp-idle" ms dns.tcp_idle, 100, DAY, Milliseconds;
        "dns-recursor-timeout" ms dns.recursor_timeout, 10, 60_000, Milliseconds;
        "dns-recursor-questions" size dns.recursor_questions, 1, 65_536, Ones;
        "dns-rate-limit" whole dns.rate_limit, 0, 1_000_000, Ones;
        "dns-recursor-cache-bytes" size dns.recursor_cache_bytes, MIB, ANY, Bytes;
    },
};
