//! The roles of `docs/engines.md`, in engines with security and TLS: enough, and nothing to spare.
//!
//! Such engines take long to prepare, so these tests wait for `make e2e-secured`. The roles are read
//! from the document: what it says is what is tested.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use support::aws::{self, Queues};
use support::events::{json_lines, log_ids};
use support::runtime::{Function, eventually, gateway_request};
use support::stack::{self, EngineKind};
use tokio::sync::Mutex;

use crate::world::{TOKEN, events};

macro_rules! on_both_secured_engines {
    ($($test:ident),+ $(,)?) => {
        mod opensearch {
            $(#[tokio::test]
            #[ignore = "needs engines with security: make e2e-secured"]
            async fn $test() {
                super::$test(&super::Secured::new(super::EngineKind::OpenSearch)).await;
            })+
        }

        mod elasticsearch {
            $(#[tokio::test]
            #[ignore = "needs engines with security: make e2e-secured"]
            async fn $test() {
                super::$test(&super::Secured::new(super::EngineKind::Elasticsearch)).await;
            })+
        }
    };
}

on_both_secured_engines![
    with_the_documented_roles_an_event_is_there_once_even_over_a_rollover,
    without_one_of_its_privileges_setup_names_it,
    without_one_of_its_privileges_the_writer_names_it,
    a_wrong_password_and_an_unknown_authority_are_named,
];

/// One writer of users at a time: OpenSearch refuses the second, and Elasticsearch's files are read
/// and written again.
static USERS: Mutex<()> = Mutex::const_new(());

/// Engines with security are slow on a small machine, and time limits are not what is tested here.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An engine with security.
struct Secured {
    kind: EngineKind,
    url: String,
    authority: String,
    /// Of the superuser `admin`, and of all users that are made here.
    password: String,
    client: Client,
}

