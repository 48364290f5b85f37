//! The authority: its roots, and the certificates it gives to services.

use super::harness::World;
use serde_json::{Value, json};

const LEAF: &str = "/v1/agent/connect/ca/leaf/web";

#[tokio::test]
async fn a_service_gets_a_certificate_that_the_root_signed() {
    let world = World::new().await;
    let answer = world.get(LEAF).await;
    let leaf = answer.json();
    let roots = world.get("/v1/connect/ca/roots").await.json();
    let domain = roots["TrustDomain"].as_str().unwrap();
    assert_eq!(leaf["Service"], "web");
    assert_eq!(
        leaf["ServiceURI"],
        format!("spiffe://{domain}/ns/default/dc/dc1/svc/web")
    );
    assert_eq!(leaf["ModifyIndex"], answer.index());
    assert!(
        leaf["CertPEM"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(
        leaf["PrivateKeyPEM"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----")
    );
    let time = |key: &str| {
        leaf[key]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let hours = (time("ValidBefore") - time("ValidAfter")).get_seconds() / 3600;
    assert_eq!(hours, 72);
    // Asked again, it is the same one; another service has its own.
    assert_eq!(world.get(LEAF).await.json(), leaf);
    let other = world.get("/v1/agent/connect/ca/leaf/db").await.json();
    assert_ne!(other["SerialNumber"], leaf["SerialNumber"]);
    world
        .get("/v1/agent/connect/ca/leaf/")
        .await
        .is(400, "Missing service name");
}

#[tokio::test]
async fn whoever_waits_gets_another_certificate_when_the_root_changes() {
    let world = World::new().await;
    let first = world.get(LEAF).await;
    let roots = world.get("/v1/connect/ca/roots").await;
    let old = roots.json()["Roots"][0].clone();
    let leaf = world.background(&format!("{LEAF}?index={}&wait=60s", first.index()));
    let list = world.background(&format!(
        "/v1/connect/ca/roots?index={}&wait=60s",
        roots.index()
    ));
    world.waiting(2).await;
    let mut config = world.get("/v1/connect/ca/configuration").await.json();
    assert_eq!(config["Provider"], "consul");
    assert_eq!(config["Config"]["LeafCertTTL"], "72h");
    config["Config"]["PrivateKeyType"] = "ec".into();
    config["Config"]["PrivateKeyBits"] = 384.into();
    config["Config"]["LeafCertTTL"] = "2h".into();
    config["Config"]["PrivateKey"] = "".into();
    world
        .put_json("/v1/connect/ca/configuration", &config)
        .await
        .is(200, "");
    let now = leaf.await.unwrap();
    assert!(now.index() > first.index());
    assert_ne!(now.json()["SerialNumber"], first.json()["SerialNumber"]);
    // Who knows only the old root follows the new one's other certificate.
    let chain = now.json()["CertPEM"]
        .as_str()
        .unwrap()
        .matches("BEGIN CERTIFICATE")
        .count();
    assert_eq!(chain, 2);
    let list = list.await.unwrap();
    let roots = match list.json()["Roots"].as_array().map(Vec::len) {
        Some(2) => list.json(),
        // The configuration was news as well.
        _ => world.get("/v1/connect/ca/roots").await.json(),
    };
    assert_eq!(
        roots["TrustDomain"],
        world.get("/v1/agent/connect/ca/roots").await.json()["TrustDomain"]
    );
    let rows = roots["Roots"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["Active"], &rows[1]["Active"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&rows[0]["PrivateKeyBits"], &rows[1]["ID"]),
        (&json!(384), &old["ID"])
    );
    assert!(rows[1]["RotatedOutAt"].is_string() && rows[0]["IntermediateCerts"].is_array());
    // Keys are in no answer, and only that of the root that signs is kept.
    assert!(!roots.to_string().contains("PRIVATE KEY"));
    let state = world.registry.snapshot();
    let range = portolan_catalog::KeyRange::prefix(b"connect-ca/key/");
    let space = portolan_catalog::Keyspace::ConsulObjects;
    assert_eq!(state.range(space, &range).count(), 1);
    assert!(space.hides(b"connect-ca/key/x"));
}

#[tokio::test]
async fn a_root_without_a_key_is_replaced_when_a_certificate_is_asked_for() {
    let world = World::new().await;
    let root = world.get("/v1/connect/ca/roots").await.json()["Roots"][0].clone();
    // As it was kept before certificates were given out.
    let kept = json!({"ID": root["ID"], "SerialNumber": 5, "SigningKeyID": "aa", "TrustDomain": "a.consul",
        "NotBefore": root["NotBefore"], "NotAfter": root["NotAfter"], "RootCert": root["RootCert"]});
    let put = portolan_catalog::Put::new(
        portolan_catalog::Keyspace::ConsulObjects,
        portolan_catalog::Key::from("connect-ca/root"),
        kept.to_string().into(),
    );
    let drop = portolan_catalog::Op::Delete {
        space: portolan_catalog::Keyspace::ConsulObjects,
        range: portolan_catalog::KeyRange::prefix(b"connect-ca/key/"),
        expect: portolan_catalog::Expect::Any,
    };
    world
        .propose(portolan_catalog::Command::Write(portolan_catalog::Write {
            then: vec![portolan_catalog::Op::Put(Box::new(put)), drop],
            ..portolan_catalog::Write::default()
        }))
        .await;
    assert_eq!(
        world.get("/v1/connect/ca/roots").await.json()["Roots"][0]["ID"],
        root["ID"]
    );
    let leaf = world.get(LEAF).await.json();
    assert_eq!(
        leaf["ServiceURI"],
        "spiffe://a.consul/ns/default/dc/dc1/svc/web"
    );
    let roots = world.get("/v1/connect/ca/roots").await.json();
    assert_eq!(roots["Roots"].as_array().unwrap().len(), 2);
    assert_eq!(roots["Roots"][1]["ID"], root["ID"]);
}

#[tokio::test]
async fn a_configuration_that_is_not_done_here_is_refused() {
    let world = World::new().await;
    let with = |key: &str, value: Value| {
        let mut config = json!({"Provider": "consul", "Config": {}});
        config["Config"][key] = value;
        config
    };
    for (config, words) in [
        (
            json!({"Provider": "vault", "Config": {}}),
            "unknown CA provider \"vault\"",
        ),
        (with("PrivateKey", json!("x")), "PrivateKey cannot be set"),
        (
            with("PrivateKeyType", json!("rsa")),
            "private key type must be 'ec'",
        ),
        (with("PrivateKeyBits", json!(100)), "EC key length"),
        (
            with("LeafCertTTL", json!("1m")),
            "leaf cert TTL must be greater",
        ),
        (with("RootCertTTL", json!("10h")), "root cert TTL"),
    ] {
        world
            .put_json("/v1/connect/ca/configuration", &config)
            .await
            .says(500, words);
    }
}
