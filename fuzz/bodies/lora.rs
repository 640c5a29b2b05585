// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any names and shapes in a LoRA file: refused with a sentence, or every name is applied or told.

use std::path::Path;

use alice_checkpoint::{
    Layer, TensorFile,
    lora::{Lora, LoraFile},
};

use self::written::written;

#[path = "written.rs"]
mod written;

/// The longest sentence that refuses a file.
const LONGEST_SENTENCE: usize = 8192;
/// The largest weight that is computed, so that each input takes little time.
const LARGEST_WEIGHT: usize = 1 << 16;
/// The most layers that a file's names are held against, for the same reason.
const MOST_LAYERS: usize = 64;

/// The layers of a small model, and layers named as the file names them, so that some of its changes fit.
fn layers(path: &Path) -> Vec<Layer> {
    let mut layers: Vec<Layer> = [
        ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"),
        ("unet", "down_blocks.0.resnets.0.conv1"),
        ("unet", "up_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0"),
        ("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"),
    ]
    .map(|(component, module)| Layer { component, module: module.to_owned(), shape: vec![4, 4] })
    .into();
    let Ok(file) = TensorFile::open(path) else { return layers };
    for name in file.names().filter_map(|name| name.strip_suffix(".lora_down.weight")).take(MOST_LAYERS) {
        let sizes = |part: &str| file.tensor(&format!("{name}.{part}.weight")).map(|tensor| tensor.shape);
        if let (Ok(down), Ok(up)) = (sizes("lora_down"), sizes("lora_up"))
            && let (Some(output), Some(inner)) = (up.first(), down.get(1..))
        {
            let module = name.strip_prefix("lora_unet_").unwrap_or(name).to_owned();
            layers.push(Layer { component: "unet", module, shape: [&[*output], inner].concat() });
        }
    }
    layers
}

/// Opens `bytes` as a LoRA file and applies what fits.
pub(crate) fn check(bytes: &[u8]) {
    let path = written(bytes);
    let file = match LoraFile::open(&path) {
        Ok(file) => file,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    assert_eq!(file.lora().base(), Lora::open(&path).expect("it was opened before").base());
    let layers = layers(&path);
    let fit = file.lora().fit(&layers);
    assert!(
        fit.changes.len() + fit.unmatched.len() >= file.lora().modules(),
        "every module is applied or told"
    );
    for change in &fit.changes {
        let layer = layers
            .iter()
            .find(|layer| layer.component == change.component && layer.module == change.module)
            .expect("a change is of a layer that was named");
        let values = layer.shape.iter().product();
        if values > LARGEST_WEIGHT {
            continue;
        }
        let mut weight = vec![0.5; values];
        match file.add(change, 0.5, &mut weight) {
            Ok(()) => assert!(weight.iter().all(|value| value.is_finite())),
            Err(error) => is_a_sentence(&error.to_string()),
        }
    }
}

/// A refusal is for a log of one line each.
fn is_a_sentence(text: &str) {
    assert!(text.len() <= LONGEST_SENTENCE, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
