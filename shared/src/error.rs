//! The text of an error with all its causes.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;

/// An error of any type, as the source of another.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Returns `error` and its sources as "outer: middle: inner". A source whose text is already there
/// is skipped: many libraries repeat it in their own.
///
/// The SDK's `DisplayErrorContext` is not an alternative: it prints raw responses, which may hold a
/// secret.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        source = error.source();
    }
    text
}

/// The cause of an SDK error without the raw response, which even `{:?}` must not print.
pub fn sdk_cause<E: Error + Send + Sync + 'static, R>(error: SdkError<E, R>) -> BoxError {
    error.into_source().unwrap_or_else(|_| "unknown SDK error".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct TestError {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn error(texts: &[&'static str]) -> TestError {
        let (text, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(error(rest)));
        TestError { text, source }
    }

    #[test]
    fn chain_names_each_cause_once() {
        assert_eq!(chain(&error(&["outer"])), "outer");
        assert_eq!(chain(&error(&["outer", "middle", "inner"])), "outer: middle: inner");
        let repeating = error(&["send failed: refused", "refused", "os error 111"]);
        assert_eq!(chain(&repeating), "send failed: refused: os error 111");
    }
}
