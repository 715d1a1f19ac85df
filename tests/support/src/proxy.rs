//! A proxy that fails on demand, between the functions and a real server.
//!
//! On the functions' side it speaks HTTP/1.1 by hand, because the faults are about connections (reset,
//! cut, hang); on the other side it uses an ordinary client. The faults of single items of a `_bulk`
//! request are real: the proxy removes those items before the engine sees the request, and inserts
//! their errors into the response at their positions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::wire::{Reply, Request, bulk_items, find, read_request, render};

/// What the proxy does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The port is closed, and open connections are reset.
    Refuse,
    /// The connection is reset once the request has arrived.
    Reset,
    /// The request is read and never answered.
    Hang,
    /// The right response, this much later.
    Slow(Duration),
    /// This status for the whole request; the server never sees it.
    Status(u16),
    /// An HTML page with this status for the whole request; the server never sees it.
    Page(u16),
    /// A firewall: an HTML page with status 403 for requests whose body holds this text.
    Block(&'static str),
    /// This status for about half of the items of a `_bulk` request, which are not written.
    Items(u16),
    /// A page of HTML with status 200; the server never sees the request.
    Html,
    /// The server gets the request; its response is cut in the middle.
    CutAnswer,
    /// The server gets the request; the connection ends without a response.
    CutAfterWrite,
    /// One of the others except `Refuse`, or none, drawn for each request from this seed.
    Mixed(u64),
}

/// Selects the requests that a fault is for by their head and body, in lower case.
type Filter = fn(&str) -> bool;

#[derive(Clone, Copy, Debug)]
struct Plan {
    fault: Option<Fault>,
    applies: Filter,
}

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    plan: watch::Sender<Plan>,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    plan: watch::Receiver<Plan>,
    rng: Mutex<Rng>,
    requests: AtomicU64,
    failed: AtomicU64,
}

