// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the operator may set: one documented field per key, nested by topic as in `config.yaml`.
//!
//! Key names and meanings are those of the Python ALICE where it had the key. [`mod@file`] reads them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::draft::{GUIDANCE, SIDES, STEPS};
use crate::secret::Secret;

pub mod file;

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

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who can reach the daemon.
    pub server: Server,
    /// Where models are.
    pub models: Models,
    /// How pictures are made when a request leaves it open, and on what.
    pub generation: Generation,
    /// How evaluations share the device.
    pub engine: Engine,
    /// What one caller may ask for.
    pub limits: Limits,
    /// Pictures that come with requests.
    pub images: Images,
    /// Where pictures go.
    pub storage: Storage,
    /// What is logged.
    pub logging: Logging,
}

/// Who can reach the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose one.
    pub port: u16,
    /// Names under which clients reach this server, beside the loopback names and plain addresses. Where no
    /// account is needed, a request for another name is refused, because a web page can point a name of its
    /// own at this machine.
    pub hostnames: Vec<String>,
    /// Proxies whose `X-Forwarded-For` tells who the caller is: addresses or networks (`10.0.0.0/8`).
    pub trusted_proxies: Vec<Network>,
    /// Serve everyone without an account on a `host` that is not a loopback address.
    pub allow_anonymous_network: bool,
    /// Demand an account even on a loopback address.
    pub require_auth: bool,
    /// One key that lets its holders make pictures.
    pub api_key: Option<Secret>,
    /// Who may make an account.
    pub registration_mode: RegistrationMode,
    /// Seconds without a request after which a login ends, 60-86400.
    pub session_timeout_seconds: u32,
    /// Hours for which the address of a picture works without credentials, 1-168.
    pub picture_link_hours: u32,
    /// Seconds after which an answer begins although the pictures are not finished, so that the client does not
    /// give up: from then on its status is 200, and an error stands in its body.
    pub early_answer_seconds: u32,
}

/// How people come by an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Only an administrator makes accounts.
    Disabled,
    /// Everyone may.
    Open,
    /// Holders of an invite code may.
    Invite,
    /// Everyone may ask, an administrator decides.
    Approval,
}

/// An IP network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` is in it. An IPv4 address is the same in its IPv6 form.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

impl Server {
    /// Whether the server serves people without an account: on a loopback address, or where the operator
    /// says so. It is the listening address that counts, not the caller's: a container's port forwarding
    /// shows every caller as a loopback address.
    pub fn allows_anonymous(&self) -> bool {
        !self.require_auth && (self.host.to_canonical().is_loopback() || self.allow_anonymous_network)
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            hostnames: Vec::new(),
            trusted_proxies: Vec::new(),
            allow_anonymous_network: false,
            require_auth: false,
            api_key: None,
            registration_mode: RegistrationMode::Disabled,
            session_timeout_seconds: 43_200,
            picture_link_hours: 24,
            early_answer_seconds: 100,
        }
    }
}

/// Where models are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// The directory of the models, at any depth in it: safetensors files, and directories in the layout of
    /// diffusers. LoRAs lie in its `loras`, embeddings in its `embeddings`. The built-in model is found beside the
    /// program too.
    pub directory: PathBuf,
    /// Id or name of the model that `gpt-image-1` and an absent `model` mean. Unset: the first one found.
    /// Set, it is loaded when the daemon starts.
    pub default_model: Option<String>,
    /// Ids or names of models that are loaded when the daemon starts and stay in memory.
    pub pinned: Vec<String>,
    /// The autoencoders to use instead of models' own, by the models' ids or names: safetensors files, or
    /// directories with a `config.json`. A path that is not absolute begins beside the model, or in `directory`.
    pub vae: BTreeMap<String, PathBuf>,
    /// Seconds after which a model that nobody uses is unloaded; 0 keeps it until another one needs the room.
    pub auto_unload_timeout: u32,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("models"),
            default_model: None,
            pinned: Vec::new(),
            vae: BTreeMap::new(),
            auto_unload_timeout: 300,
        }
    }
}

/// How pictures are made when a request leaves it open, and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// `auto` takes the backend that suits this machine best; otherwise a backend's name or a library's path.
    pub backend: String,
    /// Further directories to search for `libalice_backend_*.so`.
    pub backend_directories: Vec<PathBuf>,
    /// Options handed to the backend as they are, by the backend's name.
    pub backend_options: serde_json::Map<String, serde_json::Value>,
    /// Threads of a backend that computes on the CPU. Unset: one per physical core.
    pub threads: Option<u32>,
    /// Steps, 1-150. Unset: the model's own.
    pub default_steps: Option<u32>,
    /// Guidance scale, 0-20. Unset: the model's own.
    pub default_guidance_scale: Option<f32>,
    /// Scheduler name. Unset: the model's own.
    pub default_scheduler: Option<String>,
    /// Width in pixels, 64-2048. Unset: the model's own.
    pub default_width: Option<u32>,
    /// Height in pixels, 64-2048. Unset: the model's own.
    pub default_height: Option<u32>,
    /// How many jobs may be worked on at the same time.
    pub max_concurrent: MaxConcurrent,
    /// Seconds without a finished step after which a request is given up.
    pub request_timeout: u32,
}

