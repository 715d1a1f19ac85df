//! Environment variables → settings: the only code that reads the environment.
//!
//! All problems are reported at once, each with the variable's name and an example, so that a deployment
//! is repaired in one round. No setting is a secret: settings name secrets by their id in Secrets Manager
//! (see [`super::secrets`]).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use auth0_ecs::index_template::DetailsIndexing;
use auth0_ecs::input::filter::{TypeFilter, TypeSet};
use opensearch::cert::Certificate;
use url::{Host, Url};

use super::sources::AllowedSources;

/// All invalid settings; prints one line per problem.
#[derive(PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// Same as `Display`: it is what Rust prints of an error that `main` returns.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An invalid variable.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    variable: &'static str,
    /// Follows the variable's name: "is not set".
    wrong: String,
    example: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} setting(s) cannot be used:", self.problems.len())?;
        for Problem { variable, wrong, example } in &self.problems {
            write!(f, "\n  {variable} {wrong} (example: {variable}={example})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Address of the engine and sign-in to it.
#[derive(Clone, Debug)]
pub struct SearchConfig {
    /// `SEARCH_ENDPOINT`: the engine's base URL.
    pub endpoint: Url,
    /// Where the credentials come from.
    pub sign_in: SignIn,
    /// `SEARCH_CA_CERTIFICATE`: PEM of the root certificate that signed the engine's; by default, the
    /// system's root certificates.
    pub ca_certificate: Option<String>,
    /// `SEARCH_GZIP`: compress `_bulk` bodies; by default, if they leave the machine.
    pub gzip: bool,
}

/// Where the engine's credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// The engine requires none.
    None,
    /// `SEARCH_SECRET_ID`: a secret with `username` and `password`, or with `api_key`.
    Secret(String),
    /// `SEARCH_SIGV4_SERVICE`: requests are signed with the function's role for this service, `es` or
    /// `aoss`.
    SigV4(String),
}

/// Settings of all functions that write events.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// The engine.
    pub search: SearchConfig,
    /// `DATA_STREAM_NAMESPACE`: the last part of `logs-auth0.logs-<namespace>`.
    pub namespace: String,
    /// `EXTRA_TAGS`: the operator's own tags, added to each document.
    pub tags: Vec<String>,
    /// `PRESERVE_ORIGINAL_EVENT`: keep the received bytes in `event.original`.
    pub preserve_original_event: bool,
    /// `INCLUDE_TYPES` and `EXCLUDE_TYPES`: which events are wanted.
    pub types: TypeFilter,
    /// `MASK_USER_DATA`, with `MASK_SECRET_ID`: what becomes of user data.
    pub user_data: UserData,
    /// `GEOIP_CITY_FILE` and `GEOIP_ASN_FILE`.
    pub geoip: GeoIpConfig,
    /// `AWS_LAMBDA_FUNCTION_NAME`, which Lambda sets: `agent.name` of the documents.
    pub function_name: String,
    /// `STACK_NAME`: whose metrics these are.
    pub stack: String,
    /// `RETRY_QUEUE_URL`: takes what cannot be written yet, and what has to be looked at once more after a
    /// rollover.
    pub retry_queue_url: String,
    /// `DEAD_LETTER_QUEUE_URL`: takes what the engine refuses even as an error document.
    pub dead_letter_queue_url: String,
}

/// What becomes of names, e-mail addresses and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserData {
    /// They stay.
    #[default]
    Plain,
    /// Asterisks replace them.
    Masked,
    /// Hashes replace them, with the `key` of this secret: `MASK_SECRET_ID`.
    Hashed(String),
}

/// Files in MaxMind's format; a configured path has to exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoIpConfig {
    /// A City database.
    pub city: Option<PathBuf>,
    /// An ASN database.
    pub asn: Option<PathBuf>,
}

