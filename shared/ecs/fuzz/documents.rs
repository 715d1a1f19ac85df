//! Any bytes as the body of a request: the same invariants as in the crate's own tests.

#![no_main]

use std::sync::LazyLock;

use auth0_ecs::Mapper;
use libfuzzer_sys::fuzz_target;
use support::invariants;

static MAPPER: LazyLock<Mapper> = LazyLock::new(invariants::mapper);

fuzz_target!(|bytes: &[u8]| drop(invariants::check(&MAPPER, bytes)));
