use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// An authority, and files of a certificate for `name` that it gave.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn make(name: &str) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let write = |file: &str, text: String| std::fs::write(folder.path().join(file), text);
        write("ca.pem", own.pem()).unwrap();
        write("leaf.pem", leaf.pem()).unwrap();
        write("key.pem", leaf_key.serialize_pem()).unwrap();
        Files { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Answers every request with `hello`; asks for certificates of `clients` where it is given. The port.
    async fn serve(&self, clients: Option<&Files>) -> u16 {
        let chain = certificates(&self.path("leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read(&self.path("key.pem")).unwrap()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let trust = Trust {
                    authorities: vec![clients.path("ca.pem")],
                    ..Trust::default()
                };
                let roots = Arc::new(roots(&trust).unwrap());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut head = [0; 1024];
                    let _read = stream.read(&mut head).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    let _written = stream.write_all(answer).await;
                    let _ended = stream.shutdown().await;
                });
            }
        });
        port
    }
}

async fn asks(port: u16, trust: &Trust) -> Result<(), String> {
    let connector = connector(trust, true, PATIENCE).map_err(|error| error.to_string())?;
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let uri = format!("https://127.0.0.1:{port}/").parse().unwrap();
    let answer = client
        .get(uri)
        .await
        .map_err(|error| format!("{error:?}"))?;
    assert_eq!(answer.status(), 200);
    Ok(())
}

#[tokio::test]
async fn who_is_trusted_is_reached_and_nobody_else() {
    let files = Files::make("server.dc1");
    let port = files.serve(None).await;
    let trust = Trust {
        authorities: vec![files.path("ca.pem")],
        server_name: Some("server.dc1".to_owned()),
        ..Trust::default()
    };
    asks(port, &trust).await.unwrap();
    let by_folder = Trust {
        authorities: Vec::new(),
        authority_folders: vec![{
            let folder = files.path("authorities");
            std::fs::create_dir(&folder).unwrap();
            std::fs::copy(files.path("ca.pem"), folder.join("a.pem")).unwrap();
            folder
        }],
        ..trust.clone()
    };
    asks(port, &by_folder).await.unwrap();
    let unnamed = Trust {
        server_name: None,
        ..trust.clone()
    };
    let error = asks(port, &unnamed).await.unwrap_err();
    assert!(error.contains("NotValidForName"), "{error}");
    let stranger = Trust {
        authorities: vec![Files::make("server.dc1").path("ca.pem")],
        ..trust
    };
    // The folder of that stranger is gone already: said with its name.
    let error = asks(port, &stranger).await.unwrap_err();
    assert!(error.contains("ca.pem"), "{error}");
    let other = Files::make("server.dc1");
    let stranger = Trust {
        authorities: vec![other.path("ca.pem")],
        ..stranger
    };
    let error = asks(port, &stranger).await.unwrap_err();
    assert!(error.contains("InvalidCertificate"), "{error}");
    let careless = Trust {
        unverified: true,
        server_name: None,
        ..stranger
    };
    asks(port, &careless).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_shown_where_one_is_asked_for() {
    let (server, client) = (Files::make("127.0.0.1"), Files::make("client"));
    let port = server.serve(Some(&client)).await;
    let stranger = Trust {
        authorities: vec![server.path("ca.pem")],
        ..Trust::default()
    };
    assert!(asks(port, &stranger).await.is_err());
    let known = Trust {
        certificate: Some(client.path("leaf.pem")),
        key: Some(client.path("key.pem")),
        ..stranger.clone()
    };
    asks(port, &known).await.unwrap();
    let half = Trust {
        certificate: Some(client.path("leaf.pem")),
        ..stranger.clone()
    };
    assert!(matches!(
        connector(&half, true, PATIENCE),
        Err(TrustError::Half)
    ));
    let wrong = Trust {
        key: Some(client.path("leaf.pem")),
        ..known
    };
    let error = connector(&wrong, true, PATIENCE).map(drop).unwrap_err();
    assert!(error.to_string().contains("leaf.pem"), "{error}");
}
