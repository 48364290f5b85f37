//! What layouts recognise and render, as tables.

use super::*;
use crate::instance::Weight;

#[test]
fn records_are_recognised() {
    let services = Template::services();
    let by_id = Template::parse("/reg/{service}/{id}").unwrap();
    type Expected = Option<(&'static str, &'static str, u16)>;
    let rows: [(&str, Form, &str, &str, Expected); 10] = [
        (
            "kitex",
            Form::Kitex,
            "kitex/registry-etcd/web/10.0.0.1:80",
            r#"{"network":"tcp","address":"10.0.0.1:80","weight":20,"tags":null}"#,
            Some(("web", "10.0.0.1", 80)),
        ),
        (
            "kitex, not JSON",
            Form::Kitex,
            "kitex/registry-etcd/web/10.0.0.1:80",
            "10.0.0.1:80",
            None,
        ),
        (
            "kratos",
            Form::Kratos,
            "/microservices/web/i1",
            r#"{"id":"i1","name":"web","version":"v1","metadata":null,"endpoints":["ws://10.0.0.1:1","grpc://10.0.0.1:9000?isSecure=false"]}"#,
            Some(("web", "10.0.0.1", 9000)),
        ),
        (
            "kratos, another name",
            Form::Kratos,
            "/microservices/web/i1",
            r#"{"id":"i1","name":"other","endpoints":["grpc://10.0.0.1:9000"]}"#,
            None,
        ),
        (
            "go-zero",
            Form::GoZero {
                key: "user.rpc".into(),
            },
            "user.rpc/758",
            "10.0.0.2:8080",
            Some(("user.rpc", "10.0.0.2", 8080)),
        ),
        (
            "go-zero, no number",
            Form::GoZero {
                key: "user.rpc".into(),
            },
            "user.rpc/x",
            "10.0.0.2:8080",
            None,
        ),
        (
            "naming",
            Form::GrpcNaming {
                target: "svc".into(),
            },
            "svc/a",
            r#"{"Op":0,"Addr":"10.0.0.3:1","Metadata":null}"#,
            Some(("svc", "10.0.0.3", 1)),
        ),
        (
            "template by address",
            Form::Template(services),
            "/services/web/[::1]:80",
            "",
            Some(("web", "::1", 80)),
        ),
        (
            "template by id",
            Form::Template(by_id.clone()),
            "/reg/web/7",
            r#"{"host":"h","port":9}"#,
            Some(("web", "h", 9)),
        ),
        (
            "template, deeper",
            Form::Template(by_id),
            "/reg/web/7/x",
            "h:9",
            None,
        ),
    ];
    for (name, form, key, value, expected) in rows {
        let found = form.recognise(key.as_bytes(), value.as_bytes());
        let found = found.map(|f| {
            (
                f.service.name().to_owned(),
                f.endpoint.host.to_string(),
                f.endpoint.port(),
            )
        });
        assert_eq!(
            found,
            expected.map(|(s, h, p)| (s.to_owned(), h.to_owned(), p)),
            "{name}"
        );
    }
    let weighted = Form::Kitex.recognise(
        b"kitex/registry-etcd/web/h:80",
        br#"{"address":"h:80","weight":20}"#,
    );
    assert_eq!(weighted.map(|f| f.weight), Some(Weight(2000)));
}

#[test]
fn the_preset_knows_service_and_address_and_nothing_else() {
    let services = Form::Template(Template::services());
    type Row = (
        &'static str,
        &'static [u8],
        Option<(&'static str, &'static str)>,
    );
    let rows: [Row; 14] = [
        (
            "/services/web/10.0.0.1:80",
            b"",
            Some(("web", "10.0.0.1:80")),
        ),
        (
            "/services/web/10.0.0.1:80",
            b"10.0.0.1:80",
            Some(("web", "10.0.0.1:80")),
        ),
        (
            "/services/web/10.0.0.1:80",
            b"\xff\xfe",
            Some(("web", "10.0.0.1:80")),
        ),
        (
            "/services/web/db-1.example_x:5432",
            b"any",
            Some(("web", "db-1.example_x:5432")),
        ),
        ("/services/web/[::1]:80", b"", Some(("web", "[::1]:80"))),
        ("/services/web/10.0.0.1", b"10.0.0.1:80", None),
        ("/services/web/10.0.0.1:", b"", None),
        ("/services/web/10.0.0.1:0", b"", None),
        ("/services/web/:80", b"", None),
        ("/services/web/a b:80", b"", None),
        ("/services/web/10.0.0.1:80/x", b"", None),
        ("/services//10.0.0.1:80", b"", None),
        ("/services/10.0.0.1:80", b"", None),
        ("services/web/10.0.0.1:80", b"", None),
    ];
    for (key, value, expected) in rows {
        let found = services.recognise(key.as_bytes(), value).map(|facts| {
            let at = facts.endpoint.host.with_port(facts.endpoint.port());
            (facts.service.name().to_owned(), at)
        });
        let expected = expected.map(|(name, at)| (name.to_owned(), at.to_owned()));
        assert_eq!(found, expected, "{key}");
    }
    let uses = [
        (KeyRange::prefix(b"/services/web/"), true),
        (KeyRange::prefix(b"/services/web/10."), true),
        (KeyRange::One("/services/web/10.0.0.1:80".into()), true),
        (KeyRange::prefix(b"/services/web"), false),
        (KeyRange::prefix(b"/services/"), false),
        (KeyRange::prefix(b"/services//"), false),
        (KeyRange::prefix(b"/"), false),
        (
            KeyRange::Between("/services/a/".into(), "/services/b/".into()),
            false,
        ),
        (KeyRange::From("/services/web/".into()), false),
    ];
    for (range, expected) in uses {
        assert_eq!(services.used_by(&range), expected, "{range:?}");
    }
}

