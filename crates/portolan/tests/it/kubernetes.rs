//! Kubernetes' own clients, unmodified: kubectl's everyday commands, client-go's informer and leader election over the death of the
//! server, the official Python client.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Driver, Server, clients, eventually, http, same, tally};
use crate::need_binary;

/// Long enough for a client that waits between two attempts.
const SOON: Duration = Duration::from_secs(60);

fn register_with_consul(server: &Server, name: &str, host: &str) {
    let body = json!({ "Name": name, "ID": format!("{name}-{host}"), "Address": host, "Port": 80 });
    let reply = http::call(
        server.address("consul"),
        "PUT",
        "/v1/agent/service/register",
        Some(&body.to_string()),
    )
    .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// The addresses that Consul shows of a service.
fn consul(server: &Server, service: &str) -> Result<Value, String> {
    let path = format!("/v1/health/service/{service}?passing");
    let rows = http::get_json(server.address("consul"), &path)?;
    let rows = rows.as_array().cloned().unwrap_or_default();
    Ok(rows
        .iter()
        .map(|row| row["Service"]["Address"].clone())
        .collect())
}

/// kubectl against one server, with nothing of its user's.
struct Kubectl {
    program: String,
    server: String,
    home: tempfile::TempDir,
}

impl Kubectl {
    fn run(&self, line: &str, input: &str) -> Result<String, String> {
        let mut child = Command::new(&self.program)
            .args(["--server", &self.server, "--request-timeout=30s"])
            .args(line.split_whitespace())
            .env("HOME", self.home.path())
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("kubectl: {error}"))?;
        let mut stdin = child.stdin.take().ok_or("no input")?;
        stdin
            .write_all(input.as_bytes())
            .map_err(|e| e.to_string())?;
        drop(stdin);
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!(
                "kubectl {line}: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    /// The words that a command that succeeds says.
    fn says(&self, line: &str, input: &str) -> String {
        self.run(line, input).unwrap_or_else(|why| panic!("{why}"))
    }
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {app: web}
spec:
  selector: {app: web}
  ports:
  - port: 80
    targetPort: http
---
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  labels: {app: web}
spec:
  containers:
  - name: main
    image: nginx
    ports:
    - {name: http, containerPort: 8080}
"#;

const READY: &str = r#"{"status":{"phase":"Running","podIP":"10.0.0.9","podIPs":[{"ip":"10.0.0.9"}],"conditions":[{"type":"Ready","status":"True"}]}}"#;

#[test]
fn kubectl() {
    need_binary!();
    let program = match clients::program("kubectl") {
        Ok(program) => program,
        Err(why) => return tally::skip_test("kubernetes: kubectl", &why, 1),
    };
    let server = Server::start();
    let kubectl = Kubectl {
        program,
        server: format!("http://{}", server.address("kubernetes")),
        home: tempfile::tempdir().unwrap(),
    };
    assert!(
        kubectl
            .says("get services", "")
            .contains("kubernetes   ClusterIP   10.96.0.1")
    );
    let resources = kubectl.says("api-resources", "");
    assert!(resources.contains("endpointslices"), "{resources}");

    // Applied, applied again, changed.
    let applied = kubectl.says("apply -f -", MANIFEST);
    assert_eq!(applied, "service/web created\npod/web-1 created\n");
    let same_again = kubectl.says("apply -f -", MANIFEST);
    assert_eq!(same_again, "service/web unchanged\npod/web-1 unchanged\n");
    let changed = MANIFEST.replace("port: 80\n", "port: 81\n");
    let said = kubectl.says("apply -f -", &changed);
    assert!(said.starts_with("service/web configured\n"), "{said}");
    let wide = kubectl.says("get service web -o wide", "");
    assert!(
        wide.contains("81/TCP") && wide.contains("app=web"),
        "{wide}"
    );

    // What a kubelet would say; then the endpoints are everybody's.
    let patch = format!("patch pod web-1 --subresource=status --type=merge -p {READY}");
    kubectl.says(&patch, "");
    kubectl.says("wait --for=condition=Ready --timeout=30s pod/web-1", "");
    eventually(SOON, || {
        let shown = kubectl.run("get endpoints web", "")?;
        match shown.contains("10.0.0.9:8080") {
            true => Ok(()),
            false => Err(shown),
        }
    })
    .unwrap();
    eventually(SOON, || {
        same(&consul(&server, "web")?, &json!(["10.0.0.9"]))
    })
    .unwrap();
    let described = kubectl.says("describe service web", "");
    assert!(described.contains("10.0.0.9:8080"), "{described}");
    assert!(kubectl.says("describe pod web-1", "").contains("10.0.0.9"));

    // What typed commands write, they write in protobuf.
    kubectl.says("create namespace team", "");
    kubectl.says("create configmap settings --from-literal=a=b -n team", "");
    assert_eq!(
        kubectl.says("get configmap settings -n team -o jsonpath={.data.a}", ""),
        "b"
    );
    kubectl.says("create service clusterip plain --tcp=80:8080", "");
    assert!(kubectl.says("get service plain", "").contains("80/TCP"));
    kubectl.says("expose pod web-1 --port=8080 --name=again", "");
    kubectl.says("label service web tier=front", "");
    kubectl.says("annotate service web note=x", "");
    assert!(
        kubectl
            .says("get services -l tier=front -o name", "")
            .contains("service/web")
    );
    assert!(
        kubectl
            .says("explain service.spec.ports", "")
            .contains("targetPort")
    );

    // Applied by the server, where two managers disagree until one of them insists.
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {k: one}\n";
    let said = kubectl.says("apply --server-side -f -", settings);
    assert_eq!(said, "configmap/applied serverside-applied\n");
    let others = settings.replace("one", "two");
    let other = "apply --server-side --field-manager=other -f -";
    let refused = kubectl.run(other, &others).unwrap_err();
    assert!(
        refused.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.k"),
        "{refused}"
    );
    kubectl.says(&format!("{other} --force-conflicts"), &others);
    let held = kubectl.says("get configmap applied -o jsonpath={.data.k}", "");
    assert_eq!(held, "two");
    assert_eq!(kubectl.says("auth can-i list services", ""), "yes\n");
    let config = kubectl.home.path().join("config");
    let printed = Command::new(crate::harness::server::binary().unwrap())
        .args(["kubeconfig", "--kubernetes", &kubectl.server])
        .args(["--namespace", "team"])
        .env_remove("PORTOLAN_TOKEN")
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    std::fs::write(&config, &printed.stdout).unwrap();
    let by_file = format!(
        "--kubeconfig {} get configmap settings -o name",
        config.display()
    );
    assert_eq!(kubectl.says(&by_file, ""), "configmap/settings\n");

    // What was registered elsewhere is there, and is not changed here.
    register_with_consul(&server, "redis", "10.1.1.1");
    eventually(SOON, || kubectl.run("get service redis", "")).unwrap();
    let refused = kubectl.run("delete service redis", "").unwrap_err();
    assert!(refused.contains("Forbidden"), "{refused}");

    kubectl.says("delete namespace team", "");
    assert!(
        kubectl
            .run("get namespace team", "")
            .unwrap_err()
            .contains("NotFound")
    );
    assert_eq!(
        kubectl.says("delete service web", ""),
        "service \"web\" deleted\n"
    );
    kubectl.says("delete pod web-1", "");
    eventually(SOON, || same(&consul(&server, "web")?, &json!([]))).unwrap();
}

#[test]
fn client_go() {
    need_binary!();
    let mut driver = match Driver::start("kubernetes-go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("kubernetes: client-go", &why, 1),
    };
    let mut server = Server::start();
    let addr = server.address("kubernetes").to_string();
    let mut call = |op: &str, name: &str| driver.call(op, json!({ "addr": addr, "name": name }));
    let told = call("conflict", "twice").unwrap();
    assert_eq!(
        told,
        json!({ "conflict": true, "exists": true, "gone": true })
    );

    // An informer follows what Consul registers, also over the death of the server.
    call("follow", "").unwrap();
    register_with_consul(&server, "cart", "10.8.0.2");
    let own = |all: Value| -> Value {
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter()
            .filter(|one| one.as_str().is_some_and(|one| one.starts_with("cart ")))
            .collect()
    };
    eventually(SOON, || {
        same(&own(call("seen", "")?), &json!(["cart 10.8.0.2"]))
    })
    .unwrap();
    call("elect", "a").unwrap();
    eventually(SOON, || same(&call("leader", "a")?, &json!("a"))).unwrap();
    call("elect", "b").unwrap();
    eventually(SOON, || same(&call("leader", "b")?, &json!("a"))).unwrap();
    server.start_again();
    register_with_consul(&server, "cart", "10.8.0.3");
    eventually(SOON, || {
        same(
            &own(call("seen", "")?),
            &json!(["cart 10.8.0.2", "cart 10.8.0.3"]),
        )
    })
    .unwrap();
    // Who leads says so, and the other one takes over.
    call("resign", "a").unwrap();
    eventually(SOON, || same(&call("leader", "b")?, &json!("b"))).unwrap();
}

#[test]
fn python() {
    need_binary!();
    let mut driver = match Driver::start("kubernetes-python") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("kubernetes: python", &why, 1),
    };
    let server = Server::start();
    let addr = server.address("kubernetes").to_string();
    let told = driver
        .call("everyday", json!({ "addr": addr, "name": "shop" }))
        .unwrap();
    assert_eq!(
        told,
        json!({
            "address": true,
            "listed": ["shop"],
            "pages": [2, 2],
            "conflict": [409, "Conflict"],
            "annotation": "b",
            "events": ["MODIFIED", "MODIFIED", "DELETED"],
            "gone": [404, "NotFound"],
        })
    );
    register_with_consul(&server, "cart", "10.8.0.2");
    eventually(SOON, || {
        let arguments = json!({ "addr": addr, "name": "cart" });
        same(&driver.call("endpoints", arguments)?, &json!(["10.8.0.2"]))
    })
    .unwrap();
}
