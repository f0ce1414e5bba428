//! How much may be under way to us on one stream, by how many streams are open.
//!
//! What a slow reader leaves unread stays in memory and occupies the carrier's window, so all
//! stalled streams together must fit into that window or they stall everyone else. A stream alone
//! gets [`LARGEST`], enough for 1 Gbit/s at 48 ms; the more there are, the less each gets. Streams
//! that opened early keep what they have received, so the worst sum is that of a harmonic series:
//! for 1 000 streams 59 MiB, below [`CARRIER`].

/// The window of a whole carrier, in bytes. Never reached, see above.
pub(super) const CARRIER: u32 = 64 * 1024 * 1024;
/// The most streams of a carrier.
pub(super) const MAX_STREAMS: u32 = 1000;
/// The window of a stream that is alone, in bytes.
pub(super) const LARGEST: u32 = 6 * 1024 * 1024;
/// The window of a stream among very many, in bytes.
const SMALLEST: u32 = 8 * 1024;
/// What many streams share, in bytes.
const SHARED: u32 = 8 * 1024 * 1024;

/// The window of each stream when `streams` are open. Falls in steps, so that a stream more or less
/// seldom costs a SETTINGS frame.
pub(super) fn of_each(streams: usize) -> u32 {
    match u32::try_from(streams).unwrap_or(u32::MAX) {
        0 | 1 => LARGEST,
        2 => 4 * 1024 * 1024,
        more => (SHARED / more.checked_next_power_of_two().unwrap_or(u32::MAX)).max(SMALLEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalled_streams_together_never_fill_the_carrier() {
        let worst: u64 = (1..=MAX_STREAMS as usize)
            .map(|n| u64::from(of_each(n)))
            .sum();
        assert!(worst < u64::from(CARRIER), "{worst}");
    }

    #[test]
    fn more_streams_never_get_a_larger_window() {
        for streams in 0..5000 {
            assert!(of_each(streams + 1) <= of_each(streams));
            assert!(of_each(streams) >= SMALLEST);
        }
        assert_eq!(of_each(usize::MAX), SMALLEST);
    }
}
