//! HTTP checks.

use std::sync::Arc;

use portolan_catalog::{Probe, Status};

use crate::bench::{Bench, Web, check, closed_port, http_probe, reply};

#[tokio::test]
async fn codes_become_statuses_and_words() {
    let web = Web::start(|request| {
        let path = request.split(' ').nth(1).unwrap();
        match path {
            "/ok" => reply("200 OK", "fine"),
            "/created" => reply("201 Created", ""),
            "/busy" => reply("429 Too Many Requests", "later"),
            "/odd" => reply("299 Still Fine", ""),
            _ => reply("500 Internal Server Error", "broken"),
        }
    })
    .await;
    let bench = Bench::start();
    let rows = [
        ("/ok", Status::Passing, "200 OK Output: fine"),
        ("/created", Status::Passing, "201 Created Output: "),
        ("/odd", Status::Passing, "299 Still Fine Output: "),
        (
            "/busy",
            Status::Warning,
            "429 Too Many Requests Output: later",
        ),
        (
            "/no",
            Status::Critical,
            "500 Internal Server Error Output: broken",
        ),
    ];
    for (path, status, words) in rows {
        let url = web.url(path);
        let result = bench.result(check(path, http_probe(&url))).await;
        assert_eq!(result, (status, format!("HTTP GET {url}: {words}")));
    }
}

#[tokio::test]
async fn a_request_is_what_the_definition_says() {
    let web = Web::start(|request| reply("200 OK", request)).await;
    let bench = Bench::start();
    let (status, output) = bench
        .result(check("plain", http_probe(&web.url("/a?b=c"))))
        .await;
    assert_eq!(status, Status::Passing);
    let sent = output
        .split_once("Output: ")
        .unwrap()
        .1
        .to_ascii_lowercase();
    for line in [
        "get /a?b=c http/1.1",
        &format!("host: {}", web.address),
        "user-agent: consul health check",
        "accept: text/plain, text/*, */*",
        "connection: close",
    ] {
        assert!(sent.contains(line), "{line:?} in {sent}");
    }
    let mut facts = check("rich", http_probe(&web.url("/x")));
    if let Probe::Http {
        method,
        headers,
        body,
        ..
    } = &mut facts.probe
    {
        *method = "POST".into();
        *headers = Arc::from([
            ("Host".into(), "service.local".into()),
            ("X-A".into(), "1".into()),
            ("X-A".into(), "2".into()),
        ]);
        *body = "ping".into();
    }
    let (_, output) = bench.result(facts).await;
    assert!(output.starts_with(&format!(
        "HTTP POST {}: 200 OK Output: POST /x",
        web.url("/x")
    )));
    let sent = output.to_ascii_lowercase();
    for line in [
        "host: service.local\r\n",
        "x-a: 1\r\n",
        "x-a: 2\r\n",
        "content-length: 4\r\n",
        "\r\n\r\nping",
    ] {
        assert!(sent.contains(line), "{line:?} in {sent}");
    }
}

#[tokio::test]
async fn long_output_keeps_its_end() {
    let web = Web::start(|_| reply("200 OK", &format!("{}END", "x".repeat(100_000)))).await;
    let bench = Bench::start();
    let (_, output) = bench.result(check("long", http_probe(&web.url("/")))).await;
    assert_eq!(output.len(), 4096);
    assert!(output.starts_with("HTTP GET ") && output.ends_with("xEND"));
    let mut short = check("short", http_probe(&web.url("/")));
    short.output_bytes = 6;
    let (_, output) = bench.result(short).await;
    assert_eq!(
        output,
        format!("HTTP GET {}: 200 OK Output: xxxEND", web.url("/"))
    );
}

