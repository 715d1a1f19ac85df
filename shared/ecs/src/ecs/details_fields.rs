//! The leaves of `details` and `auth0_client` that are fields of their own with
//! [`DetailsIndexing::Fields`](crate::index_template::DetailsIndexing).
//!
//! All that Auth0's log schemas name, what else our sample events hold outside of bodies, and what the
//! search guide, our detections and Auth0's look for. A name that ends in `_text` holds what Auth0 sometimes
//! sends as text or a list and sometimes as an object.

use super::details;
use super::fields::FieldType;
use crate::json::schema::Schema;

/// The members that have a [`Schema`]. All that the last two hold is found in `auth0.logs.details_other`.
pub(crate) const MEMBERS: [&str; 4] = ["auth0_client", "details", "body", "query"];

/// Paths below `auth0.logs.data`, by type.
#[rustfmt::skip]
pub(crate) const DETAILS_FIELDS: [(FieldType, &[&str]); 7] = [
    (FieldType::Keyword, &[
        "auth0_client.env.node", "auth0_client.name", "auth0_client.version", "details.accessedSecrets",
        "details.action", "details.action_error.code", "details.action_error.name", "details.action_name",
        "details.actions.executions", "details.allowedOrigins", "details.api_type",
        "details.assessments.ImpossibleTravel.code", "details.assessments.ImpossibleTravel.confidence",
        "details.assessments.UntrustedIP.code", "details.assessments.UntrustedIP.confidence",
        "details.assessments.UntrustedIP.details.matches", "details.assessments.UntrustedIP.details.source",
        "details.audience", "details.authentication_method", "details.authenticator.type", "details.body.audience",
        "details.body.authParams.audience", "details.body.authParams.response_type",
        "details.body.authParams.scope", "details.body.connection", "details.body.email_verified",
        "details.body.grant_type", "details.body.name", "details.body.organization.branding",
        "details.body.organization.display_name", "details.body.organization.name", "details.body.phone_verified",
        "details.body.provider", "details.body.request_language", "details.body.scope", "details.body.send",
        "details.body.template.type", "details.body.tenant", "details.body.transaction.acr_values",
        "details.body.transaction.locale", "details.body.transaction.prompt", "details.body.transaction.protocol",
        "details.body.transaction.requested_scopes", "details.body.transaction.response_mode",
        "details.body.transaction.response_type", "details.body.ttl_sec", "details.body.user_metadata_text",
        "details.channel", "details.client_authentication_error", "details.client_authentoication_error",
        "details.code", "details.confidence", "details.connection", "details.connection_name",
        "details.credentials_tenant", "details.delivery_method", "details.dpop_signing_alg", "details.email_type",
        "details.enrollment.name", "details.enrollment.tenant", "details.enterprise_connection",
        "details.error.code", "details.error.oauthError", "details.error.payload.authorized",
        "details.error.payload.code", "details.error.payload.name", "details.error.payload.status",
        "details.error.title", "details.error.type", "details.error.user_errors.operation",
        "details.error.user_errors.reason", "details.error_class", "details.errors",
        "details.failure_details.errorCode", "details.feature.name", "details.flow", "details.flow_type",
        "details.grantType", "details.grant_type", "details.host_tenant", "details.id_token_signed_response_algs",
        "details.id_token_signing_alg", "details.idp_token_type", "details.initiated_by", "details.initiator",
        "details.invitation.inviter.name", "details.invitation.roles", "details.issued_token_type",
        "details.limit.bucket", "details.method", "details.notification_channel", "details.notification_type",
        "details.operation", "details.opts.search", "details.origin", "details.phone_risk_assessment.country_code",
        "details.phone_risk_assessment.line_type", "details.phone_risk_assessment.risk_level",
        "details.policy_used", "details.prompts.coi", "details.prompts.connection", "details.prompts.cov",
        "details.prompts.flow", "details.prompts.grantInfo.audience", "details.prompts.grantInfo.expiration",
        "details.prompts.grantInfo.scope", "details.prompts.identity", "details.prompts.name",
        "details.prompts.passwordless_amr", "details.prompts.performed_acr", "details.prompts.performed_amr",
        "details.prompts.provider", "details.prompts.strategy", "details.protocol",
        "details.provider_error.errorCode", "details.purpose", "details.qs.response_type", "details.qs.scope",
        "details.query.connection", "details.query.includeEmailInRedirect", "details.query.tenant",
        "details.refresh_token.access", "details.request.auth.credentials.scopes",
        "details.request.auth.credentials_text", "details.request.auth.scopes", "details.request.auth.strategy",
        "details.request.auth.user.name", "details.request.body.allowlist", "details.request.body.code",
        "details.request.body.scope", "details.request.body.status", "details.request.body_text",
        "details.request.channel", "details.request.method", "details.request.query_text",
        "details.requested_audience", "details.requested_scope", "details.requested_token_type", "details.resource",
        "details.response.body.AfterAuthentication", "details.response.body.cross_origin_authentication",
        "details.response.body.enabled", "details.response.body.grant_types",
        "details.response.body.password_reset_policy", "details.response.body.passwordless_policy",
        "details.response.body.policy", "details.response.body.profileData.email_verified",
        "details.response.body.shields", "details.response.body.stage.pre-user-registration.shields",
        "details.response.body_text", "details.response_text",
        "details.riskAssessment.assessments.ImpossibleTravel.code",
        "details.riskAssessment.assessments.ImpossibleTravel.confidence",
        "details.riskAssessment.assessments.NewDevice.code",
        "details.riskAssessment.assessments.NewDevice.confidence",
        "details.riskAssessment.assessments.UntrustedIP.code",
        "details.riskAssessment.assessments.UntrustedIP.confidence",
        "details.riskAssessment.assessments.UntrustedIP.details.matches",
        "details.riskAssessment.assessments.UntrustedIP.details.source", "details.riskAssessment.confidence",
        "details.riskAssessment.version", "details.scope", "details.sdk_version", "details.session.cookie.mode",
        "details.session_connection", "details.ss_sso_event_name", "details.stats.action", "details.status",
        "details.subject_token_type", "details.sync_status", "details.target", "details.tenant", "details.title",
        "details.token_broker", "details.token_endpoint_auth_method", "details.token_endpoint_auth_signing_alg",
        "details.type", "details.upstream_userinfo_fetch.status", "details.version", "details.webOrigins",
        "details.xhr",
    ]),
    (FieldType::Id, &[
        "details.access_token_jti", "details.action_error.stack", "details.action_id",
        "details.actor.act.act.act.act.sub", "details.actor.act.act.act.sub", "details.actor.act.act.sub",
        "details.actor.act.sub", "details.actor.sub", "details.allowed_logout_url", "details.audit_context",
        "details.authentication_method_id", "details.authenticator.id", "details.authenticator.phone_number",
        "details.binding_id", "details.body._csrf", "details.body.authParams.redirect_uri",
        "details.body.authParams.state", "details.body.clientId", "details.body.client_id",
        "details.body.confirmNewPassword", "details.body.description", "details.body.email",
        "details.body.family_name", "details.body.given_name", "details.body.idp_user_id", "details.body.job_id",
        "details.body.login_hint", "details.body.newEmail", "details.body.newPassword", "details.body.newUername",
        "details.body.newUsername", "details.body.new_phone_number", "details.body.nickname",
        "details.body.oldUsername", "details.body.old_phone_number", "details.body.organization.id",
        "details.body.password", "details.body.phone_number", "details.body.picture", "details.body.resultUrl",
        "details.body.ticket", "details.body.to", "details.body.transaction.id",
        "details.body.transaction.login_hint", "details.body.transaction.redirect_uri",
        "details.body.transaction.state", "details.body.transaction.ui_locales", "details.body.user-agent",
        "details.body.user_id", "details.body.username", "details.body.verificationUrl",
        "details.connected_account.id", "details.connected_account.idp_user_id", "details.connection_id",
        "details.credential_id", "details.custom_domain", "details.custom_domain_id", "details.details",
        "details.device", "details.device_id", "details.docs", "details.documentation", "details.domain",
        "details.email", "details.enrollment._id", "details.enrollment.id", "details.enrollment.identifier",
        "details.enrollment.phone_number", "details.enrollment.user_id", "details.enterprise_connection_id",
        "details.error.payload.attempt", "details.error.payload.client.clientID", "details.error.payload.clientID",
        "details.error.uri", "details.error.user_errors.identity_user_id", "details.execution_id",
        "details.familyId", "details.feature.description", "details.feature.documentation", "details.feature.id",
        "details.feature.tenant_from_host", "details.flow_id", "details.form_id", "details.grant_id",
        "details.host", "details.id", "details.invitation.client_id", "details.invitation.id",
        "details.invitation.invitee.email", "details.invitation.inviter.organization_id",
        "details.invitation.ticket_id", "details.link", "details.organization_id", "details.originUrl",
        "details.originalUrl", "details.original_profile", "details.path", "details.phone_number",
        "details.prompts.connection_id", "details.prompts.grantInfo.id", "details.prompts.session_id",
        "details.prompts.url", "details.prompts.user_id", "details.prompts.user_name", "details.qs.client_id",
        "details.qs.redirect_uri", "details.qs.state", "details.query.client_id", "details.query.email",
        "details.query.idp_user_id", "details.query.newPassword", "details.query.resultUrl",
        "details.query.user_id", "details.query.username", "details.referer", "details.refresh_token.session_id",
        "details.request.auth.credentials.jti", "details.request.auth.user.email",
        "details.request.auth.user.user_id", "details.request.auth.user_text",
        "details.request.backchannel_logout_uri", "details.request.body.roles", "details.request.path",
        "details.request.userAgent", "details.requestedRichConsentId", "details.requested_client_id",
        "details.resetUrl", "details.response.body.audience", "details.response.body.client_id",
        "details.response.body.error_page.html", "details.return_to",
        "details.riskAssessment.assessments.NewDevice.details.device",
        "details.riskAssessment.assessments.NewDevice.details.useragent", "details.saml_certificate_thumbprint",
        "details.session_id", "details.ss_sso_tracing_id", "details.state", "details.stats.acl_id",
        "details.stats.description", "details.synchronization_id", "details.to",
        "details.token_endpoint_auth_signing_kid", "details.token_thumbprint", "details.transaction.id",
        "details.transaction_id", "details.transaction_linking_id", "details.trigger_id", "details.user_id",
        "details.version_id",
    ]),
    (FieldType::KeywordWithText, &[
        "details.action_error.message", "details.description", "details.error.detail", "details.error.message",
        "details.error.payload.message", "details.error.reason", "details.errorMsg", "details.error_text",
        "details.failure_details.message", "details.failure_reason", "details.message",
        "details.provider_error.message", "details.reason", "details.warning",
    ]),
    (FieldType::Boolean, &[
        "details.body.blocked", "details.body.debug", "details.body.includeEmailInRedirect",
        "details.body.markEmailAsVerified", "details.body.requiredCaptcha", "details.body.verify",
        "details.dpop_nonce_used", "details.enabled_features.domainVerification",
        "details.enabled_features.provisioning", "details.enabled_features.sso",
        "details.error.user_errors_truncated", "details.first_factor", "details.ipOnAllowlist",
        "details.is_privileged_worker", "details.limit.global", "details.phone_risk_assessment.is_valid",
        "details.prompts.requiredCaptcha", "details.prompts.session", "details.query.markEmailAsVerified",
        "details.remember_browser", "details.request.body.enabled", "details.requiresVerification",
        "details.requiresVerificationForSignupFlow", "details.scheduled",
        "details.triggered_by_session_transfer_token", "details.upstream_userinfo_fetch.dpop_bound",
    ]),
    (FieldType::Long, &[
        "details.elapsedTime", "details.endCount", "details.error.status", "details.latestCounter",
        "details.limit.size", "details.limit.usage", "details.prompts.elapsedTime",
        "details.prompts.stats.loginsCount", "details.prompts.timers.rules", "details.removedCount",
        "details.response.statusCode", "details.session.idp_session_expiry", "details.start",
        "details.stats.loginsCount", "details.stats.match.successes", "details.stats.priority",
        "details.stats.total_request_count.successes", "details.tokenCounter", "details.total_hours_allocated",
        "details.total_hours_consumed", "details.total_hours_remaining",
    ]),
    (FieldType::Date, &[
        "details.completedAt", "details.completed_at", "details.created_at", "details.end_time",
        "details.expires_at", "details.initiatedAt", "details.invitation.created_at",
        "details.invitation.expires_at", "details.prompts.completedAt", "details.prompts.initiatedAt",
        "details.reset_time", "details.start_time", "details.started_at", "details.trigger_time",
    ]),
    (FieldType::Ip, &[
        "details.assessments.UntrustedIP.details.ip", "details.body.ip", "details.request.ip",
        "details.riskAssessment.assessments.UntrustedIP.details.ip",
    ]),
];

/// The schema of each of [`MEMBERS`].
pub(crate) fn schemas() -> impl Iterator<Item = (&'static str, Schema)> {
    MEMBERS.into_iter().map(|member| {
        let mut schema = Schema::new(true);
        for (kind, paths) in DETAILS_FIELDS {
            for path in paths {
                if let Some((first, below)) = path.split_once('.')
                    && first == member
                {
                    schema.insert(below, kind.leaf());
                }
            }
        }
        if member == "details" {
            for (place, path) in details::PATHS.iter().enumerate() {
                schema.remember(path, place);
            }
        }
        (member, schema)
    })
}
