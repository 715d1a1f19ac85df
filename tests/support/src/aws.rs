//! Tables, queues and secrets on DynamoDB Local and moto, and the part of AWS that carries SQS
//! messages to a function.

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

use crate::runtime::Function;
use crate::stack;

/// What the functions need to reach the stand-ins for AWS.
#[must_use]
pub fn variables() -> Vec<(String, String)> {
    [
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_ENDPOINT_URL_SQS", stack::moto_url()),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", stack::moto_url()),
        ("AWS_ENDPOINT_URL_DYNAMODB", stack::dynamodb_url()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// For a client of the service at this address.
///
/// # Panics
/// Where TLS cannot be set up.
#[must_use]
pub fn config(endpoint: String) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(
            Credentials::new("test", "test", None, None, "tests"),
        ))
        .endpoint_url(endpoint)
        .http_client(http::sdk_client(&http::client().expect("TLS can be set up")))
        .build()
}

/// A secret that holds this JSON; gives its id.
///
/// # Panics
/// Where it cannot be made.
pub async fn create_secret(name: &str, value: &Value) -> String {
    let client = aws_sdk_secretsmanager::Client::new(&config(stack::moto_url()));
    let made = client.create_secret().name(name).secret_string(value.to_string()).send().await;
    made.expect("the secret can be made").name.expect("a secret has a name")
}

/// A secret as the template makes it, for the operator to fill in; gives its id.
///
/// # Panics
/// Where it cannot be made.
pub async fn create_empty_secret(name: &str) -> String {
    let client = aws_sdk_secretsmanager::Client::new(&config(stack::moto_url()));
    let made = client.create_secret().name(name).send().await;
    made.expect("the secret can be made").name.expect("a secret has a name")
}

/// Makes this JSON the current version, and what was current the previous one.
///
/// # Panics
/// Where it cannot be put.
pub async fn rotate_secret(id: &str, value: &Value) {
    let client = aws_sdk_secretsmanager::Client::new(&config(stack::moto_url()));
    let put = client.put_secret_value().secret_id(id).secret_string(value.to_string()).send();
    put.await.expect("the secret can be rotated");
}

/// The poller's table.
#[derive(Debug)]
pub struct CheckpointTable {
    /// Its name.
    pub name: String,
    client: aws_sdk_dynamodb::Client,
}

impl CheckpointTable {
    /// Makes an empty one.
    ///
    /// # Panics
    /// Where it cannot be made.
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
            .expect("the table can be made");
        Self { name: name.to_owned(), client }
    }

    /// The saved `from`; there is one row at most, because each test has one tenant.
    ///
    /// # Panics
    /// Where the table cannot be read or holds more than one row.
    pub async fn checkpoint(&self) -> Option<String> {
        let rows = self.client.scan().table_name(&self.name).consistent_read(true).send().await;
        let rows = rows.expect("the table can be read").items.unwrap_or_default();
        assert!(rows.len() <= 1, "one tenant, one row: {rows:?}");
        rows.first().map(|row| row["from"].as_s().expect("a string").clone())
    }

    /// Writes a checkpoint for the tenant at this URL, as an earlier run would have.
    ///
    /// # Panics
    /// Where the table cannot be written.
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

/// A retry queue with its dead-letter queue behind it.
#[derive(Debug)]
pub struct Queues {
    /// The retry queue's URL.
    pub retry: String,
    /// The dead-letter queue's URL.
    pub dead: String,
    client: aws_sdk_sqs::Client,
}

impl Queues {
    /// Makes both; a message that was received `receives` times goes to the dead letters next.
    ///
    /// # Panics
    /// Where they cannot be made.
    pub async fn create(name: &str, receives: u32) -> Self {
        let client = aws_sdk_sqs::Client::new(&config(stack::moto_url()));
        let dead = client.create_queue().queue_name(format!("{name}-dead")).send().await;
        let dead = dead.expect("a queue can be made").queue_url.expect("a queue has a URL");
        let attributes = client
            .get_queue_attributes()
            .queue_url(&dead)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .expect("the queue is there")
            .attributes
            .expect("asked for");
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
            .expect("a queue can be made");
        Self { retry: retry.queue_url.expect("a queue has a URL"), dead, client }
    }

    /// Puts any text into the retry queue.
    ///
    /// # Panics
    /// Where the queue does not take it.
    pub async fn park(&self, body: &str) {
        let send = self.client.send_message().queue_url(&self.retry).message_body(body);
        send.send().await.expect("the queue takes it");
    }

    /// The messages that wait in the retry queue.
    pub async fn parked(&self) -> usize {
        self.length(&self.retry).await
    }

    /// The messages in the dead-letter queue.
    pub async fn dead_letters(&self) -> usize {
        self.length(&self.dead).await
    }

    async fn length(&self, queue: &str) -> usize {
        let attributes = self
            .client
            .get_queue_attributes()
            .queue_url(queue)
            .attribute_names(QueueAttributeName::All)
            .send()
            .await
            .expect("the queue is there")
            .attributes
            .expect("asked for");
        let count = |name| attributes.get(&name).map_or(0, |count| count.parse().unwrap());
        count(QueueAttributeName::ApproximateNumberOfMessages)
            + count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
    }

    /// The bodies of all dead letters, which stay where they are but cannot be seen for a minute.
    ///
    /// # Panics
    /// Where the queue cannot be read.
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

    /// What AWS does with a queue that is a function's event source, for one batch: receives it,
    /// invokes the function, deletes what the answer does not name as failed, and makes the rest
    /// visible again. Gives how many messages were received and how many of them failed.
    ///
    /// # Panics
    /// Where the queue cannot be used.
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
            // The whole batch comes again.
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
    /// Where it does not get empty in a hundred batches.
    pub async fn drain(&self, redrive: &Function) {
        for _ in 0..100 {
            self.deliver_batch(redrive, Duration::from_secs(60)).await;
            if self.parked().await == 0 {
                return;
            }
        }
        panic!("the retry queue does not get empty:\n{}", redrive.last_logs());
    }
}

fn record(message: &Message) -> Value {
    let attributes = message.attributes.iter().flatten();
    let attributes: serde_json::Map<String, Value> =
        attributes.map(|(name, value)| (name.as_str().to_owned(), json!(value))).collect();
    json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:retry",
        "awsRegion": "eu-west-1",
    })
}
