//! How text becomes grams, three bytes each: the build script does it with the rules' literals, the
//! matcher with an agent, and both have to agree.

/// Stand for the two ends of an agent, so that a rule bound to an end has grams of its own.
pub(crate) const START: u8 = 2;
pub(crate) const END: u8 = 3;
/// Stands for any digit, where a rule says `\d`.
pub(crate) const DIGIT: u8 = 4;

/// The number of different gram hashes.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 13;

/// Case is ignored, as some rules do.
pub(crate) const fn fold(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

/// A gram's hash. Two grams of one hash only make a rule be tried in vain.
pub(crate) const fn slot([a, b, c]: [u8; 3]) -> u16 {
    let hash = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9E37_79B1) >> (32 - SLOT_BITS);
    let [low, high, ..] = hash.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The gram with all its digits made [`DIGIT`], if it has one. An agent's gram counts as both.
pub(crate) fn without_digits(gram: [u8; 3]) -> Option<[u8; 3]> {
    let general = gram.map(|byte| if byte.is_ascii_digit() { DIGIT } else { byte });
    (general != gram).then_some(general)
}
