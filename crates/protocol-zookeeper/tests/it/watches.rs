//! Watches: what is told, when, and to whom.

use portolan_protocol_zookeeper::wire::Opcode;

use crate::client::Server;

#[tokio::test]
async fn each_kind_is_told_what_it_asked_for_and_once() {
    let server = Server::start().await;
    let (mut writer, mut watcher) = (server.client().await, server.client().await);
    writer.create("/a", b"", 0).await;
    watcher.read(Opcode::GetData, "/a", true).await;
    watcher.read(Opcode::GetData, "/a", true).await;
    watcher.read(Opcode::GetChildren, "/a", true).await;
    watcher.read(Opcode::Exists, "/later", true).await;
    let changed = writer.set("/a", b"1").await;
    writer.set("/a", b"2").await;
    writer.create("/a/b", b"", 0).await;
    writer.create("/a/c", b"", 0).await;
    writer.create("/later", b"", 0).await;
    let first = watcher.next().await.unwrap();
    assert_eq!(
        (first.zxid, first.event()),
        (changed.zxid, (3, "/a".into()))
    );
    assert_eq!(watcher.next().await.unwrap().event(), (4, "/a".into()));
    assert_eq!(watcher.next().await.unwrap().event(), (1, "/later".into()));
    let ping = watcher.ask(Opcode::Ping, |_| {}).await;
    assert_eq!(ping.error, 0, "and nothing more");
}

#[tokio::test]
async fn a_watcher_is_told_before_it_sees() {
    let server = Server::start().await;
    let (mut writer, mut watcher) = (server.client().await, server.client().await);
    writer.create("/a", b"before", 0).await;
    for round in 0..200 {
        watcher.read(Opcode::GetData, "/a", true).await;
        let text = format!("{round}");
        let (set, _) = tokio::join!(writer.set("/a", text.as_bytes()), async {
            // Reads race with the change: whoever reads it was told before.
            loop {
                let xid = watcher
                    .send(Opcode::GetData, |w| {
                        w.text("/a").boolean(false);
                    })
                    .await;
                let mut told = false;
                let reply = loop {
                    let next = watcher.next().await.unwrap();
                    if next.xid == -1 {
                        told = true;
                        continue;
                    }
                    break next;
                };
                assert_eq!(reply.xid, xid);
                let seen = reply.reader().buffer().unwrap() == Some(text.as_bytes());
                assert_eq!(seen, told, "round {round}");
                if seen {
                    break;
                }
            }
        });
        assert_eq!(set.error, 0);
    }
}

#[tokio::test]
async fn persistent_and_recursive_watches_stay_until_they_are_removed() {
    let server = Server::start().await;
    let (mut writer, mut watcher) = (server.client().await, server.client().await);
    let add = |w: &mut portolan_protocol_zookeeper::wire::Writer, path: &str, kind: i32| {
        w.text(path).int(kind);
    };
    for (path, mode) in [("/a", 0), ("/a", 1), ("/", 1)] {
        let added = watcher.ask(Opcode::AddWatch, |w| add(w, path, mode)).await;
        assert_eq!((added.error, added.reader().int()), (0, Ok(0)));
    }
    writer.create("/a", b"", 0).await;
    writer.create("/a/b", b"", 0).await;
    writer.create("/a/b/c", b"", 0).await;
    writer.delete("/a/b/c").await;
    let wanted = [
        (1, "/a"),
        (1, "/a/b"),
        (4, "/a"),
        (1, "/a/b/c"),
        (2, "/a/b/c"),
    ];
    for (kind, path) in wanted {
        assert_eq!(watcher.next().await.unwrap().event(), (kind, path.into()));
    }
    for (opcode, kind, error) in [
        (Opcode::CheckWatches, 4, 0),
        (Opcode::CheckWatches, 5, 0),
        (Opcode::CheckWatches, 2, -121),
        (Opcode::RemoveWatches, 5, 0),
        (Opcode::RemoveWatches, 5, -121),
        (Opcode::RemoveWatches, 3, 0),
        (Opcode::RemoveWatches, 3, -121),
        (Opcode::CheckWatches, 9, -5),
        (Opcode::AddWatch, 2, -5),
    ] {
        let reply = watcher.ask(opcode, |w| add(w, "/a", kind)).await;
        assert_eq!(reply.error, error, "{opcode:?} {kind}");
    }
}

#[tokio::test]
async fn what_was_missed_is_made_up_and_the_rest_is_watched_again() {
    let server = Server::start().await;
    let (mut writer, mut client) = (server.client().await, server.client().await);
    writer.create("/a", b"", 0).await;
    writer.create("/gone", b"", 0).await;
    let seen = client.read(Opcode::Exists, "/a", false).await.zxid;
    writer.set("/a", b"1").await;
    writer.delete("/gone").await;
    writer.create("/new", b"", 0).await;
    writer.create("/a/b", b"", 0).await;
    let mut again = async |since: i64| {
        let xid = client
            .send(Opcode::SetWatches2, |w| {
                w.long(since);
                for list in [
                    &["/a", "/gone"][..],
                    &["/new", "/never"],
                    &["/a"],
                    &["/p"],
                    &["/r"],
                ] {
                    w.texts(list.iter().copied());
                }
            })
            .await;
        let mut events = Vec::new();
        loop {
            let next = client.next().await.unwrap();
            if next.xid == xid {
                return events;
            }
            assert_eq!(next.zxid, -1);
            events.push(next.event());
        }
    };
    let told = |list: &[(i32, &str)]| -> Vec<(i32, String)> {
        list.iter()
            .map(|(kind, path)| (*kind, (*path).to_owned()))
            .collect()
    };
    assert_eq!(
        again(seen).await,
        told(&[(3, "/a"), (2, "/gone"), (1, "/new"), (4, "/a")])
    );
    let now = writer.read(Opcode::Exists, "/a", false).await.zxid;
    assert_eq!(again(now).await, told(&[(2, "/gone"), (1, "/new")]));
    writer.set("/a", b"2").await;
    writer.create("/never", b"", 0).await;
    writer.create("/p", b"", 0).await;
    writer.create("/r", b"", 0).await;
    for wanted in told(&[(3, "/a"), (1, "/never"), (1, "/p"), (1, "/r")]) {
        assert_eq!(client.next().await.unwrap().event(), wanted);
    }
}

#[tokio::test]
async fn nobody_is_told_of_what_they_may_not_read() {
    let server = Server::start().await;
    let (mut writer, mut watcher) = (server.client().await, server.client().await);
    for client in [&mut writer] {
        client
            .ask(Opcode::Auth, |w| {
                w.int(0).text("digest").buffer(Some(b"ann:pw"));
            })
            .await;
    }
    watcher
        .ask(Opcode::AddWatch, |w| {
            w.text("/").int(1);
        })
        .await;
    let made = writer
        .ask(Opcode::Create, |w| {
            w.text("/secret").buffer(Some(b""));
            w.length(1).int(31).text("auth").text("");
            w.int(0);
        })
        .await;
    assert_eq!(made.error, 0);
    writer.create("/open", b"", 0).await;
    assert_eq!(watcher.next().await.unwrap().event(), (1, "/open".into()));
}
