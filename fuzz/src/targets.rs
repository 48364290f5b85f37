//! What each fuzz target does with its bytes: decode, and where there is an encoder, hold the law between the two.
//!
//! Nothing here may panic on any input, except where a law is broken.

use portolan_catalog::layout::{Form, Template};
use portolan_catalog::{Protocol, name, stored};
use portolan_protocol_eureka::wire::{self, Detail, Format, Shape};
use serde_json::json;

#[path = "replay.rs"]
pub mod replay;

/// A target: it looks at some bytes.
pub type Target = fn(&[u8]);

/// Every target that only looks at its bytes, by the name of its corpus.
pub const ALL: [(&str, Target); 23] = [
    ("dns_message", dns_message),
    ("dns_https", dns_https),
    ("consul_filter", consul_filter),
    ("consul_body", consul_body),
    ("consul_query", consul_query),
    ("eureka_json", eureka_json),
    ("eureka_xml", eureka_xml),
    ("nacos_payload", nacos_payload),
    ("nacos_form", nacos_form),
    ("etcd_request", etcd_request),
    ("etcd_json", etcd_json),
    ("xds_request", xds_request),
    ("kubernetes_yaml", kubernetes_yaml),
    ("kubernetes_protobuf", kubernetes_protobuf),
    ("kubernetes_apply", kubernetes_apply),
    ("zookeeper_frames", zookeeper_frames),
    ("log_entries", log_entries),
    ("snapshot_record", snapshot_record),
    ("snapshot_archive", snapshot_archive),
    ("snapshot_file", snapshot_file),
    ("layout_record", layout_record),
    ("service_name", service_name),
    ("http2_authority", http2_authority),
];

/// Every target that sends its bytes to a node, by the name of its corpus. Each run starts the node's copy once, so they take a few
/// milliseconds.
pub const REPLAYED: [(&str, Target); 4] = [
    ("consul_replay", consul_replay),
    ("etcd_replay", etcd_replay),
    ("eureka_replay", eureka_replay),
    ("native_replay", native_replay),
];

/// A DNS message.
pub fn dns_message(bytes: &[u8]) {
    portolan_protocol_dns::fuzzing::message(bytes);
}

/// The query part of a URL with a DNS message.
pub fn dns_https(bytes: &[u8]) {
    portolan_protocol_dns::fuzzing::https_query(bytes);
}

/// A filter expression, asked about a row.
pub fn consul_filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let row = json!({
        "Node": { "Node": "n1", "Meta": { "os": "linux", "a-b": "" } },
        "Service": { "ID": "web-1", "Service": "web", "Tags": ["v1", "x"], "Port": 80, "Meta": { "version": "1" } },
        "Checks": [{ "Status": "passing", "CheckID": "c" }, { "Status": "critical", "CheckID": "d" }],
    });
    portolan_protocol_consul::fuzzing::filter(text, &row);
}

/// A JSON body of Consul's API.
pub fn consul_body(bytes: &[u8]) {
    portolan_protocol_consul::fuzzing::body(bytes);
}

/// A query string of Consul's API.
pub fn consul_query(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        portolan_protocol_consul::fuzzing::query(text);
    }
}

/// A message of Nacos' gRPC port, or the JSON in one.
pub fn nacos_payload(bytes: &[u8]) {
    portolan_protocol_nacos::fuzzing::payload(bytes);
}

/// Texts of Nacos' forms, and acknowledgements by UDP.
pub fn nacos_form(bytes: &[u8]) {
    portolan_protocol_nacos::fuzzing::form(bytes);
}

/// An instance or a list of Eureka in JSON.
pub fn eureka_json(bytes: &[u8]) {
    eureka(Format::Json, bytes);
}

/// An instance or a list of Eureka in XML.
pub fn eureka_xml(bytes: &[u8]) {
    eureka(Format::Xml, bytes);
}

