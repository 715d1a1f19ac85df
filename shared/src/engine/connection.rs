//! How the engine is signed in to, and the client with the credentials of the moment.

use std::time::Duration;

use aws_config::SdkConfig;
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Engine, EngineClientError};
use crate::retry::Deadline;
use crate::start::config::{SearchConfig, SignIn};
use crate::start::secrets::{SearchCredentials, SecretError, Secrets};

/// How a request is signed in.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The engine asks for none.
    None,
    /// A user of the engine.
    Basic {
        /// The user's name.
        username: String,
        /// The user's password.
        password: SecretString,
    },
    /// An Elasticsearch API key in its encoded form: Base64 of `id:key`.
    ApiKey(SecretString),
    /// AWS Signature Version 4 with the function's own role.
    SigV4 {
        /// `es` or `aoss`.
        service: String,
        /// Gives the role's credentials and the region.
        aws: Box<SdkConfig>,
    },
}

impl Credentials {
    /// What `sign_in` names, as it is now: a secret is read each time.
    ///
    /// # Errors
    /// The secret cannot be read, or is not of the form it should have.
    pub async fn load(
        sign_in: &SignIn,
        secrets: &Secrets,
        aws: &SdkConfig,
    ) -> Result<Self, SecretError> {
        Ok(match sign_in {
            SignIn::None => Self::None,
            SignIn::Secret(id) => match secrets.search_credentials(id).await? {
                SearchCredentials::Basic { username, password } => {
                    Self::Basic { username, password }
                }
                SearchCredentials::ApiKey(key) => Self::ApiKey(key),
            },
            SignIn::SigV4(service) => {
                Self::SigV4 { service: service.clone(), aws: Box::new(aws.clone()) }
            }
        })
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("Secrets Manager did not answer in time")]
    SecretTimeout,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Client(#[from] EngineClientError),
}

/// The engine's client with the credentials of the moment.
#[derive(Debug)]
pub(crate) struct Connection {
    config: SearchConfig,
    aws: SdkConfig,
    secrets: Secrets,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    engine: Option<Engine>,
    /// When a 401 last had the secret read again.
    refreshed: Option<Instant>,
}

/// A 401 has the secret read again at most this often: while it is wrong, each batch meets a 401.
const REFRESH: Duration = Duration::from_secs(10);

impl Connection {
    pub(crate) fn new(config: SearchConfig, aws: SdkConfig) -> Self {
        Self { config, secrets: Secrets::new(&aws), aws, state: Mutex::default() }
    }

    /// After a 401: whether the next attempt signs in with credentials read again, because the secret
    /// may have been rotated and was not read again just now.
    pub(crate) async fn signs_in_again(&self) -> bool {
        let mut state = self.state.lock().await;
        let reads_again = matches!(self.config.sign_in, SignIn::Secret(_))
            && state.refreshed.is_none_or(|at| at.elapsed() >= REFRESH);
        if reads_again {
            *state = State { engine: None, refreshed: Some(Instant::now()) };
        }
        reads_again
    }

    /// The client, made at the first call and after [`Self::signs_in_again`].
    pub(crate) async fn engine(&self, deadline: Deadline) -> Result<Engine, ConnectionError> {
        let mut state = self.state.lock().await;
        if let Some(engine) = &state.engine {
            return Ok(engine.clone());
        }
        let credentials = Credentials::load(&self.config.sign_in, &self.secrets, &self.aws);
        let credentials = tokio::time::timeout_at(deadline.instant(), credentials)
            .await
            .map_err(|_| ConnectionError::SecretTimeout)??;
        let engine = Engine::new(&self.config, credentials)?;
        state.engine = Some(engine.clone());
        Ok(engine)
    }
}
