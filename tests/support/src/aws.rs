//! Tables, queues and secrets on DynamoDB Local and moto, and the part of AWS that delivers SQS
//! messages to a function.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use serde_json::{Value, json};
use shared::start::http;

use crate::payload::sqs_record;
use crate::runtime::Function;
use crate::stack::{self, Variables};

/// What the functions need to reach the stand-ins for AWS.
#[must_use]
pub fn variables() -> Variables {
    Variables::default().with([
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_ENDPOINT_URL_SQS", stack::moto_url()),
        ("AWS_ENDPOINT_URL_SNS", stack::moto_url()),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", stack::moto_url()),
        ("AWS_ENDPOINT_URL_DYNAMODB", stack::dynamodb_url()),
    ])
}

/// The configuration of a client of the service at this address.
///
/// # Panics
/// If TLS cannot be set up.
#[must_use]
pub fn config(endpoint: String) -> SdkConfig {
    config_with(&http::client().expect("TLS can be set up"), endpoint)
}

/// The same with a client that is there already.
#[must_use]
pub fn config_with(client: &reqwest::Client, endpoint: String) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(
            Credentials::new("test", "test", None, None, "tests"),
        ))
        .endpoint_url(endpoint)
        .http_client(http::sdk_client(client))
        .build()
}

/// Creates a secret that holds this JSON; returns its id.
///
/// # Panics
/// If it cannot be created.
pub async fn create_secret(name: &str, value: &Value) -> String {
    create(name, Some(value.to_string())).await
}

/// Creates a secret as the template does, for the operator to fill in; returns its id.
///
/// # Panics
/// If it cannot be created.
pub async fn create_empty_secret(name: &str) -> String {
    create(name, None).await
}

async fn create(name: &str, value: Option<String>) -> String {
    let created = secrets_manager().create_secret().name(name).set_secret_string(value);
    let created = created.send().await.expect("the secret can be created");
    created.name.expect("a secret has a name")
}

/// Makes this JSON the current version, and the current version the previous one.
///
/// # Panics
/// If it cannot be written.
pub async fn rotate_secret(id: &str, value: &Value) {
    let put = secrets_manager().put_secret_value().secret_id(id).secret_string(value.to_string());
    put.send().await.expect("the secret can be rotated");
}

fn secrets_manager() -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(&config(stack::moto_url()))
}

/// The poller's table.
#[derive(Debug)]
pub struct CheckpointTable {
    /// Its name.
    pub name: String,
    client: aws_sdk_dynamodb::Client,
}

impl CheckpointTable {
    /// Creates an empty one.
    ///
    /// # Panics
    /// If it cannot be created.
    pub async fn create(name: &str) -> Self {
        let client = aws_sdk_dynamodb::Client::new(&config(stack::dynamodb_url()));
        let key = AttributeDefinition::builder()
            .attribute_name("id")
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("complete");
        let schema = KeySchemaElement::builder()
            .attribute_name("id")
            .key_type(KeyType::Hash)
            .build()
            .expect("complete");
        client
            .create_table()
            .table_name(name)
            .attribute_definitions(key)
            .key_schema(schema)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .expect("the table can be created");
        Self { name: name.to_owned(), client }
    }

    /// The saved `from`. The table has at most one row, because each test has one tenant.
    ///
    /// # Panics
    /// If the table cannot be read or has more than one row.
    pub async fn checkpoint(&self) -> Option<String> {
        let rows = self.client.scan().table_name(&self.name).consistent_read(true).send().await;
        let rows = rows.expect("the table can be read").items.unwrap_or_default();
        assert!(rows.len() <= 1, "one tenant, one row: {rows:?}");
        rows.first().map(|row| row["from"].as_s().expect("a string").clone())
    }

    /// Writes a checkpoint for the tenant on this host, as an earlier run would have.
    ///
    /// # Panics
    /// If the table cannot be written.
    pub async fn set(&self, tenant_host: &str, from: &str) {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let put = self.client.put_item().table_name(&self.name);
        put.item("id", text(tenant_host))
            .item("from", text(from))
            .item("updated_at", text("2026-01-01T00:00:00Z"))
            .send()
            .await
            .expect("the table can be written");
    }
}

