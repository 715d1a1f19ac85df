//! Batches of mixed events for the benchmarks.

use std::fmt::Write as _;

/// Six user agents, `{}` being one of five versions: as many as occur in a hundred events of a tenant.
pub const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/12{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{} Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:93.0) Gecko/20100101 Firefox/9{}.0",
    "Mozilla/5.0 (Linux; Android 14; Pixel {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    "python-requests/2.3{}.0",
];

/// The types that make up most of a tenant's logs.
const TYPES: [&str; 8] = ["s", "f", "fp", "seacft", "sapi", "ssa", "gd_auth_succeed", "sertft"];

/// Events of at most this many bytes have almost no details.
const SMALL: usize = 1_200;

/// JSON lines of `events` events of about `bytes` bytes each.
pub fn batch(events: usize, bytes: usize) -> Vec<u8> {
    let mut lines = String::new();
    for n in 0..events {
        let kind = TYPES[n % TYPES.len()];
        let agent = AGENTS[n % AGENTS.len()].replace("{}", &(n % 5).to_string());
        let start = lines.len();
        // Ids that are no sequence, as Auth0's are: an engine stores a sequence in a fraction of the bytes.
        let (id, ms) = ((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), n % 1000);
        write!(
            lines,
            r#"{{"log_id":"900202611220306097321153894152608390216442012590{n:07}","data":{{"date":"2026-11-22T03:06:{:02}.{:03}Z","type":"{kind}","description":"","connection":"Username-Password-Authentication","connection_id":"con_q1XPlGm6EHSDkw","client_id":"aI61p8I8aFjmYRliLWgvM9ev97kCCNDB","client_name":"Customer portal","ip":"81.2.{}.{}","client_ip":null,"user_agent":"{agent}","hostname":"example.eu.auth0.com","user_id":"auth0|65f1c8b9{:012}","user_name":"user{}@example.com","audience":"https://api.example.com/","scope":["openid","profile","email","offline_access"],"strategy":"auth0","strategy_type":"database","organization_id":"org_2eondWoxcMIpaLQc","is_mobile":false,"tenant_name":"example","environment_name":"prod-eu-1","$event_schema":{{"version":"1.0.0"}},"auth0_client":{{"name":"auth0.js-ulp","version":"9.24.1","env":{{}}}},"security_context":{{"ja3":"cd08e31494f9531f560d64c695473da9","ja4":"t13d1516h2_8daaf6152771_02713d6af862"}},"references":{{"correlation_id":null,"trace_id":"4bf92f3577b34da6{id:016x}"}},"details":{{"#,
            n % 60,
            n % 1000,
            n % 200 + 1,
            n % 100 + 1,
            n % 400,
            n % 400,
        )
        .unwrap();
        // A small event lacks the details of a login.
        if bytes > SMALL {
            write!(
                lines,
                r#""prompts":[{{"name":"prompt-authenticate","initiatedAt":1763780765{ms:03},"completedAt":1763780769{ms:03},"connection":"Username-Password-Authentication","strategy":"auth0","identity":"65f1c8b9","stats":{{"loginsCount":{n}}},"elapsedTime":null}},{{"name":"login","flow":"universal-login","initiatedAt":1763780765{ms:03},"timers":{{"rules":5}},"elapsedTime":4321}}],"initiatedAt":1763780765{ms:03},"completedAt":1763780769{ms:03},"elapsedTime":4321,"session_id":"jKMYA1JIzHJqNCeH{id:016x}","device_id":"v0:36d1f4f0-6a72-11ef-{:04x}-{:012x}","request":{{"method":"post","path":"/u/login","query":{{}},"body":{{}},"auth":{{"strategy":"jwt","credentials":null}}}},"response":{{"statusCode":200,"body":[]}},"stats":{{"loginsCount":{n}}},"error":{},"#,
            id % 0xffff,
            id >> 16,
            if kind.starts_with('f') { r#"{"message":"Wrong email or password.","type":"invalid_user_password"}"# } else { "null" },
            )
            .unwrap();
        }
        // Auth0's schemas name this list, so what fills the event up is as in Auth0's events.
        lines.push_str("\"actions\":{\"executions\":[");
        while lines.len() - start + 12 < bytes {
            let at = lines.len() - start;
            write!(lines, "\"grant_type=authorization_code; resource=api {at}\",").unwrap();
        }
        lines.push_str("\"login\"]}}}}\n");
    }
    lines.into_bytes()
}
