//! Auth0's event type codes and their meaning in ECS: data only, one line per type.
//!
//! Codes and names are Auth0's ("Log Event Type Codes" and the published log schemas). Classification,
//! action, category and type are those of Elastic's Auth0 integration if it knows the code. For all other
//! codes, the classification is Auth0's log stream filter ("Log Stream Filters"; what Auth0 has not classified
//! is in `Other`), and the rest follows Elastic's pattern. ECS 8.11 defines which pairs of category and type
//! are allowed. `make types` compares the table with Auth0's documentation.

/// ECS `event.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Success,
    /// It was refused or failed.
    Failure,
    /// The type does not say.
    Unknown,
}

use Outcome::{Failure, Success, Unknown};

impl Outcome {
    /// The value of `event.outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Success => "success",
            Failure => "failure",
            Unknown => "unknown",
        }
    }
}

/// The meaning of a type code.
#[derive(Clone, Copy, Debug)]
pub struct LogType {
    /// Auth0's code, such as `fp`: `auth0.logs.data.type_id`.
    pub code: &'static str,
    /// Auth0's name for the type: `auth0.logs.data.type`.
    pub name: &'static str,
    /// The log stream filter category of the type: `auth0.logs.data.classification`.
    pub classification: &'static str,
    /// `event.outcome`.
    pub outcome: Outcome,
    /// `event.action`.
    pub action: &'static str,
    /// `event.category`.
    pub category: &'static [&'static str],
    /// `event.type`.
    pub kind: &'static [&'static str],
}

impl LogType {
    /// The category by which Auth0's log stream filters know the type. Elastic's classification differs in
    /// four.
    #[must_use]
    pub fn filter(&self) -> &'static str {
        match self.code {
            "fco" => "Other",
            "fcph" => "User/Behavioral - Failure",
            "sd" => "User/Behavioral - Success",
            "ss" => "Signup - Success",
            _ => self.classification,
        }
    }
}

/// Returns the row of a code; `None` if the table does not know the type yet.
#[must_use]
pub fn find(code: &str) -> Option<&'static LogType> {
    let row = LOG_TYPES.binary_search_by(|row| row.code.cmp(code)).ok()?;
    LOG_TYPES.get(row)
}

