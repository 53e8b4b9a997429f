//! How long the interface takes for a frame, measured by the program itself.

use std::collections::VecDeque;
use std::time::Duration;

/// The times of the last frames.
#[derive(Debug, Default)]
pub struct FrameTimes {
    /// Newest last.
    times: VecDeque<f32>,
}

/// What is said of frame times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameFigures {
    /// Frames measured.
    pub count: usize,
    /// Half of them took less.
    pub median: f32,
    /// One in a hundred took longer.
    pub p99: f32,
    /// The longest.
    pub worst: f32,
}

impl FrameTimes {
    const KEPT: usize = 4096;

    /// Takes note of a frame.
    pub fn add(&mut self, time: Duration) {
        if self.times.len() == Self::KEPT {
            self.times.pop_front();
        }
        self.times.push_back(time.as_secs_f32() * 1e3);
    }

    /// Starts over.
    pub fn clear(&mut self) {
        self.times.clear();
    }

    /// The figures; nothing before the first frame.
    pub fn figures(&self) -> Option<FrameFigures> {
        let mut sorted: Vec<f32> = self.times.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let at = |part: f64| {
            let rank = (sorted.len() as f64 * part).ceil() as usize;
            sorted.get(rank.clamp(1, sorted.len()) - 1).copied()
        };
        let worst = *sorted.last()?;
        Some(FrameFigures { count: sorted.len(), median: at(0.5)?, p99: at(0.99)?, worst })
    }
}

/// Bytes of memory that this process holds, where the system tells.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_frames() {
        let mut times = FrameTimes::default();
        assert_eq!(times.figures(), None);
        (1..=200).for_each(|ms| times.add(Duration::from_millis(ms)));
        let figures = times.figures().unwrap();
        assert_eq!((figures.count, figures.median, figures.p99), (200, 100.0, 198.0));
        assert_eq!(figures.worst, 200.0);
    }

    #[test]
    fn only_the_last_frames_count() {
        let mut times = FrameTimes::default();
        times.add(Duration::from_secs(1));
        (0..FrameTimes::KEPT).for_each(|_| times.add(Duration::from_millis(2)));
        assert_eq!(times.figures().unwrap().worst, 2.0);
    }
}
