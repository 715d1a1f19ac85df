//! A load balancer before a cluster's nodes, as in front of any cluster that outlives its nodes: it asks
//! each node for its health, and gives connections to those that answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// Time between two checks, and for an answer to one. A frozen node still accepts connections: only its
/// silence tells.
const CHECK: Duration = Duration::from_millis(500);

/// A running balancer; it stops when dropped.
#[derive(Debug)]
pub struct Balancer(AbortHandle);

impl Balancer {
    /// Balances this port of the loopback interface over the nodes at these addresses.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(port: u16, nodes: Vec<String>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(Self(tokio::spawn(balance(listener, nodes)).abort_handle()))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The connections to a node; `None` while it is not healthy.
type Connections = Arc<Mutex<Option<JoinSet<()>>>>;

async fn balance(listener: TcpListener, addresses: Vec<String>) {
    let nodes: Vec<(String, Connections)> =
        addresses.into_iter().map(|address| (address, Connections::default())).collect();
    let mut checks = JoinSet::new();
    for (address, connections) in &nodes {
        checks.spawn(check(address.clone(), Arc::clone(connections)));
    }
    while let Ok((client, _)) = listener.accept().await {
        let is_healthy =
            |(_, connections): &&(String, Connections)| connections.lock().unwrap().is_some();
        let healthy: Vec<_> = nodes.iter().filter(is_healthy).collect();
        // Without a healthy node the connection is dropped at once.
        if let Some((address, connections)) = fastrand::choice(healthy)
            && let Some(connections) = connections.lock().unwrap().as_mut()
        {
            connections.spawn(forward(client, address.clone()));
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn forward(mut client: TcpStream, address: String) {
    if let Ok(mut node) = TcpStream::connect(address).await {
        client.set_nodelay(true).ok();
        node.set_nodelay(true).ok();
        copy_bidirectional(&mut client, &mut node).await.ok();
    }
}

/// Keeps the health of a node up to date. The connections of one that fails are closed.
async fn check(address: String, connections: Connections) {
    let client = reqwest::Client::builder().timeout(CHECK).build().expect("a plain client");
    let url = format!("http://{address}/_cluster/health?local=true");
    loop {
        let answer = client.get(&url).send().await;
        let is_healthy = answer.is_ok_and(|answer| answer.status().is_success());
        {
            let mut connections = connections.lock().unwrap();
            match (is_healthy, connections.is_some()) {
                (true, false) => *connections = Some(JoinSet::new()),
                (false, true) => *connections = None,
                _ => {}
            }
        }
        sleep(CHECK).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::runtime::eventually;
    use crate::server::Server;

    async fn node(name: &'static str) -> Server {
        let router = Router::new()
            .route("/_cluster/health", get(|| async { "{}" }))
            .route("/", get(move || async move { name }));
        Server::start(router).await
    }

    #[tokio::test]
    async fn dead_node_gets_no_connection() {
        let (one, other) = (node("one").await, node("other").await);
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let nodes = vec![one.address().to_owned(), other.address().to_owned()];
        let _balancer = Balancer::start(free, nodes).await.unwrap();
        let ask = async || {
            let client = reqwest::Client::new();
            let answer = client.get(format!("http://127.0.0.1:{free}/")).send().await.ok()?;
            answer.text().await.ok()
        };
        eventually("both answer", || async { ask().await.as_deref() == Some("one") }).await;
        eventually("both answer", || async { ask().await.as_deref() == Some("other") }).await;
        drop(other);
        tokio::time::sleep(3 * CHECK).await;
        for _ in 0..20 {
            assert_eq!(ask().await.as_deref(), Some("one"));
        }
    }
}
