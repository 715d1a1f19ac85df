//! The installation's requests to the engine and its errors, worded so that the operator knows what to do.

use auth0_ecs::index_template::{PRIORITY, Product};
use shared::engine::client::EngineError;
use shared::engine::detect::{DetectError, Version};
use shared::engine::transport::EngineClientError;
use shared::start::config::ConfigError;
use shared::start::http::TlsError;
use shared::start::secrets::SecretError;

/// Why the installation failed, and what the operator can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error("RetentionDays is {found}, but has to be a number of days, or 0 for never")]
    Retention { found: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Unusable(#[from] EngineClientError),
    #[error("the credentials are wrong (check SEARCH_SECRET_ID and the secret's content)")]
    Unauthorized(#[source] EngineError),
    #[error("the engine is unavailable (check SEARCH_ENDPOINT and the function's network)")]
    Unavailable(#[source] EngineError),
    #[error("the engine is overloaded or starting")]
    Busy(#[source] DetectError),
    #[error("the engine cannot be identified (check SEARCH_ENDPOINT)")]
    NotAnEngine(#[source] DetectError),
    #[error("{product} {found} is too old: {min} or later is required")]
    TooOld { product: Product, found: Version, min: Version },
    #[error(
        "the engine's user may not {}: {}; the engine says: {reason}",
        step.verb(),
        advice(privilege, reason)
    )]
    Forbidden { step: Step, privilege: &'static str, reason: String },
    #[error("the engine refused to {}: {reason}", step.verb())]
    Refused { step: Step, reason: String },
    #[error(
        "another index template overrides {name} for {stream}: give it a priority below {PRIORITY} or \
         another pattern (GET _index_template lists them)"
    )]
    Shadowed { name: String, stream: String },
    #[error(
        "{stream} is an index, not a data stream: something was written to it before the index template \
         was there, which is there now. Copy its documents to another index (POST _reindex), delete it, \
         copy them back with op_type create, and install again (docs/engines.md, \"A plain index in the \
         data stream's place\")"
    )]
    NotADataStream { stream: String },
    #[error(
        "the collection does not take documents with an id of their own, without which events would be \
         stored twice: collections of the types time series and vector search do not. Create one of the \
         type search, and deploy with its endpoint and ARN"
    )]
    WrongCollection,
    #[error(
        "{stream} already has another mapping than ours: it was created before the index template, or by \
         another one. Delete it, and install again"
    )]
    ForeignMapping { stream: String },
}

impl From<EngineError> for InstallError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unauthorized { .. } => Self::Unauthorized(error),
            EngineError::Unavailable { .. } => Self::Unavailable(error),
        }
    }
}

/// One request to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Detect,
    ReadPolicy,
    WritePolicy,
    WriteComponent,
    WriteTemplate,
    ReadTemplate,
    Simulate,
    ReadWriteIndex,
    ReadDataStream,
    RollOver,
    WriteRetention,
    TestCollection,
}

impl Step {
    const fn verb(self) -> &'static str {
        match self {
            Self::Detect => "read the engine's version",
            Self::ReadPolicy => "read the lifecycle policy",
            Self::WritePolicy => "write the lifecycle policy",
            Self::WriteComponent => "create the component template for settings of your own",
            Self::WriteTemplate => "write the index template",
            Self::ReadTemplate => "read the index template",
            Self::Simulate => "check which index template applies",
            Self::ReadWriteIndex => "read the mapping of the data stream's write index",
            Self::ReadDataStream => "read the data stream's index template",
            Self::RollOver => "roll the data stream over",
            Self::WriteRetention => "change the data stream's retention",
            Self::TestCollection => "send a document that is bound to be refused",
        }
    }

    /// Returns the privilege that the step needs; `docs/engines.md` lists them all.
    pub(crate) const fn privilege(self, product: Option<Product>) -> &'static str {
        match (self, product) {
            (Self::Detect, _) => "monitor (Elasticsearch) or cluster:monitor/main (OpenSearch)",
            (Self::TestCollection, _) => {
                "aoss:CreateIndex and aoss:WriteDocument of a data access policy"
            }
            (_, Some(Product::OpenSearchServerless)) => {
                "aoss:CreateCollectionItems and aoss:UpdateCollectionItems of a data access policy"
            }
            (Self::ReadPolicy | Self::WritePolicy, Some(product)) if product.is_elasticsearch() => {
                "manage_ilm"
            }
            (
                Self::WriteComponent | Self::WriteTemplate | Self::ReadTemplate | Self::Simulate,
                Some(product),
            ) if product.is_elasticsearch() => "manage_index_templates",
            (Self::ReadWriteIndex | Self::ReadDataStream, Some(product))
                if product.is_elasticsearch() =>
            {
                "view_index_metadata"
            }
            (Self::RollOver, Some(product)) if product.is_elasticsearch() => "manage",
            (Self::WriteRetention, _) => "manage_data_stream_lifecycle",
            (Self::ReadPolicy, _) => "cluster:admin/opendistro/ism/policy/get",
            (Self::WritePolicy, _) => "cluster:admin/opendistro/ism/policy/write",
            (Self::WriteComponent, _) => "cluster:admin/component_template/put",
            (Self::WriteTemplate, _) => "indices:admin/index_template/put",
            (Self::ReadTemplate, _) => "indices:admin/index_template/get",
            (Self::Simulate, _) => "indices:admin/index_template/simulate_index",
            (Self::ReadWriteIndex, _) => "indices:admin/mappings/get",
            (Self::ReadDataStream, _) => "indices:admin/data_stream/get",
            (Self::RollOver, _) => "indices:admin/rollover",
        }
    }
}

/// Returns what is missing. Amazon's domains refuse at three places, and `reason` tells which.
fn advice(privilege: &str, reason: &str) -> String {
    if reason.starts_with("User: ") {
        return "IAM or the domain's access policy refuses it".to_owned();
    }
    // "no permissions for […] and User [name=<ARN>, backend_roles=[<ARN>], requestedTenant=null]"
    let role =
        reason.split_once("backend_roles=[").and_then(|(_, rest)| rest.split([',', ']']).next());
    match role.filter(|role| role.starts_with("arn:")) {
        Some(role) => format!(
            "the backend role {role} is not mapped to an engine role with the privilege {privilege}; map \
             it to auth0-setup (docs/engines.md, \"Amazon OpenSearch Service\")"
        ),
        None => format!("it lacks the privilege {privilege}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_gate_that_refused() {
        let of = |reason| advice("monitor", reason);
        assert_eq!(
            of("no permissions for [x] and User [name=setup, backend_roles=[]]"),
            "it lacks the privilege monitor"
        );
        assert_eq!(
            of("User: arn:aws:iam::1:role/a is not authorized"),
            "IAM or the domain's access policy refuses it"
        );
        let role = of(
            "no permissions for [x] and User [name=arn:aws:iam::1:role/a, backend_roles=[arn:aws:iam::1:role/a], requestedTenant=null]",
        );
        assert!(role.starts_with("the backend role arn:aws:iam::1:role/a is not mapped"), "{role}");
    }
}
