//! An HTTP server on the loopback interface: what every stand-in runs on.

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    url: String,
    serving: AbortHandle,
}

/// A bound port, for a router that needs to know its own URL.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    url: String,
}

impl Port {
    /// Binds this port, or a free one if it is 0.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn bind(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { listener, url })
    }

    /// The base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves this router.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn serve(self, router: Router) -> Server {
        let Self { listener, url } = self;
        // Nagle's algorithm and delayed acknowledgments would cost 40 ms a request.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a live socket"));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Server { url, serving: serving.abort_handle() }
    }
}

impl Server {
    /// Serves this router on a free port.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(router: Router) -> Self {
        Port::bind(0).await.expect("a free port").serve(router)
    }

    /// The base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
