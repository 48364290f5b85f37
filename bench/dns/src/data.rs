//! What every server is filled with.

/// The name number `index`, as every server has it.
pub fn name(index: usize) -> String {
    format!("n{index}")
}

/// The address of that name.
pub fn address(index: usize) -> String {
    let [_, a, b, c] = (index as u32).to_be_bytes();
    format!("10.{a}.{b}.{c}")
}
