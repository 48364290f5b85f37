//! The same objects in YAML and protobuf: bodies, answers, refusals and watches.

use serde_json::json;

use crate::client::{SERVICES, Server, service};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[tokio::test]
async fn bodies_and_answers_in_yaml() {
    let server = Server::start().await;
    let headers = [("Content-Type", YAML), ("Accept", YAML)];
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {app: web}\ndata:\n  one: \"1\"\n  text: |\n    a\n    b\n";
    let made = server.send("POST", MAPS, &headers, body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(
        made.head.contains("content-type: application/yaml"),
        "{}",
        made.head
    );
    assert!(
        made.text()
            .contains("data:\n  one: \"1\"\n  text: \"a\\nb\\n\"\nkind: ConfigMap\n"),
        "{}",
        made.text()
    );
    let one = format!("{MAPS}/a");
    let read = server.get(&one).await.ok(200);
    assert_eq!(read["data"], json!({"one": "1", "text": "a\nb\n"}));
    let changed = server
        .send(
            "PUT",
            &one,
            &headers,
            &made.text().replace("\"1\"", "\"2\""),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let listed = server
        .send("GET", MAPS, &[("Accept", YAML)], "")
        .await
        .text();
    assert!(listed.contains("kind: ConfigMapList\n"), "{listed}");
    let none = server
        .send("GET", &format!("{MAPS}/b"), &[("Accept", YAML)], "")
        .await;
    assert_eq!(none.status, 404);
    assert!(
        none.text().contains("reason: NotFound\n"),
        "{}",
        none.text()
    );
    let watch = server
        .send("GET", &format!("{MAPS}?watch=1"), &[("Accept", YAML)], "")
        .await;
    assert_eq!(watch.status, 406);
    for bad in ["a: b: c", "a: 1\na: 2", "[", "a: &a [*a]", "- 1", "7"] {
        let answer = server
            .send("POST", MAPS, &[("Content-Type", YAML)], bad)
            .await;
        assert_eq!(answer.refused(), (400, "BadRequest".into()), "{bad}");
    }
}

/// The fields of a message: their numbers and what they hold; numbers are left out.
fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let varint = |bytes: &mut &[u8]| {
        let mut value = 0_usize;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    };
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = varint(&mut bytes);
        if key & 7 == 2 {
            found.push((u8::try_from(key >> 3).unwrap(), bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
    }
    found
}

fn texts(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The kind in a body, and its object.
fn opened(body: &[u8]) -> (String, Vec<u8>) {
    let envelope = fields(body.strip_prefix(b"k8s\0").expect("an envelope"));
    let kind = fields(&envelope[0].1);
    (texts(&kind[1].1), envelope[1].1.clone())
}

#[tokio::test]
async fn answers_in_protobuf() {
    let server = Server::start().await;
    let accept = [("Accept", PROTOBUF)];
    server.post(SERVICES, service("web")).await.ok(201);
    let one = server
        .send("GET", &format!("{SERVICES}/web"), &accept, "")
        .await;
    assert!(
        one.head
            .contains("content-type: application/vnd.kubernetes.protobuf\r\n"),
        "{}",
        one.head
    );
    let (kind, object) = opened(&one.body);
    assert_eq!(kind, "Service");
    let parts = fields(&object);
    // The version comes by itself, then the metadata, then the rest.
    assert_eq!(
        parts.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [1, 1, 2, 3]
    );
    assert!(fields(&parts[1].1).contains(&(1, b"web".to_vec())));
    let list = server.send("GET", SERVICES, &accept, "").await;
    let (kind, object) = opened(&list.body);
    assert_eq!(kind, "ServiceList");
    assert_eq!(
        fields(&object)
            .iter()
            .filter(|(number, _)| *number == 2)
            .count(),
        2
    );
    let none = server
        .send("GET", &format!("{SERVICES}/none"), &accept, "")
        .await;
    assert_eq!(
        (none.status, opened(&none.body).0.as_str()),
        (404, "Status")
    );
    // What was answered is a body again.
    let headers = [("Content-Type", PROTOBUF), ("Accept", "application/json")];
    let (_, object) = opened(&one.body);
    assert!(texts(&object).contains("web"));
    let partial = [(
        "Accept",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    )];
    let partial = server
        .send("GET", &format!("{SERVICES}/web"), &partial, "")
        .await;
    assert_eq!(opened(&partial.body).0, "PartialObjectMetadata");
    for bad in [
        "",
        "k8s\0",
        "k8s\0\u{a}\u{1}",
        "{}",
        "k8s\0\u{12}\u{4}\u{a}\u{2}\u{a}\u{9}",
    ] {
        let answer = server.send("POST", SERVICES, &headers, bad).await;
        assert!(
            (400..500).contains(&answer.status),
            "{bad:?}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_watch_in_protobuf_is_frames() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    let path = format!("{SERVICES}?watch=1&timeoutSeconds=1&allowWatchBookmarks=1");
    let stream = server.send("GET", &path, &[("Accept", PROTOBUF)], "").await;
    assert!(
        stream
            .head
            .contains("application/vnd.kubernetes.protobuf;stream=watch"),
        "{}",
        stream.head
    );
    let (mut rest, mut words) = (&stream.body[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, next) = after.split_at(u32::from_be_bytes(*length) as usize);
        let event = fields(frame);
        let object = fields(&event[1].1);
        words.push(format!("{} {}", texts(&event[0].1), opened(&object[0].1).0));
        rest = next;
    }
    assert_eq!(words[..2], ["ADDED Service", "ADDED Service"], "{words:?}");
    let old = format!("{SERVICES}?watch=1&resourceVersion=1&timeoutSeconds=1");
    assert_eq!(
        server
            .send("GET", &old, &[("Accept", PROTOBUF)], "")
            .await
            .status,
        200
    );
}
