//! Hashes that do not change from version to version: two gateways send one client to one endpoint.

/// A hash of `bytes`, spread over all 64 bits: FNV-1a, finished as MurmurHash3 is.
pub fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(folded)
}

/// Spreads the difference of two numbers over all bits.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The hash of two numbers.
pub(crate) fn pair(a: u64, b: u64) -> u64 {
    mix(a ^ mix(b.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// A number from 0 up to, not including, 1.
pub(crate) fn fraction(number: u64) -> f64 {
    // The 53 bits that a double holds.
    (number >> 11) as f64 / (1_u64 << 53) as f64
}
