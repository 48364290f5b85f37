//! Users, roles and permissions of Nacos where access control is on: by its HTTP API and by its own clients.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clients::Driver;
use crate::harness::server::{Server, Start};
use crate::harness::{eventually, http, same, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(30);

fn guarded() -> Server {
    Start::default().with("--access-control").go()
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// One call with parameters in the query.
fn call(server: &Server, method: &str, path: &str, pairs: &[(&str, &str)]) -> (u16, String) {
    let query: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    let path = format!("/nacos{path}?{}", query.join("&"));
    let reply = http::call(server.address("nacos"), method, &path, None).unwrap();
    (reply.status, reply.text())
}

fn login(server: &Server, path: &str, name: &str, password: &str) -> Result<Value, (u16, String)> {
    let form = format!("username={}&password={}", encoded(name), encoded(password));
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = format!("/nacos{path}");
    let address = server.address("nacos");
    let reply = http::call_with(address, "POST", &path, &headers, Some(form.as_bytes())).unwrap();
    match reply.status {
        200 => Ok(reply.json().unwrap()),
        status => Err((status, reply.text())),
    }
}

fn token(server: &Server, name: &str, password: &str) -> String {
    let entered = login(server, "/v1/auth/users/login", name, password).unwrap();
    entered["accessToken"].as_str().unwrap().to_owned()
}

#[test]
fn users_roles_and_permissions_decide() {
    need_binary!();
    let mut server = guarded();
    let unknown = Err((403, "unknown user!".to_owned()));
    assert_eq!(login(&server, "/v1/auth/login", "nacos", "nacos"), unknown);
    assert_eq!(call(&server, "GET", "/v1/auth/users", &[]).0, 403);

    // The first user may do everything, and there is one first user.
    let first = [("password", "first pass")];
    let made = call(&server, "POST", "/v1/auth/users/admin", &first);
    assert_eq!(made.0, 200, "{made:?}");
    assert!(made.1.contains("\"username\":\"nacos\""), "{made:?}");
    let again = call(&server, "POST", "/v3/auth/user/admin", &first);
    assert!(
        again.0 != 200 && again.1.contains("have admin user"),
        "{again:?}"
    );
    assert_eq!(login(&server, "/v1/auth/login", "nacos", "other"), unknown);
    let entered = login(&server, "/v3/auth/user/login", "nacos", "first pass").unwrap();
    assert_eq!(entered["globalAdmin"], json!(true));
    assert_eq!(entered["tokenTtl"], json!(18_000));
    let admin = entered["accessToken"].as_str().unwrap().to_owned();

    let as_admin = |method: &str, path: &str, pairs: &[(&str, &str)]| {
        let mut pairs = pairs.to_vec();
        pairs.push(("accessToken", &admin));
        let (status, text) = call(&server, method, path, &pairs);
        (
            status,
            serde_json::from_str::<Value>(&text).unwrap_or(json!(text)),
        )
    };
    let done = |answer: (u16, Value), text: &str| {
        assert_eq!(
            answer,
            (200, json!({ "code": 200, "message": null, "data": text }))
        );
    };
    let ann = [("username", "ann"), ("password", "secret")];
    done(as_admin("POST", "/v1/auth/users", &ann), "create user ok!");
    let taken = as_admin("POST", "/v1/auth/users", &ann);
    assert_eq!(taken, (400, json!("caused: user 'ann' already exist!;")));
    let role = [("role", "dev"), ("username", "ann")];
    done(as_admin("POST", "/v1/auth/roles", &role), "add role ok!");
    let permission = [
        ("role", "dev"),
        ("resource", "public:DEV:*"),
        ("action", "rw"),
    ];
    done(
        as_admin("POST", "/v1/auth/permissions", &permission),
        "add permission ok!",
    );
    let impossible = [("role", "dev"), ("resource", "*:DEV:*"), ("action", "rw")];
    assert_eq!(as_admin("POST", "/v1/auth/permissions", &impossible).0, 400);
    let users = as_admin(
        "GET",
        "/v1/auth/users",
        &[("pageNo", "1"), ("pageSize", "9")],
    )
    .1;
    assert_eq!(users["totalCount"], json!(2), "{users}");
    assert_eq!(users["pageItems"][0]["username"], json!("ann"));
    let roles = as_admin(
        "GET",
        "/v3/auth/role/list",
        &[("pageNo", "1"), ("pageSize", "9")],
    )
    .1;
    let expected = json!([{ "role": "ROLE_ADMIN", "username": "nacos" }, { "role": "dev", "username": "ann" }]);
    assert_eq!(roles["data"]["pageItems"], expected, "{roles}");
    let permissions = as_admin("GET", "/v1/auth/permissions", &[("role", "dev")]).1;
    let expected = json!([{ "role": "dev", "resource": "public:DEV:*", "action": "rw" }]);
    assert_eq!(permissions["pageItems"], expected);

    // What ann may do, and what she may not.
    let ann = token(&server, "ann", "secret");
    let may = |server: &Server, token: &str| {
        let asked = |method: &str, path: &str, pairs: &[(&str, &str)]| {
            let mut pairs = pairs.to_vec();
            pairs.push(("accessToken", token));
            call(server, method, path, &pairs).0
        };
        let instance = |group| {
            [
                ("serviceName", "web"),
                ("groupName", group),
                ("ip", "10.0.0.1"),
                ("port", "80"),
            ]
        };
        let config = |group| [("dataId", "a"), ("group", group), ("content", "x")];
        [
            asked("POST", "/v1/ns/instance", &instance("DEV")),
            asked("POST", "/v1/ns/instance", &instance("OPS")),
            asked("GET", "/v1/ns/instance/list", &instance("DEV")[..2]),
            asked("GET", "/v2/ns/instance/list", &instance("OPS")[..2]),
            asked(
                "GET",
                "/v1/ns/service/list",
                &[("groupName", "DEV"), ("pageNo", "1"), ("pageSize", "9")],
            ),
            asked(
                "GET",
                "/v1/ns/service/list",
                &[("groupName", "OPS"), ("pageNo", "1"), ("pageSize", "9")],
            ),
            asked("POST", "/v1/cs/configs", &config("DEV")),
            asked("POST", "/v1/cs/configs", &config("OPS")),
            asked("GET", "/v1/cs/configs", &config("DEV")[..2]),
            asked("GET", "/v1/auth/users", &[]),
        ]
    };
    let hers = [200, 403, 200, 403, 200, 403, 200, 403, 200, 403];
    assert_eq!(may(&server, &ann), hers);
    assert_eq!(may(&server, "nonsense"), [403; 10]);
    assert_eq!(may(&server, "a.b.c"), [403; 10]);

    // A token outlives the server, another password ends it, and so does its user's end.
    server.start_again();
    assert_eq!(may(&server, &ann), hers);
    let as_admin = |method: &str, path: &str, pairs: &[(&str, &str)]| {
        let mut pairs = pairs.to_vec();
        pairs.push(("accessToken", &admin));
        call(&server, method, path, &pairs)
    };
    let read_only = [
        ("role", "dev"),
        ("resource", "public:DEV:*"),
        ("action", "rw"),
    ];
    assert_eq!(
        as_admin("DELETE", "/v1/auth/permissions", &read_only).0,
        200
    );
    let read_only = [
        ("role", "dev"),
        ("resource", "public:DEV:*"),
        ("action", "r"),
    ];
    assert_eq!(as_admin("POST", "/v3/auth/permission", &read_only).0, 200);
    let hers = [403, 403, 200, 403, 200, 403, 403, 403, 200, 403];
    assert_eq!(may(&server, &ann), hers);
    // Her own password is hers to change; nobody else's is.
    let other = [
        ("username", "nacos"),
        ("newPassword", "x"),
        ("accessToken", ann.as_str()),
    ];
    assert_eq!(call(&server, "PUT", "/v1/auth/users", &other).0, 403);
    let own = [
        ("username", "ann"),
        ("newPassword", "new"),
        ("accessToken", ann.as_str()),
    ];
    assert_eq!(call(&server, "PUT", "/v1/auth/users", &own).0, 200);
    assert_eq!(may(&server, &ann), [403; 10]);
    let ann = token(&server, "ann", "new");
    assert_eq!(may(&server, &ann), hers);
    assert_eq!(
        as_admin("DELETE", "/v1/auth/users", &[("username", "nacos")]).0,
        400
    );
    assert_eq!(
        as_admin("DELETE", "/v1/auth/users", &[("username", "ann")]).0,
        200
    );
    assert_eq!(may(&server, &ann), [403; 10]);
    assert_eq!(login(&server, "/v1/auth/login", "ann", "new"), unknown);
    let gone = as_admin("DELETE", "/v1/auth/roles", &[("role", "dev")]);
    assert_eq!(gone.0, 200, "{gone:?}");

    // Nobody is shown what is kept, and nothing was answered without a decision.
    let bearer = format!("Bearer {admin}");
    let headers = [("Authorization", bearer.as_str())];
    let shown = http::call_with(
        server.address("nacos"),
        "GET",
        "/nacos/v1/auth/users",
        &headers,
        None,
    );
    let shown = shown.unwrap();
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains("$2a$"), "{}", shown.text());
}

#[test]
fn a_token_of_access_control_is_a_password() {
    need_binary!();
    let server = guarded();
    let made = http::call(server.address("consul"), "PUT", "/v1/acl/bootstrap", None).unwrap();
    let secret = made.json().unwrap()["SecretID"]
        .as_str()
        .unwrap()
        .to_owned();
    let late = call(
        &server,
        "POST",
        "/v1/auth/users/admin",
        &[("password", "x")],
    );
    assert_ne!(late.0, 200, "{late:?}");
    let admin = token(&server, "anybody", &secret);
    let pairs = [("accessToken", admin.as_str())];
    assert_eq!(call(&server, "GET", "/v1/auth/users", &pairs).0, 200);
    let (refused, text) = login(&server, "/v1/auth/login", "anybody", "x").unwrap_err();
    assert_eq!((refused, &*text), (403, "unknown user!"));
}

#[test]
fn java_s_client_logs_in() {
    need_binary!();
    for name in ["nacos-java-2", "nacos-java-3"] {
        let mut java = match Driver::start(name) {
            Ok(driver) => driver,
            Err(why) => return tally::skip_test("nacos: login", &why, 1),
        };
        let server = guarded();
        let made = call(
            &server,
            "POST",
            "/v1/auth/users/admin",
            &[("password", "nacos")],
        );
        assert_eq!(made.0, 200, "{made:?}");
        let addr = server.address("nacos").to_string();
        let mut client = |op: &str, mut arguments: Value| {
            arguments["addr"] = json!(addr);
            arguments["group"] = json!("DEFAULT_GROUP");
            java.call(op, arguments)
        };
        let own = json!({ "service": "shop", "ip": "10.8.0.1", "port": 8080 });
        // Its first call may come before its login.
        eventually(SOON, || client("register", own.clone())).unwrap();
        eventually(SOON, || {
            let found = client("list", json!({ "service": "shop" }))?;
            same(&found, &json!(["10.8.0.1:8080"]))
        })
        .unwrap();
        let config = json!({ "data": "app.yaml", "content": "a: 1" });
        eventually(SOON, || client("publish", config.clone())).unwrap();
        eventually(SOON, || {
            same(&client("get", config.clone())?, &json!("a: 1"))
        })
        .unwrap();
    }
}
