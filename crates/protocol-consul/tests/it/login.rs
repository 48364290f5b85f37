//! Logging in with the token of another authority.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::access::Guarded;

/// Whoever signs.
struct Authority {
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key that signs");
        Self { key }
    }

    fn pem(&self) -> String {
        self.key.public_key_pem()
    }

    fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!(
            "{}.{}",
            part(&json!({"alg": "ES256", "typ": "JWT"})),
            part(claims)
        );
        let random = ring::rand::SystemRandom::new();
        let der = self.key.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .expect("a key that signs");
        let signature = pair
            .sign(&random, message.as_bytes())
            .expect("a key that signs");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn method(authority: &Authority) -> Value {
    json!({"Name": "ci", "Type": "jwt", "MaxTokenTTL": "5m", "Description": "builds", "Config": {
        "JWTValidationPubKeys": [authority.pem()], "JWTSupportedAlgs": ["ES256"],
        "BoundIssuer": "https://ci", "BoundAudiences": ["consul", "other"],
        "ClaimMappings": {"sub": "user", "/org/name": "team"}, "ListClaimMappings": {"groups": "groups"},
        "OIDCScopes": null}})
}

fn seconds(world: &Guarded) -> u64 {
    world.world.registry.now().0 / 1000
}

fn claims(world: &Guarded) -> Value {
    let now = seconds(world);
    json!({"iss": "https://ci", "aud": "consul", "sub": "web", "org": {"name": "payments"}, "groups": ["dev", "ops"],
        "iat": now, "exp": now + 60})
}

async fn login(world: &Guarded, bearer: &str) -> super::harness::Answer {
    let body = json!({"AuthMethod": "ci", "BearerToken": bearer, "Meta": {"job": "7"}});
    world
        .send("", "POST", "/v1/acl/login", &body.to_string())
        .await
}

