// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What one caller may ask for, and all of them together.

use serde::{Deserialize, Serialize};

use super::Check;

/// The most chunks of a prompt that every backend reads, for each of two text encoders.
const MOST_CHUNKS: usize = 512;
/// The most LoRAs at once that every backend applies.
const MOST_LORAS: usize = 64;
/// The most networks that steer another one at once: each takes as long as half of it.
const MOST_CONTROLS: usize = 16;

/// Limits of pictures beyond which the gigabyte of memory that reading one may take does not suffice.
const MOST_INPUT_BYTES: u64 = 256 << 20;
const MOST_INPUT_SIDE: u32 = 32_768;
const MOST_INPUT_PIXELS: u64 = 1 << 25;
/// The most pictures of one request.
const MOST_INPUTS: usize = 64;

/// What one caller may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Bytes of the body of a request for pictures, which may carry pictures itself.
    pub picture_body_bytes: usize,
    /// Jobs that may wait for their turn; one more is answered 503.
    pub waiting: usize,
    /// Jobs of one caller that may wait; one more is answered 429. Callers without an account on this machine
    /// itself cannot be told apart and have no such limit.
    pub waiting_per_caller: usize,
    /// Event streams of jobs that one caller may have open, with the same exception.
    pub event_streams_per_caller: usize,
    /// Seconds that the job of an OpenAI SDK goes on without its client, which tries again by itself.
    pub retry_wait_seconds: u32,
    /// Seconds after its end in which a job's result is found by its client's next try.
    pub retry_keep_seconds: u32,
    /// Days after which a job that has ended is forgotten. Its pictures stay.
    pub job_days: u32,
    /// Bytes of a prompt, and of a negative prompt.
    pub prompt_bytes: usize,
    /// Chunks that a prompt may have: windows of the text encoder, of 75 tokens for Stable Diffusion.
    pub prompt_chunks: usize,
    /// LoRAs of one request.
    pub loras: usize,
    /// ControlNets and T2I-Adapters of one request.
    pub controls: usize,
    /// Pictures that may come with one request.
    pub input_pictures: usize,
    /// Bytes of such a picture.
    pub input_picture_bytes: u64,
    /// Pixels of its longer side.
    pub input_picture_side: u32,
    /// Its pixels.
    pub input_picture_pixels: u64,
    /// Bytes of request bodies and fetched pictures that may be in memory at the same time, of all requests.
    pub input_bytes_in_hand: u64,
    /// Bytes that the pictures of all jobs may have on the disk until those are over.
    pub input_bytes_on_disk: u64,
    /// Processes that read pictures for requests at the same time, and as many for running jobs. Unset: one for each
    /// core.
    pub picture_readers: Option<u32>,
    /// Connections at the same time.
    pub connections: usize,
    /// Connections from one address at the same time; loopback addresses and trusted proxies may have all of them.
    pub connections_per_address: usize,
    /// Seconds until a request's head must be there, also on a connection that waits for its next request.
    pub header_seconds: u32,
    /// Seconds without a byte of the body after which a request is given up.
    pub body_idle_seconds: u32,
    /// Seconds until a request's whole body must be there.
    pub body_seconds: u32,
    /// Seconds after which a client that does not take its answer is given up.
    pub answer_idle_seconds: u32,
    /// Requests a minute of one login, or of one address without an account. A key has a limit of its own.
    pub requests_per_minute: u32,
    /// Attempts a minute to log in to one account.
    pub logins_per_minute: u32,
    /// Attempts a minute to log in, to set up, or with a wrong key, from one address.
    pub logins_per_minute_per_address: u32,
    /// Registrations an hour from one address.
    pub registrations_per_hour: u32,
}

