// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A snapshot in Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>): base units, and counters end in `_total`.

use std::fmt::{Display, Write};

use super::histogram::Reading;
use super::snapshot::{Device, Snapshot};

/// The format's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The names and values of a sample's labels.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The whole page.
#[rustfmt::skip] // It is read down the columns.
pub fn write(snapshot: &Snapshot) -> String {
    let Snapshot { counted, .. } = snapshot;
    let mut page = Page::default();
    page.family("alice_build_info", "gauge", "The daemon's version and the backend that serves; always 1.");
    page.sample("alice_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("backend", &snapshot.backend)], 1);
    page.gauge("alice_uptime_seconds", "Time since the daemon started.", snapshot.uptime.as_secs_f64());

    page.gauge("alice_jobs_waiting", "Jobs that wait for their turn.", snapshot.waiting);
    page.gauge("alice_jobs_running", "Jobs that are worked on.", snapshot.running);
    page.counter("alice_jobs_refused_total", "Jobs that found the line full.", counted.refusals);
    page.histogram("alice_job_wait_seconds", "Time from a job's acceptance to its start.", &counted.waits);
    page.family("alice_job_seconds", "histogram", "Time from a job's start to its end.");
    for (how, reading) in &counted.jobs {
        page.series("alice_job_seconds", &[("outcome", how.name())], reading);
    }
    page.counter("alice_pictures_total", "Finished pictures.", counted.pictures);

    page.counter("alice_steps_total", "Steps of samplers, of all pictures together.", counted.steps);
    page.family("alice_stage_seconds", "histogram", "Time of one part of the work; `denoise` is one forward pass.");
    for (stage, reading) in &counted.stages {
        page.series("alice_stage_seconds", &[("stage", stage.name())], reading);
    }
    page.histogram("alice_batch_rows", "Rows in one forward pass of the denoiser.", &counted.rows);

    page.gauge("alice_models_loaded", "Models on the devices.", snapshot.models);
    let bytes = snapshot.model_bytes;
    page.gauge("alice_models_memory_bytes", "Memory that their weights hold there.", bytes);
    page.family("alice_device_memory_bytes", "gauge", "Memory of a device, where the backend knows it.");
    for device in &snapshot.devices {
        if let Some(bytes) = device.bytes {
            page.device("alice_device_memory_bytes", device, bytes);
        }
    }
    page.family("alice_device_models_loaded", "gauge", "Models on a device.");
    snapshot.devices.iter().for_each(|device| page.device("alice_device_models_loaded", device, device.models));
    page.family("alice_device_jobs_running", "gauge", "Jobs that are worked on on a device.");
    snapshot.devices.iter().for_each(|device| page.device("alice_device_jobs_running", device, device.running));
    if let Some(bytes) = snapshot.resident_bytes {
        page.gauge("alice_resident_memory_bytes", "Memory of the daemon's own process.", bytes);
    }
    page.counter("alice_model_evictions_total", "Models that made room for another, or were idle for too long.", counted.evictions);
    page.counter("alice_worker_restarts_total", "Backends that died and were started anew.", counted.restarts);
    page.counter("alice_out_of_memory_total", "Calls for which the device had not enough memory.", counted.out_of_memory);
    page.text
}

/// A page as it grows.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// The head of a family; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn device(&mut self, name: &str, device: &Device, value: impl Display) {
        let index = device.index.to_string();
        self.sample(name, &[("device", &index), ("kind", &device.kind)], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, reading: &Reading) {
        self.family(name, "histogram", help);
        self.series(name, &[], reading);
    }

    /// One histogram of a family. The format wants the number of values up to each bound.
    fn series(&mut self, name: &str, labels: Labels<'_>, reading: &Reading) {
        let mut up_to = 0;
        for (bound, count) in &reading.buckets {
            up_to += count;
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.sample(&format!("{name}_bucket"), &[labels, &[("le", &bound)]].concat(), up_to);
        }
        self.sample(&format!("{name}_sum"), labels, reading.sum);
        self.sample(&format!("{name}_count"), labels, up_to);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a text takes everything");
    }
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::histogram::Histogram;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.sample("a", &[("b", "one\\two \"three\"\nfour"), ("c", "")], 1.5);
        assert_eq!(page.text, "a{b=\"one\\\\two \\\"three\\\"\\nfour\",c=\"\"} 1.5\n");
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let histogram = Histogram::of_rows();
        for rows in [1, 2, 2, 100] {
            histogram.record(rows);
        }
        let mut page = Page::default();
        page.histogram("rows", "Rows.", &histogram.read());
        let head = "# HELP rows Rows.\n# TYPE rows histogram\n\
                    rows_bucket{le=\"1\"} 1\nrows_bucket{le=\"2\"} 3\nrows_bucket{le=\"3\"} 3\n";
        assert!(page.text.starts_with(head), "{}", page.text);
        let end = "rows_bucket{le=\"64\"} 3\nrows_bucket{le=\"+Inf\"} 4\nrows_sum 105\nrows_count 4\n";
        assert!(page.text.ends_with(end), "{}", page.text);
    }
}