/// An SNS topic, with a queue that is subscribed to it.
#[derive(Debug)]
pub struct Topic {
    /// Its ARN.
    pub arn: String,
    queue: String,
    client: aws_sdk_sqs::Client,
}

impl Topic {
    /// Creates both.
    ///
    /// # Panics
    /// If they cannot be created.
    pub async fn create(name: &str) -> Self {
        let client = aws_sdk_sqs::Client::new(&config(stack::moto_url()));
        let topics = aws_sdk_sns::Client::new(&config(stack::moto_url()));
        let arn = topics.create_topic().name(name).send().await.expect("a topic can be created");
        let arn = arn.topic_arn.expect("a topic has an ARN");
        let queue = client.create_queue().queue_name(format!("{name}-alerts")).send().await;
        let queue = queue.expect("a queue can be created").queue_url.expect("a queue has a URL");
        let endpoint = &attributes(&client, &queue).await[&QueueAttributeName::QueueArn];
        let subscribe = topics.subscribe().topic_arn(&arn).protocol("sqs").endpoint(endpoint);
        let subscribe = subscribe.attributes("RawMessageDelivery", "true");
        subscribe.send().await.expect("a queue can be subscribed");
        Self { arn, queue, client }
    }

    /// Takes all messages that were published since the last call.
    ///
    /// # Panics
    /// If the queue cannot be read.
    pub async fn published(&self) -> Vec<Value> {
        let mut published = Vec::new();
        loop {
            let receive = self.client.receive_message().queue_url(&self.queue);
            let messages = receive.max_number_of_messages(10).send().await;
            let messages = messages.expect("the queue can be read").messages.unwrap_or_default();
            if messages.is_empty() {
                return published;
            }
            for message in messages {
                let body = message.body.expect("a message has a body");
                published.push(serde_json::from_str(&body).expect("a message is JSON"));
                let delete = self.client.delete_message().queue_url(&self.queue);
                let handle = message.receipt_handle.expect("a received message has a handle");
                delete.receipt_handle(handle).send().await.expect("it can be deleted");
            }
        }
    }
}

/// A queue that is a function's event source, and its dead-letter queue: the retry queue, unless a test
/// makes another pair.
#[derive(Debug)]
pub struct Queues {
    /// The retry queue's URL.
    pub retry: String,
    /// The dead-letter queue's URL.
    pub dead: String,
    client: aws_sdk_sqs::Client,
}

impl Queues {
    /// Creates both. A message that was received `receives` times becomes a dead letter next.
    ///
    /// # Panics
    /// If they cannot be created.
    pub async fn create(name: &str, receives: u32) -> Self {
        let client = aws_sdk_sqs::Client::new(&config(stack::moto_url()));
        let dead = client.create_queue().queue_name(format!("{name}-dead")).send().await;
        let dead = dead.expect("a queue can be created").queue_url.expect("a queue has a URL");
        let attributes = attributes(&client, &dead).await;
        let policy = json!({
            "deadLetterTargetArn": attributes[&QueueAttributeName::QueueArn],
            "maxReceiveCount": receives,
        });
        let retry = client
            .create_queue()
            .queue_name(format!("{name}-retry"))
            .attributes(QueueAttributeName::RedrivePolicy, policy.to_string())
            .send()
            .await
            .expect("a queue can be created");
        Self { retry: retry.queue_url.expect("a queue has a URL"), dead, client }
    }

    /// Sends any text to the retry queue.
    ///
    /// # Panics
    /// If the queue refuses it.
    pub async fn park(&self, body: &str) {
        let send = self.client.send_message().queue_url(&self.retry).message_body(body);
        send.send().await.expect("the queue takes it");
    }

    /// The number of messages in the retry queue, without those that are delayed.
    pub async fn parked(&self) -> usize {
        self.length(&self.retry).await
    }