/// All types, in byte order of their codes.
#[rustfmt::skip]
pub static LOG_TYPES: [LogType; 194] = [
    LogType { code: "acls_summary", name: "Network ACL match summary for a period", classification: "Other", outcome: Unknown, action: "network-acls-summary", category: &["network"], kind: &["info"] },
    LogType { code: "actions_execution_failed", name: "Action execution failed", classification: "Action Execution - Failure", outcome: Failure, action: "action-execution-failed", category: &["process"], kind: &["info"] },
    LogType { code: "acul_sdk_notice", name: "Universal Login customization (ACUL) SDK notice", classification: "System - Notification", outcome: Unknown, action: "acul-sdk-notice", category: &["configuration"], kind: &["info"] },
    LogType { code: "admin_update_launch", name: "Auth0 Update Launched", classification: "System - Notification", outcome: Unknown, action: "auth0-update-launched", category: &["authentication", "configuration"], kind: &["change"] },
    LogType { code: "api_limit", name: "The maximum number of requests to the Authentication or Management APIs in given time has reached", classification: "System - Notification", outcome: Unknown, action: "max-requests-reached", category: &["authentication", "network"], kind: &["info", "access"] },
    LogType { code: "api_limit_warning", name: "API rate limit nearly reached", classification: "System - Notification", outcome: Unknown, action: "max-requests-nearly-reached", category: &["network"], kind: &["info", "access"] },
    LogType { code: "appi", name: "API Peak Performance rate initiated", classification: "System - Notification", outcome: Unknown, action: "api-peak-performance-initiated", category: &["network"], kind: &["info"] },
    LogType { code: "ciba_exchange_failed", name: "Failed exchange of CIBA auth_req_id for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-ciba-auth-req-id-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "ciba_exchange_succeeded", name: "Successful exchange of CIBA auth_req_id for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-ciba-auth-req-id-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "ciba_start_failed", name: "Failed to start backchannel (CIBA) authentication", classification: "Other", outcome: Failure, action: "failed-ciba-start", category: &["authentication"], kind: &["info"] },
    LogType { code: "ciba_start_succeeded", name: "Backchannel (CIBA) authentication started", classification: "Other", outcome: Success, action: "success-ciba-start", category: &["authentication"], kind: &["info", "start"] },
    LogType { code: "cls", name: "Passwordless login code or link sent", classification: "Other", outcome: Unknown, action: "passwordless-login-code-or-link-sent", category: &["authentication"], kind: &["info"] },
    LogType { code: "coff", name: "AD/LDAP Connector is offline", classification: "System - Notification", outcome: Unknown, action: "ad-ldap-connector-offline", category: &["authentication", "network", "web"], kind: &["error", "connection"] },
    LogType { code: "con", name: "AD/LDAP Connector is online and working", classification: "System - Notification", outcome: Unknown, action: "ad-ldap-connector-online", category: &["authentication", "network"], kind: &["info", "connection"] },
    LogType { code: "connected_accounts_connection_failed", name: "Failed to connect a third-party account", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-connect-third-party-account", category: &["iam"], kind: &["info", "change", "user"] },
    LogType { code: "connected_accounts_connection_succeeded", name: "Connected a third-party account", classification: "User/Behavioral - Success", outcome: Success, action: "third-party-account-connected", category: &["iam"], kind: &["info", "change", "user"] },
    LogType { code: "connected_accounts_delete_failed", name: "Failed to delete a connected third-party account", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-delete-connected-account", category: &["iam"], kind: &["info", "deletion", "user"] },
    LogType { code: "connected_accounts_delete_succeeded", name: "Deleted a connected third-party account", classification: "User/Behavioral - Success", outcome: Success, action: "connected-account-deleted", category: &["iam"], kind: &["info", "deletion", "user"] },
    LogType { code: "cs", name: "Passwordless login code has been sent", classification: "User/Behavioral - Notification", outcome: Success, action: "passwordless-login-code-sent", category: &["authentication"], kind: &["info"] },
    LogType { code: "custom_domain_verification_failed", name: "Custom domain verification failed", classification: "System - Notification", outcome: Failure, action: "failed-custom-domain-verification", category: &["configuration"], kind: &["info"] },
    LogType { code: "custom_domains_verification_failed", name: "Custom domain verification failed", classification: "Other", outcome: Failure, action: "failed-custom-domains-verification", category: &["configuration"], kind: &["info"] },
    LogType { code: "depnote", name: "Deprecation Notice", classification: "System - Notification", outcome: Unknown, action: "deprecation-notice", category: &["authentication"], kind: &["info"] },
    LogType { code: "directory_sync_completed", name: "Inbound directory sync completed", classification: "System - Notification", outcome: Success, action: "directory-sync-completed", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "directory_sync_failed", name: "Inbound directory sync failed", classification: "System - Notification", outcome: Failure, action: "directory-sync-failed", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "directory_sync_started", name: "Inbound directory sync started", classification: "System - Notification", outcome: Unknown, action: "directory-sync-started", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "du", name: "User has been deleted", classification: "User/Behavioral - Notification", outcome: Success, action: "user-deleted", category: &["authentication", "iam"], kind: &["info", "user", "deletion"] },
    LogType { code: "elevated_rate_limit", name: "Elevated API rate limit notice", classification: "Other", outcome: Unknown, action: "elevated-rate-limit", category: &["network"], kind: &["info", "access"] },
    LogType { code: "f", name: "Failed login", classification: "Login - Failure", outcome: Failure, action: "failed-login", category: &["authentication"], kind: &["info"] },
    LogType { code: "failed_on_behalf_of_token_exchange", name: "Failed on-behalf-of token exchange", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-on-behalf-of-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fapi", name: "Failed Management API operation", classification: "Management API - Failure", outcome: Failure, action: "failed-mgmt-api-operation", category: &["authentication", "web"], kind: &["info", "error"] },
    LogType { code: "fc", name: "Failed connector login", classification: "Login - Failure", outcome: Failure, action: "failed-connector-login", category: &["authentication"], kind: &["info"] },
    LogType { code: "fce", name: "Failed to change user email", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-change-user-email", category: &["authentication", "iam"], kind: &["change", "user"] },
    LogType { code: "fco", name: "Origin is not in the application's Allowed Origins list", classification: "Login - Failure", outcome: Failure, action: "origin-not-allowed", category: &["authentication"], kind: &["info"] },
    LogType { code: "fcoa", name: "Failed cross-origin authentication", classification: "Login - Failure", outcome: Failure, action: "failed-cross-origin-authentication", category: &["authentication"], kind: &["info"] },
    LogType { code: "fcp", name: "Failed to change password", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-change-password", category: &["authentication", "iam"], kind: &["change", "user"] },
    LogType { code: "fcph", name: "Failed Post Change Password Hook", classification: "Other", outcome: Failure, action: "failed-post-change-password-hook", category: &["authentication", "iam"], kind: &["change", "user"] },
    LogType { code: "fcpn", name: "Failed to change phone number", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-change-phone-number", category: &["authentication", "iam"], kind: &["change", "user"] },
    LogType { code: "fcpr", name: "Failed change password request", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-change-password-request", category: &["authentication", "iam"], kind: &["change", "user"] },
    LogType { code: "fcpro", name: "Failed to provision a AD/LDAP connector", classification: "System - Notification", outcome: Failure, action: "failed-ad-ldap-provision", category: &["authentication", "network"], kind: &["info", "connection"] },
    LogType { code: "fcu", name: "Failed to change username", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-change-username", category: &["authentication", "iam"], kind: &["change", "user"] },
    LogType { code: "fd", name: "Failed to generate delegation token", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-generate-delegation-token", category: &["authentication", "iam"], kind: &["info", "user"] },
    LogType { code: "fdeac", name: "Failed to activate device", classification: "Other", outcome: Failure, action: "failed-to-activate-device", category: &["authentication"], kind: &["info"] },
    LogType { code: "fdeaz", name: "Device authorization request failed", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-device-authorization-request", category: &["authentication", "iam"], kind: &["info", "user"] },
    LogType { code: "fdecc", name: "User did not confirm device", classification: "User/Behavioral - Failure", outcome: Failure, action: "user-device-not-confirmed", category: &["authentication"], kind: &["info"] },
    LogType { code: "fdeleacft", name: "Failed exchange of delegated Authorization Code for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-delegated-auth-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fdelsa", name: "Failed delegated silent authentication", classification: "Silent Authentication - Failure", outcome: Failure, action: "failed-delegated-silent-authentication", category: &["authentication"], kind: &["info"] },
    LogType { code: "fdu", name: "Failed user deletion", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-user-deletion", category: &["authentication", "iam"], kind: &["deletion", "user"] },
    LogType { code: "feacft", name: "Failed exchange of Authorization Code for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-auth-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "feccft", name: "Failed exchange of Access Token for a Client Credentials Grant", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-access-token-for-client-cred-grant", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fecte", name: "Failed custom token exchange", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-custom-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fede", name: "Failed exchange of Device Code for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-device-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "federated_logout_failed", name: "Failed logout from the upstream identity provider", classification: "Logout - Failure", outcome: Failure, action: "federated-logout-failed", category: &["authentication", "session"], kind: &["info"] },
    LogType { code: "fens", name: "Failed native social login", classification: "Login - Failure", outcome: Failure, action: "failed-native-social-login", category: &["authentication"], kind: &["info"] },
    LogType { code: "feoobft", name: "Failed exchange of Password and OOB Challenge for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-password-oob-challenge-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "feotpft", name: "Failed exchange of Password and OTP Challenge for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-password-otp-challenge-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fepft", name: "Failed exchange of Password for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-password-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fepotpft", name: "Failed exchange of Passwordless OTP for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-passwordless-otp-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fercft", name: "Failed exchange of Password and MFA Recovery code for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-password-mfa-recovery-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "ferrt", name: "Failed exchange of Rotating Refresh Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-rotating-refresh-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fertft", name: "Failed exchange of Refresh Token for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-refresh-token-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "feta", name: "Failed token exchange at Token Vault", classification: "Token Exchange - Success", outcome: Failure, action: "failed-exchange-token-vault", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "fi", name: "Failed to accept a user invitation. This could happen if the user accepts an invitation using a different email address than provided in the invitation, or due to a system failure while provisioning the invitation.", classification: "Other", outcome: Failure, action: "failed-to-accept-user-invitation", category: &["authentication"], kind: &["info"] },
    LogType { code: "flo", name: "User logout failed", classification: "Logout - Failure", outcome: Failure, action: "user-logout-failed", category: &["authentication", "session"], kind: &["info"] },
    LogType { code: "flows_execution_completed", name: "Flow execution completed", classification: "Other", outcome: Success, action: "flow-execution-completed", category: &["process"], kind: &["info", "end"] },
    LogType { code: "flows_execution_failed", name: "Flow execution failed", classification: "Other", outcome: Failure, action: "flow-execution-failed", category: &["process"], kind: &["info", "end"] },
    LogType { code: "fn", name: "Failed to send email notification", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-send-email-notification", category: &["authentication"], kind: &["info"] },
    LogType { code: "forms_submission_failed", name: "Form submission failed", classification: "Other", outcome: Failure, action: "form-submission-failed", category: &["web"], kind: &["info", "error"] },
    LogType { code: "forms_submission_succeeded", name: "Form submission succeeded", classification: "Other", outcome: Success, action: "form-submission-succeeded", category: &["web"], kind: &["info", "access"] },
    LogType { code: "fp", name: "Incorrect password", classification: "Login - Failure", outcome: Failure, action: "incorrect-password", category: &["authentication"], kind: &["info"] },
    LogType { code: "fpar", name: "Failed pushed authorization request", classification: "Other", outcome: Failure, action: "failed-pushed-authorization-request", category: &["authentication", "web"], kind: &["info", "error"] },
    LogType { code: "fpurh", name: "Post user registration hook failed", classification: "Other", outcome: Failure, action: "failed-post-user-registration-hook", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "fs", name: "User signup failed", classification: "Signup - Failure", outcome: Failure, action: "user-signup-failed", category: &["authentication", "iam"], kind: &["info", "creation", "user"] },
    LogType { code: "fsa", name: "Failed silent authentication", classification: "Silent Authentication - Failure", outcome: Failure, action: "failed-silent-authentication", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "fscim", name: "Failed SCIM operation", classification: "SCIM", outcome: Failure, action: "failed-scim-operation", category: &["web", "iam"], kind: &["info", "user", "error"] },
    LogType { code: "fu", name: "Invalid email or username", classification: "Login - Failure", outcome: Failure, action: "invalid-username-or-email", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "fui", name: "Failed to import users", classification: "System - Notification", outcome: Failure, action: "failed-to-import-users", category: &["authentication", "iam", "web"], kind: &["info", "user", "error"] },
    LogType { code: "fv", name: "Failed to send verification email", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-send-verification-email", category: &["authentication"], kind: &["info"] },
    LogType { code: "fvr", name: "Failed to process verification email request", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-to-process-verification-email", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_auth_email_verification", name: "E-mail verification confirmed", classification: "Other", outcome: Success, action: "email-verification-confirmed", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "gd_auth_fail_email_verification", name: "E-mail verification failed", classification: "Other", outcome: Failure, action: "email-verification-failed", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "gd_auth_failed", name: "Multi-factor authentication failed. This could happen due to a wrong code entered for SMS/Voice/Email/TOTP factors, or a system failure.", classification: "Other", outcome: Failure, action: "mfa-authentication-failed-wrong-code", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_auth_rejected", name: "A user rejected a Multi-factor authentication request via push-notification.", classification: "Other", outcome: Failure, action: "user-rejected-mfa-request", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_auth_succeed", name: "Multi-factor authentication success.", classification: "Other", outcome: Success, action: "mfa-authentication-succeeded", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_enrollment_complete", name: "A first time MFA user has successfully enrolled using one of the factors", classification: "User/Behavioral - Notification", outcome: Success, action: "mfa-enrollment-completed", category: &["authentication", "iam", "session"], kind: &["info", "change", "end"] },
    LogType { code: "gd_module_switch", name: "MFA module switched", classification: "Other", outcome: Unknown, action: "mfa-module-switched", category: &["configuration"], kind: &["info", "change"] },
    LogType { code: "gd_otp_rate_limit_exceed", name: "A user, during enrollment or authentication, enters an incorrect code more than the maximum allowed number of times. Ex: A user enrolling in SMS enters the 6-digit code wrong more than 10 times in a row.", classification: "Other", outcome: Failure, action: "user-entered-too-many-incorrect-codes", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "gd_recovery_failed", name: "A user enters a wrong recovery code when attempting to authenticate.", classification: "Other", outcome: Failure, action: "user-entered-wrong-recovery-code", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_recovery_rate_limit_exceed", name: "A user enters a wrong recovery code too many times.", classification: "Other", outcome: Failure, action: "user-entered-too-many-wrong-codes", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "gd_recovery_succeed", name: "A user successfully authenticates with a recovery code", classification: "Other", outcome: Success, action: "recovery-succeeded", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_send_email", name: "MFA e-mail sent", classification: "Other", outcome: Success, action: "mfa-email-sent", category: &["authentication", "email"], kind: &["info"] },
    LogType { code: "gd_send_email_failure", name: "Failed to send MFA e-mail", classification: "Other", outcome: Failure, action: "failed-to-send-mfa-email", category: &["authentication", "email"], kind: &["info"] },
    LogType { code: "gd_send_email_verification", name: "Verification e-mail sent", classification: "Other", outcome: Success, action: "verification-email-sent", category: &["iam", "email"], kind: &["info", "user"] },
    LogType { code: "gd_send_email_verification_failure", name: "Failed to send verification e-mail", classification: "Other", outcome: Failure, action: "verification-email-send-failed", category: &["iam", "email"], kind: &["info", "user"] },
    LogType { code: "gd_send_pn", name: "Push notification for MFA sent successfully sent.", classification: "Other", outcome: Success, action: "push-notification-sent", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_send_pn_failure", name: "Failed to send MFA push notification", classification: "Other", outcome: Failure, action: "failed-to-send-push-notification", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_send_sms", name: "SMS for MFA successfully sent.", classification: "Other", outcome: Success, action: "sms-sent", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_send_sms_failure", name: "Attempt to send SMS for MFA failed.", classification: "Other", outcome: Failure, action: "failed-to-send-sms", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_send_voice", name: "Voice call for MFA successfully made.", classification: "Other", outcome: Success, action: "voice-call-made", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_send_voice_failure", name: "Attempt to make Voice call for MFA failed.", classification: "Other", outcome: Failure, action: "voice-call-failure", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_start_auth", name: "Second factor authentication event started for MFA.", classification: "Other", outcome: Unknown, action: "2fa-auth-event-started", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_start_enroll", name: "Multi-factor authentication enroll has started", classification: "User/Behavioral - Notification", outcome: Unknown, action: "mfa-enrollment-started", category: &["authentication", "iam", "session"], kind: &["info", "change", "start"] },
    LogType { code: "gd_start_enroll_failed", name: "Failed to start MFA enrolment", classification: "Other", outcome: Failure, action: "mfa-enrollment-start-failed", category: &["iam"], kind: &["info", "change"] },
    LogType { code: "gd_tenant_update", name: "Guardian tenant update", classification: "Other", outcome: Success, action: "guardian-tenant-update", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_unenroll", name: "Device used for second factor authentication has been unenrolled", classification: "User/Behavioral - Notification", outcome: Success, action: "mfa-device-unenrolled", category: &["authentication", "iam"], kind: &["info", "deletion"] },
    LogType { code: "gd_update_device_account", name: "Device used for second factor authentication has been updated", classification: "User/Behavioral - Notification", outcome: Success, action: "mfa-device-updated", category: &["authentication", "iam"], kind: &["info", "change"] },
    LogType { code: "gd_user_delete", name: "MFA user account deleted", classification: "Other", outcome: Unknown, action: "mfa-user-deleted", category: &["iam"], kind: &["info", "user", "deletion"] },
    LogType { code: "gd_webauthn_challenge_failed", name: "WebAuthn factor verification failed", classification: "Other", outcome: Failure, action: "webauthn-challenge-failed", category: &["authentication"], kind: &["info"] },
    LogType { code: "gd_webauthn_enrollment_failed", name: "WebAuthn factor enrolment failed", classification: "Other", outcome: Failure, action: "webauthn-enrollment-failed", category: &["iam"], kind: &["info", "change"] },
    LogType { code: "idjag_exchange_failed", name: "Failed exchange of Identity Assertion JWT grant for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-identity-assertion-jwt-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "idjag_exchange_succeeded", name: "Successful exchange of Identity Assertion JWT grant for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-identity-assertion-jwt-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "jwt_bearer_exchange_failed", name: "Failed exchange of JWT Bearer assertion for Access Token", classification: "Token Exchange - Failure", outcome: Failure, action: "failed-exchange-jwt-bearer-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "kms_key_management_failure", name: "Failed KMS API operation", classification: "Other", outcome: Failure, action: "failed-kms-api-operation", category: &["configuration"], kind: &["info", "change"] },
    LogType { code: "kms_key_management_success", name: "Successful KMS API operation", classification: "Other", outcome: Success, action: "success-kms-api-operation", category: &["configuration"], kind: &["info", "change"] },
    LogType { code: "kms_key_state_changed", name: "KMS key state changed", classification: "Other", outcome: Unknown, action: "kms-key-state-changed", category: &["configuration"], kind: &["info", "change"] },
    LogType { code: "limit_delegation", name: "Rate limit exceeded to /delegation endpoint", classification: "System - Notification", outcome: Unknown, action: "rate-limit-exceeded-to-delegation-endpoint", category: &["authentication", "network"], kind: &["info", "access"] },
    LogType { code: "limit_mu", name: "An IP address is blocked with 100 failed login attempts using different usernames", classification: "System - Notification", outcome: Unknown, action: "hundred-failed-logins-ip-address-blocked", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "limit_phone", name: "Too many SMS messages or voice calls for a user", classification: "System - Notification", outcome: Unknown, action: "phone-message-limit-reached", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "limit_sul", name: "A user is temporarily prevented from logging in because more than 20 logins per minute occurred from the same IP address", classification: "Other", outcome: Unknown, action: "user-blocked-too-many-failed-logins-from-same-ip", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "limit_ui", name: "Rate limit exceeded to /userinfo endpoint", classification: "Other", outcome: Unknown, action: "rate-limit-exceeded-to-userinfo-endpoint", category: &["network"], kind: &["info", "access"] },
    LogType { code: "limit_wc", name: "An IP address is blocked with 10 failed login attempts into a single account from the same IP address", classification: "System - Notification", outcome: Unknown, action: "ten-failed-logins-ip-address-blocked", category: &["authentication", "intrusion_detection"], kind: &["info", "denied"] },
    LogType { code: "mfar", name: "A user has been prompted for multi-factor authentication (MFA). When using Adaptive MFA, Auth0 includes details about the risk assessment.", classification: "Other", outcome: Unknown, action: "user-prompted-for-mfa", category: &["authentication"], kind: &["info"] },
    LogType { code: "mgmt_api_read", name: "API GET operation returning secrets completed successfully", classification: "Management API - Success", outcome: Success, action: "success-mgmt-api-op-secrets-returned", category: &["authentication", "web", "iam"], kind: &["info", "access"] },
    LogType { code: "my_account_authentication_method_failed", name: "Failed authentication method operation in My Account API", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-my-account-authentication-method-operation", category: &["iam"], kind: &["info", "change", "user"] },
    LogType { code: "my_account_authentication_method_succeeded", name: "Successful authentication method operation in My Account API", classification: "User/Behavioral - Success", outcome: Success, action: "success-my-account-authentication-method-operation", category: &["iam"], kind: &["info", "change", "user"] },
    LogType { code: "oidc_backchannel_logout_failed", name: "Failed OIDC back-channel logout request", classification: "Logout - Failure", outcome: Failure, action: "oidc-backchannel-logout-failed", category: &["authentication", "session"], kind: &["info"] },
    LogType { code: "oidc_backchannel_logout_succeeded", name: "Successful OIDC back-channel logout request", classification: "Logout - Success", outcome: Success, action: "oidc-backchannel-logout-successful", category: &["authentication", "session"], kind: &["info", "end"] },
    LogType { code: "organization_member_added", name: "Member added to organization", classification: "Other", outcome: Success, action: "organization-member-added", category: &["iam"], kind: &["info", "change", "group"] },
    LogType { code: "passkey_challenge_failed", name: "Native passkey challenge failed", classification: "Other", outcome: Failure, action: "passkey-challenge-failed", category: &["authentication"], kind: &["info"] },
    LogType { code: "passkey_challenge_started", name: "Native passkey challenge started", classification: "Other", outcome: Unknown, action: "passkey-challenge-started", category: &["authentication"], kind: &["info", "start"] },
    LogType { code: "passkey_register_failed", name: "Native passkey registration failed", classification: "Other", outcome: Failure, action: "passkey-registration-failed", category: &["iam"], kind: &["info", "change", "user"] },
    LogType { code: "passkey_register_started", name: "Native passkey registration started", classification: "Other", outcome: Unknown, action: "passkey-registration-started", category: &["iam"], kind: &["info", "change", "user"] },
    LogType { code: "pla", name: "This log is generated before a login and helps in monitoring the behavior of bot detection without having to enable it.", classification: "Other", outcome: Unknown, action: "pre-login-assessment", category: &["authentication"], kind: &["info"] },
    LogType { code: "pwd_leak", name: "Someone behind the IP address attempted to login with a leaked password.", classification: "Other", outcome: Unknown, action: "login-with-breached-password", category: &["authentication", "intrusion_detection"], kind: &["info"] },
    LogType { code: "refresh_token_exchange_for_session_token_failed", name: "Failed exchange of Refresh Token for Session Token", classification: "Other", outcome: Failure, action: "failed-exchange-refresh-token-for-session-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "error"] },
    LogType { code: "refresh_token_exchange_for_session_token_successful", name: "Successful exchange of Refresh Token for Session Token", classification: "Other", outcome: Success, action: "success-exchange-refresh-token-for-session-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "refresh_tokens_revoked_by_session", name: "Refresh tokens revoked by session", classification: "Other", outcome: Success, action: "refresh-tokens-revoked-by-session", category: &["iam"], kind: &["info", "deletion"] },
    LogType { code: "reset_pwd_leak", name: "Password reset attempted with a leaked password", classification: "Other", outcome: Unknown, action: "password-reset-with-breached-password", category: &["iam", "intrusion_detection"], kind: &["info", "user"] },
    LogType { code: "resource_cleanup", name: "Resources above a limit were removed", classification: "Other", outcome: Success, action: "resource-cleanup", category: &["iam"], kind: &["info", "deletion"] },
    LogType { code: "rich_consents_access_error", name: "Error fetching a rich consent record", classification: "Other", outcome: Failure, action: "rich-consents-access-error", category: &["web"], kind: &["info", "error"] },
    LogType { code: "s", name: "Successful login", classification: "Login - Success", outcome: Success, action: "successful-login", category: &["authentication", "session"], kind: &["info", "start"] },
    LogType { code: "sapi", name: "Successful Management API operation", classification: "Management API - Success", outcome: Success, action: "success-mgmt-api-op", category: &["authentication", "web", "iam"], kind: &["info", "access", "change"] },
    LogType { code: "sce", name: "Successfully changed user email", classification: "User/Behavioral - Success", outcome: Success, action: "user-email-changed-successfully", category: &["authentication", "iam"], kind: &["info", "change", "user"] },
    LogType { code: "scoa", name: "Successful cross-origin authentication", classification: "Login - Success", outcome: Success, action: "successful-cross-origin-authentication", category: &["authentication", "session"], kind: &["info", "start"] },
    LogType { code: "scp", name: "Successfully changed password", classification: "User/Behavioral - Success", outcome: Success, action: "user-password-changed-successfully", category: &["authentication", "iam"], kind: &["info", "change", "user"] },
    LogType { code: "scph", name: "Success Post Change Password Hook", classification: "Other", outcome: Success, action: "success-post-change-password-hook", category: &["authentication"], kind: &["info"] },
    LogType { code: "scpn", name: "Successfully changed phone number", classification: "User/Behavioral - Success", outcome: Success, action: "user-phone-number-changed-successfully", category: &["authentication", "iam"], kind: &["info", "change", "user"] },
    LogType { code: "scpr", name: "Successful change password request", classification: "User/Behavioral - Success", outcome: Success, action: "user-password-change-request-successful", category: &["authentication", "iam"], kind: &["info", "change", "user"] },
    LogType { code: "scu", name: "Successfully changed username", classification: "User/Behavioral - Success", outcome: Success, action: "username-changed-successfully", category: &["authentication", "iam"], kind: &["info", "change", "user"] },
    LogType { code: "scv", name: "Credentials validated", classification: "Login - Notification", outcome: Success, action: "successful-credential-validation", category: &["authentication"], kind: &["info"] },
    LogType { code: "sd", name: "Success delegation", classification: "Other", outcome: Success, action: "success-delegation", category: &["authentication"], kind: &["info"] },
    LogType { code: "sdel", name: "Successful delegated login", classification: "Login - Success", outcome: Success, action: "successful-delegated-login", category: &["authentication", "session"], kind: &["info", "start"] },
    LogType { code: "sdeleacft", name: "Successful exchange of delegated Authorization Code for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-delegated-auth-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sdelsa", name: "Successful delegated silent authentication", classification: "Silent Authentication - Success", outcome: Success, action: "successful-delegated-silent-authentication", category: &["authentication"], kind: &["info"] },
    LogType { code: "sdu", name: "User successfully deleted", classification: "User/Behavioral - Success", outcome: Success, action: "user-deleted-successfully", category: &["authentication", "iam"], kind: &["info", "deletion"] },
    LogType { code: "seacft", name: "Successful exchange of Authorization Code for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-auth-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "seccft", name: "Successful exchange of Access Token for a Client Credentials Grant", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-access-token-for-client-cred-grant", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "secte", name: "Successful custom token exchange", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-custom-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sede", name: "Successful exchange of Device Code for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-device-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sens", name: "Successful native social login", classification: "Login - Success", outcome: Success, action: "successful-native-social-login", category: &["authentication", "session"], kind: &["info", "start"] },
    LogType { code: "seoobft", name: "Successful exchange of Password and OOB Challenge for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-password-oob-challange-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "seotpft", name: "Successful exchange of Password and OTP Challenge for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-password-otp-challenge-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sepft", name: "Successful exchange of Password for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-password-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sepkoobft", name: "Successful exchange of Passkey and OOB Challenge for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-passkey-oob-challenge-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sepkotpft", name: "Successful exchange of Passkey and OTP Challenge for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-passkey-otp-challenge-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sepkrcft", name: "Successful exchange of Passkey and MFA Recovery code for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-passkey-mfa-recovery-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sercft", name: "Successful exchange of Password and MFA Recovery code for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-mfa-recovery-code-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sertft", name: "Successful exchange of Refresh Token for Access Token", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-refresh-token-for-access-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "session_revoked", name: "Session revoked", classification: "Other", outcome: Success, action: "session-revoked", category: &["session"], kind: &["info", "end"] },
    LogType { code: "seta", name: "Successful token exchange at Token Vault", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-token-vault", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "si", name: "Successfully accepted a user invitation", classification: "Other", outcome: Success, action: "successfully-accepted-user-invitation", category: &["authentication"], kind: &["info"] },
    LogType { code: "signup_pwd_leak", name: "Signup attempted with a leaked password", classification: "Other", outcome: Unknown, action: "signup-with-breached-password", category: &["iam", "intrusion_detection"], kind: &["info", "user"] },
    LogType { code: "slo", name: "User successfully logged out", classification: "Logout - Success", outcome: Success, action: "user-logout-successful", category: &["authentication", "session"], kind: &["info", "end"] },
    LogType { code: "srrt", name: "Successfully revoked a Refresh Token", classification: "User/Behavioral - Success", outcome: Success, action: "revoked-refresh-token-successfully", category: &["authentication", "iam"], kind: &["info", "deletion"] },
    LogType { code: "ss", name: "Success Signup", classification: "Other", outcome: Success, action: "success-signup", category: &["authentication"], kind: &["info"] },
    LogType { code: "ss_sso_failure", name: "Failed self-service SSO operation", classification: "User/Behavioral - Failure", outcome: Failure, action: "failed-self-service-sso-operation", category: &["iam", "configuration"], kind: &["info", "change", "admin"] },
    LogType { code: "ss_sso_info", name: "Self-service SSO operation information", classification: "User/Behavioral - Notification", outcome: Unknown, action: "self-service-sso-info", category: &["iam", "configuration"], kind: &["info"] },
    LogType { code: "ss_sso_success", name: "Successful self-service SSO operation", classification: "User/Behavioral - Success", outcome: Success, action: "success-self-service-sso-operation", category: &["iam", "configuration"], kind: &["info", "change", "admin"] },
    LogType { code: "ssa", name: "Successful silent authentication", classification: "Silent Authentication - Success", outcome: Success, action: "successful-silent-authentication", category: &["authentication"], kind: &["info"] },
    LogType { code: "sscim", name: "Successful SCIM operation", classification: "SCIM", outcome: Success, action: "success-scim-operation", category: &["web", "iam"], kind: &["info", "access", "change", "user"] },
    LogType { code: "success_on_behalf_of_token_exchange", name: "Successful on-behalf-of token exchange", classification: "Token Exchange - Success", outcome: Success, action: "success-exchange-on-behalf-of-token", category: &["authentication", "network", "web"], kind: &["info", "protocol", "access"] },
    LogType { code: "sui", name: "Successfully imported users", classification: "User/Behavioral - Success", outcome: Success, action: "imported-users-successfully", category: &["authentication", "iam"], kind: &["info", "user"] },
    LogType { code: "sv", name: "Sent verification email", classification: "User/Behavioral - Success", outcome: Success, action: "sent-verification-email", category: &["authentication", "iam"], kind: &["info", "user"] },
    LogType { code: "svr", name: "Successfully processed verification email request", classification: "User/Behavioral - Success", outcome: Success, action: "email-verification-processed-successfully", category: &["authentication", "iam"], kind: &["info", "user"] },
    LogType { code: "sys_os_update_end", name: "Auth0 OS Update Ended", classification: "System - Notification", outcome: Unknown, action: "auth0-os-update-ended", category: &["authentication", "configuration", "package"], kind: &["change", "end", "installation"] },
    LogType { code: "sys_os_update_start", name: "Auth0 OS Update Started", classification: "System - Notification", outcome: Unknown, action: "auth0-os-update-started", category: &["authentication", "configuration", "package"], kind: &["change", "start", "installation"] },
    LogType { code: "sys_update_end", name: "Auth0 Update Ended", classification: "System - Notification", outcome: Unknown, action: "auth0-update-ended", category: &["authentication", "configuration", "package"], kind: &["change", "end", "installation"] },
    LogType { code: "sys_update_start", name: "Auth0 Update Started", classification: "System - Notification", outcome: Unknown, action: "auth0-update-started", category: &["authentication", "configuration", "package"], kind: &["change", "start", "installation"] },
    LogType { code: "too_many_records", name: "User has the maximum number of authenticators", classification: "Other", outcome: Unknown, action: "max-authenticators-reached", category: &["iam"], kind: &["info", "user"] },
    LogType { code: "ublkdu", name: "User block setup by anomaly detection has been released", classification: "User/Behavioral - Notification", outcome: Success, action: "user-login-block-released", category: &["authentication"], kind: &["info"] },
    LogType { code: "universal_logout_failed", name: "Failed Universal Logout request", classification: "Logout - Failure", outcome: Failure, action: "universal-logout-failed", category: &["authentication", "session"], kind: &["info"] },
    LogType { code: "universal_logout_succeeded", name: "Successful Universal Logout request", classification: "Logout - Success", outcome: Success, action: "universal-logout-successful", category: &["authentication", "session"], kind: &["info", "end"] },
    LogType { code: "w", name: "Warnings during login", classification: "Login - Notification", outcome: Unknown, action: "warnings-during-login", category: &["authentication"], kind: &["info"] },
    LogType { code: "wn", name: "Warning while sending a notification", classification: "Other", outcome: Unknown, action: "warnings-during-notification", category: &["email"], kind: &["info"] },
    LogType { code: "wum", name: "Warning during user management", classification: "Other", outcome: Unknown, action: "warnings-during-user-management", category: &["iam"], kind: &["info", "user"] },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The types allowed for each category: ECS 8.11, "ECS Categorization Fields".
    #[rustfmt::skip]
    const ALLOWED: &[(&str, &[&str])] = &[
        ("api", &["access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start", "user"]),
        ("authentication", &["end", "info", "start"]),
        ("configuration", &["access", "change", "creation", "deletion", "info"]),
        ("database", &["access", "change", "error", "info"]),
        ("driver", &["change", "end", "info", "start"]),
        ("email", &["info"]),
        ("file", &["access", "change", "creation", "deletion", "info"]),
        ("host", &["access", "change", "end", "info", "start"]),
        ("iam", &["admin", "change", "creation", "deletion", "group", "info", "user"]),
        ("intrusion_detection", &["allowed", "denied", "info"]),
        ("library", &["start"]),
        ("malware", &["info"]),
        ("network", &["access", "allowed", "connection", "denied", "end", "info", "protocol", "start"]),
        ("package", &["access", "change", "deletion", "info", "installation", "start"]),
        ("process", &["access", "change", "end", "info", "start"]),
        ("registry", &["access", "change", "creation", "deletion"]),
        ("session", &["end", "info", "start"]),
        ("threat", &["indicator"]),
        ("vulnerability", &["info"]),
        ("web", &["access", "error", "info"]),
    ];

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(LOG_TYPES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }

    /// Auth0's log stream filters.
    #[rustfmt::skip]
    const FILTERS: &[&str] = &[
        "Action Execution - Failure", "Login - Failure", "Login - Notification", "Login - Success",
        "Logout - Failure", "Logout - Success", "Management API - Failure", "Management API - Success",
        "Other", "SCIM", "Signup - Failure", "Signup - Success", "Silent Authentication - Failure",
        "Silent Authentication - Success", "System - Notification", "Token Exchange - Failure",
        "Token Exchange - Success", "User/Behavioral - Failure", "User/Behavioral - Notification",
        "User/Behavioral - Success",
    ];

    #[test]
    fn classification_is_a_filter_of_auth0() {
        for row in &LOG_TYPES {
            assert!(FILTERS.contains(&row.classification), "{}: {}", row.code, row.classification);
        }
    }

    #[test]
    fn categories_and_types_are_valid_ecs() {
        for row in &LOG_TYPES {
            let allowed_by = |category: &str| {
                ALLOWED.iter().find(|(name, _)| *name == category).map(|(_, types)| *types)
            };
            let allowed: Vec<&str> = row
                .category
                .iter()
                .flat_map(|c| {
                    allowed_by(c).unwrap_or_else(|| panic!("{}: no category {c}", row.code))
                })
                .copied()
                .collect();
            assert!(!row.category.is_empty() && !row.kind.is_empty(), "{}", row.code);
            for kind in row.kind {
                assert!(
                    allowed.contains(kind),
                    "{}: {kind} is not a type of {:?}",
                    row.code,
                    row.category
                );
            }
        }
    }

    #[test]
    fn known_code_is_found_and_unknown_one_is_not() {
        assert_eq!(find("f").map(|t| (t.name, t.action)), Some(("Failed login", "failed-login")));
        assert!(LOG_TYPES.iter().all(|row| find(row.code).is_some_and(|r| r.name == row.name)));
        assert!(find("").is_none() && find("zzz").is_none() && find("F").is_none());
    }
}