/// Settings of `functions/webhook`.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Settings of all functions that write events.
    pub pipeline: PipelineConfig,
    /// `WEBHOOK_SECRET_ID`: the secret whose `token` Auth0 sends.
    pub secret_id: String,
    /// `WEBHOOK_PATH`: the path that is served.
    pub path: String,
    /// `ALLOWED_SOURCE_CIDRS`: where requests may come from; by default, from anywhere.
    pub allowed_sources: AllowedSources,
}

/// Settings of `functions/poller`.
#[derive(Clone, Debug)]
pub struct PollerConfig {
    /// Settings of all functions that write events.
    pub pipeline: PipelineConfig,
    /// `AUTH0_URL`: the tenant's base URL.
    pub auth0_url: Url,
    /// `AUTH0_SECRET_ID`: the secret with `client_id` and `client_secret`.
    pub secret_id: String,
    /// `CHECKPOINT_TABLE`: the DynamoDB table.
    pub checkpoint_table: String,
    /// `INITIAL_INTERVAL`: how far back the first run reads.
    pub initial_interval: Duration,
}

/// Settings of `functions/detect`.
#[derive(Clone, Debug)]
pub struct DetectConfig {
    /// The engine.
    pub search: SearchConfig,
    /// `DATA_STREAM_NAMESPACE`: the last part of `logs-auth0.logs-<namespace>`, and of the alerts' stream.
    pub namespace: String,
    /// `STACK_NAME`: whose metrics these are.
    pub stack: String,
    /// `CHECKPOINT_TABLE`: the DynamoDB table.
    pub checkpoint_table: String,
    /// `ALERT_TOPIC_ARN`: the SNS topic.
    pub topic: String,
    /// `DETECTIONS_EXCLUDE`: names of rules that are not run, separated by commas.
    pub exclude: Option<String>,
    /// `DETECTIONS_SETTINGS`: exceptions and tuning, in JSON. Read by the function, which runs even if they
    /// are broken.
    pub settings: Option<String>,
}

/// Settings of `functions/setup`.
#[derive(Clone, Debug)]
pub struct SetupConfig {
    /// The engine.
    pub search: SearchConfig,
    /// `DATA_STREAM_NAMESPACE`: the last part of `logs-auth0.logs-<namespace>`.
    pub namespace: String,
    /// `DETAILS_INDEXING`: `flat`, `fields`, `none`, or `auto`, which leaves it to the engine's product.
    pub details: Option<DetailsIndexing>,
}

impl WebhookConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Env::of_process().read(Self::read)
    }

    fn read(env: &mut Env<'_>) -> Self {
        Self {
            pipeline: PipelineConfig::read(env),
            secret_id: env.required("WEBHOOK_SECRET_ID", "auth0-log-streams/webhook"),
            path: env.checked("WEBHOOK_PATH", "/auth0/logs", "/auth0/logs", |path| {
                if path.starts_with('/') && !path.contains(['?', '#', ' ']) {
                    Ok(path.to_owned())
                } else {
                    Err("has to be an absolute path without a query".to_owned())
                }
            }),
            allowed_sources: env.checked(
                "ALLOWED_SOURCE_CIDRS",
                "",
                "192.0.2.7,198.51.100.0/24",
                str::parse,
            ),
        }
    }
}

impl PollerConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Env::of_process().read(Self::read)
    }

    fn read(env: &mut Env<'_>) -> Self {
        const URL_EXAMPLE: &str = "https://example.eu.auth0.com";
        let pipeline = PipelineConfig::read(env);
        let auth0_url = env.url("AUTH0_URL", URL_EXAMPLE);
        env.require_tls("AUTH0_URL", &auth0_url, URL_EXAMPLE);
        Self {
            pipeline,
            auth0_url,
            secret_id: env.required("AUTH0_SECRET_ID", "auth0-log-streams/auth0"),
            checkpoint_table: env.required("CHECKPOINT_TABLE", "auth0-log-streams-checkpoints"),
            initial_interval: env.checked("INITIAL_INTERVAL", "24h", "24h", parse_interval),
        }
    }
}

