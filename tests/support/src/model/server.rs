//! The sockets of a stand-in.

use std::future::Future;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::runtime::Pulse;
use crate::wire::{Reply, Request, read_request};

/// A server on a free port; it takes no more connections once it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    accepting: AbortHandle,
}

impl Server {
    /// Answers each request by `answer`.
    pub(super) async fn start<A, R>(pulse: Pulse, answer: A) -> Self
    where
        A: Fn(Request) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, pulse.clone(), answer.clone()));
            }
        });
        Self { url, accepting: accepting.abort_handle() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve<A, R>(mut stream: TcpStream, pulse: Pulse, answer: A)
where
    A: Fn(Request) -> R,
    R: Future<Output = Reply>,
{
    stream.set_nodelay(true).expect("a live socket");
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        pulse.beat();
        let reply = answer(request).await;
        pulse.beat();
        if !reply.send(&mut stream).await {
            return;
        }
    }
}