/// What was read is written and read again: the second reading finds what the first found.
fn eureka(format: Format, bytes: &[u8]) {
    if let Ok(instance) = wire::decode_instance(format, bytes) {
        let _ = instance.check_registration("WEB");
        let written = wire::encode_instance(format, &instance);
        let again = wire::decode_instance(format, &written).unwrap_or_else(|error| {
            panic!(
                "{error:?} in what was written: {}",
                String::from_utf8_lossy(&written)
            )
        });
        assert_eq!(
            wire::encode_instance(format, &again),
            written,
            "the second writing differs from the first"
        );
    }
    if let Ok(list) = wire::decode_applications(format, bytes, 100_000) {
        for detail in [Detail::Full, Detail::Compact] {
            let written = wire::encode_applications(Shape { format, detail }, &list);
            assert!(
                wire::decode_applications(format, &written, 200_000).is_ok(),
                "{}",
                String::from_utf8_lossy(&written)
            );
        }
    }
}

/// Requests of Consul's API, sent to a node, which is then killed and started again.
pub fn consul_replay(bytes: &[u8]) {
    replay_http(Protocol::Consul, bytes);
}

/// Requests of Eureka's API; see [`consul_replay`].
pub fn eureka_replay(bytes: &[u8]) {
    replay_http(Protocol::Eureka, bytes);
}

/// Requests of the native protocol; see [`consul_replay`].
pub fn native_replay(bytes: &[u8]) {
    replay_http(Protocol::Native, bytes);
}

/// Methods of etcd that write, by the first byte of an input.
const ETCD_METHODS: [&str; 7] = [
    "KV/Put",
    "KV/DeleteRange",
    "KV/Txn",
    "KV/Compact",
    "Lease/LeaseGrant",
    "Lease/LeaseRevoke",
    "Maintenance/Alarm",
];

/// A request of etcd's: a byte that chooses the method, and the message. See [`consul_replay`].
pub fn etcd_replay(bytes: &[u8]) {
    let Some((method, message)) = bytes.split_first() else {
        return;
    };
    let method = ETCD_METHODS[usize::from(*method) % ETCD_METHODS.len()];
    let call = replay::Call {
        method: "POST".into(),
        target: format!("/etcdserverpb.{method}"),
        kind: "application/grpc",
        body: message.to_vec(),
    };
    replay::run(Protocol::Etcd, &[call]);
}

/// Requests divided by the byte 0x1e. Each begins with a line of method and path; the rest is the body.
fn replay_http(protocol: Protocol, bytes: &[u8]) {
    let calls: Vec<_> = bytes
        .split(|byte| *byte == 0x1e)
        .filter_map(|request| {
            let line = request
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(request.len());
            let body = request.get(line + 1..).unwrap_or_default();
            let (method, target) = std::str::from_utf8(&request[..line])
                .ok()?
                .split_once(' ')?;
            // Reads that wait have nothing to replay.
            if method == "GET" || !target.starts_with('/') {
                return None;
            }
            Some(replay::Call {
                method: method.into(),
                target: target.into(),
                kind: if body.starts_with(b"<") {
                    "application/xml"
                } else {
                    "application/json"
                },
                body: body.to_vec(),
            })
        })
        .collect();
    if !calls.is_empty() {
        replay::run(protocol, &calls);
    }
}

/// A request of etcd's, decoded and checked.
pub fn etcd_request(bytes: &[u8]) {
    portolan_protocol_etcd::fuzzing::request(bytes);
}

/// A body of etcd's JSON gateway, read as a message and written again.
pub fn etcd_json(bytes: &[u8]) {
    portolan_protocol_etcd::fuzzing::json(bytes);
}

/// A request of an xDS client, taken in as a stream does.
pub fn xds_request(bytes: &[u8]) {
    portolan_protocol_xds::fuzzing::request(bytes);
}

/// A YAML body of the Kubernetes API.
pub fn kubernetes_yaml(bytes: &[u8]) {
    portolan_protocol_kubernetes::fuzzing::yaml(bytes);
}

/// A protobuf body of the Kubernetes API: a byte that chooses the kind, and the body.
pub fn kubernetes_protobuf(bytes: &[u8]) {
    portolan_protocol_kubernetes::fuzzing::protobuf(bytes);
}

/// Two configurations of a Service, divided by a zero byte, applied by two managers.
pub fn kubernetes_apply(bytes: &[u8]) {
    portolan_protocol_kubernetes::fuzzing::apply(bytes);
}

/// What a ZooKeeper client sends: frames, and the requests in them.
pub fn zookeeper_frames(bytes: &[u8]) {
    portolan_protocol_zookeeper::fuzzing::decode(bytes);
}

