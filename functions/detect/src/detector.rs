//! Everything that outlives an invocation.

use auth0_ecs::index_template::data_stream;
use aws_config::SdkConfig;
use shared::checkpoint::Checkpoints;
use shared::engine::connection::Connection;
use shared::start::config::DetectConfig;

use crate::publish::Topic;
use crate::rules::{self, Rule};
use crate::settings;

/// The rules, and what they are run with.
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) stack: String,
    pub(crate) namespace: String,
    pub(crate) rules: Vec<Rule>,
    /// Settings that cannot be used, one message each.
    pub(crate) problems: Vec<String>,
    pub(crate) connection: Connection,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) topic: Topic,
}

impl Detector {
    /// Reads the rules. Nothing is requested before the first run.
    ///
    /// # Errors
    /// The rules that were compiled in are unusable.
    pub(crate) fn new(config: DetectConfig, aws: &SdkConfig) -> Result<Self, serde_json::Error> {
        let mut rules = rules::all()?;
        let problems =
            settings::apply(&mut rules, config.exclude.as_deref(), config.settings.as_deref());
        // Next to the poller's, whose id is a host.
        let id = format!("detections of {}", data_stream(&config.namespace));
        Ok(Self {
            stack: config.stack,
            namespace: config.namespace,
            rules,
            problems,
            connection: Connection::new(config.search, aws.clone()),
            checkpoints: Checkpoints::new(aws, config.checkpoint_table, id),
            topic: Topic::new(aws, config.topic),
        })
    }
}