/// `auto` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxConcurrent {
    /// As many as can fill the device's batches, and not all of them one caller's.
    Auto,
    /// Up to this many, at least 1.
    #[serde(untagged)]
    Jobs(u32),
}

impl MaxConcurrent {
    /// Jobs of everybody together. The engine shares its device between all of them, so more cost memory only.
    pub fn jobs(self) -> usize {
        match self {
            Self::Auto => 64,
            Self::Jobs(jobs) => jobs as usize,
        }
    }

    /// Jobs of one caller: two rows each fill a forward pass of 16.
    pub fn jobs_of_one_caller(self) -> usize {
        match self {
            Self::Auto => 8,
            Self::Jobs(jobs) => jobs as usize,
        }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            backend: "auto".into(),
            backend_directories: Vec::new(),
            backend_options: serde_json::Map::new(),
            threads: None,
            default_steps: None,
            default_guidance_scale: None,
            default_scheduler: None,
            default_width: None,
            default_height: None,
            max_concurrent: MaxConcurrent::Auto,
            request_timeout: 300,
        }
    }
}

/// How evaluations share the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Rows that one forward pass may hold; one guided evaluation has two and is never split.
    pub max_rows: MaxRows,
    /// MiB of a device's memory that the weights of all models together may take. Unset: most of what is free
    /// when the daemon starts.
    pub memory_mib: Option<u64>,
    /// Where the backend runs.
    pub isolation: Isolation,
    /// Seconds without a sign of life after which a backend's process is ended and started anew, 1-86400.
    pub hang_seconds: u32,
}

impl Default for Engine {
    fn default() -> Self {
        Self { max_rows: MaxRows::Auto, memory_mib: None, isolation: Isolation::Process, hang_seconds: 120 }
    }
}

/// Where the backend runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In a process of its own, whose crash the daemon survives.
    Process,
    /// Inside the daemon, for debugging.
    None,
}

/// `auto` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxRows {
    /// As many as measuring shows to pay: on a CPU usually one evaluation.
    Auto,
    /// Up to this many rows, at least 1.
    #[serde(untagged)]
    Rows(u32),
}

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

/// Pictures that come with requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Fetch pictures that clients name by their address, from the public network.
    pub allow_url_inputs: bool,
    /// Fetch them without encryption too.
    pub allow_http_inputs: bool,
}

/// Where pictures go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Directory of the finished pictures.
    pub images_directory: PathBuf,
    /// Directory of the pictures that came with requests, until their jobs are over.
    pub inputs_directory: PathBuf,
    /// The database: accounts, keys, sessions, and whose picture is whose.
    pub database: PathBuf,
    /// Where the Python ALICE kept `api_keys.json`, which is taken over once.
    pub auth_directory: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            images_directory: PathBuf::from("images"),
            inputs_directory: PathBuf::from("inputs"),
            database: PathBuf::from("data/alice.db"),
            auth_directory: PathBuf::from("data/auth"),
        }
    }
}

