// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What was measured, as JSON for programs and as a table for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Everything that was measured, and with what. Times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) alice: &'static str,
    pub(super) backend: String,
    pub(super) backend_version: String,
    pub(super) device: Option<String>,
    pub(super) model: String,
    pub(super) dtype: String,
    /// Pixels that the model renders; a model that knows one size only renders that.
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) steps: u32,
    pub(super) repeats: u32,
    /// Loading the model, once.
    pub(super) load_s: f64,
    pub(super) encode_text_s: f64,
    /// One forward pass, by its rows.
    pub(super) denoise: BTreeMap<u32, Times>,
    /// One picture.
    pub(super) decode_s: f64,
    /// The backend's part of the request: encoding, a pass of one row for each step, decoding.
    pub(super) bare_s: f64,
    /// A picture by HTTP. `None` for a number format that the daemon does not choose.
    pub(super) request_s: Option<f64>,
    /// What the daemon adds, as a part of `bare_s`.
    pub(super) host_overhead: Option<f64>,
    /// The most memory that this process, in which the backend ran, has had. `None` where the system does not tell.
    pub(super) peak_mib: Option<f64>,
    /// The model's weights on the device.
    pub(super) weights_mib: f64,
}

/// Several measurements of one thing, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) median_s: f64,
    pub(super) min_s: f64,
    pub(super) max_s: f64,
}

impl Times {
    /// Of at least one measurement.
    pub(super) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let middle = seconds.len() / 2;
        let median = match seconds.len() % 2 {
            0 => f64::midpoint(seconds[middle - 1], seconds[middle]),
            _ => seconds[middle],
        };
        Self { median_s: median, min_s: seconds[0], max_s: seconds[seconds.len() - 1] }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alice, backend, backend_version, model, dtype, width, height, steps, repeats, .. } = self;
        let device = self.device.as_deref().unwrap_or("no device");
        writeln!(f, "ALICE {alice}, backend {backend} {backend_version} ({device})")?;
        writeln!(f, "{model} in {dtype}, {width}x{height}, {steps} steps; medians of {repeats}\n")?;
        line(f, "load (once)", &time(self.load_s))?;
        line(f, "encode text", &time(self.encode_text_s))?;
        for (rows, times) in &self.denoise {
            let each = time(times.median_s / f64::from(*rows));
            line(f, &format!("denoise, rows: {rows}"), &format!("{}   {each} a row", time(times.median_s)))?;
        }
        line(f, "decode", &time(self.decode_s))?;
        line(f, &format!("encode + {steps} x denoise + decode"), &time(self.bare_s))?;
        match (self.request_s, self.host_overhead) {
            (Some(request_s), Some(overhead)) => {
                line(f, "request by HTTP", &time(request_s))?;
                line(f, "added by the daemon", &format!("{:8.1} %", overhead * 100.0))?;
            }
            _ => line(f, "request by HTTP", "not measured: the daemon chooses the format itself")?,
        }
        line(f, "weights", &format!("{:8.1} MiB", self.weights_mib))?;
        match self.peak_mib {
            Some(peak) => line(f, "most memory of the process", &format!("{peak:8.1} MiB")),
            None => line(f, "most memory of the process", "unknown on this system"),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, value: &str) -> fmt::Result {
    writeln!(f, "{what:<34}{value}")
}

/// Seconds in a unit that suits them.
fn time(seconds: f64) -> String {
    match seconds {
        short if short < 1.0 => format!("{:8.3} ms", short * 1e3),
        long => format!("{long:8.3} s "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(Times::of(vec![3.0, 1.0, 2.0]), Times { median_s: 2.0, min_s: 1.0, max_s: 3.0 });
        assert_eq!(Times::of(vec![4.0, 1.0, 2.0, 3.0]).median_s, 2.5);
        assert_eq!(Times::of(vec![7.0]), Times { median_s: 7.0, min_s: 7.0, max_s: 7.0 });
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(time(0.0123), "  12.300 ms");
        assert_eq!(time(12.3), "  12.300 s ");
    }
}
