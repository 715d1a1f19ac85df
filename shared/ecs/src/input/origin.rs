//! How an event reached us.

use serde::{Deserialize, Serialize};

/// The input of an event: `input.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Input {
    /// Posted by Auth0's log stream.
    #[serde(rename = "http_endpoint")]
    HttpEndpoint,
    /// Read from the Management API.
    #[serde(rename = "auth0_management_api")]
    ManagementApi,
    /// Delivered by Auth0's partner event source of Amazon `EventBridge`.
    #[serde(rename = "aws_eventbridge")]
    EventBridge,
}

impl Input {
    /// The value of `input.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpEndpoint => "http_endpoint",
            Self::ManagementApi => "auth0_management_api",
            Self::EventBridge => "aws_eventbridge",
        }
    }
}
