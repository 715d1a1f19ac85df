//! The two requests to Auth0: an access token by client credentials, and a page of logs.
//!
//! Errors are named by what the caller can do. Nothing is retried here, except that a rejected token is
//! replaced once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::error::BoxError;
use shared::retry::Deadline;
use shared::start::secrets::{SecretError, Secrets};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::page::Page;

/// Events per page: Auth0's maximum.
const TAKE: &str = "100";

/// Upper bound for a response, in bytes. A hundred of the largest events stay far below.
const MAX_RESPONSE: usize = 32 * 1024 * 1024;

/// How long before it expires a token is replaced.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// A token carries the permissions of the time it was issued. One that lacks `read:logs` is replaced once
/// it is this old, and not at each tick, because tokens are metered.
const FORBIDDEN_TOKEN_AGE: Duration = Duration::from_secs(10 * 60);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Auth0Error {
    /// The operator has to fix the application's credentials.
    #[error("Auth0 rejected the application's credentials")]
    Unauthorized(#[source] ErrorResponse),
    /// The operator has to grant the application `read:logs` and `read:logs_users`.
    #[error("Auth0 does not allow the application to read logs")]
    Forbidden(#[source] ErrorResponse),
    /// The operator has to fix the secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Retry.
    #[error("the application's secret was not read in time")]
    SecretTimeout(#[source] Elapsed),
    /// Retry after `reset`.
    #[error("Auth0's rate limit is exhausted")]
    RateLimited { reset: Option<DateTime<Utc>> },
    /// Start elsewhere: Auth0 no longer knows this log id.
    #[error("Auth0 rejected the checkpoint")]
    CheckpointRefused(#[source] ErrorResponse),
    /// Retry.
    #[error("Auth0 is unavailable")]
    Unavailable(#[source] BoxError),
    /// Retry: a proxy responded in Auth0's place, or the response is incomplete.
    #[error("Auth0's response is unusable")]
    Malformed(#[source] MalformedError),
}

/// An error response in Auth0's own words, which repeat nothing of the request except the log id.
#[derive(Debug, thiserror::Error)]
#[error("{status}, {message}")]
pub struct ErrorResponse {
    status: StatusCode,
    message: String,
}

/// What is wrong with a response of status 200.
#[derive(Debug, thiserror::Error)]
pub enum MalformedError {
    #[error("not a JSON array")]
    NotAnArray(#[source] serde_json::Error),
    /// Without the parser's error, which could quote the token.
    #[error("no access token in it")]
    NoToken,
    #[error("longer than {MAX_RESPONSE} bytes")]
    TooLong,
}

impl Auth0Error {
    /// Returns whether the same request may succeed later.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::SecretTimeout(_) | Self::Unavailable(_) | Self::Malformed(_))
    }

    /// Returns the type by which alarms and the Lambda console distinguish errors.
    pub(crate) const fn error_type(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "Auth0Unauthorized",
            Self::Forbidden(_) => "Auth0Forbidden",
            Self::Secret(_) => "SecretUnusable",
            Self::RateLimited { .. } => "Auth0RateLimited",
            Self::CheckpointRefused(_) => "CheckpointRefused",
            Self::SecretTimeout(_) | Self::Unavailable(_) => "Auth0Unavailable",
            Self::Malformed(_) => "Auth0Malformed",
        }
    }
}

/// A page and its rate limit.
pub(crate) struct LogsResponse {
    pub(crate) page: Page,
    /// Requests that Auth0 still allows.
    pub(crate) rate_limit_remaining: Option<u64>,
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
    /// Seconds.
    expires_in: u64,
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
            .query(&[("from", from), ("take", TAKE)])
            .bearer_auth(token.text.expose_secret());
        let RawResponse { status, headers, body } = send(request, deadline).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &headers, &body));
        }
        let page = Page::parse(body)
            .map_err(|error| Auth0Error::Malformed(MalformedError::NotAnArray(error)))?;
        Ok(LogsResponse { page, rate_limit_remaining: number(&headers, "x-ratelimit-remaining") })
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
            return Err(match refusal(status, &headers, &body) {
                // This endpoint knows no checkpoint.
                Auth0Error::CheckpointRefused(response) => Auth0Error::Unauthorized(response),
                other => other,
            });
        }
        let response: TokenResponse = serde_json::from_slice(&body)
            .map_err(|_| Auth0Error::Malformed(MalformedError::NoToken))?;
        let life = Duration::from_secs(response.expires_in).saturating_sub(TOKEN_MARGIN);
        Ok(Token { text: response.access_token.into(), requested, expires: requested + life })
    }
}

async fn send(request: RequestBuilder, deadline: Deadline) -> Result<RawResponse, Auth0Error> {
    let unavailable = |error: reqwest::Error| Auth0Error::Unavailable(error.without_url().into());
    let mut response = request.timeout(deadline.remaining()).send().await.map_err(unavailable)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(Auth0Error::Malformed(MalformedError::TooLong));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawResponse { status: response.status(), headers: response.headers().clone(), body })
}

/// Returns the error for a response that is not a success.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Auth0Error {
    if status == StatusCode::TOO_MANY_REQUESTS {
        let reset = number(headers, "x-ratelimit-reset")
            .and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
        return Auth0Error::RateLimited { reset };
    }
    let response = error_response(status, body);
    match status {
        StatusCode::UNAUTHORIZED => Auth0Error::Unauthorized(response),
        StatusCode::FORBIDDEN => Auth0Error::Forbidden(response),
        // Auth0 documents neither status nor text for a log id past its retention. But it never
        // responds with HTML, as proxies do.
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND if !is_markup(body) => {
            Auth0Error::CheckpointRefused(response)
        }
        _ => Auth0Error::Unavailable(response.into()),
    }
}

fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

fn error_response(status: StatusCode, body: &[u8]) -> ErrorResponse {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = ["message", "error_description", "error"]
        .iter()
        .find_map(|name| error.get(name)?.as_str())
        .unwrap_or("no reason given");
    ErrorResponse { status, message: message.chars().take(200).collect() }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use shared::error::chain;

    use super::*;

    fn refused(status: u16, body: &str) -> Auth0Error {
        refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn refusals_are_named_by_what_the_caller_can_do() {
        let error = r#"{"statusCode":400,"error":"Bad Request","message":"no such log"}"#;
        let refused_checkpoint = refused(400, error);
        assert!(matches!(&refused_checkpoint, Auth0Error::CheckpointRefused(_)));
        assert!(chain(&refused_checkpoint).ends_with("400 Bad Request, no such log"));
        assert!(matches!(refused(404, "{}"), Auth0Error::CheckpointRefused(_)));
        assert!(matches!(refused(401, error), Auth0Error::Unauthorized(_)));
        assert!(matches!(refused(403, error), Auth0Error::Forbidden(_)));
        assert!(matches!(refused(500, error), Auth0Error::Unavailable(_)));
        assert!(matches!(refused(302, ""), Auth0Error::Unavailable(_)));
    }

    #[test]
    fn html_of_a_proxy_does_not_refuse_the_checkpoint() {
        let page = "\n<!DOCTYPE html><html><body>400 Bad Request</body></html>";
        assert!(matches!(refused(400, page), Auth0Error::Unavailable(_)));
    }

    #[test]
    fn rate_limit_has_its_reset() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-reset", "1700000000".parse().unwrap());
        let error = refusal(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        let Auth0Error::RateLimited { reset } = error else { panic!("{error}") };
        assert_eq!(reset.unwrap().timestamp(), 1_700_000_000);
        assert!(matches!(refused(429, ""), Auth0Error::RateLimited { reset: None }));
    }
}