impl DetectConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Env::of_process().read(|env| Self {
            search: SearchConfig::read(env),
            namespace: read_namespace(env),
            stack: env.name("STACK_NAME"),
            checkpoint_table: env.required("CHECKPOINT_TABLE", "auth0-log-streams-checkpoints"),
            topic: env.required("ALERT_TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:alerts"),
            exclude: env.optional("DETECTIONS_EXCLUDE"),
            settings: env.optional("DETECTIONS_SETTINGS"),
        })
    }
}

impl SetupConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Env::of_process().read(|env| Self {
            search: SearchConfig::read(env),
            namespace: read_namespace(env),
            details: env.checked("DETAILS_INDEXING", "auto", "fields", |wanted| {
                let found = DetailsIndexing::ALL.iter().find(|(name, _)| *name == wanted);
                match found {
                    None if wanted != "auto" => {
                        Err(format!("is {wanted:?}, but has to be auto, flat, fields or none"))
                    }
                    _ => Ok(found.map(|(_, details)| *details)),
                }
            }),
        })
    }
}

impl PipelineConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All problems at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Env::of_process().read(Self::read)
    }

    fn read(env: &mut Env<'_>) -> Self {
        Self {
            search: SearchConfig::read(env),
            namespace: read_namespace(env),
            tags: env.checked("EXTRA_TAGS", "", "production,eu", |list| {
                let tags = list.split(',').map(str::trim).filter(|tag| !tag.is_empty());
                Ok(tags.map(str::to_owned).collect())
            }),
            preserve_original_event: env.boolean("PRESERVE_ORIGINAL_EVENT"),
            types: TypeFilter {
                include: env.types("INCLUDE_TYPES"),
                exclude: env.types("EXCLUDE_TYPES"),
            },
            user_data: UserData::read(env),
            geoip: GeoIpConfig {
                city: env.optional("GEOIP_CITY_FILE").map(PathBuf::from),
                asn: env.optional("GEOIP_ASN_FILE").map(PathBuf::from),
            },
            function_name: env.name("AWS_LAMBDA_FUNCTION_NAME"),
            stack: env.name("STACK_NAME"),
            retry_queue_url: env.required("RETRY_QUEUE_URL", QUEUE_EXAMPLE),
            dead_letter_queue_url: env.required("DEAD_LETTER_QUEUE_URL", QUEUE_EXAMPLE),
        }
    }
}

impl UserData {
    fn read(env: &mut Env<'_>) -> Self {
        let method = |value: &str| match value {
            "none" => Ok(Self::Plain),
            "mask" => Ok(Self::Masked),
            "hash" => Ok(Self::Hashed(String::new())),
            other => Err(format!("is {other:?}, but has to be none, mask or hash")),
        };
        match env.checked("MASK_USER_DATA", "none", "mask", method) {
            Self::Hashed(_) => {
                Self::Hashed(env.required("MASK_SECRET_ID", "auth0-log-streams/mask"))
            }
            other => other,
        }
    }
}

impl SearchConfig {
    fn read(env: &mut Env<'_>) -> Self {
        const URL_EXAMPLE: &str = "https://search.example.com:9200";
        let endpoint = env.url("SEARCH_ENDPOINT", URL_EXAMPLE);
        let sign_in = SignIn::read(env);
        if sign_in != SignIn::None {
            env.require_tls("SEARCH_ENDPOINT", &endpoint, URL_EXAMPLE);
        }
        let ca_certificate = env.checked("SEARCH_CA_CERTIFICATE", "", PEM_EXAMPLE, |pem| {
            if pem.is_empty() {
                return Ok(None);
            }
            // Template parameters and .env files do not always allow line breaks.
            let pem = pem.replace("\\n", "\n");
            match Certificate::from_pem(pem.as_bytes()) {
                Ok(list) if !list.is_empty() => Ok(Some(pem)),
                _ => Err("is not a certificate in PEM format".to_owned()),
            }
        });
        let gzip = env.checked("SEARCH_GZIP", "auto", "auto", |value| match value {
            "auto" => Ok(!is_this_machine(&endpoint)),
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("is {other:?}, but has to be auto, true or false")),
        });
        Self { endpoint, sign_in, ca_certificate, gzip }
    }
}

