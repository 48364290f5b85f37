//! Four-letter words.

use portolan_protocol_zookeeper::Settings;
use portolan_protocol_zookeeper::wire::Opcode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Server;

async fn word(server: &Server, word: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut text = String::new();
    let _closed = stream.read_to_string(&mut text).await;
    text
}

#[tokio::test]
async fn words_are_answered_as_monitoring_reads_them() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("/e", b"", 1).await;
    client.read(Opcode::GetData, "/e", true).await;
    let rows = [
        ("ruok", "imok"),
        ("isro", "rw"),
        ("srvr", "Mode: standalone\nNode count: 6\n"),
        ("stat", "Clients:\n /127.0.0.1:"),
        ("cons", "lop=GETD"),
        ("conf", "minSessionTimeout=4000\nmaxSessionTimeout=40000\n"),
        ("envi", "zookeeper.version=3.9."),
        ("dump", "\t/e\n"),
        ("wchs", "1 connections watching 1 paths\nTotal watches:1\n"),
        ("wchc", "\t/e\n"),
        ("wchp", "/e\n\t0x"),
        ("mntr", "zk_ephemerals_count\t1\n"),
        ("crst", "Connection stats reset.\n"),
        (
            "hash",
            "hash is not executed because it is not in the whitelist.\n",
        ),
        ("abcd", ""),
    ];
    for (asked, part) in rows {
        let text = word(&server, asked).await;
        assert!(text.contains(part), "{asked}: {text:?}");
    }
    // go-zookeeper reads this line alone, with a date of this form.
    let line = word(&server, "srvr").await;
    assert!(line.starts_with("Zookeeper version: 3.9."), "{line}");
    assert!(line.contains(", built on 08/19/2025 19:53 GMT\n"), "{line}");
}

#[tokio::test]
async fn only_srvr_is_answered_unless_told_otherwise() {
    let server = Server::with(Settings::default()).await;
    assert!(word(&server, "srvr").await.contains("Mode: standalone"));
    for other in ["ruok", "stat", "wchp"] {
        let wanted = format!("{other} is not executed because it is not in the whitelist.\n");
        assert_eq!(word(&server, other).await, wanted);
    }
}
