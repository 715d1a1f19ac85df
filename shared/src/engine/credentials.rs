//! Sign-in to the engine.

use aws_config::SdkConfig;
use secrecy::SecretString;

use crate::start::config::SignIn;
use crate::start::secrets::{SearchCredentials, SecretError, Secrets};

/// What a request is authenticated with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The engine requires none.
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
        /// Holds the role's credentials and the region.
        aws: Box<SdkConfig>,
    },
}

impl Credentials {
    /// Loads what `sign_in` names. A secret is read each time.
    ///
    /// # Errors
    /// The secret cannot be read, or does not have the required form.
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
