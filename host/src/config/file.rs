// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Reading `config.yaml`: the defaults with the file's values laid over them, one key at a time, so that
//! every complaint names the file, the line and the key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_yaml::Spanned;

use super::Config;

/// Keys of the Python ALICE that start this daemon unchanged and steer nothing in it.
const WITHOUT_EFFECT: &[&str] = &[
    "generation.attention_slice_size",
    "generation.attention_slicing",
    "generation.circular",
    "generation.device",
    "generation.device_map",
    "generation.diffusion_conv_direct",
    "generation.dtype",
    "generation.enable_flash_attention",
    "generation.enable_mmap",
    "generation.enable_model_cpu_offload",
    "generation.enable_sequential_cpu_offload",
    "generation.enable_torch_compile",
    "generation.enable_vae_slicing",
    "generation.enable_vae_tiling",
    "generation.force_bfloat16",
    "generation.force_cpu",
    "generation.force_float32",
    "generation.keep_clip_on_cpu",
    "generation.low_memory",
    "generation.sdcpp_binary",
    "generation.sdcpp_threads",
    "generation.torch_compile_mode",
    "generation.vae_conv_direct",
    "generation.vae_decode_cpu",
    "generation.vae_slicing",
    "logging.backup_count",
    "logging.max_size_mb",
    "model_cache.civitai_page_limit",
    "model_cache.database_path",
    "model_cache.enabled",
    "model_cache.huggingface_limit",
    "model_cache.sync_interval_hours",
    "model_cache.sync_on_startup",
    "models.civitai_api_key",
    "models.huggingface_token",
    "server.block_nsfw",
];

/// A configuration file that must not be started with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file was named and cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not YAML of the expected shape.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A key has a value that it cannot have.
    #[error("{}:{line}: `{key}` {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1; 0 when the key is not in the file.
        line: u64,
        /// Section and key, with a dot between.
        key: String,
        /// What it may be.
        problem: String,
    },
}

/// A configuration and what its reader should tell the operator.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Sentences about keys that do nothing.
    pub warnings: Vec<String>,
}

type Section = BTreeMap<String, Spanned<Value>>;

/// Reads the configuration. `named` is the file that the operator asked for and must exist; without it
/// `config.yaml` in the working directory is read if it is there.
///
/// # Errors
/// A file that is named and missing, or that holds a value which cannot be used: never a silent default.
pub fn load(named: Option<&Path>) -> Result<Loaded, Error> {
    let path = named.unwrap_or(Path::new("config.yaml"));
    let mut loaded = match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text)?,
        Err(source) if named.is_none() && source.kind() == std::io::ErrorKind::NotFound => {
            Loaded { config: Config::default(), warnings: Vec::new() }
        }
        Err(source) => return Err(Error::Unreadable { path: path.to_owned(), source }),
    };
    loaded.config.file = Some(path.to_owned());
    Ok(loaded)
}

/// As [`load`], from the text of the file at `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Error> {
    let malformed = |message: String| Error::Malformed { path: path.to_owned(), message };
    let sections: Option<BTreeMap<String, Option<Section>>> =
        serde_yaml::from_str(text).map_err(|error| malformed(error.without_snippet().to_string()))?;
    let mut tree = serde_json::to_value(Config::default()).map_err(|error| malformed(error.to_string()))?;
    let mut config = Config::default();
    let mut warnings = Vec::new();
    let mut lines = BTreeMap::new();
    for (section, keys) in sections.unwrap_or_default() {
        for (key, value) in keys.unwrap_or_default() {
            let line = value.referenced.line();
            let full = format!("{section}.{key}");
            let Some(slot) = tree.get_mut(&section).and_then(|section| section.get_mut(&key)) else {
                warnings.push(format!("{}:{line}: {}", path.display(), unknown(&full)));
                continue;
            };
            *slot = value.value;
            let wrong = |error: serde_json::Error| Error::Value {
                path: path.to_owned(),
                line,
                key: full.clone(),
                problem: format!("cannot be used: {error}"),
            };
            config = serde_json::from_value(tree.clone()).map_err(wrong)?;
            lines.insert(full, line);
        }
    }
    match config.problems().into_iter().next() {
        None => Ok(Loaded { config, warnings }),
        Some((key, problem)) => {
            let line = lines.get(key).copied().unwrap_or(0);
            Err(Error::Value { path: path.to_owned(), line, key: key.to_owned(), problem })
        }
    }
}

/// The warning about a key that is not one of ours.
fn unknown(key: &str) -> String {
    if WITHOUT_EFFECT.contains(&key) {
        return format!("`{key}` has no effect in this version");
    }
    match nearest(key) {
        Some(known) => format!("`{key}` is not a known key; did you mean `{known}`?"),
        None => format!("`{key}` is not a known key"),
    }
}