#[test]
fn a_layout_is_in_the_keyspace_its_pattern_names() {
    let tree = Form::Template(Template::parse("znodes:/services/{service}/{address}").unwrap());
    assert_eq!(tree.keyspace(), Keyspace::Znodes);
    let key = Key::znode("/services/web/10.0.0.1:80");
    let facts = tree.recognise(&key, b"").unwrap();
    assert_eq!(facts.key.origin, Protocol::ZooKeeper);
    assert_eq!(
        facts.key.as_record(),
        Some((Keyspace::Znodes, "/services/web/10.0.0.1:80"))
    );
    assert!(
        tree.used_by(&KeyRange::prefix(b"/services/web\0")),
        "its children"
    );
    assert!(!tree.used_by(&KeyRange::prefix(b"/services\0")));
    let kv = Form::Template(Template::parse("consul-kv:services/{service}/{address}").unwrap());
    let facts = kv.recognise(b"services/web/10.0.0.1:80", b"").unwrap();
    assert_eq!(
        facts.key.to_string(),
        "native:consul-kv/services/web/10.0.0.1:80"
    );
    assert_eq!(
        facts.key.as_record(),
        Some((Keyspace::ConsulKv, "services/web/10.0.0.1:80"))
    );
    for wrong in ["settings:/s/{service}/{id}", "znodes:s/{service}/{id}"] {
        assert!(Template::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_cannot_be_an_instance_is_a_plain_record() {
    let services = Form::Template(Template::services());
    let long = "s".repeat(256);
    for key in [
        format!("/services/{long}/a:80"),
        format!("/services/q/{}:80", "h".repeat(255)),
        "/services/x/a:+1".to_owned(),
        "/services/x/a:080".to_owned(),
        "/services/x/-a:80".to_owned(),
        "/services/x/a-:80".to_owned(),
        "/services/x/.:80".to_owned(),
        "/services/x/a..b:80".to_owned(),
        "/services/../a:80".to_owned(),
        "/services/./a:80".to_owned(),
        "/services/x\0y/a:80".to_owned(),
        "/services/x\n/a:80".to_owned(),
    ] {
        assert_eq!(services.recognise(key.as_bytes(), b"v"), None, "{key:?}");
    }
    for key in ["/services/x/a:80", "/services/x/a.b-c_d.:65535"] {
        assert!(services.recognise(key.as_bytes(), b"v").is_some(), "{key}");
    }
    let tags: Vec<String> = (0..20_000).map(|n| format!("\"t{n}\":\"v\"")).collect();
    for tags in [tags.join(","), format!("\"t\":\"{}\"", "v".repeat(1 << 20))] {
        let value =
            format!("{{\"network\":\"tcp\",\"address\":\"10.0.0.1:80\",\"tags\":{{{tags}}}}}");
        let key = b"kitex/registry-etcd/web/10.0.0.1:80";
        assert_eq!(Form::Kitex.recognise(key, value.as_bytes()), None);
    }
}

#[test]
fn a_use_lies_at_or_below_the_root() {
    let rows = [
        (KeyRange::prefix(b"kitex/registry-etcd/web"), true),
        (KeyRange::prefix(b"kitex/registry-etcd"), true),
        (KeyRange::prefix(b"kitex/"), false),
        (KeyRange::all(), false),
        (KeyRange::One("kitex/registry-etcd/web/h:1".into()), true),
    ];
    for (range, expected) in rows {
        assert_eq!(Form::Kitex.used_by(&range), expected, "{range:?}");
    }
}
