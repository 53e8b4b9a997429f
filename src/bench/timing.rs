//! Timing work on a device that may defer it, fold repeats of it, or return before it is done.
//!
//! Every iteration has inputs of its own, which are complete before the timer starts and stay alive
//! until the end; results are read to the host inside the timed region; and the sum of the timed
//! regions is compared with the wall clock.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::peer::Peer;

/// Most measured iterations.
const MOST_ITERATIONS: usize = 7;
/// Most of them in turns with a peer: where the machine does other things as well, the ratio of a few
/// turns says little.
const MOST_TURNS: usize = 25;
/// Share of the wall clock that may pass between timed regions before it counts as a fault.
const UNTIMED_SHARE: f64 = 0.05;
/// Time that may pass there in any case.
const UNTIMED_SLACK: Duration = Duration::from_millis(20);

/// Times work on one device, within a limit.
#[derive(Debug, Clone, Copy)]
pub struct Clock<'a> {
    /// Where the work is done.
    pub device: &'a Device,
    /// Time for the measured iterations.
    pub limit: Duration,
    /// Time for the warm-up before them, which compiles as well. Where it takes longer, nothing more
    /// is measured.
    pub warm_up_limit: Duration,
    /// What does the same in turns, where there is something.
    pub peer: Option<&'a RefCell<Peer>>,
}

/// How long some work takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Half of the iterations took less; of an even number, the mean of the middle two.
    pub median: Duration,
    /// The shortest iteration.
    pub min: Duration,
    /// The longest iteration.
    pub max: Duration,
    /// Measured iterations; 0 where the warm-up, which compiles and allocates as well, took longer
    /// than its limit and its time is all there is.
    pub iterations: usize,
}

impl Clock<'_> {
    /// Times `run` over inputs from `make`, one for each iteration, counted from 0 (the warm-up).
    /// `run` gives a number made from what it read back.
    ///
    /// # Errors
    /// The results are not numbers, or do not depend on the inputs, or time passed outside the timed
    /// regions: whatever was timed, it was not the work.
    pub fn time<I>(
        &self,
        mut make: impl FnMut(u64) -> I,
        mut run: impl FnMut(&I) -> f32,
    ) -> Result<Timing, String> {
        let mut inputs = Vec::new();
        let mut results = Vec::new();
        let mut iteration = |at: usize| -> Result<Duration, String> {
            inputs.push(make(at as u64));
            self.settle()?;
            let begun = Instant::now();
            results.push(run(&inputs[at]));
            let time = begun.elapsed();
            self.peer.map_or(Ok(()), |peer| peer.borrow_mut().turn(at as u64, time))?;
            Ok(time)
        };
        let most = if self.peer.is_some() { MOST_TURNS } else { MOST_ITERATIONS };
        let warm_up = iteration(0)?;
        let mut times = Vec::new();
        let (begun, mut making) = (Instant::now(), Duration::ZERO);
        let mut spent = Duration::ZERO;
        while warm_up <= self.warm_up_limit && times.len() < most {
            let before = Instant::now();
            let time = iteration(times.len() + 1)?;
            making += before.elapsed().saturating_sub(time);
            spent += time;
            times.push(time);
            // Another one must be likely to fit.
            if spent + time > self.limit {
                break;
            }
        }
        let untimed = begun.elapsed().saturating_sub(spent + making);
        if untimed > UNTIMED_SLACK + spent.mul_f64(UNTIMED_SHARE) {
            return Err(format!("{untimed:.1?} passed outside the timed regions"));
        }
        if results.iter().any(|result| !result.is_finite()) {
            return Err("a result is not a number".to_owned());
        }
        if results.len() > 1 && results.iter().all(|result| *result == results[0]) {
            return Err("different inputs gave the same result".to_owned());
        }
        Ok(Timing::of(warm_up, times))
    }

    /// Has the peer, where there is one, do in turns with the next timing what `task` describes to it.
    ///
    /// # Errors
    /// It cannot.
    pub fn beside(&self, task: impl FnOnce() -> Value) -> Result<(), String> {
        self.peer.map_or(Ok(()), |peer| peer.borrow_mut().begin(&task()))
    }

    /// Waits until the device has done everything that it was asked to do.
    ///
    /// # Errors
    /// Whatever the device says instead.
    pub fn settle(&self) -> Result<(), String> {
        self.device.sync().map_err(|error| error.to_string())
    }

    /// Waits, and gives back memory that making a network has left over, so that the peak is that of
    /// the work.
    ///
    /// # Errors
    /// As [`Clock::settle`].
    pub fn tidy(&self) -> Result<(), String> {
        self.settle()?;
        self.device.memory_cleanup();
        Ok(())
    }

    /// Completes a tensor and reads a few of its numbers: proof that all of it is there, without the
    /// cost of moving it to the host.
    pub fn complete<const D: usize>(&self, tensor: Tensor<D>) -> f32 {
        if self.settle().is_err() {
            return f32::NAN;
        }
        let count = tensor.shape().num_elements();
        read(tensor.reshape([count]).slice_dim(0, 0..count.min(64)))
    }
}

impl Timing {
    pub(super) fn of(warm_up: Duration, mut times: Vec<Duration>) -> Self {
        let iterations = times.len();
        if times.is_empty() {
            times.push(warm_up);
        }
        times.sort_unstable();
        Self {
            median: (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2,
            min: times[0],
            max: times[times.len() - 1],
            iterations,
        }
    }

    /// Whether only the warm-up was timed.
    pub fn is_warm_up(&self) -> bool {
        self.iterations == 0
    }

    /// The median in seconds, more than 0.
    pub fn seconds(&self) -> f64 {
        self.median.as_secs_f64().max(1e-9)
    }
}

/// Reads every number of a tensor to the host and adds them up.
pub fn read<const D: usize>(tensor: Tensor<D>) -> f32 {
    tensor.into_data_as::<f32>().iter::<f32>().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    fn time(limit_ms: u64, run: impl FnMut(&u64) -> f32) -> Result<Timing, String> {
        let device = Device::flex();
        let limit = Duration::from_millis(limit_ms);
        Clock { device: &device, limit, warm_up_limit: limit, peer: None }.time(|i| i, run)
    }

    #[test]
    fn the_limit_ends_a_measurement_and_a_slow_warm_up_stands_alone() {
        let slow = |i: &u64| {
            sleep(Duration::from_millis(20));
            *i as f32
        };
        let timing = time(1, slow).unwrap();
        assert!(timing.is_warm_up() && timing.median >= Duration::from_millis(20), "{timing:?}");
        // However slow the machine, a warm-up within the limit is followed by one iteration.
        let timing = time(60_000, |i| *i as f32).unwrap();
        assert_eq!(timing.iterations, MOST_ITERATIONS);
        assert!(timing.min <= timing.median && timing.median <= timing.max);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let ms = Duration::from_millis;
        let median = |times: &[u64]| {
            let timing = Timing::of(ms(99), times.iter().map(|time| ms(*time)).collect());
            (timing.min, timing.median, timing.max)
        };
        assert_eq!(median(&[5, 1, 3]), (ms(1), ms(3), ms(5)));
        assert_eq!(median(&[5, 1]), (ms(1), ms(3), ms(5)));
        assert_eq!(median(&[]), (ms(99), ms(99), ms(99)), "of the warm-up alone");
    }

    #[test]
    fn work_that_was_not_done_is_a_fault() {
        assert!(time(60_000, |_| 1.0).unwrap_err().contains("same result"));
        assert!(time(60_000, |_| f32::NAN).unwrap_err().contains("not a number"));
    }
}
