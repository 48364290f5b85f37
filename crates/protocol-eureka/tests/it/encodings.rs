//! One list in all its shapes: JSON and XML, full and compact, plain and packed, all saying the same.

use portolan_protocol_eureka::wire::{Applications, Instance};

use crate::client::{Answer, JSON, SEND_JSON, Server, instance};

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip, deflate");
const COMPACT: (&str, &str) = ("X-Eureka-Accept", "compact");
const XML: (&str, &str) = ("Accept", "application/xml");

async fn filled(services: u16, each: u8) -> Server {
    let server = Server::start().await;
    for s in 0..services {
        for n in 1..=each {
            server
                .up(&format!("APP-{s}"), n, r#","metadata":{"a_b":"<x>"}"#)
                .await;
        }
        server
            .foreign(&format!("app-{s}"), "10.1.0.1", 90 + s)
            .await;
    }
    server
}

async fn fetch(server: &Server, path: &str, headers: &[(&str, &str)]) -> (Answer, Applications) {
    let answer = server.send("GET", path, headers, b"").await;
    let list = answer.list();
    (answer, list)
}

/// What the compact form keeps.
fn compacted(mut list: Applications) -> Applications {
    for it in list.applications.iter_mut().flat_map(|a| &mut a.instances) {
        *it = Instance {
            instance_id: it.instance_id.clone(),
            app: it.app.clone(),
            ip_addr: it.ip_addr.clone(),
            vip_address: it.vip_address.clone(),
            secure_vip_address: it.secure_vip_address.clone(),
            data_center: it.data_center.clone(),
            host_name: it.host_name.clone(),
            status: it.status,
            updated_at: it.updated_at,
            action: it.action,
            asg_name: it.asg_name.clone(),
            port: it.port,
            secure_port: it.secure_port,
            ..Instance::default()
        };
    }
    list
}

#[tokio::test]
async fn all_shapes_of_a_list_say_the_same() {
    let server = filled(40, 2).await;
    for path in ["/eureka/apps", "/eureka/apps/delta", "/eureka/vips/app-3"] {
        let (plain, full) = fetch(&server, path, &[JSON]).await;
        assert_eq!(plain.header("content-encoding"), None);
        let small = compacted(full.clone());
        let rows: [(&[(&str, &str)], &Applications); 7] = [
            (&[XML], &full),
            (&[JSON, GZIP], &full),
            (&[XML, GZIP], &full),
            (&[JSON, COMPACT], &small),
            (&[XML, COMPACT], &small),
            (&[JSON, COMPACT, GZIP], &small),
            (&[XML, COMPACT, GZIP], &small),
        ];
        for (headers, expected) in rows {
            let (answer, list) = fetch(&server, path, headers).await;
            assert_eq!(&list, expected, "{path} {headers:?}");
            let packed = headers.contains(&GZIP);
            assert_eq!(
                answer.header("content-encoding").is_some(),
                packed,
                "{path} {headers:?}"
            );
        }
    }
    let (_, all) = fetch(&server, "/eureka/apps", &[JSON]).await;
    assert_eq!(all.applications.len(), 40);
    assert_eq!(all.hashcode, "UP_120_");
    let application = server
        .send("GET", "/eureka/apps/APP-3", &[XML], b"")
        .await
        .text();
    assert!(
        application
            .starts_with("<application>\n  <name>APP-3</name>\n  <instance>\n    <instanceId>"),
        "{application}"
    );
    assert!(application.ends_with("\n  </instance>\n</application>"));
}

#[tokio::test]
async fn a_list_is_encoded_anew_only_where_something_changed() {
    let server = filled(40, 1).await;
    let (before, _) = fetch(&server, "/eureka/apps", &[JSON, GZIP]).await;
    assert_eq!(server.put("/eureka/apps/APP-7/h1:app-7:8080").await, 200);
    let (same, _) = fetch(&server, "/eureka/apps", &[JSON, GZIP]).await;
    assert_eq!(before.body, same.body);
    for round in 0..10 {
        let app = format!("APP-{}", round * 4);
        assert_eq!(
            server
                .put(&format!(
                    "/eureka/apps/{app}/h1:{}:8080/status?value=DOWN",
                    app.to_ascii_lowercase()
                ))
                .await,
            200
        );
        let (_, packed) = fetch(&server, "/eureka/apps", &[JSON, GZIP]).await;
        let (_, plain) = fetch(&server, "/eureka/apps", &[JSON]).await;
        assert_eq!(packed, plain);
        assert_eq!(
            packed.hashcode,
            format!("DOWN_{}_UP_{}_", round + 1, 79 - round)
        );
        assert_eq!(packed.recount().hashcode(), packed.hashcode);
    }
    for app in 0..40 {
        assert_eq!(
            server
                .delete(&format!("/eureka/apps/APP-{app}/h1:app-{app}:8080"))
                .await,
            200
        );
        assert_eq!(
            server
                .delete(&format!(
                    "/eureka/apps/APP-{app}/10.1.0.1:app-{app}:{}",
                    90 + app
                ))
                .await,
            200
        );
        let (_, packed) = fetch(&server, "/eureka/apps", &[JSON, GZIP]).await;
        assert_eq!(packed.applications.len(), 39 - app);
    }
}

#[tokio::test]
async fn one_application_is_shown_as_it_is_now() {
    let server = Server::start().await;
    for n in 1..=5 {
        server.up("WEB", n, "").await;
        for headers in [&[JSON][..], &[JSON, GZIP], &[XML], &[XML, GZIP, COMPACT]] {
            let text = server
                .send("GET", "/eureka/apps/WEB", headers, b"")
                .await
                .text();
            assert_eq!(
                text.matches("8080:").count() + text.matches(":web:8080").count(),
                usize::from(n),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_registration_may_be_xml_or_packed() {
    let server = Server::start().await;
    server
        .up(
            "WEB",
            1,
            r#","metadata":{"a_b":"1"},"lastDirtyTimestamp":"5""#,
        )
        .await;
    let xml = server
        .send("GET", "/eureka/apps/WEB/h1:web:8080", &[XML], b"")
        .await;
    assert!(xml.text().contains("<a__b>1</a__b>"));
    let before = server.registry.snapshot().revision();
    let again = server
        .send(
            "POST",
            "/eureka/apps/WEB",
            &[("Content-Type", "application/xml")],
            &xml.body,
        )
        .await;
    assert_eq!(again.status, 204);
    assert_eq!(
        server.registry.snapshot().revision(),
        before,
        "XML registers the same facts"
    );
    let packed = portolan_listener::gzip(instance("WEB", 2, "").as_bytes());
    let headers = [SEND_JSON, ("Content-Encoding", "gzip")];
    assert_eq!(
        server
            .send("POST", "/eureka/apps/WEB", &headers, &packed)
            .await
            .status,
        204
    );
    assert_eq!(server.get("/eureka/apps/WEB/h2:web:8080").await.status, 200);
    assert_eq!(
        server
            .send("POST", "/eureka/apps/WEB", &headers, b"not gzip")
            .await
            .status,
        400
    );
}
