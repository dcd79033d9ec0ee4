//! Whether a program waits for its GPU between blocks, from what its blocks take at two clocks.

/// A block that gains less from the higher clock does not show it.
const GAINS: f64 = 1.1;
/// Blocks that only queue their work take together less than this part of the frame, at either clock.
const QUEUES: f64 = 0.1;
/// They gain less than this part of what they would if they ran on the GPU as the others do: queueing is the CPU's work.
const AS_THE_GPU: f64 = 0.5;
/// Less than this, in seconds, and less than this part of what the waiting block gains is scatter: queueing takes
/// microseconds, which are never twice the same.
const SCATTER_S: f64 = 1e-4;
const SCATTER: f64 = 0.01;

/// Frames that are shorter at the lower clock, in seconds, and gain no more than scatter or [`AS_THE_GPU`] of what the clock
/// does, have no work of the GPU's in them.
const SHORT_S: f64 = 1e-3;

/// Seconds of each block at a lower and at a higher clock.
#[derive(Clone, Debug)]
pub struct Waits {
    /// At the lower clock.
    pub slow: Vec<f64>,
    /// At the higher clock.
    pub fast: Vec<f64>,
}

impl Waits {
    /// Blocks that the higher clock does not make faster.
    pub fn flat(&self) -> Vec<usize> {
        let times = self.slow.iter().zip(&self.fast).enumerate();
        times.filter(|(_, (slow, fast))| **slow < **fast * GAINS).map(|(block, _)| block).collect()
    }

    /// The block that waits for the work of all the others, where these only queue it.
    pub fn waits_for_all(&self) -> Option<usize> {
        let (waits, slow) = self.slow.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let fast = self.fast.get(waits).copied()?;
        let (others_slow, others_fast) = (sum(&self.slow) - slow, sum(&self.fast) - fast);
        let little = others_slow < QUEUES * sum(&self.slow) && others_fast < QUEUES * sum(&self.fast);
        let gains = slow - fast;
        let scatter = SCATTER_S.max(SCATTER * gains);
        let as_the_gpu = AS_THE_GPU * others_slow * gains / slow;
        let queue = others_slow - others_fast < as_the_gpu.max(scatter);
        (self.slow.len() > 1 && slow > fast * GAINS && little && queue).then_some(waits)
    }

    /// Whether nothing in the frame waits for the GPU, where the higher clock is so many times the lower one.
    pub fn never(&self, clocks: f64) -> bool {
        let (slow, fast) = (sum(&self.slow), sum(&self.fast));
        let as_the_gpu = fast * AS_THE_GPU * (clocks - 1.0);
        slow < SHORT_S && slow - fast < as_the_gpu.max(SCATTER_S)
    }
}

fn sum(times: &[f64]) -> f64 {
    times.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(slow: &[f64], fast: &[f64]) -> Option<usize> {
        Waits { slow: slow.to_vec(), fast: fast.to_vec() }.waits_for_all()
    }

    #[test]
    fn a_program_that_only_queues_its_blocks_is_found_whatever_queueing_takes() {
        for (slow, fast, waits) in [
            ([30e-6, 9e-6, 12e-3], [33e-6, 8e-6, 3.7e-3], 2),
            // A busy machine: a look at the one clock was disturbed, or at the other, by several times what queueing takes.
            ([95e-6, 70e-6, 60e-3], [12e-6, 9e-6, 19e-3], 2),
            ([12e-6, 9e-6, 60e-3], [95e-6, 70e-6, 19e-3], 2),
            ([40e-6, 9e-6, 12e-3], [9e-6, 8e-6, 3.7e-3], 2),
            // Short frames.
            ([60e-6, 40e-6, 2e-3], [9e-6, 8e-6, 0.7e-3], 2),
            // Queueing that takes long, as in Python, at a CPU clock that is not quite the same.
            ([260e-6, 180e-6, 12e-3], [220e-6, 140e-6, 4.1e-3], 2),
            // Clocks that are hardly apart.
            ([30e-6, 9e-6, 12e-3], [33e-6, 8e-6, 10.2e-3], 2),
            // A result that is read in the middle waits for what was queued; what comes after it is queued again.
            ([30e-6, 12e-3, 20e-6], [33e-6, 3.7e-3, 21e-6], 1),
        ] {
            assert_eq!(judge(&slow, &fast), Some(waits), "{slow:?} {fast:?}");
        }
    }

    #[test]
    fn a_program_that_waits_is_measured() {
        for (slow, fast) in [
            // The GPU's, and one that is memory's.
            ([3.6e-3, 9.6e-3, 2.0e-3], [1.3e-3, 2.9e-3, 1.95e-3]),
            // The last is most of the work; the others are short and go with the clock all the same.
            ([90e-6, 200e-6, 12e-3], [28e-6, 62e-6, 3.7e-3]),
            ([0.4e-3, 0.3e-3, 40e-3], [0.15e-3, 0.1e-3, 12.5e-3]),
            // Partly memory's.
            ([0.4e-3, 0.3e-3, 12e-3], [0.2e-3, 0.15e-3, 3.7e-3]),
            // Memory's and nothing else: at the higher clock they are no small part.
            ([0.5e-3, 0.4e-3, 12e-3], [0.5e-3, 0.4e-3, 3.7e-3]),
            // Nothing is faster.
            ([30e-6, 9e-6, 12e-3], [33e-6, 8e-6, 11.9e-3]),
        ] {
            assert_eq!(judge(&slow, &fast), None, "{slow:?} {fast:?}");
        }
        assert_eq!(judge(&[12e-3], &[3.7e-3]), None, "one block waits for nobody");
        assert_eq!(judge(&[], &[]), None);
        let flat = |slow: &[f64], fast: &[f64]| Waits { slow: slow.to_vec(), fast: fast.to_vec() }.flat();
        assert_eq!(flat(&[3.6e-3, 9.6e-3, 2.0e-3], &[1.3e-3, 2.9e-3, 1.95e-3]), [2]);
        assert_eq!(flat(&[5e-3], &[5e-3]), [0]);
    }

    #[test]
    fn a_program_that_never_waits_is_told_from_one_whose_frames_are_short() {
        let never = |slow: &[f64], fast: &[f64]| Waits { slow: slow.to_vec(), fast: fast.to_vec() }.never(3.3);
        assert!(never(&[30e-6, 9e-6, 20e-6], &[33e-6, 8e-6, 19e-6]));
        assert!(never(&[30e-6, 9e-6, 20e-6], &[16e-6, 6e-6, 12e-6]));
        assert!(never(&[50e-6, 9e-6, 20e-6], &[10e-6, 3e-6, 6e-6]), "scatter");
        assert!(never(&[60e-6], &[70e-6]), "a whole frame");
        assert!(!never(&[300e-6, 90e-6, 200e-6], &[100e-6, 30e-6, 75e-6]), "short, and the GPU's");
        assert!(!never(&[5e-3], &[4.9e-3]), "memory's, or the CPU's");
    }
}
