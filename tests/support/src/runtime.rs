//! Lambda, as far as the functions notice: the runtime API, execution environments, timeouts.
//!
//! AWS's emulator is not available everywhere, and the runtime API is small: a function polls
//! `/2018-06-01/runtime/invocation/next` and posts the outcome. An environment is one process, which
//! works on one invocation at a time; concurrency means several environments. As in Lambda, a process
//! that dies, or is killed at its timeout, is replaced at the next invocation.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use chrono::Utc;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::server::Server;
use crate::stack::Variables;

/// The longest time from the start of a process to its first request for work.
const LONGEST_START: Duration = Duration::from_secs(60);

/// Added to a timeout, because a machine that runs many tests at once is slow. The functions are not
/// told.
const GRACE: Duration = Duration::from_secs(2);

/// Why an invocation ended without a result.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum InvokeError {
    /// The function reported an error, with this body.
    #[error("the function reported {0}")]
    Reported(Value),
    /// The process ended during the invocation.
    #[error("the process died")]
    Died,
    /// The timeout passed, and the process was killed.
    #[error("the invocation timed out")]
    TimedOut,
}

/// A deployed function: a built binary, its environment variables, and its running processes.
#[derive(Debug)]
pub struct Function {
    binary: PathBuf,
    launcher: Vec<String>,
    variables: Variables,
    idle: Mutex<Vec<Environment>>,
    permits: Semaphore,
    running: Arc<Running>,
}

/// State that outlives a single process.
#[derive(Debug, Default)]
struct Running {
    logs: Mutex<Vec<String>>,
    kill: Arc<Notify>,
    starts: AtomicU64,
}

/// One process and the runtime API that it talks to.
#[derive(Debug)]
struct Environment {
    pid: u32,
    _api: Server,
    work: mpsc::Sender<Invocation>,
    /// Whether the process has asked for work.
    ready: watch::Receiver<bool>,
    dead: watch::Receiver<bool>,
    /// The process is killed when this is dropped.
    _alive: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    payload: Bytes,
    timeout: Duration,
    begun: oneshot::Sender<()>,
    outcome: oneshot::Sender<Result<Value, InvokeError>>,
}

impl Function {
    /// A function that works on up to `concurrency` invocations at once. No process is started yet,
    /// and none inherits a variable of our own environment.
    #[must_use]
    pub fn new(binary: PathBuf, concurrency: usize, variables: Variables) -> Self {
        Self {
            binary,
            launcher: Vec::new(),
            variables,
            idle: Mutex::default(),
            permits: Semaphore::new(concurrency),
            running: Arc::default(),
        }
    }

    /// Starts each process through another program, such as `valgrind` with its options; the binary
    /// is the last argument.
    #[must_use]
    pub fn under(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts one process ahead of its first invocation; returns its id and how long it took to ask
    /// for work.
    ///
    /// # Panics
    /// If it does not ask within a minute.
    pub async fn start_ahead(&self) -> (u32, Duration) {
        let start = Instant::now();
        let mut environment = self.start().await;
        let ready = tokio::time::timeout(LONGEST_START, environment.ready.wait_for(|ready| *ready));
        let started = ready.await.is_ok_and(|ready| ready.is_ok());
        let took = start.elapsed();
        assert!(started, "the function never asked for work:\n{}", self.last_logs());
        let pid = environment.pid;
        self.idle.lock().unwrap().push(environment);
        (pid, took)
    }

    /// Ends the idle processes by SIGTERM and waits for them. A program that measures a process writes
    /// its results then.
    ///
    /// # Panics
    /// If there is no command `kill`.
    pub async fn terminate(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap());
        for mut environment in idle {
            let kill = Command::new("kill").arg(environment.pid.to_string()).status();
            kill.await.expect("kill can be started");
            environment.dead.wait_for(|dead| *dead).await.ok();
        }
    }

    /// Invokes the function as Lambda does: waits for a free environment, starts a process if there
    /// is none, and kills it at the timeout, which starts when the process fetches the invocation.
    ///
    /// # Errors
    /// See [`InvokeError`].
    ///
    /// # Panics
    /// If the binary cannot be started at all.
    pub async fn invoke(&self, payload: Value, timeout: Duration) -> Result<Value, InvokeError> {
        self.invoke_bytes(payload.to_string().into(), timeout).await
    }