/// What is logged. Prompts, pictures and keys never are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The least important level that is written.
    pub level: Level,
    /// File to append to. Unset: standard error.
    pub file: Option<PathBuf>,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: Level::Info, file: None }
    }
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Config {
    /// What is wrong with single values: the key, and what it may be.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut check = |key, holds: bool, rule: &str| {
            if !holds {
                problems.push((key, rule.to_owned()));
            }
        };
        let generation = &self.generation;
        let side = |value: Option<u32>| value.is_none_or(|side| SIDES.contains(&side));
        let steps = generation.default_steps.is_none_or(|steps| STEPS.contains(&steps));
        let guidance = generation.default_guidance_scale.is_none_or(|scale| GUIDANCE.contains(&scale));
        check("generation.default_steps", steps, "must be 1 to 150");
        check("generation.default_guidance_scale", guidance, "must be 0 to 20");
        check("generation.default_width", side(generation.default_width), "must be 64 to 2048");
        check("generation.default_height", side(generation.default_height), "must be 64 to 2048");
        check("generation.request_timeout", generation.request_timeout >= 1, "must be at least 1 second");
        check(
            "generation.threads",
            generation.threads.is_none_or(|threads| (1..=1024).contains(&threads)),
            "must be 1 to 1024",
        );
        check("engine.max_rows", self.engine.max_rows != MaxRows::Rows(0), "must be `auto` or at least 1");
        let memory = self.engine.memory_mib.is_none_or(|mib| (1..=1 << 30).contains(&mib));
        check("engine.memory_mib", memory, "must be 1 to 1073741824");
        check(
            "engine.hang_seconds",
            (1..=86_400).contains(&self.engine.hang_seconds),
            "must be 1 to 86400 seconds",
        );
        check("limits.body_bytes", self.limits.body_bytes >= 1024, "must be at least 1024");
        let concurrent = generation.max_concurrent != MaxConcurrent::Jobs(0);
        check("generation.max_concurrent", concurrent, "must be `auto` or at least 1");
        check("limits.waiting", self.limits.waiting <= 100_000, "must be at most 100000");
        check(
            "limits.waiting_per_caller",
            self.limits.waiting_per_caller <= 100_000,
            "must be at most 100000",
        );
        check("limits.job_days", (1..=36_500).contains(&self.limits.job_days), "must be 1 to 36500");
        check("limits.prompt_bytes", self.limits.prompt_bytes >= 1, "must be at least 1");
        let chunks = self.limits.prompt_chunks;
        check("limits.prompt_chunks", (1..=MOST_CHUNKS).contains(&chunks), "must be 1 to 512");
        check("limits.loras", self.limits.loras <= MOST_LORAS, "must be at most 64");
        check("limits.controls", self.limits.controls <= MOST_CONTROLS, "must be at most 16");
        let limits = &self.limits;
        check("limits.input_pictures", limits.input_pictures <= MOST_INPUTS, "must be at most 64");
        check(
            "limits.input_picture_bytes",
            (1..=MOST_INPUT_BYTES).contains(&limits.input_picture_bytes),
            "must be 1 to 268435456",
        );
        let sides = 1..=MOST_INPUT_SIDE;
        check("limits.input_picture_side", sides.contains(&limits.input_picture_side), "must be 1 to 32768");
        check(
            "limits.input_picture_pixels",
            (1..=MOST_INPUT_PIXELS).contains(&limits.input_picture_pixels),
            "must be 1 to 33554432",
        );
        let kept = limits.input_picture_pixels.saturating_mul(5).saturating_add(1 << 16);
        let largest = limits.input_picture_bytes.max(limits.picture_body_bytes as u64);
        check(
            "limits.input_bytes_in_hand",
            limits.input_bytes_in_hand >= largest,
            "must be at least `limits.picture_body_bytes` and `limits.input_picture_bytes`",
        );
        check(
            "limits.input_bytes_on_disk",
            limits.input_bytes_on_disk >= kept,
            "must be at least 5 bytes for each of `limits.input_picture_pixels`, and 65536",
        );
        let readers = limits.picture_readers.is_none_or(|readers| (1..=1024).contains(&readers));
        check("limits.picture_readers", readers, "must be 1 to 1024");
        check("limits.picture_body_bytes", limits.picture_body_bytes >= 1024, "must be at least 1024");
        for (key, value) in [
            ("limits.connections_per_address", limits.connections_per_address),
            ("limits.connections", limits.connections),
            ("limits.event_streams_per_caller", limits.event_streams_per_caller),
        ] {
            check(key, value >= 1, "must be at least 1");
        }
        for (key, value) in [
            ("limits.header_seconds", limits.header_seconds),
            ("limits.body_idle_seconds", limits.body_idle_seconds),
            ("limits.body_seconds", limits.body_seconds),
            ("limits.answer_idle_seconds", limits.answer_idle_seconds),
            ("limits.requests_per_minute", limits.requests_per_minute),
            ("limits.logins_per_minute", limits.logins_per_minute),
            ("limits.logins_per_minute_per_address", limits.logins_per_minute_per_address),
            ("limits.registrations_per_hour", limits.registrations_per_hour),
        ] {
            check(key, value >= 1, "must be at least 1");
        }
        let named =
            |(name, path): (&String, &PathBuf)| !name.trim().is_empty() && !path.as_os_str().is_empty();
        check("models.vae", self.models.vae.iter().all(named), "must have a path for the name of each model");
        let server = &self.server;
        check(
            "server.session_timeout_seconds",
            (60..=86_400).contains(&server.session_timeout_seconds),
            "must be 60 to 86400",
        );
        check(
            "server.picture_link_hours",
            (1..=168).contains(&server.picture_link_hours),
            "must be 1 to 168",
        );
        check(
            "server.api_key",
            server.api_key.as_ref().is_none_or(|key| key.expose().trim().len() >= 8),
            "must have at least 8 characters: whoever guesses it can use this server",
        );
        if let Some(name) = &generation.default_scheduler
            && let Err(error) = name.parse::<alice_diffusion::Sampler>()
        {
            check("generation.default_scheduler", false, &error.to_string());
        }
        problems
    }
}
