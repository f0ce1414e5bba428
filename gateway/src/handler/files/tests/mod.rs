//! The behaviour of the whole server, on real directories.

mod answers;
mod bodies;
mod paths;

/// Nonsense in which every stretch differs.
fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at / 7) ^ (at >> 11)) as u8)
        .collect()
}
