//! Secrets Manager → typed secrets.
//!
//! A secret is one JSON object. Its values live in [`SecretString`], which does not print. Errors name
//! the secret's id and the invalid key, never a value.
//!
//! Reads always name the version stage, `AWSCURRENT` or `AWSPREVIOUS`, so that a rotation in progress
//! looks as it does to Secrets Manager.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::error::{BoxError, sdk_cause};

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// Why a secret cannot be used. No variant holds any part of a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager has no such secret.
    #[error("the secret {id} does not exist, or has no value yet")]
    Missing {
        /// Name or ARN, as configured.
        id: String,
    },
    /// The secret is still as the deployment created it.
    #[error("the secret {id} is not filled in yet: it needs a JSON object with {keys}")]
    NotFilledIn {
        /// Name or ARN, as configured.
        id: String,
        /// The keys that it needs.
        keys: &'static str,
    },
    /// The value is not a JSON object.
    #[error("the secret {id} is not a JSON object: it needs one with {keys}")]
    NotAnObject {
        /// Name or ARN, as configured.
        id: String,
        /// The keys that it needs.
        keys: &'static str,
    },
    /// A key is missing, or its value is empty or not a string.
    #[error("the secret {id} has no string under {key}: it needs a JSON object with {keys}")]
    MissingKey {
        /// Name or ARN, as configured.
        id: String,
        /// The invalid key.
        key: &'static str,
        /// All keys that it needs.
        keys: &'static str,
    },
    /// Secrets Manager is unreachable, or rejected the request.
    #[error("the secret {id} cannot be read")]
    Unavailable {
        /// Name or ARN, as configured.
        id: String,
        /// The SDK's error without its raw response, which may be the secret.
        source: BoxError,
    },
}

/// Credentials of the Auth0 application that the poller signs in as.
#[derive(Clone, Debug)]
pub struct Auth0Client {
    /// `client_id`, which is not secret but stored next to it.
    pub client_id: String,
    /// `client_secret`.
    pub client_secret: SecretString,
}

/// Credentials of the engine's user.
#[derive(Clone, Debug)]
pub enum SearchCredentials {
    /// `username` and `password`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// `api_key` in the encoded form that Elasticsearch issues: Base64 of `id:key`.
    ApiKey(SecretString),
}

/// The values of `Authorization` that the webhook accepts.
pub(super) struct WebhookTokens {
    pub(super) current: SecretString,
    /// The previous version's; `None` if there was none.
    pub(super) previous: Option<SecretString>,
}

/// Reads typed secrets; cheap to clone.
#[derive(Clone, Debug)]
pub struct Secrets {
    client: Client,
}

