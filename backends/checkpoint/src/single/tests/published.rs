// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Names and shapes of the tensors in the published single files, written down from their builders' sources
//! (CompVis `ldm`, Stability `sgm`, OpenCLIP), and files with these headers. Small sizes make small models of the
//! same build.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};

/// Names with shapes.
pub(crate) type Tensors = Vec<(String, Vec<usize>)>;

/// The sizes of a model.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Channels of the denoiser's first level, and their multiples of all levels.
    pub(crate) first: usize,
    pub(crate) multiples: &'static [usize],
    /// Transformer blocks of each level, and in the middle.
    pub(crate) depths: &'static [usize],
    pub(crate) middle: usize,
    /// Residual blocks of each level on the way down.
    pub(crate) blocks: usize,
    pub(crate) input: usize,
    pub(crate) context: usize,
    pub(crate) linear: bool,
    /// Length of the added vector.
    pub(crate) added: Option<usize>,
    /// Channels of the autoencoder's first level.
    pub(crate) vae: usize,
    pub(crate) encoders: &'static [Encoder],
    pub(crate) vocabulary: usize,
    pub(crate) length: usize,
}

/// One text encoder: where it is, who made it, and its sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoder {
    OpenAi { prefix: &'static str, layers: usize, width: usize },
    OpenClip { prefix: &'static str, layers: usize, width: usize, projection: usize },
}

const CLIP_L: Encoder =
    Encoder::OpenAi { prefix: "cond_stage_model.transformer.text_model.", layers: 12, width: 768 };
const CLIP_H: Encoder =
    Encoder::OpenClip { prefix: "cond_stage_model.model.", layers: 24, width: 1024, projection: 1024 };
const XL_L: Encoder =
    Encoder::OpenAi { prefix: "conditioner.embedders.0.transformer.text_model.", layers: 12, width: 768 };
const XL_G: Encoder =
    Encoder::OpenClip { prefix: "conditioner.embedders.1.model.", layers: 32, width: 1280, projection: 1280 };
const REFINER_G: Encoder =
    Encoder::OpenClip { prefix: "conditioner.embedders.0.model.", layers: 32, width: 1280, projection: 1280 };

/// Stable Diffusion 1.5.
pub(crate) const SD1: Sizes = Sizes {
    first: 320,
    multiples: &[1, 2, 4, 4],
    depths: &[1, 1, 1, 0],
    middle: 1,
    blocks: 2,
    input: 4,
    context: 768,
    linear: false,
    added: None,
    vae: 128,
    encoders: &[CLIP_L],
    vocabulary: 49408,
    length: 77,
};
/// Stable Diffusion 2.1.
pub(crate) const SD2: Sizes = Sizes { context: 1024, linear: true, encoders: &[CLIP_H], ..SD1 };
/// SDXL base 1.0.
pub(crate) const SDXL: Sizes = Sizes {
    multiples: &[1, 2, 4],
    depths: &[0, 2, 10],
    middle: 10,
    context: 2048,
    linear: true,
    added: Some(2816),
    encoders: &[XL_L, XL_G],
    ..SD1
};
/// SDXL refiner 1.0.
pub(crate) const REFINER: Sizes = Sizes {
    first: 384,
    multiples: &[1, 2, 4, 4],
    depths: &[0, 4, 4, 0],
    middle: 4,
    context: 1280,
    linear: true,
    added: Some(2560),
    encoders: &[REFINER_G],
    ..SD1
};

impl Sizes {
    /// All tensors of the file.
    pub(crate) fn tensors(&self) -> Tensors {
        let mut all = prefixed("model.diffusion_model.", self.unet());
        all.extend(prefixed("first_stage_model.", self.autoencoder()));
        for encoder in self.encoders {
            all.extend(self.encoder(*encoder));
        }
        all
    }

    pub(crate) fn unet(&self) -> Tensors {
        let (time, last) = (4 * self.first, self.multiples.len() - 1);
        let mut all = Tensors::new();
        layer(&mut all, "time_embed.0", &[time, self.first]);
        layer(&mut all, "time_embed.2", &[time, time]);
        if let Some(added) = self.added {
            layer(&mut all, "label_emb.0.0", &[time, added]);
            layer(&mut all, "label_emb.0.2", &[time, time]);
        }
        layer(&mut all, "input_blocks.0.0", &[self.first, self.input, 3, 3]);
        let (mut place, mut channels, mut kept) = (1, self.first, vec![self.first]);
        for (level, multiple) in self.multiples.iter().enumerate() {
            for _ in 0..self.blocks {
                let output = self.first * multiple;
                resnet(&mut all, &format!("input_blocks.{place}.0"), channels, output, time);
                self.transformer(&mut all, &format!("input_blocks.{place}.1"), output, self.depths[level]);
                (channels, place) = (output, place + 1);
                kept.push(channels);
            }
            if level < last {
                layer(&mut all, &format!("input_blocks.{place}.0.op"), &[channels, channels, 3, 3]);
                place += 1;
                kept.push(channels);
            }
        }
        resnet(&mut all, "middle_block.0", channels, channels, time);
        self.transformer(&mut all, "middle_block.1", channels, self.middle);
        resnet(&mut all, "middle_block.2", channels, channels, time);
        let mut place = 0;
        for (level, multiple) in self.multiples.iter().enumerate().rev() {
            for block in 0..=self.blocks {
                let (output, from) = (self.first * multiple, kept.pop().unwrap());
                resnet(&mut all, &format!("output_blocks.{place}.0"), channels + from, output, time);
                self.transformer(&mut all, &format!("output_blocks.{place}.1"), output, self.depths[level]);
                channels = output;
                if block == self.blocks && level > 0 {
                    let part = if self.depths[level] > 0 { 2 } else { 1 };
                    let name = format!("output_blocks.{place}.{part}.conv");
                    layer(&mut all, &name, &[channels, channels, 3, 3]);
                }
                place += 1;
            }
        }
        layer(&mut all, "out.0", &[channels]);
        layer(&mut all, "out.2", &[4, channels, 3, 3]);
        all
    }

    fn transformer(&self, all: &mut Tensors, name: &str, width: usize, depth: usize) {
        if depth == 0 {
            return;
        }
        let projection: &[usize] = if self.linear { &[width, width] } else { &[width, width, 1, 1] };
        layer(all, &format!("{name}.norm"), &[width]);
        layer(all, &format!("{name}.proj_in"), projection);
        layer(all, &format!("{name}.proj_out"), projection);
        for block in 0..depth {
            let name = format!("{name}.transformer_blocks.{block}");
            for (attention, context) in [("attn1", width), ("attn2", self.context)] {
                for (part, input) in [("to_q", width), ("to_k", context), ("to_v", context)] {
                    all.push((format!("{name}.{attention}.{part}.weight"), vec![width, input]));
                }
                layer(all, &format!("{name}.{attention}.to_out.0"), &[width, width]);
            }
            layer(all, &format!("{name}.ff.net.0.proj"), &[8 * width, width]);
            layer(all, &format!("{name}.ff.net.2"), &[width, 4 * width]);
            for norm in ["norm1", "norm2", "norm3"] {
                layer(all, &format!("{name}.{norm}"), &[width]);
            }
        }
    }

    pub(crate) fn autoencoder(&self) -> Tensors {
        let sides = [self.vae, 2 * self.vae, 4 * self.vae, 4 * self.vae];
        let mut all = Tensors::new();
        layer(&mut all, "encoder.conv_in", &[sides[0], 3, 3, 3]);
        let mut channels = sides[0];
        for (level, output) in sides.into_iter().enumerate() {
            for block in 0..2 {
                vae_resnet(&mut all, &format!("encoder.down.{level}.block.{block}"), channels, output);
                channels = output;
            }
            if level < 3 {
                layer(&mut all, &format!("encoder.down.{level}.downsample.conv"), &[output, output, 3, 3]);
            }
        }
        vae_end(&mut all, "encoder", channels, channels, 8);
        layer(&mut all, "decoder.conv_in", &[channels, 4, 3, 3]);
        for (level, output) in sides.into_iter().enumerate().rev() {
            for block in 0..3 {
                vae_resnet(&mut all, &format!("decoder.up.{level}.block.{block}"), channels, output);
                channels = output;
            }
            if level > 0 {
                layer(&mut all, &format!("decoder.up.{level}.upsample.conv"), &[output, output, 3, 3]);
            }
        }
        vae_end(&mut all, "decoder", sides[3], channels, 3);
        layer(&mut all, "quant_conv", &[8, 8, 1, 1]);
        layer(&mut all, "post_quant_conv", &[4, 4, 1, 1]);
        all
    }

    fn encoder(&self, encoder: Encoder) -> Tensors {
        let (words, places) = (self.vocabulary, self.length);
        match encoder {
            Encoder::OpenAi { prefix, layers, width } => {
                let mut all = vec![
                    ("embeddings.position_ids".to_owned(), vec![1, places]),
                    ("embeddings.token_embedding.weight".to_owned(), vec![words, width]),
                    ("embeddings.position_embedding.weight".to_owned(), vec![places, width]),
                ];
                for index in 0..layers {
                    let name = format!("encoder.layers.{index}");
                    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        layer(&mut all, &format!("{name}.self_attn.{part}"), &[width, width]);
                    }
                    layer(&mut all, &format!("{name}.layer_norm1"), &[width]);
                    layer(&mut all, &format!("{name}.layer_norm2"), &[width]);
                    layer(&mut all, &format!("{name}.mlp.fc1"), &[4 * width, width]);
                    layer(&mut all, &format!("{name}.mlp.fc2"), &[width, 4 * width]);
                }
                layer(&mut all, "final_layer_norm", &[width]);
                prefixed(prefix, all)
            }
            Encoder::OpenClip { prefix, layers, width, projection } => {
                let mut all = vec![
                    ("positional_embedding".to_owned(), vec![places, width]),
                    ("token_embedding.weight".to_owned(), vec![words, width]),
                    ("text_projection".to_owned(), vec![width, projection]),
                    ("logit_scale".to_owned(), vec![]),
                ];
                for index in 0..layers {
                    let name = format!("transformer.resblocks.{index}");
                    all.push((format!("{name}.attn.in_proj_weight"), vec![3 * width, width]));
                    all.push((format!("{name}.attn.in_proj_bias"), vec![3 * width]));
                    layer(&mut all, &format!("{name}.attn.out_proj"), &[width, width]);
                    layer(&mut all, &format!("{name}.ln_1"), &[width]);
                    layer(&mut all, &format!("{name}.ln_2"), &[width]);
                    layer(&mut all, &format!("{name}.mlp.c_fc"), &[4 * width, width]);
                    layer(&mut all, &format!("{name}.mlp.c_proj"), &[width, 4 * width]);
                }
                layer(&mut all, "ln_final", &[width]);
                prefixed(prefix, all)
            }
        }
    }
}

