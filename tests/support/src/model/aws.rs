//! A stand-in for SQS, DynamoDB and Secrets Manager: the operations that the functions call, in AWS's JSON
//! protocol, and their outages.
//!
//! Where its behavior is from: the API references of the three services. A message is invisible until its
//! `DelaySeconds` are over; a conditional write that fails answers 400 with the item, if asked to; a secret
//! without a previous version answers `ResourceNotFoundException` with the words that
//! `shared/src/start/secrets.rs` reads.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use shared::clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::runtime::Pulse;
use crate::wire::{Reply, read_request, render};

/// A message of a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, which it keeps.
    pub id: String,
    /// Its body.
    pub body: String,
    /// When it was sent.
    pub sent: DateTime<Utc>,
    /// How often it was received.
    pub receives: u32,
    due: Instant,
}

/// What becomes of one write to DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFault {
    /// The caller dies before the item is written: see [`ModelAws::crashed`].
    CrashBefore,
    /// The caller dies after that.
    CrashAfter,
    /// The item is not written, and the service has an error.
    Unavailable,
    /// The item is written, and the response is lost.
    LostAnswer,
}

/// A running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct ModelAws {
    url: String,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    crash: Notify,
    pulse: Pulse,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<String, VecDeque<Message>>,
    items: BTreeMap<String, Value>,
    /// What `from` was set to, in order.
    saves: Vec<String>,
    save_faults: VecDeque<Option<SaveFault>>,
    secrets: HashMap<String, String>,
    are_queues_down: bool,
    sent: usize,
    unserved: Vec<String>,
}

