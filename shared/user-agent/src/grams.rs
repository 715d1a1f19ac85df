//! Splits text into grams of three bytes. The build script does so with the rules' literals, and the
//! prefilter with agents; both must agree.

/// Stands for the start of an agent, so that a rule bound to it has grams of its own.
pub(crate) const START: u8 = 2;
/// Stands for the end of an agent.
pub(crate) const END: u8 = 3;
/// Stands for any digit, where a rule says `\d`.
pub(crate) const DIGIT: u8 = 4;

/// Number of different gram hashes.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 13;

/// Ignores case, as some rules do.
pub(crate) const fn fold(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

/// Returns a gram's hash. A collision only makes a rule be tried for nothing.
pub(crate) const fn slot([a, b, c]: [u8; 3]) -> u16 {
    let hash = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9E37_79B1) >> (32 - SLOT_BITS);
    let [low, high, ..] = hash.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Returns the gram with every digit replaced by [`DIGIT`], or `None` if it has no digit. An agent's
/// gram counts as both.
pub(crate) fn mask_digits(gram: [u8; 3]) -> Option<[u8; 3]> {
    let masked = gram.map(|byte| if byte.is_ascii_digit() { DIGIT } else { byte });
    (masked != gram).then_some(masked)
}