/// A weight with its bias, which has a value for each of the outermost rows.
fn layer(all: &mut Tensors, name: &str, weight: &[usize]) {
    all.push((format!("{name}.weight"), weight.to_vec()));
    all.push((format!("{name}.bias"), vec![weight[0]]));
}

fn resnet(all: &mut Tensors, name: &str, input: usize, output: usize, time: usize) {
    layer(all, &format!("{name}.in_layers.0"), &[input]);
    layer(all, &format!("{name}.in_layers.2"), &[output, input, 3, 3]);
    layer(all, &format!("{name}.emb_layers.1"), &[output, time]);
    layer(all, &format!("{name}.out_layers.0"), &[output]);
    layer(all, &format!("{name}.out_layers.3"), &[output, output, 3, 3]);
    if input != output {
        layer(all, &format!("{name}.skip_connection"), &[output, input, 1, 1]);
    }
}

fn vae_resnet(all: &mut Tensors, name: &str, input: usize, output: usize) {
    layer(all, &format!("{name}.norm1"), &[input]);
    layer(all, &format!("{name}.conv1"), &[output, input, 3, 3]);
    layer(all, &format!("{name}.norm2"), &[output]);
    layer(all, &format!("{name}.conv2"), &[output, output, 3, 3]);
    if input != output {
        layer(all, &format!("{name}.nin_shortcut"), &[output, input, 1, 1]);
    }
}

