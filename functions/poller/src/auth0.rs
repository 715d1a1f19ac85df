//! The two requests to Auth0: an access token by client credentials, and a page of logs.
//!
//! Nothing is retried here, except that a rejected token is replaced once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use shared::retry::Deadline;
use shared::start::secrets::Secrets;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::auth0_error::{Auth0Error, MalformedError};
use crate::link::next_from;
use crate::page::{Page, TAKE};

/// Upper bound for a response, in bytes. A hundred of the largest events stay far below.
const MAX_RESPONSE: usize = 32 * 1024 * 1024;

/// Upper bound for the life of a token: Auth0's own.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The life of a token whose response does not say it. A token that Auth0 rejects is replaced anyway.
const ASSUMED_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long before it expires a token is replaced.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// A token carries the permissions of the time it was issued. One that lacks `read:logs` is replaced once
/// it is this old, and not at each tick, because tokens are metered.
const FORBIDDEN_TOKEN_AGE: Duration = Duration::from_secs(10 * 60);

/// A page, and what the response says next to it.
pub(crate) struct LogsResponse {
    pub(crate) page: Page,
    /// Where the next page starts, in Auth0's words.
    pub(crate) next: Option<String>,
    pub(crate) rate_limit: RateLimit,
}

/// Rate limit as reported by Auth0.
#[derive(Clone, Copy)]
pub(crate) struct RateLimit {
    /// Requests that Auth0 still allows.
    pub(crate) remaining: Option<u64>,
    /// When it allows more.
    pub(crate) reset: Option<DateTime<Utc>>,
}

/// A tenant's API, used as one application.
pub(crate) struct Auth0 {
    http: Client,
    token_url: Url,
    logs_url: Url,
    audience: Url,
    secrets: Secrets,
    secret_id: String,
    /// Kept across invocations, because tokens are metered.
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    requested: Instant,
    expires: Instant,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    /// Seconds. The protocol only recommends it (RFC 6749, 5.1), so it may be missing, or anything.
    expires_in: Option<Box<RawValue>>,
}

struct RawResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Auth0 {
    /// # Errors
    /// `base` cannot be a base URL.
    pub(crate) fn new(
        http: Client,
        base: &Url,
        secrets: Secrets,
        secret_id: String,
    ) -> Result<Self, url::ParseError> {
        Ok(Self {
            http,
            token_url: base.join("/oauth/token")?,
            logs_url: base.join("/api/v2/logs")?,
            audience: base.join("/api/v2/")?,
            secrets,
            secret_id,
            token: Mutex::default(),
        })
    }

    /// Returns the page of events after the log id `from`.
    pub(crate) async fn logs(
        &self,
        from: &str,
        deadline: Deadline,
    ) -> Result<LogsResponse, Auth0Error> {
        let token = self.token(deadline).await?;
        match self.logs_with(&token, from, deadline).await {
            Err(Auth0Error::Unauthorized(reason)) => {
                tracing::info!(%reason, "access token rejected, requesting a new one");
                *self.cached_token() = None;
                let token = self.token(deadline).await?;
                self.logs_with(&token, from, deadline).await
            }
            Err(error @ Auth0Error::Forbidden(_)) => {
                if token.requested.elapsed() > FORBIDDEN_TOKEN_AGE {
                    *self.cached_token() = None;
                }
                Err(error)
            }
            result => result,
        }
    }

    async fn logs_with(
        &self,
        token: &Token,
        from: &str,
        deadline: Deadline,
    ) -> Result<LogsResponse, Auth0Error> {
        let request = self
            .http
            .get(self.logs_url.clone())
            .query(&[("from", from)])
            .query(&[("take", TAKE)])
            .bearer_auth(token.text.expose_secret());
        let RawResponse { status, headers, body } = send(request, deadline).await?;
        if status != StatusCode::OK {
            return Err(Auth0Error::from_response(status, RateLimit::of(&headers).reset, &body));
        }
        let page = Page::parse(body)
            .map_err(|error| Auth0Error::Malformed(MalformedError::NotAnArray(error)))?;
        let next = next_from(&headers, &self.logs_url);
        Ok(LogsResponse { page, next, rate_limit: RateLimit::of(&headers) })
    }

    async fn token(&self, deadline: Deadline) -> Result<Token, Auth0Error> {
        let cached = self.cached_token().clone();
        if let Some(token) = cached.filter(|token| token.expires > Instant::now()) {
            return Ok(token);
        }
        let token = self.request_token(deadline).await?;
        *self.cached_token() = Some(token.clone());
        Ok(token)
    }

