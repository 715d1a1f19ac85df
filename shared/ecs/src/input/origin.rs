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
}

impl Input {
    /// The value of `input.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpEndpoint => "http_endpoint",
            Self::ManagementApi => "auth0_management_api",
        }
    }
}
