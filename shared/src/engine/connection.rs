//! The engine's client with the current credentials.

use std::time::Duration;

use aws_config::SdkConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::Engine;
use super::credentials::Credentials;
use super::transport::EngineClientError;
use crate::retry::Deadline;
use crate::start::config::{SearchConfig, SignIn};
use crate::start::secrets::{SecretError, Secrets};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No answer before the deadline.
    #[error("Secrets Manager did not answer in time")]
    SecretTimeout,
    /// The secret is missing or unusable.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Settings and credentials do not make a client.
    #[error(transparent)]
    Client(#[from] EngineClientError),
}

/// The engine's client with the current credentials.
#[derive(Debug)]
pub struct Connection {
    config: SearchConfig,
    aws: SdkConfig,
    secrets: Secrets,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    engine: Option<Engine>,
    /// When a 401 last caused the secret to be read again.
    reloaded: Option<Instant>,
}

/// The shortest time between two reads of the secret that 401s cause. While it is wrong, each batch
/// ends in a 401.
const RELOAD_GAP: Duration = Duration::from_secs(10);

impl Connection {
    /// Nothing is requested yet.
    #[must_use]
    pub fn new(config: SearchConfig, aws: SdkConfig) -> Self {
        let secrets = Secrets::new(&aws);
        Self { config, aws, secrets, state: Mutex::default() }
    }

    /// Returns the client, which is made at the first call and after [`Self::reload_credentials`].
    ///
    /// # Errors
    /// The secret cannot be read, or makes no client.
    pub async fn engine(&self, deadline: Deadline) -> Result<Engine, ConnectionError> {
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

    /// After a 401: drops the credentials, since the secret may have been rotated. Returns `false` if
    /// they do not come from a secret, or were read again within the last 10 s.
    pub async fn reload_credentials(&self) -> bool {
        let mut state = self.state.lock().await;
        let reloads = matches!(self.config.sign_in, SignIn::Secret(_))
            && state.reloaded.is_none_or(|at| at.elapsed() >= RELOAD_GAP);
        if reloads {
            *state = State { engine: None, reloaded: Some(Instant::now()) };
        }
        reloads
    }
}
