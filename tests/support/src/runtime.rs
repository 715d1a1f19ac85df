//! Lambda, as far as the functions notice: the runtime API, execution environments, timeouts.
//!
//! AWS's emulator cannot be had everywhere, and the runtime API is small: a function asks
//! `/2018-06-01/runtime/invocation/next` for work and posts the outcome. An environment is one
//! process, which works on one invocation at a time; concurrency is several of them. As in Lambda, a
//! process that died or ran into its timeout (it is killed then) is started again by the next
//! invocation that comes its way.

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
use axum::serve::ListenerExt;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::Utc;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// How long a process may take from its start to its first invocation.
const LONGEST_START: Duration = Duration::from_secs(60);

/// A machine that runs many tests at once is slow; the functions do not know of this.
const GRACE: Duration = Duration::from_secs(2);

/// How an invocation can end without a result.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum InvokeError {
    /// The function reported an error; the body it posted.
    #[error("the function reported {0}")]
    Reported(Value),
    /// The process ended in the middle of it.
    #[error("the process died")]
    Died,
    /// The time was up; the process was killed.
    #[error("the invocation timed out")]
    TimedOut,
}

/// A deployed function: a built binary, its environment variables, and its running processes.
#[derive(Debug)]
pub struct Function {
    binary: PathBuf,
    launcher: Vec<String>,
    variables: Vec<(String, String)>,
    idle: Mutex<Vec<Environment>>,
    permits: Semaphore,
    running: Arc<Running>,
}

/// What outlives the single process.
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
    api: AbortHandle,
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
    /// and none sees a variable of our own environment.
    #[must_use]
    pub fn new(binary: PathBuf, concurrency: usize, variables: &[(String, String)]) -> Self {
        Self {
            binary,
            launcher: Vec::new(),
            variables: variables.to_vec(),
            idle: Mutex::default(),
            permits: Semaphore::new(concurrency),
            running: Arc::default(),
        }
    }

    /// Has each process started by another program, such as `valgrind` and its options; the binary is
    /// the last argument.
    #[must_use]
    pub fn under(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts one process ahead of its first invocation; gives its id and how long it took to ask for
    /// work.
    ///
    /// # Panics
    /// Where it does not do so within a minute.
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

    /// Ends the idle processes by SIGTERM and waits for them: a program that measures one writes its
    /// results then.
    ///
    /// # Panics
    /// Where there is no command `kill`.
    pub async fn terminate(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap());
        for mut environment in idle {
            let kill = Command::new("kill").arg(environment.pid.to_string()).status();
            kill.await.expect("kill can be started");
            environment.dead.wait_for(|dead| *dead).await.ok();
        }
    }

    /// Invokes the function as Lambda does: waits for a free environment, starts a process where
    /// there is none, and kills it when the timeout is over, which counts from when the process has
    /// fetched the invocation.
    ///
    /// # Errors
    /// See [`InvokeError`].
    ///
    /// # Panics
    /// Where the binary cannot be started at all.
    pub async fn invoke(&self, payload: Value, timeout: Duration) -> Result<Value, InvokeError> {
        self.invoke_bytes(payload.to_string().into(), timeout).await
    }

    /// The same with a payload that is JSON already.
    ///
    /// # Errors
    /// See [`InvokeError`].
    ///
    /// # Panics
    /// Where the binary cannot be started at all.
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

    /// Kills all processes by SIGKILL, in the middle of whatever they do. Later invocations start
    /// new ones.
    pub fn kill(&self) {
        self.running.kill.notify_waiters();
    }

    /// How many processes were started so far.
    pub fn starts(&self) -> u64 {
        self.running.starts.load(Ordering::Relaxed)
    }

    /// All that the processes printed, a line each.
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
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
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
        // Without it, Nagle's algorithm and delayed acknowledgements cost 40 ms an invocation.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a live socket"));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });

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
                ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", name),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", name),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "1"),
                ("RUST_BACKTRACE", "1"),
            ])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
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
        // It counts from here on, not from the task's first turn: no kill is missed.
        let killed = Arc::clone(&self.running.kill).notified_owned();
        tokio::spawn(async move {
            tokio::select! {
                _ = child.wait() => {}
                () = killed => drop(child.kill().await),
                _ = dropped => drop(child.kill().await),
            }
            set_dead.send_replace(true);
        });
        Environment { pid, api: serving.abort_handle(), work, ready, dead, _alive: alive }
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

impl Drop for Environment {
    fn drop(&mut self) {
        self.api.abort();
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
            // Nobody waits any more after a timeout.
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

/// The payload that API Gateway's HTTP API (version 2.0) makes of a request. A body that is no UTF-8
/// is sent as base64, as the gateway does with what is not declared to be text.
#[must_use]
pub fn gateway_request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let headers: HashMap<String, &str> =
        headers.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
    let (body, encoded) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (BASE64.encode(body), true),
    };
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "auth0",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_000_i64,
        },
        "body": body,
        "isBase64Encoded": encoded,
    })
}

/// Compressed as `Content-Encoding: gzip` wants it.
///
/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

/// Asks again and again until the answer is yes.
///
/// # Panics
/// After a minute without, with `what` in the message.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < Duration::from_secs(60), "still not so after a minute: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script of ours that does what its payload says.
    fn scripted(concurrency: usize) -> Function {
        let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripted.sh"));
        let search = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
        Function::new(script, concurrency, &search)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn one_process_serves_invocation_after_invocation() {
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
    async fn started_ahead_it_serves_until_it_is_terminated() {
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
    async fn what_died_or_ran_too_long_is_started_again() {
        let function = scripted(1);
        assert_eq!(function.invoke(json!("die"), LONG).await, Err(InvokeError::Died));
        assert_eq!(function.invoke(json!(1), LONG).await, Ok(json!(1)));
        let soon = Duration::from_millis(500);
        assert_eq!(function.invoke(json!("hang"), soon).await, Err(InvokeError::TimedOut));
        assert_eq!(function.invoke(json!(2), LONG).await, Ok(json!(2)));
        assert_eq!(function.starts(), 3);
    }

    #[tokio::test]
    async fn a_kill_strikes_in_the_middle_of_an_invocation() {
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

    #[test]
    fn the_gateway_sends_text_as_it_is_and_the_rest_as_base64() {
        let text = gateway_request("POST", "/auth0/logs", &[("X-A", "b")], b"{}");
        assert_eq!((&text["body"], &text["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        assert_eq!(text["headers"]["x-a"], "b");
        let packed = gateway_request("POST", "/auth0/logs", &[], &gzip(b"{}"));
        assert_eq!(packed["isBase64Encoded"], true);
    }
}