impl Limits {
    /// Holds each value against what it may be.
    pub(super) fn check(&self, check: &mut Check<'_>) {
        check("limits.body_bytes", self.body_bytes >= 1024, "must be at least 1024");
        check("limits.waiting", self.waiting <= 100_000, "must be at most 100000");
        check("limits.waiting_per_caller", self.waiting_per_caller <= 100_000, "must be at most 100000");
        check("limits.job_days", (1..=36_500).contains(&self.job_days), "must be 1 to 36500");
        check("limits.prompt_bytes", self.prompt_bytes >= 1, "must be at least 1");
        let chunks = self.prompt_chunks;
        check("limits.prompt_chunks", (1..=MOST_CHUNKS).contains(&chunks), "must be 1 to 512");
        check("limits.loras", self.loras <= MOST_LORAS, "must be at most 64");
        check("limits.controls", self.controls <= MOST_CONTROLS, "must be at most 16");
        self.check_pictures(check);
        for (key, value) in [
            ("limits.connections_per_address", self.connections_per_address),
            ("limits.connections", self.connections),
            ("limits.event_streams_per_caller", self.event_streams_per_caller),
        ] {
            check(key, value >= 1, "must be at least 1");
        }
        for (key, value) in [
            ("limits.header_seconds", self.header_seconds),
            ("limits.body_idle_seconds", self.body_idle_seconds),
            ("limits.body_seconds", self.body_seconds),
            ("limits.answer_idle_seconds", self.answer_idle_seconds),
            ("limits.requests_per_minute", self.requests_per_minute),
            ("limits.logins_per_minute", self.logins_per_minute),
            ("limits.logins_per_minute_per_address", self.logins_per_minute_per_address),
            ("limits.registrations_per_hour", self.registrations_per_hour),
        ] {
            check(key, value >= 1, "must be at least 1");
        }
    }

    /// The same of those that are about pictures that come with requests.
    fn check_pictures(&self, check: &mut Check<'_>) {
        check("limits.input_pictures", self.input_pictures <= MOST_INPUTS, "must be at most 64");
        check(
            "limits.input_picture_bytes",
            (1..=MOST_INPUT_BYTES).contains(&self.input_picture_bytes),
            "must be 1 to 268435456",
        );
        let sides = 1..=MOST_INPUT_SIDE;
        check("limits.input_picture_side", sides.contains(&self.input_picture_side), "must be 1 to 32768");
        check(
            "limits.input_picture_pixels",
            (1..=MOST_INPUT_PIXELS).contains(&self.input_picture_pixels),
            "must be 1 to 33554432",
        );
        let kept = self.input_picture_pixels.saturating_mul(5).saturating_add(1 << 16);
        let largest = self.input_picture_bytes.max(self.picture_body_bytes as u64);
        check(
            "limits.input_bytes_in_hand",
            self.input_bytes_in_hand >= largest,
            "must be at least `limits.picture_body_bytes` and `limits.input_picture_bytes`",
        );
        check(
            "limits.input_bytes_on_disk",
            self.input_bytes_on_disk >= kept,
            "must be at least 5 bytes for each of `limits.input_picture_pixels`, and 65536",
        );
        let readers = self.picture_readers.is_none_or(|readers| (1..=1024).contains(&readers));
        check("limits.picture_readers", readers, "must be 1 to 1024");
        check("limits.picture_body_bytes", self.picture_body_bytes >= 1024, "must be at least 1024");
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            picture_body_bytes: 64 << 20,
            waiting: 64,
            waiting_per_caller: 16,
            event_streams_per_caller: 4,
            retry_wait_seconds: 30,
            retry_keep_seconds: 300,
            job_days: 30,
            prompt_bytes: 32_000,
            prompt_chunks: 32,
            loras: 16,
            controls: 4,
            input_pictures: 16,
            input_picture_bytes: 50 << 20,
            input_picture_side: 8192,
            input_picture_pixels: 1 << 24,
            input_bytes_in_hand: 512 << 20,
            input_bytes_on_disk: 8 << 30,
            picture_readers: None,
            connections: 4096,
            connections_per_address: 128,
            header_seconds: 30,
            body_idle_seconds: 15,
            body_seconds: 300,
            answer_idle_seconds: 60,
            requests_per_minute: 300,
            logins_per_minute: 5,
            logins_per_minute_per_address: 20,
            registrations_per_hour: 10,
        }
    }
}
