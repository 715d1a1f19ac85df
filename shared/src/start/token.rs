//! The check of the webhook's token.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;

use super::secrets::{SecretError, Secrets, WebhookTokens};
use crate::error::chain;

/// How long a token is used before it is read again.
const TIME_TO_LIVE: Duration = Duration::from_secs(5 * 60);

/// The least time between two reads that wrong tokens cause, so that they cannot hammer Secrets
/// Manager.
const REREAD_GAP: Duration = Duration::from_secs(60);

/// The webhook's token check; built once per process.
///
/// Only digests are kept: they have one length, so that the comparison's time says nothing about
/// the tokens, not even how long they are.
#[derive(Debug)]
pub struct WebhookToken {
    secrets: Secrets,
    id: String,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    tokens: Option<Tokens>,
    /// The last attempt to read, whether it succeeded or not.
    read_at: Option<Instant>,
    /// The last attempt that a failed check caused.
    reread_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Tokens {
    current: TokenDigest,
    previous: Option<TokenDigest>,
}

type TokenDigest = [u8; 32];

impl WebhookToken {
    /// Nothing is read before the first check.
    #[must_use]
    pub fn new(secrets: Secrets, id: String) -> Self {
        Self { secrets, id, cache: Mutex::default() }
    }

    /// Whether `authorization`, the header's whole value, is the current or the previous token.
    ///
    /// The tokens are kept for five minutes, and longer while Secrets Manager cannot be reached. A
    /// value that does not match them has them read again, at most once a minute.
    ///
    /// # Errors
    /// There has never been a token to compare with: the sender should try again (503), it may well
    /// be right.
    pub async fn verify(&self, authorization: &[u8]) -> Result<bool, SecretError> {
        let digest: TokenDigest = Sha256::digest(authorization.trim_ascii()).into();
        let cached = self.cache().fresh(Instant::now());
        let tokens = match cached {
            Some(tokens) => tokens,
            None => self.refresh().await?,
        };
        if tokens.accept(&digest) {
            return Ok(true);
        }
        if !self.cache().may_reread(Instant::now()) {
            return Ok(false);
        }
        Ok(self.refresh().await?.accept(&digest))
    }

    async fn refresh(&self) -> Result<Tokens, SecretError> {
        let read = self.secrets.webhook_tokens(&self.id).await.map(Tokens::from);
        self.cache().store(read, Instant::now())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Nothing that runs under the lock leaves it half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// The tokens, unless it is time to read them again.
    fn fresh(&self, now: Instant) -> Option<Tokens> {
        let due = self.read_at.is_none_or(|at| now.duration_since(at) >= TIME_TO_LIVE);
        self.tokens.filter(|_| !due)
    }

    fn may_reread(&mut self, now: Instant) -> bool {
        let may = self.reread_at.is_none_or(|at| now.duration_since(at) >= REREAD_GAP);
        if may {
            self.reread_at = Some(now);
        }
        may
    }

    /// Takes the outcome of a read; a failed one leaves the tokens in use, if there are any.
    fn store(
        &mut self,
        read: Result<Tokens, SecretError>,
        now: Instant,
    ) -> Result<Tokens, SecretError> {
        self.read_at = Some(now);
        match (read, self.tokens) {
            (Ok(tokens), _) => {
                self.tokens = Some(tokens);
                Ok(tokens)
            }
            (Err(error), Some(tokens)) => {
                tracing::warn!(error = %chain(&error), "the tokens read last stay in use");
                Ok(tokens)
            }
            (Err(error), None) => Err(error),
        }
    }
}

impl From<WebhookTokens> for Tokens {
    fn from(WebhookTokens { current, previous }: WebhookTokens) -> Self {
        Self { current: digest(&current), previous: previous.as_ref().map(digest) }
    }
}

/// A line break behind a pasted token cannot be in a header.
fn digest(token: &SecretString) -> TokenDigest {
    Sha256::digest(token.expose_secret().as_bytes().trim_ascii()).into()
}

impl Tokens {
    /// Both are always compared: which one matched does not show in the time taken either.
    fn accept(&self, digest: &TokenDigest) -> bool {
        let previous = self.previous.map_or(Choice::from(0), |previous| previous.ct_eq(digest));
        (self.current.ct_eq(digest) | previous).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(current: &str, previous: Option<&str>) -> Tokens {
        let digest = |text: &str| Sha256::digest(text).into();
        Tokens { current: digest(current), previous: previous.map(digest) }
    }

    fn accepts(tokens: &Tokens, authorization: &str) -> bool {
        tokens.accept(&Sha256::digest(authorization).into())
    }

    fn outage() -> SecretError {
        SecretError::Unavailable { id: "webhook".into(), source: "timed out".into() }
    }

    #[test]
    fn current_and_previous_token_are_accepted_and_no_other() {
        let both = tokens("Bearer new", Some("Bearer old"));
        assert!(accepts(&both, "Bearer new"));
        assert!(accepts(&both, "Bearer old"));
        for wrong in ["", "Bearer", "new", "Bearer new2", "bearer new"] {
            assert!(!accepts(&both, wrong), "{wrong}");
        }
        assert!(!accepts(&tokens("Bearer new", None), ""));
    }

    #[test]
    fn tokens_are_read_again_when_their_time_is_over() {
        let mut cache = Cache::default();
        let start = Instant::now();
        assert!(cache.fresh(start).is_none());
        cache.store(Ok(tokens("a", None)), start).unwrap();
        assert!(cache.fresh(start + TIME_TO_LIVE / 2).is_some());
        assert!(cache.fresh(start + TIME_TO_LIVE).is_none());
    }

    #[test]
    fn an_outage_keeps_the_tokens_in_use() {
        let mut cache = Cache::default();
        let start = Instant::now();
        let first = cache.store(Err(outage()), start);
        assert!(matches!(first, Err(SecretError::Unavailable { .. })));
        cache.store(Ok(tokens("a", None)), start).unwrap();
        let later = start + TIME_TO_LIVE;
        assert!(accepts(&cache.store(Err(outage()), later).unwrap(), "a"));
        assert!(cache.fresh(later + TIME_TO_LIVE / 2).is_some(), "not asked for at each request");
    }

    #[test]
    fn wrong_tokens_cause_one_read_a_minute() {
        let mut cache = Cache::default();
        let start = Instant::now();
        assert!(cache.may_reread(start));
        assert!(!cache.may_reread(start + REREAD_GAP / 2));
        assert!(cache.may_reread(start + REREAD_GAP));
    }

    #[test]
    fn a_line_break_behind_the_token_is_no_part_of_it() {
        assert_eq!(digest(&"Bearer x\n".into()), digest(&"Bearer x".into()));
    }
}
