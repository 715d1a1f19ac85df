//! Runs the cases of a property, and shrinks one that fails.

use std::fmt::{self, Debug};
use std::process::{Command, Stdio};
use std::thread;

use proptest::collection::{SizeRange, vec};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use support::model::runtime::Runtime;

/// Set in the process that runs the cases.
const CHILD: &str = "MODEL_CHILD";

/// The seed of each run that names no other.
const SEED: u64 = 2026;

/// How long a failing case is shrunk, in milliseconds.
const SHRINK_TIME: u32 = 20_000;

/// One certificate, which no request of these tests needs. A machine's hundreds would be read for each
/// engine's client, and take most of the time.
const ROOT_CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/model/root.pem");

/// What happens one after the other. A failing case is read by people: each step has a line.
pub(crate) struct Steps<S>(pub(crate) Vec<S>);

impl<S: Debug> Debug for Steps<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
    }
}

/// So many steps.
pub(crate) fn steps<S: Debug>(
    step: impl Strategy<Value = S>,
    count: impl Into<SizeRange>,
) -> impl Strategy<Value = Steps<S>> {
    vec(step, count).prop_map(Steps)
}

/// Why a promise is broken.
pub(crate) type Broken = String;

/// Checks that `promise` holds in each of `count` cases.
///
/// They run in a process of their own, without stdout: the functions write their metrics there, past the
/// test harness. Its stderr has the failure.
///
/// # Panics
/// With the smallest case found in which it does not hold.
pub(crate) fn check<S: Strategy>(
    count: u32,
    strategy: S,
    promise: impl AsyncFn(&Runtime, S::Value) -> Result<(), Broken>,
) where
    S::Value: Debug,
{
    if setting(CHILD).is_none() {
        return run_alone();
    }
    let seed = setting("MODEL_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let factor: u32 = setting("MODEL_CASES").map_or(1, |factor| factor.parse().expect("a number"));
    let config = Config {
        cases: count * factor,
        failure_persistence: None,
        max_shrink_time: SHRINK_TIME,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let runtime = Runtime::new();
    let outcome = runner.run(&strategy, |case| {
        // The functions' jitter.
        fastrand::seed(seed);
        runtime.block_on(promise(&runtime, case)).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => {
            panic!("{reason}\nin the case {case:?}\n(MODEL_SEED={seed})")
        }
        Err(TestError::Abort(reason)) => panic!("{reason} (MODEL_SEED={seed})"),
    }
}

/// Runs this test in another process.
fn run_alone() {
    let test = thread::current().name().expect("the harness names its threads").to_owned();
    let done = Command::new(std::env::current_exe().expect("this program's path"))
        .args([test.as_str(), "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .env("SSL_CERT_FILE", ROOT_CERTIFICATES)
        .env_remove("SSL_CERT_DIR")
        .stdout(Stdio::null())
        .output()
        .expect("this program can be started again");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the tests' own settings, not the product's")]
    std::env::var(name).ok()
}
