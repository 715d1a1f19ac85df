//! The two calls to Auth0: an access token by client credentials, and one page of logs.
//!
//! Errors are named by what the caller can do about them. Nothing here repeats a call, except that
//! a refused token is replaced once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::error::chain;
use shared::retry::Deadline;
use shared::start::secrets::{SecretError, Secrets};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::page::Page;

/// The most that Auth0 gives at once.
const TAKE: &str = "100";

/// A hundred events of the largest kind are far below; more is no page of logs.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// A token is replaced so long before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// A token is issued with the permissions of its time: one that lacks `read:logs` is replaced when it
/// is so old, and not at each tick, because tokens are metered.
const FORBIDDEN_TOKEN_AGE: Duration = Duration::from_secs(10 * 60);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Auth0Error {
    /// The operator has to see to the application's credentials.
    #[error("Auth0 refused the application's sign-in: {0}")]
    Unauthorized(String),
    /// The operator has to grant the application `read:logs` and `read:logs_users`.
    #[error("Auth0 does not let the application read logs: {0}")]
    Forbidden(String),
    /// The operator has to see to the secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Come back at `reset`.
    #[error("Auth0's rate limit is used up")]
    RateLimited { reset: Option<DateTime<Utc>> },
    /// Start somewhere else: Auth0 no longer knows this log id.
    #[error("Auth0 refused the checkpoint: {0}")]
    CheckpointRefused(String),
    /// Try again.
    #[error("Auth0 cannot be reached or is in trouble: {0}")]
    Unavailable(String),
    /// Try again: something on the way answered in Auth0's place, or the answer is cut off.
    #[error("Auth0's answer cannot be read: {0}")]
    Malformed(String),
}

/// A page and what came with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) page: Page,
    /// Calls that are left, by Auth0's last word.
    pub(crate) rate_limit_remaining: Option<u64>,
}

/// A tenant, signed in to as one application.
#[derive(Debug)]
pub(crate) struct Auth0 {
    http: Client,
    token_url: Url,
    logs_url: Url,
    audience: Url,
    secrets: Secrets,
    secret_id: String,
    /// Tokens are metered, so one is kept over invocations.
    token: Mutex<Option<Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    text: SecretString,
    asked: Instant,
    expires: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    /// Seconds.
    expires_in: u64,
}

struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Auth0 {
    /// # Errors
    /// The URL cannot be a base.
    pub(crate) fn new(
        http: Client,
        base: &Url,
        secrets: Secrets,
        secret_id: String,
    ) -> anyhow::Result<Self> {
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

    /// The page of events behind the log id `from`.
    pub(crate) async fn page(&self, from: &str, deadline: Deadline) -> Result<Answer, Auth0Error> {
        let token = self.token(deadline).await?;
        match self.logs(from, &token, deadline).await {
            Err(Auth0Error::Unauthorized(reason)) => {
                tracing::info!(reason, "the access token is replaced");
                *self.kept_token() = None;
                let token = self.token(deadline).await?;
                self.logs(from, &token, deadline).await
            }
            Err(Auth0Error::Forbidden(reason)) => {
                if token.asked.elapsed() > FORBIDDEN_TOKEN_AGE {
                    *self.kept_token() = None;
                }
                Err(Auth0Error::Forbidden(reason))
            }
            answer => answer,
        }
    }

    async fn token(&self, deadline: Deadline) -> Result<Token, Auth0Error> {
        let kept = self.kept_token().clone();
        if let Some(token) = kept.filter(|token| token.expires > Instant::now()) {
            return Ok(token);
        }
        let token = self.new_token(deadline).await?;
        *self.kept_token() = Some(token.clone());
        Ok(token)
    }

    fn kept_token(&self) -> MutexGuard<'_, Option<Token>> {
        // Nothing that runs under the lock leaves it half done.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn logs(
        &self,
        from: &str,
        token: &Token,
        deadline: Deadline,
    ) -> Result<Answer, Auth0Error> {
        let request = self
            .http
            .get(self.logs_url.clone())
            .query(&[("from", from), ("take", TAKE)])
            .bearer_auth(token.text.expose_secret());
        let Response { status, headers, body } = send(request, deadline).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &headers, &body));
        }
        let page = Page::parse(body)
            .map_err(|error| Auth0Error::Malformed(format!("no array: {error}")))?;
        Ok(Answer { page, rate_limit_remaining: number(&headers, "x-ratelimit-remaining") })
    }

    /// The secret is read each time: tokens are rare, and a rotated secret is then in use at once.
    async fn new_token(&self, deadline: Deadline) -> Result<Token, Auth0Error> {
        let client = timeout_at(deadline.instant(), self.secrets.auth0_client(&self.secret_id))
            .await
            .map_err(|_| Auth0Error::Unavailable("its secret was not read in time".to_owned()))??;
        let request = self.http.post(self.token_url.clone()).json(&json!({
            "grant_type": "client_credentials",
            "client_id": client.client_id,
            "client_secret": client.client_secret.expose_secret(),
            "audience": self.audience.as_str(),
        }));
        let asked = Instant::now();
        let Response { status, headers, body } = send(request, deadline).await?;
        if status != StatusCode::OK {
            return Err(match refusal(status, &headers, &body) {
                // At this address nothing else can be the reason.
                Auth0Error::CheckpointRefused(reason) => Auth0Error::Unauthorized(reason),
                other => other,
            });
        }
        // The parser's own words could quote the token.
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| Auth0Error::Malformed("no access token in it".to_owned()))?;
        let life = Duration::from_secs(answer.expires_in).saturating_sub(TOKEN_MARGIN);
        Ok(Token { text: answer.access_token.into(), asked, expires: asked + life })
    }
}

