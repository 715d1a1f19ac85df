//! Events as they arrive → the events that go on: without those that nobody wants, and with their user data
//! masked. Whatever leaves the function is made of what comes out here: documents, error documents, parked
//! messages and dead letters.

use std::borrow::Cow;

use auth0_ecs::input::filter::TypeFilter;
use auth0_ecs::input::mask::{HashKey, Masker};
use aws_config::SdkConfig;
use secrecy::ExposeSecret as _;
use tokio::sync::OnceCell;

use super::incoming::Incoming;
use crate::retry::Deadline;
use crate::start::config::{PipelineConfig, UserData};
use crate::start::secrets::{SecretError, Secrets};

/// What comes in passes here first; built once per process.
#[derive(Debug)]
pub struct Intake {
    types: TypeFilter,
    masking: Masking,
}

#[derive(Debug)]
enum Masking {
    Off,
    Ready(Masker),
    /// Made once. A key that is rotated counts from the next process on.
    Keyed {
        secrets: Secrets,
        id: String,
        masker: OnceCell<Masker>,
    },
}

/// Why events cannot be masked. They must not go on as they are.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// Secrets Manager did not answer before the deadline.
    #[error("Secrets Manager did not answer in time")]
    SecretTimeout,
    /// The key of the hashes cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The events that go on.
#[derive(Debug)]
pub struct Admitted<'b> {
    events: Vec<(Incoming<'b>, Cow<'b, [u8]>)>,
    filtered: usize,
}

impl Admitted<'_> {
    /// Returns the events.
    pub fn events(&self) -> impl Iterator<Item = Incoming<'_>> {
        self.events.iter().map(|(event, raw)| Incoming { raw, ..*event })
    }

    /// Returns whether no event goes on.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns how many were left out because of their type.
    #[must_use]
    pub const fn filtered(&self) -> usize {
        self.filtered
    }
}

impl Intake {
    pub(super) fn new(config: &PipelineConfig, aws: &SdkConfig) -> Self {
        let masking = match &config.user_data {
            UserData::Plain => Masking::Off,
            UserData::Masked => Masking::Ready(Masker::Mask),
            UserData::Hashed(id) => Masking::Keyed {
                secrets: Secrets::new(aws),
                id: id.clone(),
                masker: OnceCell::new(),
            },
        };
        Self { types: config.types.clone(), masking }
    }