    fn cached_token(&self) -> MutexGuard<'_, Option<Token>> {
        // No code under the lock can leave the token half written.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the secret each time: tokens are rare, and a rotated secret is used at once.
    async fn request_token(&self, deadline: Deadline) -> Result<Token, Auth0Error> {
        let client = timeout_at(deadline.instant(), self.secrets.auth0_client(&self.secret_id))
            .await
            .map_err(Auth0Error::SecretTimeout)??;
        let request = self.http.post(self.token_url.clone()).json(&json!({
            "grant_type": "client_credentials",
            "client_id": client.client_id,
            "client_secret": client.client_secret.expose_secret(),
            "audience": self.audience.as_str(),
        }));
        let requested = Instant::now();
        let RawResponse { status, headers, body } = send(request, deadline).await?;
        if status != StatusCode::OK {
            let reset = RateLimit::of(&headers).reset;
            return Err(match Auth0Error::from_response(status, reset, &body) {
                // This endpoint knows no log id.
                Auth0Error::CheckpointRefused(response) => Auth0Error::Rejected(response),
                other => other,
            });
        }
        let response: TokenResponse = serde_json::from_slice(&body)
            .map_err(|_| Auth0Error::Malformed(MalformedError::NoToken))?;
        let life = life(response.expires_in.as_deref()).saturating_sub(TOKEN_MARGIN);
        Ok(Token { text: response.access_token.into(), requested, expires: requested + life })
    }
}

async fn send(request: RequestBuilder, deadline: Deadline) -> Result<RawResponse, Auth0Error> {
    let unavailable = |error: reqwest::Error| Auth0Error::Unavailable(error.without_url().into());
    let mut response = request.timeout(deadline.remaining()).send().await.map_err(unavailable)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(Auth0Error::Malformed(MalformedError::TooLong(MAX_RESPONSE)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawResponse { status: response.status(), headers: response.headers().clone(), body })
}

impl RateLimit {
    fn of(headers: &HeaderMap) -> Self {
        let reset = number(headers, "x-ratelimit-reset")
            .and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
        Self { remaining: number(headers, "x-ratelimit-remaining"), reset }
    }
}

/// Returns how long a token is valid, from `expires_in` of any form.
fn life(expires_in: Option<&RawValue>) -> Duration {
    let seconds = expires_in.and_then(|value| value.get().trim_matches('"').parse::<f64>().ok());
    match seconds {
        Some(seconds) if seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(LONGEST_LIFE.as_secs_f64()))
        }
        _ => ASSUMED_LIFE,
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_lives_as_long_as_it_says_within_reason() {
        let life_of = |body: &str| {
            let response: TokenResponse = serde_json::from_str(body).unwrap();
            life(response.expires_in.as_deref())
        };
        let says = |expires_in: &str| {
            life_of(&format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#))
        };
        assert_eq!(says("86400"), Duration::from_secs(86_400));
        assert_eq!(says("\"86400\""), Duration::from_secs(86_400));
        assert_eq!(says("1.5"), Duration::from_millis(1_500));
        assert_eq!(says("0"), Duration::ZERO);
        for endless in ["18446744073709551615", "1e300", "1e999", "\"inf\""] {
            assert_eq!(says(endless), LONGEST_LIFE, "{endless}");
        }
        for unknown in ["-1", "-1e999", "null", "true", "\"\"", "\"NaN\"", "{}", "[60]"] {
            assert_eq!(says(unknown), ASSUMED_LIFE, "{unknown}");
        }
        assert_eq!(life_of(r#"{"access_token":"t"}"#), ASSUMED_LIFE);
        // What overflowed with the life of a token in seconds.
        let _ = Instant::now() + says("18446744073709551615");
    }

    #[test]
    fn rate_limit_has_its_reset() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-reset", "1700000000".parse().unwrap());
        headers.insert("x-ratelimit-remaining", "3".parse().unwrap());
        let RateLimit { remaining, reset } = RateLimit::of(&headers);
        assert_eq!((remaining, reset.unwrap().timestamp()), (Some(3), 1_700_000_000));
        headers.insert("x-ratelimit-reset", "soon".parse().unwrap());
        assert!(RateLimit::of(&headers).reset.is_none());
    }
}
