//! The roles of `docs/engines.md`, on engines with security and TLS: each privilege is needed, and no
//! further one.
//!
//! Such engines take long to start, so these tests run in `make e2e-secured` only. The roles are read
//! from the document, so that what is documented is what is tested.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use support::aws::{self, CheckpointTable, Queues, Topic};
use support::engine::{DataStream, Engine};
use support::events::{json_lines, log_ids};
use support::payload::{tick, webhook_post};
use support::runtime::{Function, eventually};
use support::stack::{self, EngineKind, Variables, unique};
use support::world::RECEIVES;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::world::{TOKEN, events};

on_both_engines![
    #[ignore = "needs engines with security: make e2e-secured"]
    documented_roles_suffice_even_over_a_rollover,
    #[ignore = "needs engines with security: make e2e-secured"]
    setup_names_each_missing_privilege,
    #[ignore = "needs engines with security: make e2e-secured"]
    writer_names_each_missing_privilege,
    #[ignore = "needs engines with security: make e2e-secured"]
    detector_names_each_missing_privilege,
    #[ignore = "needs engines with security: make e2e-secured"]
    setup_names_wrong_password_and_unknown_root_certificate,
];

/// Held while users are created: OpenSearch refuses concurrent changes, and Elasticsearch's files are
/// read and rewritten.
static USERS: Mutex<()> = Mutex::const_new(());

/// Engines with security are slow on a small machine, and time limits are not tested here.
const TIMEOUT: Duration = Duration::from_secs(60);

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An engine with security.
struct Secured {
    kind: EngineKind,
    /// As the superuser `admin`.
    engine: Engine,
    client: Client,
    root_certificate: String,
    /// Of `admin`, and of all users created here.
    password: String,
}

impl Secured {
    fn new(kind: EngineKind) -> Self {
        let of = |name: &str| {
            let engine =
                if kind == EngineKind::OpenSearch { "OPENSEARCH" } else { "ELASTICSEARCH" };
            stack::variable(&format!("E2E_SECURED_{engine}_{name}"))
        };
        let root_certificate = fs::read_to_string(of("CA")).unwrap();
        let certificate = Certificate::from_pem(root_certificate.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_merge([certificate]).build().unwrap();
        let password = of("PASSWORD");
        let engine = Engine::secured(of("URL"), client.clone(), "admin", &password);
        Self { kind, engine, client, root_certificate, password }
    }

    /// Reads a role from the document.
    fn documented(&self, role: &str) -> Value {
        let document = fs::read_to_string(format!("{ROOT}/docs/engines.md")).unwrap();
        let engine =
            if self.kind == EngineKind::OpenSearch { "opensearch" } else { "elasticsearch" };
        let start = format!("```json {engine} {role}\n");
        let (_, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no {start}"));
        serde_json::from_str(rest.split_once("```").unwrap().0).unwrap()
    }

    /// Creates each role and a user who has it; returns the ids of the users' secrets.
    async fn users(&self, roles: &[Value]) -> Vec<String> {
        let names: Vec<String> = roles.iter().map(|_| unique("user")).collect();
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
            secrets.push(self.secret(&name).await);
        }
        secrets
    }

    /// Returns the id of a secret with the user's credentials.
    async fn secret(&self, user: &str) -> String {
        let secret = json!({ "username": user, "password": self.password });
        aws::create_secret(&format!("secured/{user}"), &secret).await
    }

    async fn secure(&self, what: &str, name: &str, body: Value) {
        let path = format!("_plugins/_security/api/{what}/{name}");
        let answer = self.engine.call(Method::PUT, &path, Some(body)).await;
        assert_eq!(answer["status"], "CREATED", "{answer}");
    }

    /// Elasticsearch's minimal distribution cannot store roles. It reads its files every second.
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
        let url = self.engine.url.clone();
        let as_last = Engine::secured(url, self.client.clone(), last, &self.password);
        eventually("the users are known", async || {
            as_last.call(Method::GET, "_cluster/health", None).await["status"] != 401
        })
        .await;
        // The roles are read in the same round, or in the next one.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    fn settings(&self, namespace: &str, secret: &str) -> Variables {
        aws::variables().with([
            ("SEARCH_ENDPOINT", self.engine.url.as_str()),
            ("SEARCH_CA_CERTIFICATE", &self.root_certificate),
            ("SEARCH_SECRET_ID", secret),
            ("DATA_STREAM_NAMESPACE", namespace),
        ])
    }