#[tokio::test]
async fn what_is_claimed_becomes_a_token_that_ends_with_its_method() {
    let world = Guarded::new().await;
    let authority = Authority::new();
    let made = world
        .as_root("PUT", "/v1/acl/auth-method", &method(&authority))
        .await;
    assert_eq!(
        (&made["MaxTokenTTL"], &made["Config"]["BoundIssuer"]),
        (&json!("5m0s"), &json!("https://ci"))
    );
    let listed = world
        .as_root("GET", "/v1/acl/auth-methods", &Value::Null)
        .await;
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["Config"]),
        (1, &Value::Null)
    );
    for (name, rules) in [
        ("keys", r#"key_prefix "ci/" { policy = "write" }"#),
        ("unused", ""),
    ] {
        world
            .as_root(
                "PUT",
                "/v1/acl/policy",
                &json!({"Name": name, "Rules": rules}),
            )
            .await;
    }
    world
        .as_root("PUT", "/v1/acl/role", &json!({"Name": "team-payments"}))
        .await;
    let mut rules = Vec::new();
    for rule in [
        json!({"BindType": "service", "BindName": "${value.user}"}),
        json!({"BindType": "role", "BindName": "team-${value.team}", "Selector": "ops in list.groups"}),
        json!({"BindType": "policy", "BindName": "keys", "Selector": "value.team == payments"}),
        json!({"BindType": "policy", "BindName": "unused", "Selector": "value.team == other"}),
        json!({"BindType": "policy", "BindName": "not-there"}),
        json!({"BindType": "node", "BindName": "n-${value.user}", "Selector": "admin in list.groups"}),
        json!({"BindType": "templated-policy", "BindName": "builtin/service", "BindVars": {"Name": "${value.user}-x"}}),
    ] {
        let mut rule = rule;
        rule["AuthMethod"] = "ci".into();
        rules.push(world.as_root("PUT", "/v1/acl/binding-rule", &rule).await);
    }
    let answer = login(&world, &authority.sign(&claims(&world))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json();
    for (key, value) in [
        ("AuthMethod", json!("ci")),
        ("Local", json!(true)),
        (
            "Description",
            json!("token created via login: {\"job\":\"7\"}"),
        ),
        ("ServiceIdentities", json!([{"ServiceName": "web"}])),
        ("NodeIdentities", Value::Null),
    ] {
        assert_eq!(token[key], value, "{key}");
    }
    assert_eq!(token["Roles"][0]["Name"], "team-payments");
    let policies: Vec<&str> = token["Policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["Name"].as_str().unwrap())
        .collect();
    assert_eq!(policies, ["keys"]);
    assert_eq!(
        token["TemplatedPolicies"][0]["TemplateVariables"]["Name"],
        "web-x"
    );
    assert!(token["ExpirationTime"].is_string());
    // It may what it was given, and nothing else.
    let secret = token["SecretID"].as_str().unwrap();
    world
        .send(secret, "PUT", "/v1/kv/ci/a", "1")
        .await
        .is(200, "true");
    assert_eq!(
        world.send(secret, "PUT", "/v1/kv/other", "1").await.status,
        403
    );
    assert_eq!(
        world
            .send(
                secret,
                "PUT",
                "/v1/agent/service/register",
                r#"{"Name":"web"}"#
            )
            .await
            .status,
        200
    );
    let by_method = world
        .as_root("GET", "/v1/acl/tokens?authmethod=ci", &Value::Null)
        .await;
    assert_eq!(by_method.as_array().unwrap().len(), 1);
    let accessor = token["AccessorID"].as_str().unwrap();
    let root = world.root().to_owned();
    world
        .send(
            &root,
            "PUT",
            &format!("/v1/acl/token/{accessor}/clone"),
            "{}",
        )
        .await
        .says(500, "Cannot clone");

    // Given up, it is nobody's; one that was made by hand is not given up so.
    let second = login(&world, &authority.sign(&claims(&world))).await.json();
    let second = second["SecretID"].as_str().unwrap();
    world
        .send(second, "POST", "/v1/acl/logout", "")
        .await
        .is(200, "true");
    world
        .send(second, "GET", "/v1/kv/ci/a", "")
        .await
        .is(403, "ACL not found");
    world
        .send(&root, "POST", "/v1/acl/logout", "")
        .await
        .says(403, "was not created via login");

    // Without the method there are neither its rules nor its tokens.
    world
        .as_root("DELETE", "/v1/acl/auth-method/ci", &Value::Null)
        .await;
    world
        .send(secret, "GET", "/v1/kv/ci/a", "")
        .await
        .is(403, "ACL not found");
    assert_eq!(
        world
            .as_root("GET", "/v1/acl/binding-rules", &Value::Null)
            .await,
        json!([])
    );
    login(&world, "x.y.z")
        .await
        .says(403, "auth method \"ci\" not found");
}

#[tokio::test]
async fn what_is_not_to_be_believed_gets_nothing() {
    let world = Guarded::new().await;
    let (authority, other) = (Authority::new(), Authority::new());
    world
        .as_root("PUT", "/v1/acl/auth-method", &method(&authority))
        .await;
    let good = claims(&world);
    // Nobody gets anything before a rule says what.
    login(&world, &authority.sign(&good))
        .await
        .is(403, "Permission denied");
    let rule = json!({"AuthMethod": "ci", "BindType": "service", "BindName": "${value.user}"});
    world.as_root("PUT", "/v1/acl/binding-rule", &rule).await;
    assert_eq!(login(&world, &authority.sign(&good)).await.status, 200);
    let now = seconds(&world);
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    for (claims, why) in [
        (with("iss", json!("https://evil")), "invalid issuer"),
        (with("aud", json!(["x", "y"])), "aud claim does not match"),
        (with("aud", Value::Null), "claim"),
        (with("exp", json!(now - 120)), "token is expired"),
        (with("nbf", json!(now + 600)), "token not valid yet"),
        (with("iat", json!(now + 600)), "token not valid yet"),
        (with("exp", json!("soon")), "claim"),
        (
            with("org", json!({"name": {"x": 1}})),
            "error converting claim '/org/name'",
        ),
        (
            with("sub", json!("No Name!")),
            "invalid bind name \"no name!\"",
        ),
        (
            json!({"iss": "https://ci", "aud": "consul", "sub": "web"}),
            "no issue time",
        ),
    ] {
        login(&world, &authority.sign(&claims)).await.says(403, why);
    }
    // Within the skew of a clock it is good still; without an end it ends soon after its beginning.
    assert_eq!(
        login(&world, &authority.sign(&with("exp", json!(now - 30))))
            .await
            .status,
        200
    );
    let endless = json!({"iss": "https://ci", "aud": ["other"], "sub": "web", "iat": now - 600});
    login(&world, &authority.sign(&endless))
        .await
        .says(403, "token is expired");
    login(&world, &other.sign(&good)).await.says(
        403,
        "no known key successfully validated the token signature",
    );
    let token = authority.sign(&good);
    let (head, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let hmac = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    for forged in [
        format!("{none}.{payload}."),
        format!("{hmac}.{payload}.{signature}"),
        format!("{head}.{payload}."),
        format!(
            "{head}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(with("sub", json!("admin")).to_string())
        ),
        format!("{head}.{payload}"),
        "..".to_owned(),
        "x".repeat(100_000),
    ] {
        let answer = login(&world, &forged).await;
        assert_eq!(answer.status, 403, "{forged}: {}", answer.text());
    }
    for body in [json!({}), json!({"AuthMethod": "ci"}), json!([1])] {
        let answer = world
            .send("", "POST", "/v1/acl/login", &body.to_string())
            .await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn methods_and_rules_that_cannot_be_used_are_refused() {
    let world = Guarded::new().await;
    let authority = Authority::new();
    let with = |key: &str, value: Value| {
        let mut method = method(&authority);
        method["Config"][key] = value;
        method
    };
    let top = |key: &str, value: Value| {
        let mut method = method(&authority);
        method[key] = value;
        method
    };
    let root = world.root().to_owned();
    let put =
        async |path: &str, body: &Value| world.send(&root, "PUT", path, &body.to_string()).await;
    for (body, why) in [
        (top("Name", json!("a b")), "invalid Name"),
        (
            top("Type", json!("kubernetes")),
            "no auth method registered with type: \"kubernetes\"",
        ),
        (top("Type", json!("")), "no Type is set"),
        (
            top("MaxTokenTTL", json!("1s")),
            "MaxTokenTTL 1s cannot be less",
        ),
        (top("TokenLocality", json!("here")), "TokenLocality"),
        (
            with("JWTValidationPubKeys", json!([])),
            "must be set for type \"jwt\"",
        ),
        (
            with("JWTValidationPubKeys", json!(["x"])),
            "error parsing public key #0",
        ),
        (
            with("JWTSupportedAlgs", json!(["HS256"])),
            "Invalid supported algorithm: HS256",
        ),
        (
            with("JWKSURL", json!("https://x")),
            "\"JWKSURL\" must not be set",
        ),
        (with("Nope", json!(1)), "invalid config key \"Nope\""),
        (
            with("ClaimMappings", json!({"a": "x", "b": "x"})),
            "multiple mappings for key \"x\"",
        ),
        (
            with("ClockSkewLeeway", json!("soon")),
            "ClockSkewLeeway is not a duration",
        ),
    ] {
        put("/v1/acl/auth-method", &body).await.says(500, why);
    }
    put("/v1/acl/auth-method/other", &method(&authority))
        .await
        .says(400, "do not match");
    world
        .as_root("PUT", "/v1/acl/auth-method/ci", &method(&authority))
        .await;
    let rule = |key: &str, value: Value| {
        let mut rule = json!({"AuthMethod": "ci", "BindType": "service", "BindName": "a"});
        rule[key] = value;
        rule
    };
    for (body, why) in [
        (
            rule("AuthMethod", json!("none")),
            "cannot find auth method with name \"none\"",
        ),
        (rule("BindType", json!("all")), "unknown BindType \"all\""),
        (rule("BindName", json!("")), "no BindName is set"),
        (
            rule("BindName", json!("${value.nope}")),
            "unknown variable accessed: value.nope",
        ),
        (rule("BindName", json!("${value.user")), "is not closed"),
        (
            rule("Selector", json!("nope.x == 1")),
            "Selector is invalid",
        ),
        (
            rule("BindVars", json!({"Name": "x"})),
            "BindVars cannot be set",
        ),
    ] {
        put("/v1/acl/binding-rule", &body).await.says(500, why);
    }
    let made = world
        .as_root(
            "PUT",
            "/v1/acl/binding-rule",
            &rule("Selector", json!("value.user == web")),
        )
        .await;
    let path = format!("/v1/acl/binding-rule/{}", made["ID"].as_str().unwrap());
    let changed = world
        .as_root("PUT", &path, &json!({"BindType": "node", "BindName": "b"}))
        .await;
    assert_eq!(
        (&changed["BindType"], &changed["AuthMethod"]),
        (&json!("node"), &json!("ci"))
    );
    put(&path, &rule("AuthMethod", json!("other")))
        .await
        .says(500, "immutable");
    assert_eq!(world.as_root("GET", &path, &Value::Null).await, changed);
    world.as_root("DELETE", &path, &Value::Null).await;
    world
        .send(&root, "GET", &path, "")
        .await
        .is(404, "ACL not found");
}