    /// Admits events that have just arrived: those of wanted types, with their user data masked.
    ///
    /// # Errors
    /// The key of the hashes cannot be read.
    pub async fn admit<'b>(
        &self,
        events: impl Iterator<Item = Incoming<'b>>,
        deadline: Deadline,
    ) -> Result<Admitted<'b>, MaskError> {
        let mut filtered = 0;
        let wanted = events.filter(|event| {
            let is_wanted = self.types.takes(event.raw);
            filtered += usize::from(!is_wanted);
            is_wanted
        });
        let admitted = self.admit_parked(wanted, deadline).await?;
        Ok(Admitted { filtered, ..admitted })
    }

    /// Admits events that were admitted before. They are masked again, which changes nothing, because
    /// they may be older than the setting.
    ///
    /// # Errors
    /// The key of the hashes cannot be read.
    pub async fn admit_parked<'b>(
        &self,
        events: impl Iterator<Item = Incoming<'b>>,
        deadline: Deadline,
    ) -> Result<Admitted<'b>, MaskError> {
        let masker = self.masker(deadline).await?;
        let masked = |event: Incoming<'b>| {
            (event, masker.map_or(Cow::Borrowed(event.raw), |masker| masker.apply(event.raw)))
        };
        Ok(Admitted { events: events.map(masked).collect(), filtered: 0 })
    }

    /// Returns how to mask, with the key read at the first call; `None` if nothing is masked.
    pub(super) async fn masker(&self, deadline: Deadline) -> Result<Option<&Masker>, MaskError> {
        match &self.masking {
            Masking::Off => Ok(None),
            Masking::Ready(masker) => Ok(Some(masker)),
            Masking::Keyed { secrets, id, masker } => {
                let make = async || {
                    let key = tokio::time::timeout_at(deadline.instant(), secrets.hash_key(id));
                    let key = key.await.map_err(|_| MaskError::SecretTimeout)??;
                    Ok(Masker::Hash(HashKey::new(key.expose_secret().as_bytes())))
                };
                masker.get_or_try_init(make).await.map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth0_ecs::Input;
    use auth0_ecs::input::filter::TypeSet;
    use axum::Router;
    use axum::routing::any;
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::delivery::stand_in;

    const ANNA: &[u8] = br#"{"log_id":"1","data":{"type":"s","user_name":"anna@example.com"}}"#;
    const FAILED: &[u8] = br#"{"log_id":"2","data":{"type":"fp"}}"#;
    const BROKEN: &[u8] = br#"{"log_id":"3","data":{"type":"fp","user_name":"anna"#;

    /// An intake whose key is in a stand-in for Secrets Manager with this value.
    async fn intake(exclude: &str, user_data: UserData, secret: &str) -> Intake {
        let value = json!({ "ARN": "a", "Name": "mask", "SecretString": secret }).to_string();
        let router = Router::new().fallback(any(move || async move { value }));
        let aws = stand_in::aws(&stand_in::serve(router).await);
        let exclude = TypeSet::parse(exclude).unwrap();
        let config = PipelineConfig {
            types: TypeFilter { exclude, ..TypeFilter::default() },
            user_data,
            ..stand_in::pipeline("http://127.0.0.1:9")
        };
        Intake::new(&config, &aws)
    }

    fn arrived() -> impl Iterator<Item = Incoming<'static>> {
        let (input, received) = (Input::HttpEndpoint, DateTime::UNIX_EPOCH);
        [ANNA, FAILED, BROKEN].into_iter().map(move |raw| Incoming {
            raw,
            input,
            received,
            source: 7,
        })
    }

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn texts(admitted: &Admitted<'_>) -> Vec<String> {
        admitted.events().map(|event| String::from_utf8_lossy(event.raw).into_owned()).collect()
    }

    #[tokio::test]
    async fn events_go_on_as_they_are_by_default() {
        let intake = intake("", UserData::Plain, "").await;
        let admitted = intake.admit(arrived(), deadline()).await.unwrap();
        assert_eq!(admitted.events().collect::<Vec<_>>(), arrived().collect::<Vec<_>>());
        assert_eq!(admitted.filtered(), 0);
        let is_borrowed = |(_, raw): &(_, Cow<'_, _>)| matches!(raw, Cow::Borrowed(_));
        assert!(admitted.events.iter().all(is_borrowed), "nothing is copied");
    }

    #[tokio::test]
    async fn unwanted_types_are_left_out_on_arrival_only() {
        let intake = intake("Login - Failure", UserData::Plain, "").await;
        let admitted = intake.admit(arrived(), deadline()).await.unwrap();
        assert_eq!(admitted.filtered(), 1);
        assert_eq!(texts(&admitted).len(), 2, "what is broken stays");
        let parked = intake.admit_parked(arrived(), deadline()).await.unwrap();
        assert_eq!((parked.filtered(), parked.events().count()), (0, 3));
    }

    #[tokio::test]
    async fn nothing_plain_goes_on_once_user_data_is_masked() {
        for user_data in [UserData::Masked, UserData::Hashed("mask".into())] {
            let intake = intake("", user_data, r#"{"key":"a key of the tests"}"#).await;
            let admitted = intake.admit(arrived(), deadline()).await.unwrap();
            assert!(!texts(&admitted).concat().contains("anna"), "{:?}", texts(&admitted));
            let again = intake.admit_parked(admitted.events(), deadline()).await.unwrap();
            assert_eq!(texts(&again), texts(&admitted));
            assert!(again.events().all(|event| event.source == 7));
        }
    }

    #[tokio::test]
    async fn nothing_goes_on_without_a_key() {
        let intake = intake("", UserData::Hashed("mask".into()), "{}").await;
        let error = intake.admit(arrived(), deadline()).await.unwrap_err();
        assert!(matches!(error, MaskError::Secret(SecretError::NotFilledIn { .. })), "{error}");
        assert!(intake.admit_parked(arrived(), deadline()).await.is_err());
    }
}