    /// Runs `setup install` as the user of this secret.
    async fn install(&self, namespace: &str, secret: &str) -> Output {
        stack::install(&self.settings(namespace, secret)).await
    }

    /// Creates the data stream of the namespace `default`, with one document.
    async fn make_default_stream(&self) {
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
        let path = "logs-auth0.logs-default/_doc?op_type=create";
        let made = self.engine.call(Method::POST, path, Some(document)).await;
        assert_eq!(made["result"], "created", "{made}");
    }

    async fn webhook(&self, namespace: &str, secret: &str) -> Function {
        let queues = Queues::create(namespace, RECEIVES).await;
        let token = json!({ "token": TOKEN });
        let token = aws::create_secret(&format!("secured/{namespace}/webhook"), &token).await;
        let variables = self.settings(namespace, secret).with([
            ("WEBHOOK_SECRET_ID", token),
            ("RETRY_QUEUE_URL", queues.retry),
            ("DEAD_LETTER_QUEUE_URL", queues.dead),
        ]);
        Function::new(stack::binary("webhook"), 1, variables)
    }

    /// Posts a batch, rolls the data stream over, and posts the same batch again. Returns the ids that
    /// are stored, those that should be, and the logs.
    async fn deliver_over_a_rollover(&self, secret: &str) -> (Vec<String>, Vec<String>, String) {
        let namespace = unique("e2e");
        let stream = DataStream::new(self.engine.clone(), &namespace);
        // As the superuser: the privileges under test are the writer's.
        let admin = json!({ "username": "admin", "password": self.password });
        let admin = aws::create_secret(&format!("secured/{namespace}/admin"), &admin).await;
        let installed = self.install(&namespace, &admin).await;
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let webhook = self.webhook(&namespace, secret).await;
        let batch = events().take(3);
        let body = json_lines(&batch).into_bytes();
        post(&webhook, &body).await;
        // If the first event was refused, the stream does not exist yet.
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z", "event": { "id": "admin" } });
        let path = format!("{}/_create/admin", stream.name);
        self.engine.call(Method::PUT, &path, Some(document)).await;
        stream.rollover().await;
        post(&webhook, &body).await;

        let ready = "_cluster/health?wait_for_status=yellow&timeout=60s";
        self.engine.call(Method::GET, ready, None).await;
        let hits = stream.documents().await;
        let ids = hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned());
        let mut ids: Vec<String> = ids.filter(|id| id != "admin").collect();
        ids.sort();
        let mut wanted = log_ids(&batch);
        wanted.sort();
        (ids, wanted, webhook.logs())
    }
}

/// Posts with the right token. Events that cannot be written are parked, so the response is 200.
async fn post(webhook: &Function, body: &[u8]) {
    let answer = webhook.invoke(webhook_post(TOKEN, body), TIMEOUT).await;
    let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", webhook.logs()));
    assert_eq!(answer["statusCode"], 200, "{answer}\n{}", webhook.logs());
}

/// Each privilege of a role, with the role that lacks it.
fn lessened(role: &Value) -> Vec<(String, Value)> {
    let lists = [
        "/cluster",
        "/cluster_permissions",
        "/indices/0/privileges",
        "/indices/1/privileges",
        "/index_permissions/0/allowed_actions",
        "/index_permissions/1/allowed_actions",
    ];
    let mut lessened = Vec::new();
    for list in lists {
        for index in 0..role.pointer(list).and_then(Value::as_array).map_or(0, Vec::len) {
            let mut less = role.clone();
            let privileges = less.pointer_mut(list).and_then(Value::as_array_mut).unwrap();
            let privilege = privileges.remove(index).as_str().unwrap().to_owned();
            if privileges.is_empty() {
                // An empty list makes Elasticsearch reject the whole file of roles.
                privileges.push(json!("none"));
            }
            lessened.push((privilege, less));
        }
    }
    lessened
}