    /// The number of messages that the retry queue does not deliver yet.
    ///
    /// # Panics
    /// If the queue cannot be read.
    pub async fn delayed(&self) -> usize {
        let attributes = attributes(&self.client, &self.retry).await;
        attributes[&QueueAttributeName::ApproximateNumberOfMessagesDelayed].parse().unwrap()
    }

    /// The number of messages in the dead-letter queue.
    pub async fn dead_letters(&self) -> usize {
        self.length(&self.dead).await
    }

    async fn length(&self, queue: &str) -> usize {
        let attributes = attributes(&self.client, queue).await;
        let count = |name| attributes.get(&name).map_or(0, |count| count.parse().unwrap());
        count(QueueAttributeName::ApproximateNumberOfMessages)
            + count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
    }

    /// The bodies of all dead letters, which stay in the queue but are invisible for a minute.
    ///
    /// # Panics
    /// If the queue cannot be read.
    pub async fn dead_bodies(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let messages = self.receive(&self.dead).await;
            if messages.is_empty() {
                return bodies;
            }
            bodies.extend(messages.into_iter().map(|message| message.body.unwrap_or_default()));
        }
    }

    async fn receive(&self, queue: &str) -> Vec<Message> {
        self.client
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10)
            .visibility_timeout(60)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .expect("the queue can be read")
            .messages
            .unwrap_or_default()
    }

    /// Delivers one batch as AWS does for a queue that is a function's event source: receives it,
    /// invokes the function, deletes the messages that the answer does not name as failed, and makes
    /// the rest visible again. Returns how many messages were received and how many of them failed.
    ///
    /// # Panics
    /// If the queue cannot be used.
    pub async fn deliver_batch(&self, redrive: &Function, timeout: Duration) -> (usize, usize) {
        let messages = self.receive(&self.retry).await;
        if messages.is_empty() {
            return (0, 0);
        }
        let records: Vec<Value> = messages.iter().map(record).collect();
        let answer = redrive.invoke(json!({ "Records": records }), timeout).await;
        let failed: Vec<String> = match answer {
            Ok(answer) => answer["batchItemFailures"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
                .collect(),
            // The whole batch is delivered again.
            Err(_) => messages.iter().map(|m| m.message_id.clone().unwrap()).collect(),
        };
        for message in &messages {
            let handle = message.receipt_handle.clone().unwrap();
            if failed.contains(message.message_id.as_ref().unwrap()) {
                let again = self.client.change_message_visibility().queue_url(&self.retry);
                again.receipt_handle(handle).visibility_timeout(0).send().await.unwrap();
            } else {
                let delete = self.client.delete_message().queue_url(&self.retry);
                delete.receipt_handle(handle).send().await.unwrap();
            }
        }
        (messages.len(), failed.len())
    }

    /// Delivers batch after batch until the retry queue is empty.
    ///
    /// # Panics
    /// If it is not empty after a hundred batches.
    pub async fn drain(&self, redrive: &Function) {
        for _ in 0..100 {
            self.deliver_batch(redrive, Duration::from_secs(60)).await;
            if self.parked().await == 0 {
                return;
            }
        }
        panic!("the retry queue is not empty after a hundred batches:\n{}", redrive.last_logs());
    }
}

async fn attributes(
    client: &aws_sdk_sqs::Client,
    queue: &str,
) -> HashMap<QueueAttributeName, String> {
    let request = client.get_queue_attributes().queue_url(queue);
    let request = request.attribute_names(QueueAttributeName::All);
    let answer = request.send().await.expect("the queue exists");
    answer.attributes.expect("all attributes")
}

fn record(message: &Message) -> Value {
    let attributes = message.attributes.iter().flatten();
    let attributes: serde_json::Map<String, Value> =
        attributes.map(|(name, value)| (name.as_str().to_owned(), json!(value))).collect();
    let id = message.message_id().expect("a message has an id");
    let handle = message.receipt_handle().expect("a received message has a handle");
    let body = message.body().expect("a message has a body");
    let mut record = sqs_record(id, handle, body, &attributes.into());
    record["md5OfBody"] = json!(message.md5_of_body);
    record
}
