//! Settings of the functions, for tests that run them in their own process.

use auth0_ecs::input::filter::TypeFilter;
use shared::start::config::{GeoIpConfig, PipelineConfig, SearchConfig, SignIn, UserData};

/// The defaults, with the engine at this URL and a data stream of this namespace.
///
/// # Panics
/// If it is not a URL.
#[must_use]
pub fn pipeline(
    engine: &str,
    namespace: &str,
    retries: &str,
    dead_letters: &str,
) -> PipelineConfig {
    PipelineConfig {
        search: SearchConfig {
            endpoint: engine.parse().expect("a URL"),
            sign_in: SignIn::None,
            ca_certificate: None,
            gzip: false,
        },
        namespace: namespace.to_owned(),
        tags: Vec::new(),
        preserve_original_event: false,
        types: TypeFilter::default(),
        user_data: UserData::default(),
        geoip: GeoIpConfig::default(),
        function_name: "test".to_owned(),
        stack: "test".to_owned(),
        retry_queue_url: retries.to_owned(),
        dead_letter_queue_url: dead_letters.to_owned(),
    }
}