impl Secured {
    fn new(kind: EngineKind) -> Self {
        let of = |name: &str| {
            let engine =
                if kind == EngineKind::OpenSearch { "OPENSEARCH" } else { "ELASTICSEARCH" };
            stack::variable(&format!("E2E_SECURED_{engine}_{name}"))
        };
        let authority = fs::read_to_string(of("CA")).unwrap();
        let certificate = Certificate::from_pem(authority.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_merge([certificate]).build().unwrap();
        Self { kind, url: of("URL"), authority, password: of("PASSWORD"), client }
    }

    /// A role of the document.
    fn documented(&self, role: &str) -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/engines.md");
        let document = fs::read_to_string(path).unwrap();
        let engine =
            if self.kind == EngineKind::OpenSearch { "opensearch" } else { "elasticsearch" };
        let start = format!("```json {engine} {role}\n");
        let (_, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no {start}"));
        serde_json::from_str(rest.split_once("```").unwrap().0).unwrap()
    }

    /// Makes each role with a user of its own; gives the ids of the users' secrets.
    async fn users(&self, roles: &[Value]) -> Vec<String> {
        let mut names = Vec::new();
        for _ in roles {
            names.push(format!("user{:012x}", fastrand::u64(..1 << 48)));
        }
        let guard = USERS.lock().await;
        match self.kind {
            EngineKind::OpenSearch => {
                for (name, role) in names.iter().zip(roles) {
                    self.secure("roles", name, role.clone()).await;
                    self.secure("internalusers", name, json!({ "password": self.password })).await;
                    self.secure("rolesmapping", name, json!({ "users": [name] })).await;
                }
            }
            EngineKind::Elasticsearch => self.write_files(&names, roles).await,
        }
        drop(guard);
        let mut secrets = Vec::new();
        for name in names {
            let secret = json!({ "username": name, "password": self.password });
            secrets.push(aws::create_secret(&format!("secured/{name}"), &secret).await);
        }
        secrets
    }

    async fn secure(&self, what: &str, name: &str, body: Value) {
        let path = format!("_plugins/_security/api/{what}/{name}");
        let answer = self.call("admin", Method::PUT, &path, Some(body)).await;
        assert_eq!(answer["status"], "CREATED", "{answer}");
    }

    /// Elasticsearch's minimal distribution cannot store roles; it reads its files every second.
    async fn write_files(&self, names: &[String], roles: &[Value]) {
        let folder = PathBuf::from(stack::variable("E2E_SECURED_ELASTICSEARCH_CONFIG"));
        let append = |file: &str, lines: String| {
            let file = folder.join(file);
            let old = fs::read_to_string(&file).unwrap_or_default();
            fs::write(file, old + &lines).unwrap();
        };
        let users = fs::read_to_string(folder.join("users")).unwrap();
        let hash = users.lines().find_map(|line| line.strip_prefix("admin:")).unwrap();
        let lines = |line: &dyn Fn(&String, &Value) -> String| -> String {
            names.iter().zip(roles).map(|(name, role)| line(name, role)).collect()
        };
        append("roles.yml", lines(&|name, role| format!("{name}: {role}\n")));
        append("users_roles", lines(&|name, _| format!("{name}:{name}\n")));
        append("users", lines(&|name, _| format!("{name}:{hash}\n")));
        let last = names.last().unwrap();
        eventually("the users are known", || async {
            self.call(last, Method::GET, "_cluster/health", None).await["status"] != 401
        })
        .await;
        // The file of roles is looked at in the same round, or in the next one.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    async fn call(&self, user: &str, method: Method, path: &str, body: Option<Value>) -> Value {
        let request = self.client.request(method, format!("{}/{path}", self.url));
        let mut request = request.basic_auth(user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the engine answers");
        let status = answer.status().as_u16();
        answer.json().await.unwrap_or_else(|_| json!({ "status": status }))
    }

    fn settings(&self, namespace: &str, secret: &str) -> Vec<(String, String)> {
        let mut variables = aws::variables();
        let own = [
            ("SEARCH_ENDPOINT", self.url.as_str()),
            ("SEARCH_CA_CERTIFICATE", &self.authority),
            ("SEARCH_SECRET_ID", secret),
            ("DATA_STREAM_NAMESPACE", namespace),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        variables
    }

    /// `setup install` as the user of this secret.
    async fn install(&self, namespace: &str, secret: &str) -> Output {
        let mut command = tokio::process::Command::new(stack::binary("setup"));
        command.arg("install").env_clear().envs(self.settings(namespace, secret));
        command.output().await.expect("setup can be started")
    }

    /// The data stream that [`Self::install`] is about, with a document in it.
    async fn make_default_stream(&self) {
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
        let path = "logs-auth0.logs-default/_doc?op_type=create";
        let made = self.call("admin", Method::POST, path, Some(document)).await;
        assert_eq!(made["result"], "created", "{made}");
    }

    async fn webhook(&self, namespace: &str, secret: &str) -> Function {
        let queues = Queues::create(namespace, 50).await;
        let token = json!({ "token": TOKEN });
        let token = aws::create_secret(&format!("secured/{namespace}/webhook"), &token).await;
        let mut variables = self.settings(namespace, secret);
        let own = [
            ("WEBHOOK_SECRET_ID", token),
            ("RETRY_QUEUE_URL", queues.retry.clone()),
            ("DEAD_LETTER_QUEUE_URL", queues.dead.clone()),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Function::new(stack::binary("webhook"), 1, &variables)
    }

    /// Posts a batch, rolls the data stream over, and posts the same batch again.
    async fn deliver_over_a_rollover(&self, secret: &str) -> (Vec<String>, Vec<String>, String) {
        let namespace = format!("e2e{:012x}", fastrand::u64(..1 << 48));
        let stream = format!("logs-auth0.logs-{namespace}");
        let webhook = self.webhook(&namespace, secret).await;
        let batch = events().take(3);
        let body = json_lines(&batch).into_bytes();
        post(&webhook, &body).await;
        // Where the first event was refused, there is no stream yet.
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z", "event": { "id": "admin" } });
        let path = format!("{stream}/_create/admin");
        self.call("admin", Method::PUT, &path, Some(document)).await;
        let rolled = self.call("admin", Method::POST, &format!("{stream}/_rollover"), None).await;
        assert_eq!(rolled["rolled_over"], true, "{rolled}");
        post(&webhook, &body).await;

        let ready = "_cluster/health?wait_for_status=yellow&timeout=60s";
        self.call("admin", Method::GET, ready, None).await;
        self.call("admin", Method::POST, &format!("{stream}/_refresh"), None).await;
        let path = format!("{stream}/_search?size=100");
        let found = self.call("admin", Method::GET, &path, None).await;
        let hits = found["hits"]["hits"].as_array().unwrap_or_else(|| panic!("{found}"));
        let ids = hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned());
        let mut ids: Vec<String> = ids.filter(|id| id != "admin").collect();
        ids.sort();
        let mut wanted = log_ids(&batch);
        wanted.sort();
        (ids, wanted, webhook.logs())
    }
}

/// Posts with the right token; what could not be written is parked, so that the answer is 200.
async fn post(webhook: &Function, body: &[u8]) {
    let request = gateway_request("POST", "/auth0/logs", &[("authorization", TOKEN)], body);
    let answer = webhook.invoke(request, TIMEOUT).await;
    let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", webhook.logs()));
    assert_eq!(answer["statusCode"], 200, "{answer}\n{}", webhook.logs());
}

/// The role without each of its privileges in turn, and the privilege.
fn lessened(role: &Value) -> Vec<(String, Value)> {
    let lists = [
        "/cluster",
        "/cluster_permissions",
        "/indices/0/privileges",
        "/index_permissions/0/allowed_actions",
    ];
    let mut lessened = Vec::new();
    for list in lists {
        for index in 0..role.pointer(list).and_then(Value::as_array).map_or(0, Vec::len) {
            let mut less = role.clone();
            let privileges = less.pointer_mut(list).and_then(Value::as_array_mut).unwrap();
            let privilege = privileges.remove(index).as_str().unwrap().to_owned();
            if privileges.is_empty() {
                // Elasticsearch refuses a whole file of roles for an empty list.
                privileges.push(json!("none"));
            }
            lessened.push((privilege, less));
        }
    }
    lessened
}

async fn with_the_documented_roles_an_event_is_there_once_even_over_a_rollover(engine: &Secured) {
    let roles = [engine.documented("auth0-setup"), engine.documented("auth0-writer")];
    let secrets = engine.users(&roles).await;
    let installed = engine.install("default", &secrets[0]).await;
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let (found, wanted, logs) = engine.deliver_over_a_rollover(&secrets[1]).await;
    assert_eq!(found, wanted, "{logs}");
    engine.make_default_stream().await;
    let again = engine.install("default", &secrets[0]).await;
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

async fn without_one_of_its_privileges_setup_names_it(engine: &Secured) {
    let documented = engine.documented("auth0-setup");
    let mut lessened = lessened(&documented);
    // Neither build has a lifecycle of this kind to ask for.
    lessened.retain(|(privilege, _)| !privilege.contains("/ism/") && privilege != "manage_ilm");
    let mut roles: Vec<Value> = lessened.iter().map(|(_, role)| role.clone()).collect();
    assert!(roles.len() >= 3);
    roles.push(documented);
    let mut secrets = engine.users(&roles).await;
    let installed = engine.install("default", &secrets.pop().unwrap()).await;
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    engine.make_default_stream().await;
    for (secret, (privilege, _)) in secrets.iter().zip(&lessened) {
        // Simulated is only what is not there yet.
        let namespace = if privilege.ends_with("simulate_index") { "absent" } else { "default" };
        let refused = engine.install(namespace, secret).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{privilege} is not needed");
        assert!(said.contains("it lacks the privilege") && said.contains(privilege), "{said}");
    }
}

async fn without_one_of_its_privileges_the_writer_names_it(engine: &Secured) {
    let setup = engine.users(&[engine.documented("auth0-setup")]).await;
    assert!(engine.install("default", &setup[0]).await.status.success());
    let lessened = lessened(&engine.documented("auth0-writer"));
    let roles: Vec<Value> = lessened.iter().map(|(_, role)| role.clone()).collect();
    assert!(roles.len() >= 5);
    for (secret, (privilege, _)) in engine.users(&roles).await.iter().zip(&lessened) {
        let (_, _, logs) = engine.deliver_over_a_rollover(secret).await;
        let named = privilege.trim_end_matches('*');
        assert!(logs.contains(named), "without {privilege} the log is:\n{logs}");
        assert!(!logs.contains(&engine.password));
    }
}

async fn a_wrong_password_and_an_unknown_authority_are_named(engine: &Secured) {
    let wrong = json!({ "username": "admin", "password": "another one" });
    let name = format!("secured/wrong{:012x}", fastrand::u64(..1 << 48));
    let secret = aws::create_secret(&name, &wrong).await;
    let refused = engine.install("default", &secret).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("did not accept the credentials (HTTP 401)"), "{said}");

    let mut command = tokio::process::Command::new(stack::binary("setup"));
    command.arg("install").env_clear().envs(engine.settings("default", &secret));
    command.env_remove("SEARCH_CA_CERTIFICATE");
    let refused = command.output().await.expect("setup can be started");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("invalid peer certificate"), "{said}");
}