/// The middle of a half, of `channels`, and its last convolution from `last` to `output` channels.
fn vae_end(all: &mut Tensors, half: &str, channels: usize, last: usize, output: usize) {
    vae_resnet(all, &format!("{half}.mid.block_1"), channels, channels);
    layer(all, &format!("{half}.mid.attn_1.norm"), &[channels]);
    for part in ["q", "k", "v", "proj_out"] {
        layer(all, &format!("{half}.mid.attn_1.{part}"), &[channels, channels, 1, 1]);
    }
    vae_resnet(all, &format!("{half}.mid.block_2"), channels, channels);
    layer(all, &format!("{half}.norm_out"), &[last]);
    layer(all, &format!("{half}.conv_out"), &[output, last, 3, 3]);
}

pub(crate) fn prefixed(prefix: &str, tensors: Tensors) -> Tensors {
    tensors.into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect()
}

/// Writes a file with these tensors in half precision, all zeros that take no room on the disk, and these notes.
pub(crate) fn write(path: &Path, tensors: &Tensors, notes: &Value) -> File {
    let (mut header, mut end) = (Map::new(), 0);
    header.insert("__metadata__".to_owned(), notes.clone());
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>() as u64;
        let entry = json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    let data = file.stream_position().unwrap();
    file.set_len(data + end).unwrap();
    file.seek(SeekFrom::Start(data)).unwrap();
    file
}
