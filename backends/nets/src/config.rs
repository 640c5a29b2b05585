// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the `config.json` files of all networks have in common, and how they are refused.
//!
//! The files come from strangers. Everything that decides a size is bounded here before anything is
//! computed from it, so that the rest of the crate can calculate with shapes freely.

use std::{fmt::Display, path::PathBuf};

use alice_checkpoint::Checkpoint;
use alice_plugin::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The most channels, tokens or features that a layer may have; real models stay below 16384.
pub(crate) const MAX_WIDTH: usize = 1 << 16;
/// The most blocks of one kind in a row; real models stay below 64.
pub(crate) const MAX_DEPTH: usize = 256;
/// The most resolutions of a UNet or an autoencoder; real models have 3 to 5.
pub(crate) const MAX_LEVELS: usize = 8;

/// The keys of a configuration that no field was made for.
pub(crate) type OtherKeys = Map<String, Value>;

/// A setting that is given once for all levels of a network, or once per level.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a list with one for each level")]
pub(crate) enum PerLevel {
    Same(usize),
    Each(Vec<usize>),
}

/// The path of a configuration, or of the file whose tensors stand for one, for the sentences that refuse it.
pub(crate) struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    /// The configuration of `component` (`unet`, `vae`, ...) of the model `checkpoint`.
    pub(crate) fn of(checkpoint: &Checkpoint, component: &str) -> Self {
        Self::new(checkpoint.config_path(component))
    }

    /// The configuration at `path`.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// `BadModel`: the value makes no sense.
    pub(crate) fn bad(&self, key: &str, value: impl Display, why: impl Display) -> Error {
        Error::bad_model(self.sentence(key, value, why))
    }

    /// `Unsupported`: the value makes sense, this crate does not do it.
    pub(crate) fn unsupported(&self, key: &str, value: impl Display, instead: impl Display) -> Error {
        Error::unsupported(self.sentence(key, value, format_args!("this backend knows only {instead}")))
    }

    fn sentence(&self, key: &str, value: impl Display, why: impl Display) -> String {
        // A hostile value may be as long as the file.
        let value: String = value.to_string().chars().take(80).collect();
        format!("`{}`: `{key}` is {value}: {why}", self.path.display())
    }

    /// `value`, if it is within 1 ..= `limit`.
    pub(crate) fn count(&self, key: &str, value: usize, limit: usize) -> Result<usize> {
        match value {
            _ if (1..=limit).contains(&value) => Ok(value),
            _ => Err(self.bad(key, value, format_args!("must be between 1 and {limit}"))),
        }
    }

    /// Passes when `part` divides `whole`.
    pub(crate) fn divides(&self, key: &str, part: usize, whole: usize) -> Result<()> {
        match whole.checked_rem(part) {
            Some(0) => Ok(()),
            _ => Err(self.bad(key, part, format_args!("must divide the {whole} channels that it splits"))),
        }
    }

    /// `value` as the small positive number that keeps a normalisation from dividing by zero.
    pub(crate) fn epsilon(&self, key: &str, value: f64) -> Result<f32> {
        // The lower bound is the smallest number that is still above zero in f32.
        match value {
            _ if (1e-37..=1.0).contains(&value) => Ok(value as f32),
            _ => Err(self.bad(key, value, "must be above 0 and at most 1")),
        }
    }

    /// A value for each of `levels` levels, each within 1 ..= `limit`.
    pub(crate) fn per_level(
        &self,
        key: &str,
        value: &PerLevel,
        levels: usize,
        limit: usize,
    ) -> Result<Vec<usize>> {
        let values = match value {
            PerLevel::Same(value) => vec![*value; levels],
            PerLevel::Each(values) => values.clone(),
        };
        self.length(key, values.len(), levels)?;
        values.iter().map(|value| self.count(key, *value, limit)).collect()
    }

    /// Passes when a list under `key` has as many entries as there are levels.
    pub(crate) fn length(&self, key: &str, found: usize, levels: usize) -> Result<()> {
        match found == levels {
            true => Ok(()),
            false => {
                let value = format_args!("a list of {found}");
                Err(self.bad(key, value, format_args!("`block_out_channels` says {levels} levels")))
            }
        }
    }

    /// Checks the keys that change what the network computes and for which only one value is known here:
    /// each of `known` is a key and that value as JSON. An absent key has that value too.
    pub(crate) fn only(&self, keys: &OtherKeys, known: &[(&str, &str)]) -> Result<()> {
        for (key, expected) in known {
            let Some(found) = keys.get(*key) else { continue };
            let same = match found.as_f64() {
                // Python writes 1 or 1.0 as it pleases.
                Some(number) => expected.parse() == Ok(number),
                None => serde_json::from_str::<Value>(expected).is_ok_and(|expected| expected == *found),
            };
            if !same {
                return Err(self.unsupported(key, found, expected));
            }
        }
        Ok(())
    }

    /// Passes for the activation that all image networks of Stable Diffusion use.
    pub(crate) fn silu(&self, key: &str, value: &str) -> Result<()> {
        match value {
            "silu" | "swish" => Ok(()),
            _ => Err(self.unsupported(key, format_args!("{value:?}"), "\"silu\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use alice_plugin::ErrorKind;

    use super::*;

    fn file() -> ConfigFile {
        ConfigFile::new("model/unet/config.json")
    }

    fn keys(json: &str) -> OtherKeys {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_key_with_another_value_than_the_known_one_is_refused_by_name() {
        let known = [("class_embed_type", "null"), ("mid_block_scale_factor", "1")];
        for fine in [r#"{}"#, r#"{"class_embed_type": null}"#, r#"{"mid_block_scale_factor": 1.0}"#] {
            file().only(&keys(fine), &known).unwrap();
        }
        let error = file().only(&keys(r#"{"class_embed_type": "timestep"}"#), &known).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        for part in ["model/unet/config.json", "class_embed_type", "timestep"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert!(file().only(&keys(r#"{"mid_block_scale_factor": 2}"#), &known).is_err());
    }

    #[test]
    fn a_setting_may_be_given_once_or_per_level() {
        let parse = |json: &str| serde_json::from_str::<PerLevel>(json).unwrap();
        assert_eq!(file().per_level("k", &parse("3"), 2, 9).unwrap(), [3, 3]);
        assert_eq!(file().per_level("k", &parse("[3, 4]"), 2, 9).unwrap(), [3, 4]);
        for bad in ["[3]", "[3, 4, 5]", "[3, 10]", "[3, 0]", "0", "[]"] {
            assert_eq!(file().per_level("k", &parse(bad), 2, 9).unwrap_err().kind, ErrorKind::BadModel);
        }
        for bad in ["-1", "1.5", "[[1]]", "\"1\"", "null"] {
            assert!(serde_json::from_str::<PerLevel>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_epsilon_that_f32_cannot_hold_is_refused() {
        assert_eq!(file().epsilon("eps", 1e-5).unwrap(), 1e-5);
        for bad in [0.0, -1e-5, 1e-300, 2.0, f64::NAN] {
            assert!(file().epsilon("eps", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_hostile_value_is_cut_short() {
        assert!(file().bad("key", "x".repeat(100_000), "no").message.len() < 300);
    }
}
