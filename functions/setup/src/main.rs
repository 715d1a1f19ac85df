//! Installs the index template and the lifecycle policy: as CloudFormation's custom resource, or by hand
//! as `setup install`.

mod handler;
mod install;
mod install_error;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::service_fn;
use shared::error::chain;
use shared::retry::Deadline;

const HELP: &str = "\
Installs an index template and a lifecycle policy for the data stream in the engine.
Deletes nothing. Running it again updates both, unless somebody has changed the policy.

Usage:
  setup install [DAYS]    install with the settings below, print what was done, and exit;
                          events are deleted DAYS after their backing index was rolled over (default: never)
  setup                   run as a Lambda function: CloudFormation's custom resource
  setup --help            print this text

Environment:
  SEARCH_ENDPOINT         base URL of the engine (required)
  SEARCH_SECRET_ID        secret with {\"username\",\"password\"} or {\"api_key\"}; unset: no authentication
  SEARCH_SIGV4_SERVICE    es or aoss: sign requests with AWS credentials instead
  SEARCH_CA_CERTIFICATE   PEM of the CA that signed the engine's certificate
  DATA_STREAM_NAMESPACE   last part of the data stream's name (default: default)
  DETAILS_INDEXING        flat, fields, none or auto: fields on OpenSearch, flat on Elasticsearch (default: auto)
";

/// Time limit of `setup install`, which has no Lambda timeout.
const INSTALL_TIME: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, lambda_runtime::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => {
            lambda_runtime::tracing::init_default_subscriber();
            lambda_runtime::run(service_fn(handler::handle)).await?;
            Ok(ExitCode::SUCCESS)
        }
        ["install", days @ ..] if days.len() <= 1 => {
            let installed =
                install::install(days.first().copied(), Deadline::after(INSTALL_TIME)).await;
            Ok(match installed {
                Ok(installed) => {
                    writeln!(io::stdout(), "{installed}")?;
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    writeln!(io::stderr(), "not installed: {}", chain(&error))?;
                    ExitCode::FAILURE
                }
            })
        }
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
