//! A custom resource's request → its answer at CloudFormation's `ResponseURL`.
//!
//! CloudFormation waits for that answer, for an hour if need be, and then rolls back. So there is one
//! in any case: settings are read inside the invocation, and the work gets a part of its time only.

use std::time::Duration;

use aws_lambda_events::cloudformation::{
    CloudFormationCustomResourceRequest as Request, CloudFormationCustomResourceResponse as Answer,
    CloudFormationCustomResourceResponseStatus as Status,
};
use lambda_runtime::{Error, LambdaEvent};
use shared::clock;
use shared::error::chain;
use shared::retry::Deadline;
use tracing::{error, info};

use crate::install::install;

/// The resource's id. It never changes: a new one would make CloudFormation delete the old one.
const PHYSICAL_ID: &str = "auth0-log-streams-index-template";

/// Characters of a reason; CloudFormation takes 4,096 bytes for the whole answer.
const MAX_REASON: usize = 1_000;

/// One try to hand the answer over.
const ANSWER: Duration = Duration::from_secs(5);

/// What every request has.
struct Envelope {
    response_url: String,
    answer: Answer,
}

/// Does what the request asks for and answers it.
///
/// # Errors
/// Where the answer could not be handed over: Lambda then tries the whole invocation again.
pub(crate) async fn handle(event: LambdaEvent<Request>) -> Result<(), Error> {
    let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
    let deletes = matches!(event.payload, Request::Delete(_));
    let Some(Envelope { response_url, mut answer }) = envelope(event.payload) else {
        return Err("CloudFormation sent a kind of request that did not exist yet".into());
    };
    let outcome = if deletes {
        // The logs outlive the stack, and they need their template for as long as they are written.
        Ok("nothing is deleted: template, lifecycle and logs stay in the engine".to_owned())
    } else {
        let work = Deadline::after(deadline.remaining() * 3 / 4);
        attempt(work).await
    };
    let reason = match outcome {
        Ok(done) => {
            info!(done, "setup is done");
            answer.status = Status::Success;
            done
        }
        Err(reason) => {
            error!(reason, "setup failed");
            answer.status = Status::Failed;
            reason
        }
    };
    answer.reason = Some(reason.chars().take(MAX_REASON).collect());
    deliver(&response_url, serde_json::to_vec(&answer)?, deadline).await
}

fn envelope(request: Request) -> Option<Envelope> {
    let mut answer = Answer::default();
    let (response_url, physical_id, stack_id, request_id, logical_id) = match request {
        Request::Create(r) => {
            let id = PHYSICAL_ID.to_owned();
            (r.response_url, id, r.stack_id, r.request_id, r.logical_resource_id)
        }
        Request::Update(r) => {
            let id = r.physical_resource_id;
            (r.response_url, id, r.stack_id, r.request_id, r.logical_resource_id)
        }
        Request::Delete(r) => {
            let id = r.physical_resource_id;
            (r.response_url, id, r.stack_id, r.request_id, r.logical_resource_id)
        }
        _ => return None,
    };
    answer.physical_resource_id = physical_id;
    answer.stack_id = stack_id;
    answer.request_id = request_id;
    answer.logical_resource_id = logical_id;
    Some(Envelope { response_url, answer })
}

/// Installs in a task of its own, so that even a panic there leads to an answer.
async fn attempt(deadline: Deadline) -> Result<String, String> {
    let work = tokio::time::timeout_at(deadline.instant(), install(deadline));
    match tokio::spawn(work).await {
        Ok(Ok(Ok(installed))) => Ok(installed.to_string()),
        Ok(Ok(Err(error))) => Err(chain(&error)),
        Ok(Err(_)) => Err("the engine took too long; the function's timeout is near".to_owned()),
        Err(_) => Err("an internal error, which the function's log shows".to_owned()),
    }
}

/// Tries until the deadline; S3 is behind the URL.
async fn deliver(url: &str, body: Vec<u8>, deadline: Deadline) -> Result<(), Error> {
    let client = reqwest::Client::new();
    loop {
        let request = client
            .put(url)
            // The URL is signed for an empty one.
            .header(reqwest::header::CONTENT_TYPE, "")
            .timeout(deadline.at_most(ANSWER).remaining())
            .body(body.clone());
        let failure = match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => return Ok(()),
            // The URL is a credential in itself.
            Err(failure) => failure.without_url(),
        };
        let pause = Duration::from_secs(1);
        if deadline.remaining() <= pause {
            return Err(format!("the answer did not reach CloudFormation: {failure}").into());
        }
        error!(%failure, "the answer did not reach CloudFormation; trying again");
        tokio::time::sleep(pause).await;
    }
}