impl Secrets {
    /// Creates a client that gives up after a few seconds: a webhook request cannot wait for
    /// the SDK's defaults.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(2))
            .operation_timeout(Duration::from_secs(5))
            .build();
        let config =
            aws_sdk_secretsmanager::config::Builder::from(config).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config) }
    }

    /// Reads the secret `{"client_id":"…","client_secret":"…"}`.
    ///
    /// # Errors
    /// The secret cannot be read, or does not have this form.
    pub async fn auth0_client(&self, id: &str) -> Result<Auth0Client, SecretError> {
        auth0_client(id, self.read(id, CURRENT).await?.as_ref())
    }

    /// Reads the secret `{"username":"…","password":"…"}` or `{"api_key":"…"}`.
    ///
    /// # Errors
    /// The secret cannot be read, or does not have this form.
    pub async fn search_credentials(&self, id: &str) -> Result<SearchCredentials, SecretError> {
        search_credentials(id, self.read(id, CURRENT).await?.as_ref())
    }

    /// Reads the secret `{"key":"…"}`, with which user data is hashed.
    ///
    /// # Errors
    /// The secret cannot be read, or does not have this form.
    pub async fn hash_key(&self, id: &str) -> Result<SecretString, SecretError> {
        let value = self.read(id, CURRENT).await?;
        Ok(Fields::parse(id, HASH_KEYS, value.as_ref())?.take("key")?.into())
    }

    /// Reads the tokens `{"token":"…"}` of both stages. A sender may use the previous one until the
    /// next rotation.
    pub(super) async fn webhook_tokens(&self, id: &str) -> Result<WebhookTokens, SecretError> {
        let (current, previous) = tokio::join!(self.read(id, CURRENT), self.read(id, PREVIOUS));
        let current = token(id, current?.as_ref())?;
        // A secret that was never rotated has no previous version, and the version before the first
        // content has no token. A failed read must not count as "none": it would lock out a sender that
        // still uses the previous token.
        let previous = match previous {
            Ok(previous) => previous.and_then(|previous| token(id, Some(&previous)).ok()),
            Err(SecretError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(WebhookTokens { current, previous })
    }

    /// Reads the value of a version stage; `None` if the secret has no such version.
    async fn read(&self, id: &str, stage: &str) -> Result<Option<SecretString>, SecretError> {
        let request = self.client.get_secret_value().secret_id(id).version_stage(stage);
        // On the heap: it is thousands of bytes long, which would be copied with every future that holds it, and
        // few invocations read a secret.
        match Box::pin(request.send()).await {
            Ok(output) => Ok(output.secret_string.map(SecretString::from)),
            Err(error) => {
                let service = error.as_service_error();
                if !service.is_some_and(|e| e.is_resource_not_found_exception()) {
                    let (id, source) = (id.to_owned(), sdk_cause(error));
                    return Err(SecretError::Unavailable { id, source });
                }
                // One exception for two cases. Only its message tells them apart: "can't find the
                // specified secret value for staging label: …" is about the version.
                match service.and_then(ProvideErrorMetadata::message) {
                    Some(message) if message.contains("secret value") => Ok(None),
                    _ => Err(SecretError::Missing { id: id.to_owned() }),
                }
            }
        }
    }
}

const TOKEN_KEYS: &str = r#""token""#;
const HASH_KEYS: &str = r#""key""#;
const AUTH0_KEYS: &str = r#""client_id" and "client_secret""#;
const SEARCH_KEYS: &str = r#""username" and "password", or "api_key""#;

fn token(id: &str, value: Option<&SecretString>) -> Result<SecretString, SecretError> {
    Ok(Fields::parse(id, TOKEN_KEYS, value)?.take("token")?.into())
}

fn auth0_client(id: &str, value: Option<&SecretString>) -> Result<Auth0Client, SecretError> {
    let mut fields = Fields::parse(id, AUTH0_KEYS, value)?;
    let client_id = fields.take("client_id")?;
    Ok(Auth0Client { client_id, client_secret: fields.take("client_secret")?.into() })
}

fn search_credentials(
    id: &str,
    value: Option<&SecretString>,
) -> Result<SearchCredentials, SecretError> {
    let mut fields = Fields::parse(id, SEARCH_KEYS, value)?;
    if fields.object.contains_key("api_key") {
        return Ok(SearchCredentials::ApiKey(fields.take("api_key")?.into()));
    }
    let username = fields.take("username")?;
    Ok(SearchCredentials::Basic { username, password: fields.take("password")?.into() })
}

/// A secret's JSON object, with what its errors need.
struct Fields<'a> {
    id: &'a str,
    keys: &'static str,
    object: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn parse(
        id: &'a str,
        keys: &'static str,
        value: Option<&SecretString>,
    ) -> Result<Self, SecretError> {
        let text = value.map_or("", |value| value.expose_secret().trim());
        match serde_json::from_str(text) {
            _ if text.is_empty() => Err(SecretError::NotFilledIn { id: id.to_owned(), keys }),
            Ok(Value::Object(object)) if object.is_empty() => {
                Err(SecretError::NotFilledIn { id: id.to_owned(), keys })
            }
            Ok(Value::Object(object)) => Ok(Self { id, keys, object }),
            // The parser's error could quote the value.
            Ok(_) | Err(_) => Err(SecretError::NotAnObject { id: id.to_owned(), keys }),
        }
    }

    fn take(&mut self, key: &'static str) -> Result<String, SecretError> {
        match self.object.remove(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
            _ => Err(SecretError::MissingKey { id: self.id.to_owned(), key, keys: self.keys }),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_secretsmanager::config::SharedCredentialsProvider;
    use axum::Router;
    use axum::routing::any;
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::chain;
    use crate::start::http;

    fn read<T>(
        parse: fn(&str, Option<&SecretString>) -> Result<T, SecretError>,
        text: &str,
    ) -> Result<T, SecretError> {
        parse("mine", Some(&SecretString::from(text)))
    }

    #[test]
    fn invalid_secret_error_names_id_and_key_but_no_value() {
        let error = |text| read(token, text).unwrap_err().to_string();
        insta::assert_snapshot!(
            ["", " \n", "{}", "hunter2", r#"["hunter2"]"#, r#"{"token":["hunter2"]}"#, r#"{"token":" "}"#]
                .map(error).join("\n"),
            @r#"
        the secret mine is not filled in yet: it needs a JSON object with "token"
        the secret mine is not filled in yet: it needs a JSON object with "token"
        the secret mine is not filled in yet: it needs a JSON object with "token"
        the secret mine is not a JSON object: it needs one with "token"
        the secret mine is not a JSON object: it needs one with "token"
        the secret mine has no string under token: it needs a JSON object with "token"
        the secret mine has no string under token: it needs a JSON object with "token"
        "#
        );
        let half = read(auth0_client, r#"{"client_id":"me"}"#).unwrap_err();
        assert_eq!(
            half.to_string(),
            "the secret mine has no string under client_secret: \
             it needs a JSON object with \"client_id\" and \"client_secret\""
        );
    }

    #[test]
    fn secret_without_a_version_is_not_filled_in() {
        let error = search_credentials("search", None).unwrap_err();
        assert!(matches!(error, SecretError::NotFilledIn { .. }), "{error}");
    }

    #[test]
    fn credentials_do_not_print() {
        let basic = r#"{"username":"elastic","password":"hunter2"}"#;
        let basic = read(search_credentials, basic).unwrap();
        assert!(!format!("{basic:?}").contains("hunter2"));
        assert!(
            matches!(basic, SearchCredentials::Basic { username, .. } if username == "elastic")
        );
        let key = read(search_credentials, r#"{"api_key":"hunter2"}"#).unwrap();
        assert!(matches!(&key, SearchCredentials::ApiKey(key) if key.expose_secret() == "hunter2"));
        assert!(!format!("{key:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn unreadable_response_does_not_reach_the_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let truncated = any(|| async { r#"{"Name":"mine","SecretString":"{\"token\":\"hunter2"# });
        tokio::spawn(async { axum::serve(listener, Router::new().fallback(truncated)).await });
        let keys =
            aws_sdk_secretsmanager::config::Credentials::new("id", "key", None, None, "test");
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .endpoint_url(url)
            .http_client(http::sdk_client(&http::client().unwrap()))
            .build();
        let error = Secrets::new(&aws).auth0_client("mine").await.unwrap_err();
        assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
        let texts = format!("{error} {error:?} {}", chain(&error));
        assert!(!texts.contains("hunter2"), "{texts}");
    }
}
