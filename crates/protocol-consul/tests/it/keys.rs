//! The key-value store.

use super::harness::World;
use serde_json::{Value, json};

#[tokio::test]
async fn a_key_is_written_read_and_removed() {
    let world = World::new().await;
    let missing = world.get("/v1/kv/a").await;
    missing.is(404, "");
    assert!(missing.index() > 0);
    world
        .put("/v1/kv/a?flags=42", "hello")
        .await
        .is(200, "true");
    let pair = &world.get("/v1/kv/a").await.json()[0];
    assert_eq!(
        (
            &pair["Key"],
            &pair["Value"],
            &pair["Flags"],
            &pair["LockIndex"]
        ),
        (&json!("a"), &json!("aGVsbG8="), &json!(42), &json!(0))
    );
    assert!(pair.get("Session").is_none());
    let raw = world.get("/v1/kv/a?raw").await;
    raw.is(200, "hello");
    assert_eq!(
        (
            raw.headers["content-type"].as_str(),
            raw.headers["content-security-policy"].as_str(),
            raw.headers["x-content-type-options"].as_str()
        ),
        ("text/plain", "sandbox", "nosniff")
    );
    let modified = pair["ModifyIndex"].clone();
    world
        .put("/v1/kv/a?flags=42", "hello")
        .await
        .is(200, "true");
    assert_eq!(
        world.get("/v1/kv/a").await.json()[0]["ModifyIndex"],
        modified,
        "an equal put is no change"
    );
    world
        .put("/v1/kv/a?flags=43", "hello")
        .await
        .is(200, "true");
    let pair = &world.get("/v1/kv/a").await.json()[0];
    assert!(pair["ModifyIndex"].as_u64() > modified.as_u64() && pair["CreateIndex"] == modified);
    world.delete("/v1/kv/a").await.is(200, "true");
    world.delete("/v1/kv/a").await.is(200, "true");
    world.put("/v1/kv/a", "").await.is(200, "true");
    let again = &world.get("/v1/kv/a").await.json()[0];
    assert_eq!(again["Value"], Value::Null);
    assert!(again["CreateIndex"].as_u64() > modified.as_u64());
}

#[tokio::test]
async fn paths_are_keys_as_they_come() {
    let world = World::new().await;
    for path in ["a//b", "a/b/", "sp%20ace", "x:y", "p%2Fq", "%C3%A4.json"] {
        world
            .put(&format!("/v1/kv/{path}"), "1")
            .await
            .is(200, "true");
    }
    assert_eq!(
        world.get("/v1/kv/?keys").await.json(),
        json!(["a//b", "a/b/", "p/q", "sp ace", "x:y", "\u{e4}.json"])
    );
    for path in ["a/../b", "%2e%2e", "%20a"] {
        world
            .put(&format!("/v1/kv/{path}"), "1")
            .await
            .says(400, "Invalid key name");
    }
    world.get("/v1/kv/").await.is(400, "Missing key name");
    world.put("/v1/kv/", "x").await.is(400, "Missing key name");
    world.delete("/v1/kv/").await.is(400, "Missing key name");
}

#[tokio::test]
async fn lists_of_keys() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/kv/?keys").await.json(), json!([]));
    world.get("/v1/kv/?recurse").await.is(404, "");
    for key in ["a/x", "a/y/1", "a/y/2", "b", "aa"] {
        world
            .put(&format!("/v1/kv/{key}"), key)
            .await
            .is(200, "true");
    }
    let table: &[(&str, Value)] = &[
        ("a/?keys", json!(["a/x", "a/y/1", "a/y/2"])),
        ("a/?keys&separator=/", json!(["a/x", "a/y/"])),
        ("?keys&separator=/", json!(["a/", "aa", "b"])),
        ("?keys&seperator=/", json!(["a/", "aa", "b"])),
        ("a?keys&separator=/", json!(["a/", "aa"])),
    ];
    for (path, keys) in table {
        assert_eq!(
            world.get(&format!("/v1/kv/{path}")).await.json(),
            *keys,
            "{path}"
        );
    }
    world.get("/v1/kv/zz?keys").await.is(404, "");
    world.get("/v1/kv/zz?recurse").await.is(404, "");
    assert_eq!(
        world
            .get("/v1/kv/a?recurse")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        4
    );
    world.delete("/v1/kv/a/?recurse").await.is(200, "true");
    assert_eq!(world.get("/v1/kv/?keys").await.json(), json!(["aa", "b"]));
}

#[tokio::test]
async fn check_and_set() {
    let world = World::new().await;
    world.put("/v1/kv/a?cas=0", "1").await.is(200, "true");
    world.put("/v1/kv/a?cas=0", "2").await.is(200, "false");
    let index = world.get("/v1/kv/a").await.json()[0]["ModifyIndex"]
        .as_u64()
        .unwrap();
    world
        .put(&format!("/v1/kv/a?cas={}", index + 5), "2")
        .await
        .is(200, "false");
    world
        .put(&format!("/v1/kv/a?cas={index}"), "2")
        .await
        .is(200, "true");
    world
        .put(&format!("/v1/kv/none?cas={index}"), "2")
        .await
        .is(200, "false");
    world
        .delete(&format!("/v1/kv/a?cas={index}"))
        .await
        .is(200, "false");
    let index = world.get("/v1/kv/a").await.json()[0]["ModifyIndex"]
        .as_u64()
        .unwrap();
    world
        .delete(&format!("/v1/kv/a?cas={index}"))
        .await
        .is(200, "true");
    world
        .delete(&format!("/v1/kv/a?cas={index}"))
        .await
        .is(200, "true");
    world
        .put("/v1/kv/a?cas=0&acquire=x", "")
        .await
        .is(400, "Conflicting flags: acquire=x&cas=0\n");
    world
        .delete("/v1/kv/a?recurse&cas=1")
        .await
        .is(400, "Conflicting flags: cas=1&recurse=\n");
    for (query, text) in [
        ("cas=x", "strconv.ParseUint: parsing \"x\": invalid syntax"),
        ("flags=", "strconv.ParseUint: parsing \"\": invalid syntax"),
        ("acquire=", "missing session"),
        ("release=x", "invalid session \"x\""),
    ] {
        world
            .put(&format!("/v1/kv/a?{query}"), "")
            .await
            .is(500, text);
    }
}

#[tokio::test]
async fn large_values_have_a_limit() {
    let world = World::new().await;
    world
        .put("/v1/kv/big", vec![b'x'; 512 * 1024])
        .await
        .is(200, "true");
    let refused = world.put("/v1/kv/big", vec![b'x'; 512 * 1024 + 1]).await;
    refused.says(
        413,
        "Request body(524289 bytes) too large, max size: 524288 bytes. See ",
    );
}

#[tokio::test]
async fn any_bytes_are_a_value() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..=255).collect();
    world.put("/v1/kv/bin", &bytes).await.is(200, "true");
    assert_eq!(world.get("/v1/kv/bin?raw").await.body, bytes);
}
