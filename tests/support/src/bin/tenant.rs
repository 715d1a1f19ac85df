//! The stand-in Auth0 tenant as a program, for the local stack.
//!
//! `tenant --port 9300 --client-id ID --client-secret SECRET --events 250`: the events are from the
//! last hour; `POST /_stand-in/events` adds more. It runs until it is stopped.

#![expect(clippy::indexing_slicing, reason = "the table has every option that is read")]
#![expect(clippy::disallowed_methods, reason = "a stand-in for a server has a clock of its own")]

use std::collections::HashMap;

use anyhow::{Context, bail};
use chrono::{TimeDelta, Utc};
use support::events::Events;
use support::tenant::Tenant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut options = HashMap::from([
        ("--port", "9300".to_owned()),
        ("--client-id", "local-client".to_owned()),
        ("--client-secret", "local-secret".to_owned()),
        ("--events", "0".to_owned()),
    ]);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let Some(value) = options.get_mut(name.as_str()) else {
            bail!("unknown option {name}; options: --port --client-id --client-secret --events");
        };
        *value = arguments.next().with_context(|| format!("{name} needs a value"))?;
    }
    let port = options["--port"].parse().context("--port must be a port number")?;
    let count: usize = options["--events"].parse().context("--events must be a number")?;

    let tenant = Tenant::start_on(port, &options["--client-id"], &options["--client-secret"])
        .await
        .with_context(|| format!("cannot use port {port}"))?;
    // Events are half a second apart on average: an hour back is enough room for some thousands.
    tenant.add(&Events::new(1, Utc::now() - TimeDelta::hours(1)).take(count));
    eprintln!("stand-in Auth0 tenant on {} with {count} events", tenant.url());
    std::future::pending::<()>().await;
    Ok(())
}