    /// The same with a payload that is already JSON.
    ///
    /// # Errors
    /// See [`InvokeError`].
    ///
    /// # Panics
    /// If the binary cannot be started at all.
    pub async fn invoke_bytes(
        &self,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Value, InvokeError> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let idle =
            self.idle.lock().unwrap().pop().filter(|environment| !*environment.dead.borrow());
        let environment = match idle {
            Some(environment) => environment,
            None => self.start().await,
        };
        let (outcome, result) = oneshot::channel();
        let (begun, begin) = oneshot::channel();
        let invocation = Invocation {
            id: format!("{:032x}", fastrand::u128(..)),
            payload,
            timeout,
            begun,
            outcome,
        };
        if environment.work.send(invocation).await.is_err() {
            return Err(InvokeError::Died);
        }
        let mut dead = environment.dead.clone();
        let over = async {
            tokio::time::timeout(LONGEST_START, begin).await.ok();
            tokio::time::sleep(timeout + GRACE).await;
        };
        tokio::select! {
            // An outcome that was posted counts, even if the process died right after it.
            biased;
            Ok(outcome) = result => {
                self.idle.lock().unwrap().push(environment);
                outcome
            }
            _ = dead.wait_for(|dead| *dead) => Err(InvokeError::Died),
            () = over => {
                let mut killed = environment.dead.clone();
                drop(environment);
                killed.wait_for(|dead| *dead).await.ok();
                Err(InvokeError::TimedOut)
            }
        }
    }

    /// Kills all processes by SIGKILL, whatever they are doing. Later invocations start new ones.
    pub fn kill(&self) {
        self.running.kill.notify_waiters();
    }

    /// The number of processes started so far.
    pub fn starts(&self) -> u64 {
        self.running.starts.load(Ordering::Relaxed)
    }

    /// Everything that the processes printed.
    ///
    /// # Panics
    /// Never: no holder of the lock panics.
    #[must_use]
    pub fn logs(&self) -> String {
        self.running.logs.lock().unwrap().join("\n")
    }

    /// The last lines that the processes printed, for the message of a failed test.
    #[must_use]
    pub fn last_logs(&self) -> String {
        let logs = self.running.logs.lock().unwrap();
        logs[logs.len().saturating_sub(20)..].join("\n")
    }

    async fn start(&self) -> Environment {
        self.running.starts.fetch_add(1, Ordering::Relaxed);
        let (work, queue) = mpsc::channel(1);
        let (set_ready, ready) = watch::channel(false);
        let api = Arc::new(Api {
            queue: tokio::sync::Mutex::new(queue),
            ready: set_ready,
            current: Mutex::default(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(|| async { StatusCode::ACCEPTED }))
            .with_state(api);
        let server = Server::start(router).await;

        let name = self.binary.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut command = match self.launcher.split_first() {
            Some((program, options)) => {
                let mut command = Command::new(program);
                command.args(options).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let mut child = command
            .env_clear()
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", server.address()),
                ("AWS_LAMBDA_FUNCTION_NAME", name),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", name),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "1"),
                ("RUST_BACKTRACE", "1"),
            ])
            .envs(self.variables.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.binary.display()));
        let pid = child.id().expect("it has not been waited for yet");
        self.collect(child.stdout.take());
        self.collect(child.stderr.take());

        let (set_dead, dead) = watch::channel(false);
        let (alive, dropped) = oneshot::channel::<()>();
        // Registered here, not at the task's first turn, so that no kill is missed.
        let killed = Arc::clone(&self.running.kill).notified_owned();
        tokio::spawn(async move {
            tokio::select! {
                _ = child.wait() => {}
                () = killed => drop(child.kill().await),
                _ = dropped => drop(child.kill().await),
            }
            set_dead.send_replace(true);
        });
        Environment { pid, _api: server, work, ready, dead, _alive: alive }
    }

    fn collect(&self, stream: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let mut lines = BufReader::new(stream.expect("the stream is piped")).lines();
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                running.logs.lock().unwrap().push(line);
            }
        });
    }
}