/// A batch of entries as the log keeps it. What is read is what was written, byte for byte, from the second writing on.
pub fn log_entries(bytes: &[u8]) {
    let Ok(entries) = stored::decode_entries(bytes) else {
        return;
    };
    let write = |entries: &[portolan_catalog::Entry]| {
        let mut batch = Vec::new();
        for entry in entries {
            stored::encode_entry(entry, stored::LEVEL, &mut batch)
                .expect("what was read can be written");
        }
        batch
    };
    // Bytes that nobody wrote may mean a name that is not written so: zero bytes part the names inside a key. One writing settles it.
    let settle = |entries: &[portolan_catalog::Entry]| {
        stored::decode_entries(&write(entries)).expect("what was written can be read")
    };
    let settled = settle(&entries);
    let again = settle(&settled);
    assert_eq!(
        write(&again),
        write(&settled),
        "the third writing differs from the second"
    );
}

/// A record of a snapshot.
pub fn snapshot_record(bytes: &[u8]) {
    let mut restore = stored::Restore::new();
    // Records in the snapshot carry their length; here a byte of it does.
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (record, next) = after.split_at(usize::from(*length).min(after.len()));
        if restore.record(record).is_err() {
            return;
        }
        rest = next;
    }
    let _ = restore.finish();
}

/// Consul's archive around a snapshot: what is read is packed and read again.
pub fn snapshot_archive(bytes: &[u8]) {
    const MOST: u64 = 1 << 20;
    let Ok((metadata, state)) = portolan_archive::unpack(bytes, MOST) else {
        return;
    };
    let mut again = Vec::new();
    portolan_archive::pack(metadata, &state, &mut again).expect("memory takes it");
    let (_, read) = portolan_archive::unpack(&again, MOST).expect("what was packed is read");
    assert!(read == state);
}

/// A whole snapshot file.
pub fn snapshot_file(bytes: &[u8]) {
    let _ = portolan_replica::snapshot::check(bytes, bytes.len() as u64);
    let _ = portolan_replica::snapshot::read(bytes, bytes.len() as u64, drop);
}

/// A key and a value, divided by a zero byte, as each layout reads them.
pub fn layout_record(bytes: &[u8]) {
    let at = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (key, value) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let forms = [
        Form::Kitex,
        Form::Kratos,
        Form::GoZero {
            key: "user.rpc".into(),
        },
        Form::GrpcNaming {
            target: "target".into(),
        },
        Form::Template(Template::services()),
    ];
    for form in forms {
        if let Some(found) = form.recognise(key, value) {
            assert!(
                key.starts_with(form.root().as_bytes()),
                "a layout recognises only below its root"
            );
            drop(found);
        }
    }
}

/// A flat name: writing what was read gives the same name, but for case.
pub fn service_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // No name may hold a zero byte: it parts the names inside a key, and every registration with one is refused.
    if text.contains('\0') {
        return;
    }
    let key = name::read_flat(text);
    assert_eq!(
        name::flat(&key),
        text.to_ascii_lowercase(),
        "write(read(s)) = s"
    );
}

/// What an HTTP/2 peer sends, in pieces as long as its first byte says. However it is cut, the same comes out; it never grows, and
/// what came out is in order: a second pass changes nothing.
pub fn http2_authority(bytes: &[u8]) {
    let Some((piece, frames)) = bytes.split_first() else {
        return;
    };
    let input = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frames].concat();
    let out = rewritten(&input, usize::from(*piece).max(1));
    assert_eq!(out, rewritten(&input, input.len()), "however it is cut");
    assert!(out.len() <= input.len(), "nothing grows");
    assert_eq!(rewritten(&out, out.len()), out, "what is in order stays");
}

fn rewritten(input: &[u8], piece: usize) -> Vec<u8> {
    let mut rewriter = portolan_listener::authority::Rewriter::new(64 << 10);
    let mut out = Vec::new();
    for bytes in input.chunks(piece) {
        let passed = rewriter.receive(bytes);
        out.extend_from_slice(&bytes[..passed]);
        out.extend_from_slice(rewriter.ready());
        rewriter.used(rewriter.ready().len());
    }
    rewriter.finish();
    out.extend_from_slice(rewriter.ready());
    out
}