impl Proxy {
    /// Starts a proxy that forwards everything to `upstream`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(upstream: &str) -> Self {
        let (listener, port) = bind_outside_the_ephemeral_range().await;
        let (plan, seen) = watch::channel(Plan { fault: None, applies: |_| true });
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: reqwest::Client::builder().no_gzip().build().expect("a plain client"),
            plan: seen,
            rng: Mutex::new(Rng::with_seed(0)),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, port, Arc::clone(&shared)));
        let url = format!("http://127.0.0.1:{port}");
        Self { url, plan, shared, accepting: accepting.abort_handle() }
    }

    /// The base URL, to be used instead of the server's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Injects this fault into each request from now on.
    pub async fn fail(&self, fault: Fault) {
        self.fail_only(fault, |_| true).await;
    }

    /// Injects this fault, from now on, into each request whose text (request line, headers and body, in
    /// lower case) passes the filter.
    pub async fn fail_only(&self, fault: Fault, applies: Filter) {
        if let Fault::Mixed(seed) = fault {
            *self.shared.rng.lock().unwrap() = Rng::with_seed(seed);
        }
        self.switch(Plan { fault: Some(fault), applies }).await;
    }

    /// Forwards everything from now on.
    pub async fn heal(&self) {
        self.switch(Plan { fault: None, applies: |_| true }).await;
    }

    async fn switch(&self, plan: Plan) {
        self.plan.send_replace(plan);
        // Another task opens and closes the port.
        let open = plan.fault != Some(Fault::Refuse);
        let address = self.url.trim_start_matches("http://");
        while TcpStream::connect(address).await.is_ok() != open {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The number of requests that have arrived.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// The number of requests that got a fault: a test whose fault never struck proves nothing.
    /// [`Fault::Refuse`] does not count, because no request arrives.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A port that is closed for a while must not be assigned to an outgoing connection meanwhile.
async fn bind_outside_the_ephemeral_range() -> (TcpListener, u16) {
    for _ in 0..100 {
        let port = fastrand::u16(20_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return (listener, port);
        }
    }
    panic!("no free port between 20000 and 32000");
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    let mut plan = shared.plan.clone();
    let mut connections = JoinSet::new();
    loop {
        if plan.borrow_and_update().fault == Some(Fault::Refuse) {
            listener = None;
            connections.shutdown().await;
            if plan.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(open) => open,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            changed = plan.changed() => if changed.is_err() { return },
        }
        listener = Some(open);
        while connections.try_join_next().is_some() {}
    }
}

/// Serves a connection until one side ends it.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).expect("a live socket");
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let plan = *shared.plan.borrow();
        let fault = plan.fault.filter(|_| (plan.applies)(&request.text().to_lowercase()));
        let fault = match fault {
            Some(Fault::Mixed(_)) => draw(&mut shared.rng.lock().unwrap()),
            other => other,
        };
        if fault.is_some() {
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
        if !reply(&shared, &request, fault).await.send(&mut stream).await {
            return;
        }
    }
}

fn draw(rng: &mut Rng) -> Option<Fault> {
    match rng.u8(..16) {
        0 => Some(Fault::Reset),
        1 => Some(Fault::Slow(Duration::from_millis(rng.u64(50..400)))),
        2 => Some(Fault::Status(503)),
        3 => Some(Fault::Status(429)),
        4 | 5 => Some(Fault::Items(429)),
        6 => Some(Fault::Items(500)),
        7 => Some(Fault::Html),
        8 => Some(Fault::CutAnswer),
        9 => Some(Fault::CutAfterWrite),
        10 => Some(Fault::Hang),
        _ => None,
    }
}

async fn reply(shared: &Shared, request: &Request, fault: Option<Fault>) -> Reply {
    match fault {
        None | Some(Fault::Mixed(_)) => Reply::Whole(forward(shared, request, None).await),
        Some(Fault::Refuse | Fault::Reset) => Reply::Reset,
        Some(Fault::Hang) => Reply::Never,
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            Reply::Whole(forward(shared, request, None).await)
        }
        Some(Fault::Status(status)) => {
            let body = json!({
                "error": { "type": "unavailable", "reason": "the proxy says so" },
                "status": status,
            });
            Reply::Whole(render(status, "application/json", body.to_string().as_bytes()))
        }
        Some(Fault::Items(status)) if request.is_bulk() => {
            Reply::Whole(forward_some_items(shared, request, status).await)
        }
        Some(Fault::Items(_)) => Reply::Whole(forward(shared, request, None).await),
        Some(Fault::Html) => {
            let page = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>";
            Reply::Whole(render(200, "text/html", page))
        }
        Some(Fault::Block(text)) if find(&request.plain_body(), text.as_bytes()).is_none() => {
            Reply::Whole(forward(shared, request, None).await)
        }
        Some(Fault::Block(_)) => Reply::Whole(page(403)),
        Some(Fault::Page(status)) => Reply::Whole(page(status)),
        Some(Fault::CutAnswer) => {
            let mut whole = forward(shared, request, None).await;
            whole.truncate(whole.len() / 2);
            Reply::Cut(whole)
        }
        Some(Fault::CutAfterWrite) => {
            forward(shared, request, None).await;
            Reply::Cut(Vec::new())
        }
    }
}

/// The server's response as bytes, to this request or to the same one with another, plain body.
async fn forward(shared: &Shared, request: &Request, body: Option<Bytes>) -> Vec<u8> {
    let (status, content_type, body) = exchange(shared, request, body).await;
    render(status, &content_type, &body)
}

