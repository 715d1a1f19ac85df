//! Cases drawn from fixed seeds, the same ones in each run. Compiling `proptest`, which also shrinks what fails,
//! would take a tenth of `cargo test -p auth0-ecs`; the cases here are small as they are.

use std::thread;

use fastrand::Rng;

/// Calls `check` with a generator for each of this number of seeds, and prints the seed of one that panics.
pub fn seeds(count: u64, mut check: impl FnMut(&mut Rng)) {
    for seed in 0..count {
        let named = Named(seed);
        check(&mut Rng::with_seed(seed));
        drop(named);
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("drawn with the seed {}", self.0);
        }
    }
}

/// Returns one of these values.
///
/// # Panics
/// If there is none.
pub fn one<'v, T>(rng: &mut Rng, values: &'v [T]) -> &'v T {
    &values[rng.usize(..values.len())]
}

/// Returns up to `most` of these parts, one after the other.
pub fn text(rng: &mut Rng, parts: &[&str], most: usize) -> String {
    (0..rng.usize(..=most)).map(|_| *one(rng, parts)).collect()
}

/// Returns up to `most` characters, half of them in ASCII.
pub fn any_text(rng: &mut Rng, most: usize) -> String {
    let any = |rng: &mut Rng| if rng.bool() { rng.char('\0'..='\x7f') } else { rng.char(..) };
    (0..rng.usize(..=most)).map(|_| any(rng)).collect()
}