impl SignIn {
    fn read(env: &mut Env<'_>) -> Self {
        let service = env.optional("SEARCH_SIGV4_SERVICE");
        let secret = env.optional("SEARCH_SECRET_ID");
        match (service, secret) {
            (Some(service), _) if !matches!(&*service, "es" | "aoss") => {
                let wrong = format!("is {service:?}, but only es and aoss can be signed for");
                env.problem("SEARCH_SIGV4_SERVICE", wrong, "es");
                Self::SigV4(service)
            }
            (Some(service), Some(_)) => {
                let wrong = "is set together with SEARCH_SIGV4_SERVICE: choose one way to sign in";
                env.problem("SEARCH_SECRET_ID", wrong.into(), "");
                Self::SigV4(service)
            }
            (Some(service), None) => Self::SigV4(service),
            (None, Some(id)) => Self::Secret(id),
            (None, None) => Self::None,
        }
    }
}

/// Returns `true` if the endpoint is on this machine (RFC 1122, section 3.2.1.3; RFC 6761, section 6.3).
fn is_this_machine(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

const QUEUE_EXAMPLE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/retry";
const PEM_EXAMPLE: &str = "-----BEGIN CERTIFICATE-----…";

/// Rules for data streams: lower case, no hyphen (it separates the parts), at most 100 bytes.
fn read_namespace(env: &mut Env<'_>) -> String {
    env.checked("DATA_STREAM_NAMESPACE", "default", "production", |name| {
        let bad = |c: char| c.is_uppercase() || c.is_whitespace() || "\\/*?\"<>|,#:-".contains(c);
        if name.len() > 100 || name.contains(bad) {
            return Err(format!(
                "is {name:?}, but a namespace is lower case, at most 100 bytes, and has no \
                 hyphen, space or any of \\ / * ? \" < > | , # :"
            ));
        }
        Ok(name.to_owned())
    })
}

/// Parses `90s`, `15m`, `24h` or `7d`.
///
/// # Errors
/// The text is something else, or more than a year; says what, after the setting's name.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("is {text:?}, but has to be a number followed by s, m, h or d");
    let (count, unit) = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)]
        .into_iter()
        .find_map(|(suffix, seconds)| Some((text.strip_suffix(suffix)?, seconds)))
        .ok_or_else(wrong)?;
    let count: u64 = count.parse().map_err(|_| wrong())?;
    // Auth0 keeps logs for at most 30 days (plan "Enterprise"); a year catches a mistyped unit.
    match count.checked_mul(unit) {
        Some(seconds) if seconds <= 366 * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("is {text:?}, which is more than a year")),
    }
}

type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// The environment and the problems found so far. What has a problem is read as some other value, so that the
/// rest is read, too; [`Env::read`] returns none of it then.
struct Env<'a> {
    lookup: Lookup<'a>,
    problems: Vec<Problem>,
}

