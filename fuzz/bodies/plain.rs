// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The networks over the plain operations, for what loads a file into them.

use alice_nets::NetBackend;
use alice_nets::testing::Plain;
use alice_plugin::{
    Backend, Description, Device, LoadRequest, ModelFiles, ModelHandle, ModelInfo, Result, Uncontrolled,
};

/// A backend that has loaded these files as a model of `family`.
pub(crate) fn loaded(
    files: ModelFiles,
    family: &str,
) -> Result<(impl Backend + use<>, ModelHandle, ModelInfo)> {
    let mut backend = NetBackend::new(description, |_, _| Ok(Plain));
    let request =
        LoadRequest { files, family: family.to_owned(), vae: None, dtype: "f32".to_owned(), device: 0 };
    let (model, info) = backend.load(&request, &Uncontrolled)?;
    Ok((backend, model, info))
}

fn description() -> Description {
    let device = Device {
        index: 0,
        name: "this one".to_owned(),
        kind: "cpu".to_owned(),
        memory_total: None,
        memory_free: None,
    };
    Description {
        name: "plain".to_owned(),
        version: "1".to_owned(),
        devices: vec![device],
        dtypes: vec!["f32".to_owned()],
        families: Vec::new(),
        inputs: Vec::new(),
        score: 1,
        reason: None,
        stand_in: false,
    }
}

/// A refusal is for a log of one line each.
pub(crate) fn is_a_sentence(text: &str) {
    assert!(!text.is_empty() && text.len() <= 8192, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
