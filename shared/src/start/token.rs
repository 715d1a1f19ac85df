//! The check of the webhook's token.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;

use super::secrets::{SecretError, Secrets, WebhookTokens};
use crate::error::chain;

/// How long tokens are used before they are read again.
const TIME_TO_LIVE: Duration = Duration::from_secs(5 * 60);

/// The shortest time between two reads that wrong tokens cause, so that they cannot overload Secrets
/// Manager.
const REREAD_GAP: Duration = Duration::from_secs(60);

/// The webhook's token check; built once per process.
///
/// Only digests are kept: they all have the same length, so that the comparison's time reveals nothing
/// about the tokens, not even their length.
#[derive(Debug)]
pub struct WebhookToken {
    secrets: Secrets,
    id: String,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    tokens: Option<Tokens>,
    /// The last read, successful or not.
    read_at: Option<Instant>,
    /// The last read that a wrong token caused.
    reread_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Tokens {
    current: TokenDigest,
    previous: Option<TokenDigest>,
}

type TokenDigest = [u8; 32];

impl WebhookToken {
    /// Reads nothing before [`Self::prepare`] or the first check.
    #[must_use]
    pub fn new(secrets: Secrets, id: String) -> Self {
        Self { secrets, id, cache: Mutex::default() }
    }

    /// Reads the tokens ahead of the first check. If that fails, the check reads them.
    pub async fn prepare(&self) {
        drop(self.refresh().await);
    }

    /// Returns whether `authorization`, the whole header value, is the current or the previous token.
    ///
    /// The tokens are cached for five minutes, or longer while Secrets Manager is unreachable. A value
    /// that does not match causes another read, at most once a minute.
    ///
    /// # Errors
    /// No token has ever been read: the sender should try again (503), since its token may be right.
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
        // No code under the lock can leave the cache inconsistent.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Returns the tokens, unless they have to be read again.
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

    /// Stores the outcome of a read. After a failure the cached tokens stay in use.
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
                tracing::warn!(error = %chain(&error), "keeping the cached tokens");
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

/// Ignores the line break after a pasted token, which a header cannot hold.
fn digest(token: &SecretString) -> TokenDigest {
    Sha256::digest(token.expose_secret().as_bytes().trim_ascii()).into()
}

impl Tokens {
    /// Always compares both, so that the time does not reveal which one matched.
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
    fn token_is_accepted_only_if_current_or_previous() {
        let both = tokens("Bearer new", Some("Bearer old"));
        assert!(accepts(&both, "Bearer new"));
        assert!(accepts(&both, "Bearer old"));
        for wrong in ["", "Bearer", "new", "Bearer new2", "bearer new"] {
            assert!(!accepts(&both, wrong), "{wrong}");
        }
        assert!(!accepts(&tokens("Bearer new", None), ""));
    }

    #[test]
    fn tokens_expire_after_their_time_to_live() {
        let mut cache = Cache::default();
        let start = Instant::now();
        assert!(cache.fresh(start).is_none());
        cache.store(Ok(tokens("a", None)), start).unwrap();
        assert!(cache.fresh(start + TIME_TO_LIVE / 2).is_some());
        assert!(cache.fresh(start + TIME_TO_LIVE).is_none());
    }

    #[test]
    fn outage_keeps_the_cached_tokens() {
        let mut cache = Cache::default();
        let start = Instant::now();
        let first = cache.store(Err(outage()), start);
        assert!(matches!(first, Err(SecretError::Unavailable { .. })));
        cache.store(Ok(tokens("a", None)), start).unwrap();
        let later = start + TIME_TO_LIVE;
        assert!(accepts(&cache.store(Err(outage()), later).unwrap(), "a"));
        assert!(
            cache.fresh(later + TIME_TO_LIVE / 2).is_some(),
            "an outage causes no read per request"
        );
    }

    #[test]
    fn wrong_tokens_cause_one_read_per_minute() {
        let mut cache = Cache::default();
        let start = Instant::now();
        assert!(cache.may_reread(start));
        assert!(!cache.may_reread(start + REREAD_GAP / 2));
        assert!(cache.may_reread(start + REREAD_GAP));
    }

    #[test]
    fn line_break_after_a_token_is_ignored() {
        assert_eq!(digest(&"Bearer x\n".into()), digest(&"Bearer x".into()));
    }
}