impl ModelAws {
    /// Starts it without queues, items and secrets.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(pulse: Pulse) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let shared = Arc::new(Shared { state: Mutex::default(), crash: Notify::new(), pulse });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { url, shared, accepting }
    }

    /// The endpoint of all three services.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a queue; returns its URL.
    #[must_use]
    pub fn create_queue(&self, name: &str) -> String {
        let url = format!("{}/123456789012/{name}", self.url);
        self.lock().queues.insert(url.clone(), VecDeque::new());
        url
    }

    /// Creates a secret that holds this JSON.
    pub fn create_secret(&self, id: &str, value: &Value) {
        self.lock().secrets.insert(id.to_owned(), value.to_string());
    }

    /// Lets SQS answer each call with an error, or not.
    pub fn set_queues_down(&self, down: bool) {
        self.lock().are_queues_down = down;
    }

    /// One for each of the next writes to DynamoDB, in order; `None` is no fault.
    pub fn fail_saves(&self, faults: impl IntoIterator<Item = Option<SaveFault>>) {
        self.lock().save_faults.extend(faults);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.save_faults.clear();
        state.are_queues_down = false;
    }

    /// Waits until a caller has to die: see [`SaveFault::CrashBefore`].
    pub async fn crashed(&self) {
        self.shared.crash.notified().await;
    }

    /// Takes up to ten messages that are due out of the queue, as a receive does. The caller puts back
    /// those that it does not delete.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn receive(&self, queue: &str) -> Vec<Message> {
        let mut state = self.lock();
        let queue = state.queues.get_mut(queue).expect("a queue");
        let mut received = Vec::new();
        for mut message in std::mem::take(queue) {
            if received.len() < 10 && message.due <= Instant::now() {
                message.receives += 1;
                received.push(message);
            } else {
                queue.push_back(message);
            }
        }
        received
    }

    /// Makes a received message visible again.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn put_back(&self, queue: &str, message: Message) {
        self.lock().queues.get_mut(queue).expect("a queue").push_back(message);
    }

    /// How long until a message is due; `None` if the queue is empty.
    ///
    /// # Panics
    /// If there is no such queue.
    #[must_use]
    pub fn due_in(&self, queue: &str) -> Option<Duration> {
        let state = self.lock();
        let due = state.queues[queue].iter().map(|message| message.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// The bodies of all messages of a queue.
    ///
    /// # Panics
    /// If there is no such queue.
    #[must_use]
    pub fn bodies(&self, queue: &str) -> Vec<String> {
        self.lock().queues[queue].iter().map(|message| message.body.clone()).collect()
    }

    /// Each value that `from` was set to, in order.
    #[must_use]
    pub fn saves(&self) -> Vec<String> {
        self.lock().saves.clone()
    }

    /// The requests that it does not know: then the functions need more than this.
    #[must_use]
    pub fn unserved(&self) -> Vec<String> {
        self.lock().unserved.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for ModelAws {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).expect("a live socket");
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        shared.pulse.beat();
        let target = request.header("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(&request.plain_body()).unwrap_or_default();
        let reply = answer(&shared, &operation, &body);
        shared.pulse.beat();
        if !reply.send(&mut stream).await {
            return;
        }
    }
}

fn answer(shared: &Shared, operation: &str, body: &Value) -> Reply {
    let mut state = shared.lock();
    if operation == "PutItem" {
        let fault = state.save_faults.pop_front().flatten();
        return match fault {
            None => respond(state.put_item(body)),
            Some(SaveFault::Unavailable) => respond(Err(internal_error())),
            Some(SaveFault::CrashBefore) => {
                shared.crash.notify_waiters();
                Reply::Never
            }
            Some(SaveFault::CrashAfter) => {
                drop(state.put_item(body));
                shared.crash.notify_waiters();
                Reply::Never
            }
            Some(SaveFault::LostAnswer) => {
                drop(state.put_item(body));
                Reply::Cut(Vec::new())
            }
        };
    }
    respond(match operation {
        "SendMessage" => state.send_message(body),
        "GetItem" => Ok(match state.items.get(&key(body)) {
            Some(item) => json!({ "Item": item }),
            None => json!({}),
        }),
        "GetSecretValue" => state.secret(body),
        other => {
            state.unserved.push(other.to_owned());
            Err((400, json!({ "__type": "UnknownOperationException" })))
        }
    })
}

type Answer = Result<Value, (u16, Value)>;

fn respond(answer: Answer) -> Reply {
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(refused) => refused,
    };
    Reply::Whole(render(status, "application/x-amz-json-1.0", body.to_string().as_bytes()))
}

fn internal_error() -> (u16, Value) {
    (500, json!({ "__type": "InternalServerError", "message": "by the script" }))
}

impl State {
    fn send_message(&mut self, request: &Value) -> Answer {
        if self.are_queues_down {
            return Err(internal_error());
        }
        let delay = Duration::from_secs(request["DelaySeconds"].as_u64().unwrap_or_default());
        let queue = self.queues.get_mut(request["QueueUrl"].as_str().unwrap_or_default());
        let (Some(queue), Some(body)) = (queue, request["MessageBody"].as_str()) else {
            return Err((400, json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist" })));
        };
        self.sent += 1;
        let id = format!("message-{}", self.sent);
        queue.push_back(Message {
            id: id.clone(),
            body: body.to_owned(),
            sent: clock::now(),
            receives: 0,
            due: Instant::now() + delay,
        });
        Ok(json!({ "MessageId": id, "MD5OfMessageBody": "not-checked" }))
    }

    fn put_item(&mut self, request: &Value) -> Answer {
        let item = &request["Item"];
        let id = item["id"]["S"].as_str().expect("the table's key").to_owned();
        let stored = self.items.get(&id);
        let condition = request["ConditionExpression"].as_str();
        if condition.is_some_and(|condition| !holds(condition, stored, request)) {
            let mut error = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
                "message": "The conditional request failed",
            });
            if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
                && let Some(stored) = stored
            {
                error["Item"] = stored.clone();
            }
            return Err((400, error));
        }
        if let Some(from) = item["from"]["S"].as_str() {
            self.saves.push(from.to_owned());
        }
        self.items.insert(id, item.clone());
        Ok(json!({}))
    }

    fn secret(&self, request: &Value) -> Answer {
        let id = request["SecretId"].as_str().unwrap_or_default();
        let stage = &request["VersionStage"];
        match self.secrets.get(id) {
            Some(value) if stage == "AWSCURRENT" => {
                Ok(json!({ "Name": id, "SecretString": value }))
            }
            _ => {
                let message = format!(
                    "Secrets Manager can't find the specified secret value for staging label: {stage}"
                );
                Err((400, json!({ "__type": "ResourceNotFoundException", "message": message })))
            }
        }
    }
}

fn key(request: &Value) -> String {
    request["Key"]["id"]["S"].as_str().expect("the table's key").to_owned()
}

/// Whether a condition holds: alternatives of conjunctions of comparisons between strings.
fn holds(condition: &str, stored: Option<&Value>, request: &Value) -> bool {
    let no_item = Map::new();
    let item = stored.and_then(Value::as_object).unwrap_or(&no_item);
    let attribute = |name: &str| {
        let name = request["ExpressionAttributeNames"][name].as_str().unwrap_or(name);
        item.get(name).and_then(|value| value["S"].as_str())
    };
    let clause = |clause: &str| {
        let clause = clause.trim().trim_matches(['(', ')']);
        if let Some(name) = clause.strip_prefix("attribute_not_exists(") {
            return attribute(name).is_none();
        }
        let words: Vec<&str> = clause.split_whitespace().collect();
        let [left, operator, right] = words[..] else {
            panic!("a condition unknown here: {clause}")
        };
        let right = request["ExpressionAttributeValues"][right]["S"].as_str().expect("a string");
        attribute(left).is_some_and(|left| match operator {
            "=" => left == right,
            "<" => left < right,
            "<=" => left <= right,
            other => panic!("an operator unknown here: {other}"),
        })
    };
    condition.split(" OR ").any(|all| all.split(" AND ").all(clause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_compares_the_stored_item() {
        let request = json!({
            "ExpressionAttributeNames": { "#from": "from" },
            "ExpressionAttributeValues": { ":previous": { "S": "5" } },
        });
        let item = |from: &str| json!({ "id": { "S": "tenant" }, "from": { "S": from } });
        let holds = |condition: &str, stored: Option<&Value>| holds(condition, stored, &request);
        assert!(holds("#from = :previous", Some(&item("5"))));
        assert!(!holds("#from = :previous", Some(&item("6"))));
        assert!(!holds("#from = :previous", None));
        assert!(holds("attribute_not_exists(id)", None));
        assert!(!holds("attribute_not_exists(id)", Some(&item("5"))));
        assert!(holds("attribute_not_exists(id) OR #from < :previous", Some(&item("4"))));
    }
}
