//! Installs the index template and the lifecycle: at deploy time as CloudFormation's custom resource,
//! by hand as `setup install`.

mod handler;
mod install;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::service_fn;
use shared::error::chain;
use shared::retry::Deadline;

const HELP: &str = "\
Installs the index template logs-auth0.logs and a lifecycle policy in the engine.
Nothing is ever deleted; running it again brings the template up to date.

  setup install    install with the settings below, say what was done, and end
  setup            serve Lambda: a custom resource of CloudFormation
  setup --help     this text

Environment:
  SEARCH_ENDPOINT         base URL of the engine (required)
  SEARCH_SECRET_ID        secret with {\"username\",\"password\"} or {\"api_key\"}; absent: no sign-in
  SEARCH_SIGV4_SERVICE    es or aoss: sign requests with the AWS credentials at hand instead
  SEARCH_CA_CERTIFICATE   PEM of the authority that signed the engine's certificate
  DATA_STREAM_NAMESPACE   last part of the data stream's name (default: default)
";

/// By hand there is no Lambda timeout; whoever waits at a prompt wants to know in a minute.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => {
            lambda_runtime::tracing::init_default_subscriber();
            match lambda_runtime::run(service_fn(handler::handle)).await {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => Err(anyhow::anyhow!(error)),
            }
        }
        ["install"] => Ok(match install::install(Deadline::after(PATIENCE)).await {
            Ok(installed) => {
                writeln!(io::stdout(), "{installed}")?;
                ExitCode::SUCCESS
            }
            Err(error) => {
                writeln!(io::stderr(), "not installed: {}", chain(&error))?;
                ExitCode::FAILURE
            }
        }),
        ["--help" | "-h"] => {
            io::stdout().write_all(HELP.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            io::stderr().write_all(HELP.as_bytes())?;
            Ok(ExitCode::from(2))
        }
    }
}
