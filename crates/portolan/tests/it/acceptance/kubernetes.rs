//! CoreDNS with its `kubernetes` plugin and kube-proxy, unmodified, on this server: a name resolves, a packet to a cluster address reaches
//! each ready endpoint, and none that is not ready.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::acceptance::machine::Machine;
use crate::harness::network::Network;
use crate::harness::{eventually, same, server};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(60);
const API: u16 = 6444;
/// The address of the service, which nobody has.
const ADDRESS: &str = "10.96.7.7";
/// Where the endpoints listen.
const PORT: u16 = 8080;

/// An endpoint that says which machine it is.
const ENDPOINT: &str = "import http.server,sys\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(s):\n    s.send_response(200);s.end_headers();s.wfile.write(sys.argv[1].encode())\n  def log_message(*a): pass\nhttp.server.ThreadingHTTPServer(('0.0.0.0',8080),H).serve_forever()";

/// The program that a variable names.
fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names the program"))
}

fn put(api: &Machine, path: &str, body: &Value) -> Result<(), String> {
    let (status, text) = api.ask(API, "POST", path, &body.to_string())?;
    match status {
        201 | 409 => Ok(()),
        status => Err(format!("{path}: {status} {text}")),
    }
}

/// The endpoints of the service, each ready or not.
fn slice(network: &Network, ready: [bool; 2]) -> Value {
    let endpoint = |at: usize, ready: bool| json!({"addresses": [network.address(at).to_string()], "conditions": {"ready": ready}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": PORT}],
        "endpoints": [endpoint(2, ready[0]), endpoint(3, ready[1])],
    })
}

/// What a program on the first machine says.
fn said(network: &Network, words: &[&str]) -> Result<String, String> {
    let output = network
        .command(1, Path::new(words[0]))
        .args(&words[1..])
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(format!(
            "{words:?}: {said} {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Who answers at the cluster address, in so many calls; a call that nobody answers is an error.
fn answerers(network: &Network, calls: usize) -> Result<BTreeSet<String>, String> {
    let url = format!("http://{ADDRESS}/");
    (0..calls)
        .map(|_| said(network, &["curl", "-s", "-m", "3", &url]))
        .collect()
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn with_mode(mode: &str) {
    let network = Network::new(3).expect("network namespaces");
    network.enter().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let own = |name: &str| folder.path().join(name);
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let mut machines = Vec::new();
    for at in [2, 3] {
        let arguments = ["-c", ENDPOINT, &format!("endpoint-{at}")].map(str::to_owned);
        let python = Path::new("python3");
        machines.push(Machine::start(
            &network,
            at,
            python,
            &arguments,
            &[],
            folder.path(),
        ));
    }
    let place = |name: &str| -> std::path::PathBuf {
        std::fs::create_dir_all(own(name)).unwrap();
        own(name)
    };
    let binary = std::path::absolute(server::binary().unwrap()).unwrap();
    let data = own("data");
    let serve = format!(
        "serve --data-dir {} --listen kubernetes={}:{API} --insecure-listen",
        data.display(),
        network.address(1)
    );
    let api = Machine::start(&network, 1, &binary, &words(&serve), &[], &place("api"));
    eventually(LIMIT, || api.json(API, "/api/v1/namespaces").map(drop))
        .unwrap_or_else(|error| panic!("{error}; it said:\n{}", api.said()));
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": network.address(1).to_string()}]},
    });
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"clusterIP": ADDRESS, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]},
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    for (path, body) in [
        ("/api/v1/nodes", node),
        ("/api/v1/namespaces/default/services", service),
        (slices, slice(&network, [true, true])),
    ] {
        eventually(LIMIT, || put(&api, path, &body)).unwrap();
    }

    let url = format!("http://{}:{API}", network.address(1));
    let corefile = own("Corefile");
    let content = format!(
        ".:1053 {{\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    endpoint {url}\n    pods insecure\n  }}\n}}\n"
    );
    std::fs::write(&corefile, content).unwrap();
    let coredns = format!("-conf {}", corefile.display());
    let program_of = program("PORTOLAN_COREDNS");
    let dns = Machine::start(
        &network,
        1,
        Path::new(&program_of),
        &words(&coredns),
        &[],
        &place("dns"),
    );
    let proxy = format!(
        "--master={url} --proxy-mode={mode} --hostname-override=n1 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s"
    );
    let program_of = program("PORTOLAN_KUBE_PROXY");
    let proxy = Machine::start(
        &network,
        1,
        Path::new(&program_of),
        &words(&proxy),
        &[],
        &place("proxy"),
    );

    // A name resolves.
    let ask = |name: &str| {
        said(
            &network,
            &[
                "dig",
                "+short",
                "+tries=1",
                "+time=2",
                "-p",
                "1053",
                "@127.0.0.1",
                name,
            ],
        )
    };
    eventually(LIMIT, || {
        same(&ask("web.default.svc.cluster.local")?, &ADDRESS.to_owned())
    })
    .unwrap_or_else(|error| panic!("{error}; CoreDNS said:\n{}", dns.said()));

    // Each ready endpoint is reached, and no other.
    let both = names(&["endpoint-2", "endpoint-3"]);
    eventually(LIMIT, || same(&answerers(&network, 20)?, &both))
        .unwrap_or_else(|error| panic!("{error}; kube-proxy said:\n{}", proxy.said()));
    let one = format!("{slices}/web-1");
    for (ready, expected) in [
        ([false, true], names(&["endpoint-3"])),
        ([true, false], names(&["endpoint-2"])),
        ([true, true], both),
    ] {
        let replace = || match api.ask(API, "PUT", &one, &slice(&network, ready).to_string())? {
            (200, _) => Ok(()),
            (status, text) => Err(format!("{status} {text}")),
        };
        eventually(LIMIT, replace).unwrap();
        eventually(LIMIT, || same(&answerers(&network, 20)?, &expected)).unwrap_or_else(|error| {
            panic!("{ready:?}: {error}; kube-proxy said:\n{}", proxy.said())
        });
    }
}

#[test]
fn coredns_and_kube_proxy_run_on_it() {
    need_binary!();
    for mode in ["nftables", "iptables"] {
        // A thread that has entered a network does not leave it.
        let shown = std::thread::spawn(move || with_mode(mode)).join();
        if let Err(panic) = shown {
            std::panic::resume_unwind(panic);
        }
        println!("{mode}: a name resolves, and each ready endpoint is reached and no other");
    }
}