async fn documented_roles_suffice_even_over_a_rollover(kind: EngineKind) {
    let engine = Secured::new(kind);
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

async fn setup_names_each_missing_privilege(kind: EngineKind) {
    let engine = Secured::new(kind);
    let documented = engine.documented("auth0-setup");
    let mut lessened = lessened(&documented);
    // Neither build has the plugin for such a lifecycle, so nothing asks for it.
    lessened.retain(|(privilege, _)| !privilege.contains("/ism/") && privilege != "manage_ilm");
    let mut roles: Vec<Value> = lessened.iter().map(|(_, role)| role.clone()).collect();
    assert!(roles.len() >= 3);
    roles.push(documented);
    let mut secrets = engine.users(&roles).await;
    let installed = engine.install("default", &secrets.pop().unwrap()).await;
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    engine.make_default_stream().await;
    for (secret, (privilege, _)) in secrets.iter().zip(&lessened) {
        // Only a stream that does not exist yet is simulated.
        let namespace = if privilege.ends_with("simulate_index") { "absent" } else { "default" };
        let refused = engine.install(namespace, secret).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{privilege} is not needed");
        assert!(said.contains("it lacks the privilege") && said.contains(privilege), "{said}");
    }
}

async fn writer_names_each_missing_privilege(kind: EngineKind) {
    let engine = Secured::new(kind);
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

impl Secured {
    /// Has a detection ring, as the user of this secret. Returns how many alerts are stored, and the logs.
    async fn detect(&self, secret: &str) -> (usize, String) {
        let namespace = unique("e2e");
        let admin = json!({ "username": "admin", "password": self.password });
        let admin = aws::create_secret(&format!("secured/{namespace}/admin"), &admin).await;
        let installed = self.install(&namespace, &admin).await;
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let off = json!({
            "@timestamp": chrono::Utc::now() - chrono::TimeDelta::minutes(1),
            "event": { "id": "off" },
            "auth0": { "logs": { "data": { "type_id": "sapi" } } },
            "http": { "request": { "method": "delete" } },
            "url": { "path": "/api/v2/log-streams/lst_1" },
        });
        let path = format!("logs-auth0.logs-{namespace}/_create/off?refresh=true");
        let made = self.engine.call(Method::PUT, &path, Some(off)).await;
        assert_eq!(made["result"], "created", "{made}");
        let table = CheckpointTable::create(&namespace).await;
        let topic = Topic::create(&namespace).await;
        let variables = self
            .settings(&namespace, secret)
            .with([("CHECKPOINT_TABLE", &table.name), ("ALERT_TOPIC_ARN", &topic.arn)]);
        let detect = Function::new(stack::binary("detect"), 1, variables);
        drop(detect.invoke(tick(), TIMEOUT).await);
        let name = format!("logs-auth0.alerts-{namespace}");
        let alerts = DataStream { engine: self.engine.clone(), name };
        (alerts.count().await, detect.logs())
    }
}

async fn detector_names_each_missing_privilege(kind: EngineKind) {
    let engine = Secured::new(kind);
    let documented = engine.documented("auth0-detector");
    let lessened = lessened(&documented);
    let mut roles: Vec<Value> = lessened.iter().map(|(_, role)| role.clone()).collect();
    assert!(roles.len() >= 5);
    roles.push(documented);
    let mut secrets = engine.users(&roles).await;
    let (alerts, logs) = engine.detect(&secrets.pop().unwrap()).await;
    assert_eq!(alerts, 1, "{logs}");
    for (secret, (privilege, _)) in secrets.iter().zip(&lessened) {
        let (alerts, logs) = engine.detect(secret).await;
        let named = privilege.trim_end_matches('*');
        assert!(alerts == 0 && logs.contains(named), "without {privilege} the log is:\n{logs}");
        assert!(!logs.contains(&engine.password));
    }
}

impl Secured {
    /// Runs the commands for a domain in `docs/deploy.md`, with these outputs of the stack.
    async fn map_as_documented(&self, outputs: &[(&str, String)]) {
        let document = fs::read_to_string(format!("{ROOT}/docs/deploy.md")).unwrap();
        let (_, rest) = document.split_once("**Domain**").unwrap();
        let (_, rest) = rest.split_once("```sh\n").unwrap();
        let (commands, _) = rest.split_once("   ```\n").unwrap();
        let cases: String =
            outputs.iter().map(|(name, value)| format!("{name}) echo {value} ;; ")).collect();
        let script = format!(
            "set -euo pipefail\noutput() {{ case $1 in {cases}*) exit 1 ;; esac; }}\n{commands}"
        );
        let done = Command::new("bash")
            .args(["-c", &script])
            .current_dir(ROOT)
            .env("ENDPOINT", &self.engine.url)
            .env("MASTER_USER", format!("admin:{}", self.password))
            .env("CURL_CA_BUNDLE", stack::variable("E2E_SECURED_OPENSEARCH_CA"))
            .output()
            .await
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Creates a user whom the security plugin sees as the caller who signs with this role. Returns the
    /// id of the user's secret.
    async fn signer(&self, role: &str) -> String {
        let user = unique("signer");
        let body = json!({ "password": self.password, "backend_roles": [role] });
        self.secure("internalusers", &user, body).await;
        self.secret(&user).await
    }
}

/// Elasticsearch knows no IAM roles.
#[tokio::test]
#[ignore = "needs engines with security: make e2e-secured"]
async fn mapped_iam_role_does_what_its_function_does_and_nothing_else() {
    let engine = Secured::new(EngineKind::OpenSearch);
    let arn = |name| format!("arn:aws:iam::123456789012:role/auth0-{name}Role-1A2B3C");
    let names = ["Setup", "Webhook", "Redrive", "Detect", "Unmapped"];
    let [setup, webhook, redrive, detect, unmapped] = names.map(arn);
    let guard = USERS.lock().await;
    let outputs = [
        ("SetupRole", setup.clone()),
        ("WriterRoles", format!("{redrive},{webhook}")),
        ("DetectRole", detect.clone()),
    ];
    engine.map_as_documented(&outputs).await;
    let mut signers = Vec::new();
    for role in [&setup, &webhook, &redrive, &detect, &unmapped] {
        signers.push((role, engine.signer(role).await));
    }
    drop(guard);
    for (role, secret) in &signers {
        let installed = engine.install(&unique("e2e"), secret).await;
        let said = String::from_utf8_lossy(&installed.stderr);
        assert_eq!(installed.status.success(), *role == &setup, "{role}: {said}");
        let advice = format!("the backend role {role} is not mapped to an engine role");
        assert!(*role == &setup || said.contains(&advice), "{role}: {said}");

        let (found, wanted, logs) = engine.deliver_over_a_rollover(secret).await;
        let is_writer = [&webhook, &redrive].contains(role);
        assert_eq!(found, if is_writer { wanted } else { Vec::new() }, "{role}: {logs}");

        let (alerts, logs) = engine.detect(secret).await;
        assert_eq!(alerts, usize::from(*role == &detect), "{role}: {logs}");
    }
}

async fn setup_names_wrong_password_and_unknown_root_certificate(kind: EngineKind) {
    let engine = Secured::new(kind);
    let wrong = json!({ "username": "admin", "password": "another one" });
    let name = format!("secured/{}", unique("wrong"));
    let secret = aws::create_secret(&name, &wrong).await;
    let refused = engine.install("default", &secret).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("did not accept the credentials (HTTP 401)"), "{said}");

    let settings = [
        ("SEARCH_ENDPOINT", engine.engine.url.as_str()),
        ("SEARCH_SECRET_ID", &secret),
        ("DATA_STREAM_NAMESPACE", "default"),
    ];
    let refused = stack::install(&aws::variables().with(settings)).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("invalid peer certificate"), "{said}");
}
