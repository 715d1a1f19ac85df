//! Everything around the functions, created for one test or benchmark alone.

use serde_json::json;

use crate::aws::{self, CheckpointTable, Queues};
use crate::engine::DataStream;
use crate::proxy::Proxy;
use crate::runtime::Function;
use crate::stack::{self, EngineKind, Variables};
use crate::tenant::Tenant;

/// The webhook's token: the whole value of `Authorization`.
pub const TOKEN: &str = "Bearer a-token-of-the-tests";

/// How often a message of the retry queue is received before it becomes a dead letter: more often
/// than in any test that does not ask for dead letters.
pub const RECEIVES: u32 = 50;

/// The surroundings of one test. The functions reach the engine through the proxy; `stream` bypasses
/// it.
#[derive(Debug)]
pub struct World {
    /// The data stream that the functions write to.
    pub stream: DataStream,
    /// Between the functions and the engine.
    pub proxy: Proxy,
    /// The Auth0 tenant.
    pub tenant: Tenant,
    /// The poller's table.
    pub table: CheckpointTable,
    /// The retry queue and its dead letters.
    pub queues: Queues,
    variables: Variables,
}

impl World {
    /// New surroundings on this engine.
    ///
    /// # Panics
    /// If a part of the stack is missing.
    pub async fn new(kind: EngineKind) -> Self {
        Self::with_receives(kind, RECEIVES).await
    }

    /// The same with another number of receives before a message becomes a dead letter.
    ///
    /// # Panics
    /// If a part of the stack is missing.
    pub async fn with_receives(kind: EngineKind, receives: u32) -> Self {
        let name = stack::unique("e2e");
        let stream = DataStream::create(kind, &name).await;
        let proxy = Proxy::start(&stream.engine.url).await;
        let tenant = Tenant::start("client", "secret").await.unwrap();
        let table = CheckpointTable::create(&name).await;
        let queues = Queues::create(&name, receives).await;
        let webhook = json!({ "token": TOKEN });
        let auth0 = json!({ "client_id": "client", "client_secret": "secret" });
        let variables = aws::variables().with([
            ("SEARCH_ENDPOINT", proxy.url().to_owned()),
            // As where the engine is far away.
            ("SEARCH_GZIP", "true".to_owned()),
            ("DATA_STREAM_NAMESPACE", name.clone()),
            ("RETRY_QUEUE_URL", queues.retry.clone()),
            ("DEAD_LETTER_QUEUE_URL", queues.dead.clone()),
            ("WEBHOOK_SECRET_ID", aws::create_secret(&format!("{name}/webhook"), &webhook).await),
            ("AUTH0_URL", tenant.url().to_owned()),
            ("AUTH0_SECRET_ID", aws::create_secret(&format!("{name}/auth0"), &auth0).await),
            ("CHECKPOINT_TABLE", table.name.clone()),
        ]);
        Self { stream, proxy, tenant, table, queues, variables }
    }

    /// A function with this world's settings.
    #[must_use]
    pub fn function(&self, binary: &str, concurrency: usize) -> Function {
        self.function_with(binary, concurrency, &[])
    }

    /// The same with some settings changed.
    #[must_use]
    pub fn function_with(
        &self,
        binary: &str,
        concurrency: usize,
        changes: &[(&'static str, &str)],
    ) -> Function {
        let variables = self.variables.clone().with(changes.iter().copied());
        Function::new(stack::binary(binary), concurrency, variables)
    }

    /// The id of a secret of this world: `webhook`, `auth0`, or one that the caller creates.
    #[must_use]
    pub fn secret_id(&self, name: &str) -> String {
        format!("{}/{name}", self.table.name)
    }

    /// One environment of the webhook.
    #[must_use]
    pub fn webhook(&self) -> Function {
        self.function("webhook", 1)
    }

    /// One environment of the redrive function.
    #[must_use]
    pub fn redrive(&self) -> Function {
        self.function("redrive", 1)
    }

    /// One environment of the poller.
    #[must_use]
    pub fn poller(&self) -> Function {
        self.function("poller", 1)
    }
}