/// The known key that is spelt most like `key`, if any is close.
fn nearest(key: &str) -> Option<String> {
    let tree = serde_json::to_value(Config::default()).ok()?;
    let sections = tree.as_object()?.iter();
    let known = sections.flat_map(|(section, keys)| {
        keys.as_object().into_iter().flatten().map(move |(key, _)| format!("{section}.{key}"))
    });
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(key, &known), known))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Loaded, Error> {
        parse(Path::new("test.yaml"), text)
    }

    fn complaint(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_file_is_the_default() {
        let shipped = read(include_str!("../../../config.yaml")).unwrap();
        assert_eq!(shipped.config, Config::default());
        assert_eq!(shipped.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_shipped_file_names_every_key() {
        let shipped = include_str!("../../../config.yaml");
        let tree = serde_json::to_value(Config::default()).unwrap();
        for (section, keys) in tree.as_object().unwrap() {
            assert!(shipped.contains(&format!("\n{section}:\n")), "{section}");
            for key in keys.as_object().unwrap().keys() {
                assert!(shipped.contains(&format!("\n  {key}:")), "{section}.{key}");
            }
        }
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = read("server:\n  port: 9999\n").unwrap().config;
        assert_eq!(config.server.port, 9999);
        assert_eq!(config.generation, Config::default().generation);
    }

    #[test]
    fn an_empty_file_and_an_empty_section_are_the_default() {
        assert_eq!(read("").unwrap().config, Config::default());
        assert_eq!(read("server:\ngeneration:\n").unwrap().config, Config::default());
    }

    #[test]
    fn a_value_out_of_range_names_file_line_and_key() {
        let text = "server:\n  port: 8081\ngeneration:\n  default_steps: 9999\n";
        assert_eq!(complaint(text), "test.yaml:4: `generation.default_steps` must be 1 to 150");
    }

    #[test]
    fn a_value_of_the_wrong_type_names_file_line_and_key() {
        let complaint = complaint("server:\n  port: many\n");
        assert!(complaint.starts_with("test.yaml:2: `server.port` cannot be used"), "{complaint}");
    }

    #[test]
    fn broken_yaml_names_file_and_line() {
        let complaint = complaint("server:\n  port: [1\n");
        assert!(complaint.starts_with("test.yaml: ") && complaint.contains("line"), "{complaint}");
    }

    #[test]
    fn an_unknown_key_warns_and_names_the_nearest() {
        let loaded = read("server:\n  prot: 1\n").unwrap();
        assert_eq!(
            loaded.warnings,
            ["test.yaml:2: `server.prot` is not a known key; did you mean `server.port`?"]
        );
    }

    #[test]
    fn a_key_of_the_predecessor_starts_and_says_that_it_does_nothing() {
        let loaded = read("generation:\n  sdcpp_threads: 8\n").unwrap();
        assert_eq!(
            loaded.warnings,
            ["test.yaml:2: `generation.sdcpp_threads` has no effect in this version"]
        );
    }

    #[test]
    fn only_a_loopback_address_or_the_operators_word_serves_people_without_an_account() {
        let anonymous = |text: &str| read(text).unwrap().config.server.allows_anonymous();
        assert!(anonymous(""));
        assert!(anonymous("server:\n  host: ::1\n"));
        assert!(anonymous("server:\n  host: 0.0.0.0\n  allow_anonymous_network: true\n"));
        for closed in [
            "server:\n  host: 0.0.0.0\n",
            "server:\n  host: 0.0.0.0\n  require_auth: false\n",
            "server:\n  host: 192.168.1.7\n",
            "server:\n  require_auth: true\n",
            "server:\n  require_auth: true\n  allow_anonymous_network: true\n",
        ] {
            assert!(!anonymous(closed), "{closed}");
        }
    }

    #[test]
    fn a_key_in_the_file_is_never_repeated() {
        assert!(complaint("server:\n  api_key: short\n").contains("`server.api_key`"));
        assert!(!complaint("server:\n  api_key: short\n").contains("short"));
        assert!(!complaint("server:\n  api_key: [canary]\n").contains("canary"));
        assert!(!complaint("server:\n  api_key: 77777777\n").contains("77777777"));
        let config = read("server:\n  api_key: long-enough-canary\n").unwrap().config;
        assert!(!format!("{config:?}").contains("canary"));
        assert!(!serde_json::to_string(&config).unwrap().contains("canary"));
        assert_eq!(config.server.api_key.unwrap().expose(), "long-enough-canary");
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        let config = read("server:\n  trusted_proxies: [10.0.0.0/8, \"::1\"]\n").unwrap().config;
        let trusted = |address: &str| {
            config.server.trusted_proxies.iter().any(|network| network.contains(address.parse().unwrap()))
        };
        assert!(trusted("10.1.2.3") && trusted("::ffff:10.1.2.3") && trusted("::1") && !trusted("11.0.0.1"));
        assert!(complaint("server:\n  trusted_proxies: [proxy]\n").contains("`server.trusted_proxies`"));
    }

    #[test]
    fn max_rows_is_auto_or_a_number() {
        assert_eq!(
            read("engine:\n  max_rows: 8\n").unwrap().config.engine.max_rows,
            super::super::MaxRows::Rows(8)
        );
        assert_eq!(read("engine:\n  max_rows: auto\n").unwrap().config, Config::default());
        assert!(complaint("engine:\n  max_rows: 0\n").contains("at least 1"));
    }
}
