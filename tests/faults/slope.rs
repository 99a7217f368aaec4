//! Whether the sampled quantities grow.

use std::fmt;

/// One quantity over time.
#[derive(Debug, Default)]
pub struct Series {
    pub name: &'static str,
    /// Seconds since the beginning, and the value.
    pub samples: Vec<(f64, f64)>,
}

impl fmt::Display for Series {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.samples.last().map_or(0.0, |(_, value)| *value);
        write!(
            out,
            "{:<22} mean {:>14.0}  last {last:>14.0}  slope {:>12.1} a minute, {:>12.0} in all",
            self.name,
            self.mean(),
            self.slope() * 60.0,
            self.growth()
        )
    }
}

impl Series {
    pub fn mean(&self) -> f64 {
        self.samples.iter().map(|(_, value)| value).sum::<f64>() / self.samples.len().max(1) as f64
    }

    /// How much it grows per second, by the straight line that comes closest to the samples.
    pub fn slope(&self) -> f64 {
        let mean_time = self.samples.iter().map(|(at, _)| at).sum::<f64>() / self.samples.len().max(1) as f64;
        let mean = self.mean();
        let above = self.samples.iter().map(|(at, value)| (at - mean_time) * (value - mean)).sum::<f64>();
        let below = self.samples.iter().map(|(at, _)| (at - mean_time).powi(2)).sum::<f64>();
        if below > 0.0 { above / below } else { 0.0 }
    }

    /// How much the line grows over the time of the samples.
    pub fn growth(&self) -> f64 {
        match (self.samples.first(), self.samples.last()) {
            (Some((first, _)), Some((last, _))) => self.slope() * (last - first),
            _ => 0.0,
        }
    }
}

#[test]
fn a_line_through_samples_is_found() {
    let line = |step: f64| Series {
        name: "x",
        samples: (0..10).map(|at| (f64::from(at), 5.0 + step * f64::from(at))).collect(),
    };
    assert!((line(2.0).slope() - 2.0).abs() < 1e-9 && (line(2.0).growth() - 18.0).abs() < 1e-9);
    assert!(line(0.0).slope().abs() < 1e-9);
    assert!(Series::default().growth().abs() < 1e-9);
}