async fn exchange(shared: &Shared, request: &Request, body: Option<Bytes>) -> (u16, String, Bytes) {
    let method = request.method().parse().expect("a method");
    let url = format!("{}{}", shared.upstream, request.target());
    let mut outgoing = shared.client.request(method, url);
    for (name, value) in request.headers() {
        let unwanted = ["content-length", "connection", "accept-encoding", "expect"];
        let replaced = body.is_some() && name.eq_ignore_ascii_case("content-encoding");
        // `host` is kept: AWS's signatures cover it.
        if !replaced && !unwanted.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            outgoing = outgoing.header(name, value);
        }
    }
    let answer = match outgoing.body(body.unwrap_or_else(|| request.body.clone())).send().await {
        Ok(answer) => answer,
        Err(error) => return (502, "text/plain".to_owned(), error.to_string().into()),
    };
    let status = answer.status().as_u16();
    let header = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = header.unwrap_or("application/octet-stream").to_owned();
    match answer.bytes().await {
        Ok(body) => (status, content_type, body),
        Err(error) => (502, "text/plain".to_owned(), error.to_string().into()),
    }
}

fn page(status: u16) -> Vec<u8> {
    render(status, "text/html", b"<!DOCTYPE html><html><body>No</body></html>")
}

/// Forwards about half of the items, at random, and inserts errors for the others.
async fn forward_some_items(shared: &Shared, request: &Request, status: u16) -> Vec<u8> {
    let body = request.plain_body();
    let items = bulk_items(&body);
    let refused: Vec<bool> = {
        let mut rng = shared.rng.lock().unwrap();
        items.iter().map(|_| rng.bool()).collect()
    };
    let spared: Vec<u8> = items
        .iter()
        .zip(&refused)
        .filter(|(_, refused)| !**refused)
        .flat_map(|(item, _)| item.bytes.iter().copied())
        .collect();
    let mut answer = json!({ "took": 1, "errors": true, "items": [] });
    if !spared.is_empty() {
        let (code, content_type, body) = exchange(shared, request, Some(spared.into())).await;
        match serde_json::from_slice::<Value>(&body) {
            Ok(parsed) if parsed["items"].is_array() => answer = parsed,
            _ => return render(code, &content_type, &body),
        }
    }
    let mut written = match answer["items"].take() {
        Value::Array(items) => items.into_iter(),
        _ => Vec::new().into_iter(),
    };
    let woven: Vec<Value> = items
        .iter()
        .zip(&refused)
        .filter_map(|(item, refused)| {
            if *refused { Some(item.refusal(request.stream(), status)) } else { written.next() }
        })
        .collect();
    answer["items"] = woven.into();
    answer["errors"] = true.into();
    render(200, "application/json", answer.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::gzip;
    use crate::server::Server;
    use axum::Router;
    use axum::routing::{get, post};

    /// A server that records the bulk items it was sent.
    async fn upstream() -> (Server, Arc<Mutex<Vec<String>>>) {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let bulk = move |body: Bytes| async move {
            let ids: Vec<String> = bulk_items(&body)
                .iter()
                .map(|item| item.action["create"]["_id"].as_str().unwrap().to_owned())
                .collect();
            let result = |id: &String| json!({ "create": { "_id": id, "status": 201 } });
            let items: Vec<Value> = ids.iter().map(result).collect();
            sink.lock().unwrap().extend(ids);
            axum::Json(json!({ "took": 1, "errors": false, "items": items }))
        };
        let router = Router::new()
            .route("/", get(|| async { "hello".repeat(100) }))
            .route("/stream/_bulk", post(bulk));
        (Server::start(router).await, seen)
    }

    fn client() -> reqwest::Client {
        reqwest::Client::builder().timeout(Duration::from_secs(1)).build().unwrap()
    }

    async fn get_text(url: &str) -> Result<(u16, String), reqwest::Error> {
        let answer = client().get(url).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    #[tokio::test]
    async fn fault_looks_to_a_client_like_its_name() {
        let (server, _) = upstream().await;
        let proxy = Proxy::start(server.url()).await;
        let right = (200, "hello".repeat(100));
        assert_eq!(get_text(proxy.url()).await.unwrap(), right);

        proxy.fail(Fault::Refuse).await;
        assert!(get_text(proxy.url()).await.unwrap_err().is_connect());
        proxy.fail(Fault::Reset).await;
        assert!(get_text(proxy.url()).await.unwrap_err().is_request());
        proxy.fail(Fault::Hang).await;
        assert!(get_text(proxy.url()).await.unwrap_err().is_timeout());
        proxy.fail(Fault::Status(503)).await;
        assert_eq!(get_text(proxy.url()).await.unwrap().0, 503);
        proxy.fail(Fault::Html).await;
        assert!(get_text(proxy.url()).await.unwrap().1.contains("<html>"));
        proxy.fail(Fault::Page(413)).await;
        let (status, page) = get_text(proxy.url()).await.unwrap();
        assert!(status == 413 && page.contains("<html>"), "{status} {page}");
        proxy.fail(Fault::CutAnswer).await;
        assert!(get_text(proxy.url()).await.is_err());
        proxy.fail(Fault::CutAfterWrite).await;
        assert!(get_text(proxy.url()).await.unwrap_err().is_request());
        proxy.fail(Fault::Slow(Duration::from_millis(100))).await;
        assert_eq!(get_text(proxy.url()).await.unwrap(), right);
        assert_eq!(proxy.failed(), 9 - 1, "no request arrives on a refused connection");

        proxy.fail_only(Fault::Status(503), |head| head.contains("post /")).await;
        assert_eq!(get_text(proxy.url()).await.unwrap(), right);
        proxy.heal().await;
        assert_eq!(get_text(proxy.url()).await.unwrap(), right);
    }

    #[tokio::test]
    async fn blocked_text_is_found_in_compressed_bodies() {
        let (server, seen) = upstream().await;
        let proxy = Proxy::start(server.url()).await;
        proxy.fail(Fault::Block("jndi")).await;
        let line = |id: &str| format!("{{\"create\":{{\"_id\":\"{id}\"}}}}\n{{}}\n").into_bytes();
        let post = || client().post(format!("{}/stream/_bulk", proxy.url()));
        let harmless = post().body(line("harmless")).send().await.unwrap();
        assert_eq!(harmless.status(), 200);
        let packed = post().header("content-encoding", "gzip").body(gzip(&line("${jndi:x}")));
        assert_eq!(packed.send().await.unwrap().status(), 403);
        assert_eq!(*seen.lock().unwrap(), ["harmless"]);
    }

    #[tokio::test]
    async fn refuse_closes_open_connections_too() {
        let (server, _) = upstream().await;
        let proxy = Proxy::start(server.url()).await;
        let client = client();
        client.get(proxy.url()).send().await.unwrap().text().await.unwrap();
        proxy.fail(Fault::Refuse).await;
        assert!(client.get(proxy.url()).send().await.is_err(), "the connection was kept alive");
        proxy.heal().await;
        assert!(client.get(proxy.url()).send().await.is_ok());
    }

    #[tokio::test]
    async fn failed_items_are_withheld_and_answered_at_their_positions() {
        let (server, seen) = upstream().await;
        let proxy = Proxy::start(server.url()).await;
        proxy.fail(Fault::Items(429)).await;
        let lines: String = (0..40)
            .map(|n| format!("{{\"create\":{{\"_id\":\"{n}\"}}}}\n{{\"n\":{n}}}\n"))
            .collect();
        let answer: Value = client()
            .post(format!("{}/stream/_bulk", proxy.url()))
            .header("content-encoding", "gzip")
            .body(gzip(lines.as_bytes()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let seen = seen.lock().unwrap().clone();
        assert!(!seen.is_empty() && seen.len() < 40, "some, but not all: {}", seen.len());
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), 40);
        for (n, item) in items.iter().enumerate() {
            assert_eq!(item["create"]["_id"], n.to_string());
            assert!(item["create"]["status"] == 201 || item["create"]["_index"] == "stream");
            let status = if seen.contains(&n.to_string()) { 201 } else { 429 };
            assert_eq!(item["create"]["status"], status);
        }
    }
}
