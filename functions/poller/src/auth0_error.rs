//! Why Auth0 gave no page, named by what the caller can do.

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde::Deserialize;
use shared::error::BoxError;
use shared::start::secrets::SecretError;
use tokio::time::error::Elapsed;

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
    /// Auth0 does not accept this log id. It may have expired.
    #[error("Auth0 rejected the log id to continue from")]
    CheckpointRefused(#[source] ErrorResponse),
    /// The operator has to fix the URL: nothing is served there.
    #[error("AUTH0_URL does not seem to be the base URL of an Auth0 tenant")]
    WrongUrl(#[source] ErrorResponse),
    /// Auth0 does not accept the request, for a reason that the poller does not know.
    #[error("Auth0 rejected the request")]
    Rejected(#[source] ErrorResponse),
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

/// Why a response with status 200 cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MalformedError {
    #[error("not a JSON array")]
    NotAnArray(#[source] serde_json::Error),
    /// Without the parser's error, which could quote the token.
    #[error("no access token in it")]
    NoToken,
    #[error("longer than {0} bytes")]
    TooLong(usize),
}

/// The body of an error. The Management API has `statusCode`, `error`, `message` and mostly `errorCode`;
/// `/oauth/token` has `error` and `error_description`.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(rename = "statusCode")]
    status_code: Option<u16>,
    message: Option<String>,
    error_description: Option<String>,
    error: Option<String>,
}

/// How Auth0 can name the log id of a request in an error.
///
/// It documents the errors of invalid parameters ("Query validation error: '…' on property …", with the
/// parameter's name), but not the text for a log id that is past its retention. "Checkpoint" is not among
/// these words: other errors recommend to search by checkpoint.
const LOG_ID_NAMES: [&str; 7] =
    ["property from", "'from'", "\"from\"", "`from`", "log id", "log_id", "log event id"];

impl Auth0Error {
    /// Returns the error for a response that is not a success. `reset` is that of its rate limit.
    pub(crate) fn from_response(
        status: StatusCode,
        reset: Option<DateTime<Utc>>,
        body: &[u8],
    ) -> Self {
        // A body of any other form is not Auth0's.
        let error: Option<ErrorBody> = serde_json::from_slice(body).ok();
        let is_of_api = error.as_ref().is_some_and(|e| e.status_code == Some(status.as_u16()));
        let ErrorBody { message, error_description, error, .. } = error.unwrap_or_default();
        let message = message.or(error_description).or(error);
        let message = message.as_deref().unwrap_or("no reason given");
        let names_log_id = {
            let message = message.to_ascii_lowercase();
            LOG_ID_NAMES.iter().any(|name| message.contains(name))
        };
        let response = ErrorResponse { status, message: message.chars().take(200).collect() };
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited { reset },
            StatusCode::UNAUTHORIZED => Self::Unauthorized(response),
            StatusCode::FORBIDDEN => Self::Forbidden(response),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND if is_of_api && names_log_id => {
                Self::CheckpointRefused(response)
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::WrongUrl(response),
            StatusCode::REQUEST_TIMEOUT => Self::Unavailable(response.into()),
            // Auth0 never responds with HTML, as proxies do.
            status if status.is_client_error() && !is_markup(body) => Self::Rejected(response),
            // Redirects are not followed, because the token must not go elsewhere.
            status if status.is_redirection() => Self::WrongUrl(response),
            _ => Self::Unavailable(response.into()),
        }
    }

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
            Self::WrongUrl(_) => "Auth0UrlWrong",
            Self::Rejected(_) => "Auth0Rejected",
            Self::SecretTimeout(_) | Self::Unavailable(_) => "Auth0Unavailable",
            Self::Malformed(_) => "Auth0Malformed",
        }
    }
}

fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use shared::error::chain;

    use super::*;

    fn refused(status: u16, body: &str) -> Auth0Error {
        Auth0Error::from_response(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    fn api_error(status: u16, message: &str) -> Auth0Error {
        let body = serde_json::json!({ "statusCode": status, "error": "E", "message": message });
        refused(status, &body.to_string())
    }

    #[test]
    fn refusals_are_named_by_what_the_caller_can_do() {
        assert!(matches!(api_error(401, "no"), Auth0Error::Unauthorized(_)));
        assert!(matches!(api_error(403, "no"), Auth0Error::Forbidden(_)));
        assert!(matches!(api_error(408, "no"), Auth0Error::Unavailable(_)));
        assert!(matches!(api_error(500, "no"), Auth0Error::Unavailable(_)));
        assert!(matches!(refused(429, ""), Auth0Error::RateLimited { reset: None }));
        assert!(chain(&api_error(403, "no")).ends_with("403 Forbidden, no"));
    }

    #[test]
    fn log_id_is_refused_only_by_an_error_that_names_it() {
        for named in [
            "Query validation error: 'String 'x' does not match pattern. Log id' on property from.",
            "Query validation error: 'Log id not found' on property from (Log Event Id to start \
             retrieving logs).",
            "Invalid value for 'from'",
            "No log event with log_id 9002",
        ] {
            assert!(matches!(api_error(400, named), Auth0Error::CheckpointRefused(_)), "{named}");
        }
        for other in [
            "Requesting page 11 exceeds the allowed maximum of 1000 records: please consider \
             searching by checkpoint https://auth0.com/docs/logs/retrieve-log-events-using-mgmt-api\
             #retrieve-logs-by-checkpoint",
            "Query validation error: 'Value 1000 is greater than maximum 100' on property take",
            "Request from an unknown client",
            "no reason given",
        ] {
            assert!(matches!(api_error(400, other), Auth0Error::Rejected(_)), "{other}");
        }
        assert!(matches!(refused(414, ""), Auth0Error::Rejected(_)));
        let of_another_server = r#"{"message":"invalid 'from'"}"#;
        assert!(matches!(refused(400, of_another_server), Auth0Error::Rejected(_)));
    }

    #[test]
    fn url_where_nothing_is_served_is_a_configuration_error() {
        for body in ["", "{}", "<html></html>", "Cannot GET /api/v2/logs?from=9002"] {
            let error = refused(404, body);
            assert!(matches!(&error, Auth0Error::WrongUrl(_)), "{body}: {error}");
            assert!(chain(&error).starts_with("AUTH0_URL "));
        }
        assert!(matches!(api_error(404, "Not Found"), Auth0Error::WrongUrl(_)));
        assert!(matches!(refused(302, ""), Auth0Error::WrongUrl(_)));
        assert!(!api_error(404, "Not Found").is_transient());
    }

    #[test]
    fn html_of_a_proxy_is_an_outage() {
        let page = "\n<!DOCTYPE html><html><body>400 Bad Request</body></html>";
        assert!(matches!(refused(400, page), Auth0Error::Unavailable(_)));
    }
}