async fn send(request: RequestBuilder, deadline: Deadline) -> Result<Response, Auth0Error> {
    let unavailable = |error: reqwest::Error| Auth0Error::Unavailable(chain(&error.without_url()));
    let mut response = request.timeout(deadline.remaining()).send().await.map_err(unavailable)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(Auth0Error::Malformed(format!("longer than {MOST_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status: response.status(), headers: response.headers().clone(), body })
}

/// What an answer that is no page means.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Auth0Error {
    if status == StatusCode::TOO_MANY_REQUESTS {
        let reset = number(headers, "x-ratelimit-reset")
            .and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
        return Auth0Error::RateLimited { reset };
    }
    let described = describe(status, body);
    match status {
        StatusCode::UNAUTHORIZED => Auth0Error::Unauthorized(described),
        StatusCode::FORBIDDEN => Auth0Error::Forbidden(described),
        // Auth0 documents neither status nor text for a log id that is past its retention. But it
        // answers in JSON or not at all: a page of HTML is a proxy's.
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND if !is_markup(body) => {
            Auth0Error::CheckpointRefused(described)
        }
        _ => Auth0Error::Unavailable(described),
    }
}

fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// The status with Auth0's own words, which repeat nothing of the request but the log id.
fn describe(status: StatusCode, body: &[u8]) -> String {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let words = ["message", "error_description", "error"]
        .iter()
        .find_map(|name| error.get(name)?.as_str())
        .unwrap_or("no reason given");
    let words: String = words.chars().take(200).collect();
    format!("{status}, {words}")
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Auth0Error {
        refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn refusals_are_named_by_what_can_be_done() {
        let error = r#"{"statusCode":400,"error":"Bad Request","message":"no such log"}"#;
        let refused_checkpoint = refused(400, error);
        assert!(matches!(&refused_checkpoint, Auth0Error::CheckpointRefused(_)));
        assert!(refused_checkpoint.to_string().ends_with("400 Bad Request, no such log"));
        assert!(matches!(refused(404, "{}"), Auth0Error::CheckpointRefused(_)));
        assert!(matches!(refused(401, error), Auth0Error::Unauthorized(_)));
        assert!(matches!(refused(403, error), Auth0Error::Forbidden(_)));
        assert!(matches!(refused(500, error), Auth0Error::Unavailable(_)));
        assert!(matches!(refused(302, ""), Auth0Error::Unavailable(_)));
    }

    #[test]
    fn a_proxys_page_says_nothing_about_the_checkpoint() {
        let page = "\n<!DOCTYPE html><html><body>400 Bad Request</body></html>";
        assert!(matches!(refused(400, page), Auth0Error::Unavailable(_)));
    }

    #[test]
    fn the_rate_limit_names_its_end() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-reset", "1700000000".parse().unwrap());
        let error = refusal(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        let Auth0Error::RateLimited { reset } = error else { panic!("{error}") };
        assert_eq!(reset.unwrap().timestamp(), 1_700_000_000);
        assert!(matches!(refused(429, ""), Auth0Error::RateLimited { reset: None }));
    }
}
