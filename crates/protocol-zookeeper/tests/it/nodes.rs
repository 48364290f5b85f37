//! Nodes: replies byte by byte, errors, pipelines, transactions.

use portolan_protocol_zookeeper::wire::{Opcode, Writer};

use crate::client::{Server, create};

#[tokio::test]
async fn a_stat_is_sixty_eight_bytes_of_the_right_numbers() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let made = client.create("/a", b"xyz", 0).await;
    assert_eq!((made.error, made.reader().text()), (0, Ok("/a".into())));
    let set = client.set("/a", b"four").await;
    assert_eq!(set.body.len(), 68);
    let mut stat = set.reader();
    assert_eq!((stat.long(), stat.long()), (Ok(made.zxid), Ok(set.zxid)));
    let (ctime, mtime) = (stat.long().unwrap(), stat.long().unwrap());
    assert!(ctime > 1_600_000_000_000 && mtime >= ctime);
    assert_eq!((stat.int(), stat.int(), stat.int()), (Ok(1), Ok(0), Ok(0)));
    assert_eq!((stat.long(), stat.int(), stat.int()), (Ok(0), Ok(4), Ok(0)));
    assert_eq!(stat.long(), Ok(made.zxid));
    assert!(stat.is_empty());
    // Null is not empty.
    let null = client
        .ask(Opcode::SetData, |w| {
            w.text("/a").buffer(None).int(-1);
        })
        .await;
    assert_eq!(null.error, 0);
    let got = client.read(Opcode::GetData, "/a", false).await;
    assert_eq!(got.reader().buffer(), Ok(None));
}

#[tokio::test]
async fn errors_are_zookeepers_and_have_no_body() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("/a", b"", 0).await;
    client.create("/e", b"", 1).await;
    let rows: [(&str, i32, i32); 12] = [
        ("/a", 0, -110),
        ("/none/x", 0, -101),
        ("/e/x", 0, -108),
        ("/", 0, -110),
        ("/zookeeper", 0, -110),
        ("a", 0, -8),
        ("", 0, -8),
        ("/a/", 0, -8),
        ("/a//b", 0, -101),
        ("/x", 7, -8),
        ("/x", -1, -8),
        ("/x", 5, -8),
    ];
    for (path, flags, error) in rows {
        let reply = client.create(path, b"", flags).await;
        assert_eq!(
            (reply.error, reply.body.len()),
            (error, 0),
            "{path} {flags}"
        );
    }
    for path in [
        "/",
        "/zookeeper",
        "/zookeeper/config",
        "/zookeeper/quota",
        "a",
    ] {
        assert_eq!(client.delete(path).await.error, -8, "{path}");
    }
    // Readers are not told that a path is wrong.
    for path in ["/a/", "a", "/a//b", "/none"] {
        assert_eq!(
            client.read(Opcode::Exists, path, false).await.error,
            -101,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_pipeline_is_answered_in_its_order_and_sees_itself() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("/p", b"", 0).await;
    let mut sent = Vec::new();
    for n in 0..100 {
        let path = format!("/p/{n}");
        sent.push(
            client
                .send(Opcode::Create, |w| create(w, &path, b"", 0))
                .await,
        );
        sent.push(
            client
                .send(Opcode::GetChildren, |w| {
                    w.text("/p").boolean(false);
                })
                .await,
        );
    }
    let mut last = 0;
    for (at, xid) in sent.into_iter().enumerate() {
        let reply = client.next().await.unwrap();
        assert_eq!((reply.xid, reply.error), (xid, 0));
        assert!(reply.zxid >= last, "zxids of a connection never go back");
        last = reply.zxid;
        if at % 2 == 1 {
            assert_eq!(reply.reader().int(), Ok(at as i32 / 2 + 1));
        }
    }
}

#[tokio::test]
async fn a_transaction_says_which_operation_failed() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let many = |w: &mut Writer, paths: &[&str]| {
        for path in paths {
            w.multi_header(Opcode::Create as i32, false, -1);
            create(w, path, b"", 0);
        }
        w.multi_end();
    };
    let done = client
        .ask(Opcode::Multi, |w| many(w, &["/a", "/a/b"]))
        .await;
    let mut wanted = Writer::default();
    for path in ["/a", "/a/b"] {
        wanted.multi_header(1, false, 0).text(path);
    }
    wanted.multi_end();
    assert_eq!(done.body, wanted.finish()[4..]);
    // The second one fails in the catalog, or before it is asked; nothing of either is done.
    for (second, code) in [("/a", -110), ("nonsense", -8)] {
        let failed = client
            .ask(Opcode::Multi, |w| many(w, &["/c", second, "/d"]))
            .await;
        assert_eq!(failed.error, 0);
        let mut wanted = Writer::default();
        for code in [0, code, -2] {
            wanted.multi_header(-1, false, code).int(code);
        }
        wanted.multi_end();
        assert_eq!(failed.body, wanted.finish()[4..], "{second}");
    }
    let empty = client.ask(Opcode::Multi, |w| many(w, &[])).await;
    let mut end = Writer::default();
    end.multi_end();
    assert_eq!((empty.error, empty.body), (0, end.finish().slice(4..)));
    // A read among writes.
    let mixed = client
        .ask(Opcode::Multi, |w| {
            w.multi_header(Opcode::GetData as i32, false, -1)
                .text("/a")
                .boolean(false);
            w.multi_end();
        })
        .await;
    assert_eq!((mixed.error, mixed.body.len()), (-5, 0));
    assert_eq!(client.read(Opcode::Exists, "/c", false).await.error, -101);
}

#[tokio::test]
async fn quotas_are_counted_when_they_are_read() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (path, data) in [
        ("/q", &b"12"[..]),
        ("/q/a", b"345"),
        ("/zookeeper/quota/q", b""),
        ("/zookeeper/quota/q/zookeeper_limits", b"count=5,bytes=100"),
        ("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0"),
    ] {
        assert_eq!(client.create(path, data, 0).await.error, 0, "{path}");
    }
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    let got = client.read(Opcode::GetData, stats, false).await;
    assert_eq!(got.reader().text(), Ok("count=2,bytes=5".into()));
    let all = client
        .ask(Opcode::GetAllChildrenNumber, |w| {
            w.text("/");
        })
        .await;
    assert_eq!(all.reader().int(), Ok(8));
}