/// The runtime API of one process.
#[derive(Debug)]
struct Api {
    queue: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    ready: watch::Sender<bool>,
    current: Mutex<HashMap<String, oneshot::Sender<Result<Value, InvokeError>>>>,
}

impl Api {
    fn finish(&self, id: &str, outcome: Result<Value, InvokeError>) -> StatusCode {
        match self.current.lock().unwrap().remove(id) {
            // After a timeout nobody waits any more.
            Some(waiting) => {
                drop(waiting.send(outcome));
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        }
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    api.ready.send_replace(true);
    let Some(invocation) = api.queue.lock().await.recv().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:test";
    let mut headers = HeaderMap::new();
    let id = HeaderValue::from_str(&invocation.id).expect("hex digits");
    headers.insert("lambda-runtime-aws-request-id", id);
    let deadline = (Utc::now() + invocation.timeout).timestamp_millis();
    headers.insert("lambda-runtime-deadline-ms", deadline.into());
    headers.insert("lambda-runtime-invoked-function-arn", HeaderValue::from_static(arn));
    api.current.lock().unwrap().insert(invocation.id, invocation.outcome);
    invocation.begun.send(()).ok();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    (headers, invocation.payload).into_response()
}

async fn response(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    api.finish(&id, Ok(serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

async fn error(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let reported = serde_json::from_slice(&body).unwrap_or(Value::Null);
    api.finish(&id, Err(InvokeError::Reported(reported)))
}

/// Repeats the check until it returns `true`.
///
/// # Panics
/// After a minute, with `what` in the message.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < Duration::from_secs(60), "still not so after a minute: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A script that does what its payload says.
    fn scripted(concurrency: usize) -> Function {
        let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripted.sh"));
        let path = Variables::default().with([("PATH", "/usr/local/bin:/usr/bin:/bin")]);
        Function::new(script, concurrency, path)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn process_serves_one_invocation_after_another() {
        let function = scripted(1);
        for n in 0..3 {
            assert_eq!(function.invoke(json!({ "n": n }), LONG).await, Ok(json!({ "n": n })));
        }
        let reported = Err(InvokeError::Reported(json!({ "errorType": "Broken" })));
        assert_eq!(function.invoke(json!("fail"), LONG).await, reported);
        assert_eq!(function.invoke(json!(1), LONG).await, Ok(json!(1)));
        assert_eq!(function.starts(), 1);
        assert!(function.logs().contains("got {\"n\":2}"), "{}", function.logs());
    }

    #[tokio::test]
    async fn process_started_ahead_serves_until_terminated() {
        let function = scripted(1).under(&["/usr/bin/env"]);
        let (pid, _) = function.start_ahead().await;
        assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
        assert_eq!(function.invoke(json!(1), LONG).await, Ok(json!(1)));
        assert_eq!(function.starts(), 1);
        function.terminate().await;
        assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
        assert_eq!(function.invoke(json!(2), LONG).await, Ok(json!(2)));
        assert_eq!(function.starts(), 2);
    }

    #[tokio::test]
    async fn dead_or_timed_out_process_is_replaced() {
        let function = scripted(1);
        assert_eq!(function.invoke(json!("die"), LONG).await, Err(InvokeError::Died));
        assert_eq!(function.invoke(json!(1), LONG).await, Ok(json!(1)));
        let soon = Duration::from_millis(500);
        assert_eq!(function.invoke(json!("hang"), soon).await, Err(InvokeError::TimedOut));
        assert_eq!(function.invoke(json!(2), LONG).await, Ok(json!(2)));
        assert_eq!(function.starts(), 3);
    }

    #[tokio::test]
    async fn kill_ends_running_invocations() {
        let function = scripted(2);
        let killed = async {
            eventually("both hang", || async { function.logs().matches("hang").count() == 2 })
                .await;
            function.kill();
        };
        let (one, other, ()) = tokio::join!(
            function.invoke(json!("hang"), LONG),
            function.invoke(json!("hang"), LONG),
            killed,
        );
        assert_eq!((one, other), (Err(InvokeError::Died), Err(InvokeError::Died)));
        assert_eq!(function.invoke(json!(1), LONG).await, Ok(json!(1)));
    }
}
