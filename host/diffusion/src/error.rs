// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What can be wrong with a request or a model's files before the first step is taken.

/// What a fallible function of this crate gives back.
pub type Result<T> = std::result::Result<T, Error>;

/// A request or a file that makes no sense. Never carries a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No sampler has this name.
    #[error(
        "unknown scheduler `{name}`; the known ones are {known}; most may be followed by a noise schedule, as in \
         euler_karras: {schedules}"
    )]
    UnknownSampler {
        /// As it was asked for, shortened.
        name: String,
        /// The names that are accepted, separated by commas.
        known: String,
        /// The noise schedules, separated by commas.
        schedules: String,
    },
    /// A named noise schedule for a sampler that has none to choose.
    #[error("scheduler `{sampler}` has timesteps of its own and takes no noise schedule")]
    OwnTimesteps {
        /// Its name.
        sampler: &'static str,
    },
    /// A sampler of flows for a model of diffusion, or the other way round.
    #[error("scheduler `{sampler}` cannot sample this model, which was trained by {kind}")]
    WrongKind {
        /// Its name.
        sampler: String,
        /// How the model was trained.
        kind: &'static str,
    },
    /// A step count that the model's schedule cannot give.
    #[error("{steps} steps are out of range; this model and scheduler can take 1 to {most}")]
    Steps {
        /// As it was asked for.
        steps: usize,
        /// The model's number of training timesteps.
        most: usize,
    },
    /// A strength that leaves nothing to do.
    #[error("{strength} of {steps} steps is less than one step")]
    NoSteps {
        /// The part of the steps that was to be taken, 0 to 1.
        strength: String,
        /// Of how many.
        steps: usize,
    },
    /// A value in `scheduler_config.json` that is impossible or that no sampler here can honour.
    #[error("scheduler_config.json: `{key}` is {value}: {problem}")]
    SchedulerConfig {
        /// The key in the file.
        key: &'static str,
        /// Its value as JSON, shortened.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `scheduler_config.json` as a whole is unusable.
    #[error("scheduler_config.json: {0}")]
    SchedulerConfigFile(String),
    /// The tokenizer's files are missing, damaged or contradict each other.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A weight in a prompt at which nothing can be seen any more.
    #[error("gives words a weight beyond -{most} to {most}")]
    PromptWeight {
        /// The largest weight, either way.
        most: u32,
    },
    /// A prompt of too many windows.
    #[error("is longer than {most} chunks of {tokens} tokens")]
    PromptLength {
        /// The most windows.
        most: usize,
        /// Tokens in each.
        tokens: usize,
    },
    /// A tag that is to name a LoRA.
    #[error("holds a `<lora:name:weight>` that {0}")]
    LoraTag(&'static str),
    /// A tag that names a hypernetwork.
    #[error("names a hypernetwork (`<hypernet:...>`); only LoRAs are supported")]
    Hypernetwork,
}

/// At most `most` characters of `text`, none of them a control character: enough to recognise it, too little to
/// flood or to garble a log.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let more = text.chars().nth(most).map(|_| '…');
    let signs = text.chars().take(most).map(|sign| if sign.is_control() { '\u{fffd}' } else { sign });
    signs.chain(more).collect()
}
