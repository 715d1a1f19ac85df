//! What the tests of this folder share: settings and clients that lead to one stand-in server.

use auth0_ecs::input::filter::TypeFilter;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use tokio::net::TcpListener;

use crate::start::config::{GeoIpConfig, PipelineConfig, SearchConfig, SignIn, UserData};
use crate::start::http;

/// Serves on a free port until the test ends; returns the URL.
pub(super) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// AWS at this URL, whatever the service.
pub(super) fn aws(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .http_client(http::sdk_client(&http::client().unwrap()))
        .build()
}

/// The engine at this URL, and queues named `retry` and `dead`.
pub(super) fn pipeline(url: &str) -> PipelineConfig {
    PipelineConfig {
        search: SearchConfig {
            endpoint: url.parse().unwrap(),
            sign_in: SignIn::None,
            ca_certificate: None,
            gzip: false,
        },
        namespace: "default".into(),
        tags: Vec::new(),
        preserve_original_event: false,
        types: TypeFilter::default(),
        user_data: UserData::default(),
        geoip: GeoIpConfig::default(),
        function_name: "test".into(),
        stack: "test".into(),
        retry_queue_url: format!("{url}/1/retry"),
        dead_letter_queue_url: format!("{url}/1/dead"),
    }
}
