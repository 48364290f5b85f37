//! Connections that became another protocol's: bytes both ways until one side is done.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Joins both sides. What is held stays occupied until the end.
pub(crate) async fn join<T>(client: OnUpgrade, endpoint: OnUpgrade, held: T) {
    let both = async {
        let (client, endpoint) = (client.await?, endpoint.await?);
        let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
        Ok::<_, hyper::Error>(tokio::io::copy_bidirectional(&mut client, &mut endpoint).await)
    };
    if let Err(error) = both.await {
        tracing::debug!(%error, "a connection could not change its protocol");
    }
    drop(held);
}