impl<'a> Env<'a> {
    fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self::new(|name| std::env::var(name).ok())
    }

    fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { lookup: Box::new(lookup), problems: Vec::new() }
    }

    fn problem(&mut self, variable: &'static str, wrong: String, example: &'static str) {
        self.problems.push(Problem { variable, wrong, example });
    }

    /// Returns a variable. An empty value counts as none: templates cannot omit a variable.
    fn optional(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    /// Returns a name, by default the project's.
    fn name(&self, variable: &str) -> String {
        self.optional(variable).unwrap_or_else(|| "auth0-log-streams".to_owned())
    }

    fn required(&mut self, variable: &'static str, example: &'static str) -> String {
        self.optional(variable).unwrap_or_else(|| {
            self.problem(variable, "is not set".to_owned(), example);
            example.to_owned()
        })
    }

    fn checked<T: Default>(
        &mut self,
        variable: &'static str,
        default: &str,
        example: &'static str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let value = self.optional(variable);
        check(value.as_deref().unwrap_or(default)).unwrap_or_else(|wrong| {
            self.problem(variable, wrong, example);
            T::default()
        })
    }

    /// Reads a switch; `false` if it is not set.
    fn boolean(&mut self, variable: &'static str) -> bool {
        self.checked(variable, "false", "false", |value| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("is {other:?}, but has to be true or false")),
        })
    }

    /// Reads a list of event types; none of them if it is not set.
    fn types(&mut self, variable: &'static str) -> TypeSet {
        self.checked(variable, "", "seacft,Login - Failure", |list| {
            TypeSet::parse(list).map_err(|error| format!("has {error}"))
        })
    }

    fn url(&mut self, variable: &'static str, example: &'static str) -> Url {
        let text = self.required(variable, example);
        let wrong = match Url::parse(&text) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                format!("has the scheme {:?}, but has to be an http or https URL", url.scheme())
            }
            // The value holds a password, so it is not repeated.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "holds credentials, which belong in Secrets Manager".to_owned()
            }
            Ok(url) => return url,
            Err(error) => format!("is {text:?}, which is not a URL: {error}"),
        };
        self.problem(variable, wrong, example);
        #[expect(clippy::expect_used, reason = "the examples are ours")]
        Url::parse(example).expect("an example is a URL")
    }

    /// Reports a URL that a secret would be sent to in plain text. On this machine, nobody else sees it.
    fn require_tls(&mut self, variable: &'static str, url: &Url, example: &'static str) {
        if url.scheme() == "http" && !is_this_machine(url) {
            let wrong = "has to be an https URL, because a secret is sent to it".to_owned();
            self.problem(variable, wrong, example);
        }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> Result<T, ConfigError> {
        let config = read(&mut self);
        match self.problems.is_empty() {
            true => Ok(config),
            false => Err(ConfigError { problems: self.problems }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOK: [(&str, &str); 4] = [
        ("SEARCH_ENDPOINT", "https://search.example.com"),
        ("WEBHOOK_SECRET_ID", "webhook"),
        ("RETRY_QUEUE_URL", "https://sqs.example.com/1/retry"),
        ("DEAD_LETTER_QUEUE_URL", "https://sqs.example.com/1/dead"),
    ];

    fn webhook(changes: &[(&str, &str)]) -> Result<WebhookConfig, ConfigError> {
        let all: Vec<_> = WEBHOOK.iter().chain(changes).copied().collect();
        let lookup =
            |name: &str| all.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Env::new(lookup).read(WebhookConfig::read)
    }

    #[test]
    fn defaults_apply_to_unset_variables() {
        let config = webhook(&[]).unwrap();
        assert_eq!(config.path, "/auth0/logs");
        assert_eq!(config.pipeline.namespace, "default");
        assert_eq!(config.pipeline.search.sign_in, SignIn::None);
        assert!(config.pipeline.search.gzip);
        assert!(!config.pipeline.preserve_original_event);
    }

    #[test]
    fn config_error_names_every_problem_with_an_example() {
        let error = webhook(&[
            ("SEARCH_ENDPOINT", "search.example.com:9200"),
            ("WEBHOOK_SECRET_ID", " "),
            ("DATA_STREAM_NAMESPACE", "My-Space"),
            ("PRESERVE_ORIGINAL_EVENT", "yes"),
            ("INCLUDE_TYPES", "s,Logins,fp"),
            ("EXCLUDE_TYPES", "xyz,abc"),
            ("MASK_USER_DATA", "xxhash"),
            ("SEARCH_SIGV4_SERVICE", "s3"),
            ("SEARCH_CA_CERTIFICATE", "nonsense"),
            ("WEBHOOK_PATH", "auth0"),
            ("ALLOWED_SOURCE_CIDRS", "192.0.2.7, 10.0.0.0/33"),
        ])
        .unwrap_err()
        .to_string();
        insta::assert_snapshot!(error);
    }

    #[test]
    fn hashing_user_data_needs_a_secret() {
        let user_data = |changes: &[_]| webhook(changes).map(|config| config.pipeline.user_data);
        assert_eq!(user_data(&[]), Ok(UserData::Plain));
        assert_eq!(user_data(&[("MASK_USER_DATA", "mask")]), Ok(UserData::Masked));
        let (hash, secret) = (("MASK_USER_DATA", "hash"), ("MASK_SECRET_ID", "mask"));
        assert_eq!(user_data(&[hash, secret]), Ok(UserData::Hashed("mask".into())));
        let error = user_data(&[hash]).unwrap_err().to_string();
        assert!(error.contains("MASK_SECRET_ID is not set"), "{error}");
    }

    #[test]
    fn gzip_is_on_by_default_only_for_other_machines() {
        let gzip = |endpoint, changes: &[_]| {
            let all = [&[("SEARCH_ENDPOINT", endpoint)], changes].concat();
            webhook(&all).unwrap().pipeline.search.gzip
        };
        for near in ["http://127.0.0.1:9200", "http://[::1]:9200", "https://localhost:9200"] {
            assert!(!gzip(near, &[]), "{near}");
            assert!(gzip(near, &[("SEARCH_GZIP", "true")]), "{near}");
        }
        for far in
            ["http://10.0.0.1:9200", "http://[fd00::1]:9200", "https://localhost.example.com"]
        {
            assert!(gzip(far, &[]), "{far}");
            assert!(!gzip(far, &[("SEARCH_GZIP", "false")]), "{far}");
        }
    }

    #[test]
    fn url_with_credentials_is_rejected_and_not_repeated() {
        let error = webhook(&[("SEARCH_ENDPOINT", "https://elastic:hunter2@search.example.com")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("SEARCH_ENDPOINT holds credentials"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn secret_is_sent_over_tls_only() {
        let engine = |endpoint, changes: &[_]| {
            webhook(&[&[("SEARCH_ENDPOINT", endpoint)], changes].concat())
                .map_err(|e| e.to_string())
        };
        let secret = ("SEARCH_SECRET_ID", "search");
        for sign_in in [secret, ("SEARCH_SIGV4_SERVICE", "es")] {
            let error = engine("http://search.example.com", &[sign_in]).unwrap_err();
            assert!(error.contains("SEARCH_ENDPOINT has to be an https URL"), "{error}");
        }
        assert!(engine("http://search.example.com", &[]).is_ok(), "no secret");
        assert!(engine("https://search.example.com", &[secret]).is_ok());
        assert!(engine("http://127.0.0.1:9200", &[secret]).is_ok(), "this machine");

        let poller = |url| {
            let own = [("AUTH0_URL", url), ("AUTH0_SECRET_ID", "auth0"), ("CHECKPOINT_TABLE", "t")];
            let all = [&WEBHOOK[..], &own].concat();
            let of =
                |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Env::new(of).read(PollerConfig::read).map_err(|error| error.to_string())
        };
        assert!(poller("https://example.eu.auth0.com").is_ok());
        let error = poller("http://example.eu.auth0.com").unwrap_err();
        assert!(error.contains("AUTH0_URL has to be an https URL"), "{error}");
    }

    #[test]
    fn two_sign_in_methods_are_rejected() {
        let both = [("SEARCH_SIGV4_SERVICE", "es"), ("SEARCH_SECRET_ID", "search")];
        assert!(webhook(&both).unwrap_err().to_string().contains("choose one"));
    }

    #[test]
    fn interval_needs_a_unit() {
        assert_eq!(parse_interval("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_interval("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "h", "24", "-1h", "1w", "9999999999999999d", "400d", "１h"] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
    }
}
