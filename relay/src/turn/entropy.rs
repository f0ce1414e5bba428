//! Where unpredictable bytes come from: ports, reservation tokens and the nonces' key.

use std::fmt;

/// A source of unpredictable bytes. A trait so that tests and fuzzing can repeat a run.
pub trait Entropy: fmt::Debug + Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The operating system's generator, by way of aws-lc-rs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("aws-lc-rs aborts rather than run out of entropy");
    }
}

/// A number below `bound`, which is not 0. The bias of the remainder is below 2^-32 for the ports
/// and indices it is used for.
pub(crate) fn below(entropy: &mut dyn Entropy, bound: u32) -> u32 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u32::try_from(u64::from_be_bytes(bytes) % u64::from(bound)).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Repeats itself for the same seed.
    #[derive(Debug)]
    pub(crate) struct Seeded(pub(crate) fastrand::Rng);

    impl Seeded {
        pub(crate) fn new(seed: u64) -> Self {
            Self(fastrand::Rng::with_seed(seed))
        }
    }

    impl Entropy for Seeded {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0.fill(bytes);
        }
    }

    #[test]
    fn numbers_stay_below_their_bound_and_differ() {
        let mut entropy = SystemEntropy;
        let numbers: Vec<_> = (0..64).map(|_| below(&mut entropy, 1000)).collect();
        assert!(numbers.iter().all(|number| *number < 1000));
        assert!(numbers.iter().any(|number| *number != numbers[0]));
    }
}