#[tokio::test]
async fn redirects_stay_on_their_host() {
    let other = Web::start(|_| reply("200 OK", "secret")).await;
    let elsewhere = other.url("/secret");
    let web = Web::start(move |request| {
        let to = |location: &str| {
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
        };
        match request.split(' ').nth(1).unwrap() {
            "/relative" => to("/ok"),
            "/sibling" => to("ok"),
            "/query" => to("/ok?next=http://example.invalid/"),
            "/away" => to(&elsewhere),
            "/metadata" => to("http://169.254.169.254/latest"),
            "/loop" => to("/loop"),
            _ => reply("200 OK", "arrived"),
        }
    })
    .await;
    let bench = Bench::start();
    for path in ["/relative", "/sibling", "/query"] {
        let (status, output) = bench.result(check(path, http_probe(&web.url(path)))).await;
        assert_eq!(status, Status::Passing, "{output}");
        assert!(output.ends_with("arrived"));
    }
    for (path, words) in [
        ("/away", "redirect to another host is not followed"),
        ("/metadata", "redirect to another host is not followed"),
        ("/loop", "stopped after 10 redirects"),
    ] {
        let (status, output) = bench.result(check(path, http_probe(&web.url(path)))).await;
        assert_eq!(status, Status::Critical, "{output}");
        assert!(output.contains(words), "{output}");
    }
    assert_eq!(other.seen.load(std::sync::atomic::Ordering::SeqCst), 0);
    let mut facts = check("stay", http_probe(&web.url("/relative")));
    if let Probe::Http {
        disable_redirects, ..
    } = &mut facts.probe
    {
        *disable_redirects = true;
    }
    let (status, output) = bench.result(facts).await;
    assert_eq!(status, Status::Critical);
    assert!(output.contains("302 Found Output: "), "{output}");
}

#[tokio::test]
async fn failures_say_why() {
    let bench = Bench::start();
    let silent = Web::start(|_| String::new()).await;
    let hangs_up = Web::start(|_| "HTTP/1.1".to_owned()).await;
    let closed = closed_port().await;
    let refused = format!("http://{closed}/");
    let rows = [
        (refused.clone(), format!("Get \"{refused}\": dial tcp {closed}: connect: connection refused")),
        (silent.url("/"), format!("Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)", silent.url("/"))),
        ("https://127.0.0.1:1/".to_owned(), "Get \"https://127.0.0.1:1/\": this version has no TLS for checks; probe without TLS, or report from outside with a TTL check".to_owned()),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "Get \"http://169.254.169.254/latest/meta-data\": dial tcp 169.254.169.254:80: refused: link-local and metadata addresses are not probed".to_owned()),
        ("http://[fd00:ec2::254]/".to_owned(), "Get \"http://[fd00:ec2::254]/\": dial tcp [fd00:ec2::254]:80: refused: link-local and metadata addresses are not probed".to_owned()),
        ("ftp://127.0.0.1/".to_owned(), "Get \"ftp://127.0.0.1/\": unsupported protocol scheme".to_owned()),
    ];
    for (url, words) in rows {
        let mut facts = check(&url, http_probe(&url));
        facts.timeout_ms = 300;
        assert_eq!(bench.result(facts).await, (Status::Critical, words));
    }
    for url in [
        hangs_up.url("/"),
        "not a url".to_owned(),
        "/path".to_owned(),
    ] {
        let (status, output) = bench.result(check(&url, http_probe(&url))).await;
        assert_eq!(status, Status::Critical);
        assert!(!output.is_empty());
    }
}

#[tokio::test]
async fn a_user_in_the_address_is_sent_as_a_header_and_its_password_not_shown() {
    let web = Web::start(|request| {
        let authorised = request
            .to_ascii_lowercase()
            .contains("authorization: basic dxnlcjpwqhnz");
        reply(
            if authorised {
                "200 OK"
            } else {
                "401 Unauthorized"
            },
            "",
        )
    })
    .await;
    let bench = Bench::start();
    let url = format!("http://user:p%40ss@{}/", web.address);
    let shown = format!("HTTP GET http://user:***@{}/: 200 OK Output: ", web.address);
    assert_eq!(
        bench.result(check("known", http_probe(&url))).await,
        (Status::Passing, shown)
    );
}
