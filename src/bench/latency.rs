//! Times of many requests in little room.

use std::time::Duration;

use serde::Serialize;

/// Each power of two is divided into so many classes: a time is known to within 1/64 of itself.
const CLASSES: usize = 64;
const BITS: u32 = CLASSES.trailing_zeros();

/// Counts of times by class, in microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

/// How long requests took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    /// Half took at most this.
    pub p50: f64,
    /// 99 of 100 took at most this.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Latencies {
    pub(super) fn record(&mut self, took: Duration) {
        let class = class_of(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
        self.total += 1;
        self.max = self.max.max(took);
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    pub(super) fn count(&self) -> u64 {
        self.total
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let max = self.max.as_secs_f64() * 1e3;
        let at = |share: f64| {
            let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let class = self.counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            class.map_or(0.0, |class| (upper_bound(class) as f64 / 1e3).min(max))
        };
        Percentiles { p50: at(0.5), p99: at(0.99), max }
    }
}

fn class_of(micros: u64) -> usize {
    let exponent = 63_u32.saturating_sub(micros.leading_zeros());
    if exponent <= BITS {
        return micros as usize;
    }
    // Above the exact ones, each power of two has its upper half of classes only once more.
    let shift = exponent - BITS;
    (shift as usize) * CLASSES + (micros >> shift) as usize
}

/// The largest time of a class, in microseconds.
fn upper_bound(class: usize) -> u64 {
    if class < 2 * CLASSES {
        return class as u64;
    }
    let shift = (class / CLASSES - 1) as u32;
    let within = (class - shift as usize * CLASSES) as u64;
    ((within + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_known_times() {
        let mut latencies = Latencies::default();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros * 10));
        }
        let Percentiles { p50, p99, max } = latencies.percentiles();
        assert!((4.95..5.1).contains(&p50), "{p50}");
        assert!((9.85..10.0).contains(&p99), "{p99}");
        assert!((max - 10.0).abs() < 1e-9, "{max}");
        let mut twice = latencies.clone();
        twice.add(&latencies);
        assert_eq!(twice.count(), 2000);
        assert!((twice.percentiles().p50 - p50).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_is_zero() {
        let Percentiles { p50, p99, max } = Latencies::default().percentiles();
        assert_eq!((p50, p99, max), (0.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn a_class_holds_its_times_closely(micros in 0_u64..1 << 40) {
            let upper = upper_bound(class_of(micros));
            prop_assert!(upper >= micros && upper - micros <= micros / 64);
            prop_assert_eq!(class_of(upper), class_of(micros));
            prop_assert_eq!(class_of(upper + 1), class_of(micros) + 1);
        }
    }
}
