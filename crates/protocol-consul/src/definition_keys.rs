//! The keys that a definition in a file may have. Calls ignore others, as Consul does; in a file one is a mistake that nobody would notice.

use crate::wire::fold;
use serde_json::Value;

/// Keys of a service, folded.
const SERVICE: &[&str] = &[
    "address",
    "check",
    "checks",
    "connect",
    "enabletagoverride",
    "id",
    "kind",
    "locality",
    "meta",
    "name",
    "namespace",
    "partition",
    "port",
    "ports",
    "proxy",
    "socketpath",
    "taggedaddresses",
    "tags",
    "token",
    "weights",
];

/// Keys of a check, folded.
const CHECK: &[&str] = &[
    "aliasnode",
    "aliasservice",
    "args",
    "body",
    "checkid",
    "deregistercriticalserviceafter",
    "disableredirects",
    "dockercontainerid",
    "enterprisemeta",
    "failuresbeforecritical",
    "failuresbeforewarning",
    "grpc",
    "grpcusetls",
    "h2ping",
    "h2pingusetls",
    "header",
    "http",
    "id",
    "interval",
    "method",
    "name",
    "namespace",
    "notes",
    "osservice",
    "output",
    "outputmaxsize",
    "partition",
    "script",
    "scriptargs",
    "serviceid",
    "shell",
    "status",
    "successbeforepassing",
    "tcp",
    "tcpusetls",
    "timeout",
    "tlsservername",
    "tlsskipverify",
    "token",
    "ttl",
    "udp",
];

/// The first key of a service that is none, with the path to it.
pub(crate) fn unknown_in_service(value: &Value, path: &str) -> Option<String> {
    let of_checks = || {
        let map = value.as_object()?;
        map.iter().find_map(|(key, value)| match &*fold(key) {
            "check" => unknown_in_check(value, &format!("{path}.{key}")),
            "checks" => value
                .as_array()?
                .iter()
                .enumerate()
                .find_map(|(at, check)| unknown_in_check(check, &format!("{path}.{key}[{at}]"))),
            _ => None,
        })
    };
    unknown(value, SERVICE, path).or_else(of_checks)
}

/// The first key of a check that is none, with the path to it.
pub(crate) fn unknown_in_check(value: &Value, path: &str) -> Option<String> {
    unknown(value, CHECK, path)
}

fn unknown(value: &Value, known: &[&str], path: &str) -> Option<String> {
    let mut keys = value.as_object()?.keys();
    keys.find(|key| !known.contains(&&*fold(key)))
        .map(|key| format!("{path}.{key}"))
}
