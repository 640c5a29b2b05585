// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every spelling on matrices small enough to multiply by hand, and files that are refused.

use std::fs;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::*;

/// A tensor of f32 values by name.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

const TO_Q: &str = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
const TO_OUT: &str = "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0";
const Q_PROJ: &str = "text_model.encoder.layers.1.self_attn.q_proj";

/// A file of these tensors, with notes.
fn file_with(tensors: &Tensors, notes: &[(&str, &str)]) -> NamedTempFile {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    header.insert(
        "__metadata__".to_owned(),
        notes.iter().map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect(),
    );
    raw(&Value::from(header).to_string(), &data)
}

fn raw(header: &str, data: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
    file
}

fn file(tensors: &Tensors) -> NamedTempFile {
    file_with(tensors, &[])
}

fn tensor(name: impl Into<String>, shape: &[usize], values: &[f32]) -> (String, Vec<usize>, Vec<f32>) {
    (name.into(), shape.to_vec(), values.to_vec())
}

fn layer(component: &'static str, module: &str, shape: &[usize]) -> Layer {
    Layer { component, module: module.to_owned(), shape: shape.to_vec() }
}

/// The layers of something like a Stable Diffusion 1 with two levels, by their names; all have this shape but where
/// the test says another.
fn layers(shape: &[usize]) -> Vec<Layer> {
    let mut modules = vec!["conv_in".to_owned(), "conv_out".to_owned()];
    let layer_names =
        ["resnets.0.conv1", "resnets.0.time_emb_proj", "resnets.1.conv2", "resnets.1.conv_shortcut"];
    for block in 0..2 {
        modules.extend(layer_names.map(|name| format!("down_blocks.{block}.{name}")));
        modules.extend([0, 1].map(|stage| format!("down_blocks.{block}.attentions.{stage}.proj_in")));
        modules.extend(layer_names.map(|name| format!("up_blocks.{block}.{name}")));
        modules.push(format!("up_blocks.{block}.resnets.2.conv1"));
    }
    modules.extend(
        [
            "down_blocks.0.downsamplers.0.conv",
            "up_blocks.0.upsamplers.0.conv",
            "time_embedding.linear_1",
            "add_embedding.linear_2",
            "mid_block.resnets.1.conv1",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
            TO_Q,
            TO_OUT,
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        ]
        .map(str::to_owned),
    );
    let mut layers: Vec<Layer> = modules.iter().map(|module| layer("unet", module, shape)).collect();
    layers.push(layer("text_encoder", Q_PROJ, shape));
    layers.push(layer("text_encoder_2", Q_PROJ, shape));
    layers.push(layer("text_encoder_2", "text_projection", shape));
    layers
}

/// The module that the model calls what the file calls `name`.
fn named(name: &str) -> Option<(&'static str, String)> {
    let layers = layers(&[2, 2]);
    Names::new(&layers).find(name).map(|index| (layers[index].component, layers[index].module.clone()))
}

/// The change of the one layer that the file and the model share.
fn delta(file: &NamedTempFile, layers: &[Layer], scale: f32) -> Vec<f32> {
    let lora = LoraFile::open(file.path()).unwrap();
    let fit = lora.lora().fit(layers);
    assert_eq!((fit.changes.len(), &fit.unmatched), (1, &Vec::new()));
    let change = &fit.changes[0];
    let layer = layers.iter().find(|layer| layer.module == change.module).unwrap();
    let mut weight = vec![0.0; layer.shape.iter().product()];
    lora.add(change, scale, &mut weight).unwrap();
    weight
}

#[test]
fn every_spelling_of_a_layer_is_found() {
    let unet = |module: &str| Some(("unet", module.to_owned()));
    for (name, found) in [
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", unet(TO_Q)),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", unet(TO_Q)),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", unet(TO_Q)),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q", unet(TO_Q)),
        ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q", unet(TO_Q)),
        ("base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", unet(TO_Q)),
        ("base_model.model.unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", unet(TO_Q)),
        ("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q", unet(TO_Q)),
        ("lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_attn2_to_out_0", unet(TO_OUT)),
        ("lora_unet_output_blocks_5_1_transformer_blocks_0_attn2_to_out_0", unet(TO_OUT)),
        ("unet.up_blocks.1.attentions.2.transformer_blocks.0.attn2.processor.to_out", unet(TO_OUT)),
        ("lora_unet_conv_in", unet("conv_in")),
        ("lora_unet_input_blocks_0_0", unet("conv_in")),
        ("lora_unet_out_2", unet("conv_out")),
        ("lora_unet_time_embed_0", unet("time_embedding.linear_1")),
        ("lora_unet_label_emb_0_2", unet("add_embedding.linear_2")),
        ("lora_unet_input_blocks_1_0_in_layers_2", unet("down_blocks.0.resnets.0.conv1")),
        ("lora_unet_input_blocks_2_0_out_layers_3", unet("down_blocks.0.resnets.1.conv2")),
        ("lora_unet_input_blocks_3_0_op", unet("down_blocks.0.downsamplers.0.conv")),
        ("lora_unet_input_blocks_4_0_emb_layers_1", unet("down_blocks.1.resnets.0.time_emb_proj")),
        ("lora_unet_input_blocks_5_0_skip_connection", unet("down_blocks.1.resnets.1.conv_shortcut")),
        ("lora_unet_input_blocks_5_1_proj_in", unet("down_blocks.1.attentions.1.proj_in")),
        ("lora_unet_middle_block_2_in_layers_2", unet("mid_block.resnets.1.conv1")),
        (
            "lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj",
            unet("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"),
        ),
        ("lora_unet_output_blocks_2_1_conv", unet("up_blocks.0.upsamplers.0.conv")),
        ("lora_unet_output_blocks_5_0_in_layers_2", unet("up_blocks.1.resnets.2.conv1")),
        ("lora_te_text_model_encoder_layers_1_self_attn_q_proj", Some(("text_encoder", Q_PROJ.to_owned()))),
        ("lora_te1_text_model_encoder_layers_1_self_attn_q_proj", Some(("text_encoder", Q_PROJ.to_owned()))),
        (
            "lora_te2_text_model_encoder_layers_1_self_attn_q_proj",
            Some(("text_encoder_2", Q_PROJ.to_owned())),
        ),
        ("lora_te2_text_projection", Some(("text_encoder_2", "text_projection".to_owned()))),
        (
            "text_encoder.text_model.encoder.layers.1.self_attn.to_q",
            Some(("text_encoder", Q_PROJ.to_owned())),
        ),
        ("text_encoder_2.encoder.layers.1.self_attn.q_proj", Some(("text_encoder_2", Q_PROJ.to_owned()))),
        (
            "base_model.model.text_model.encoder.layers.1.self_attn.q_proj",
            Some(("text_encoder", Q_PROJ.to_owned())),
        ),
        ("lora_unet_input_blocks_9_0_op", None),
        ("lora_unet_down_blocks_7_resnets_0_conv1", None),
        ("transformer.single_blocks.0.attn.to_q", None),
        ("lora_unet_", None),
        ("", None),
    ] {
        assert_eq!(named(name), found, "{name}");
    }
}

#[test]
fn stages_of_any_number_are_stages() {
    let last = usize::MAX;
    let modules = [
        format!("down_blocks.0.resnets.{last}.conv1"),
        "down_blocks.0.downsamplers.0.conv".to_owned(),
        format!("up_blocks.0.resnets.{last}.conv1"),
        "up_blocks.1.resnets.0.conv1".to_owned(),
        "up_blocks.1.upsamplers.0.conv".to_owned(),
        "conv_in".to_owned(),
    ];
    let layers = modules.map(|module| layer("unet", &module, &[2, 2]));
    let names = Names::new(&layers);
    assert_eq!(names.find("lora_unet_input_blocks_0_0"), Some(5));
    assert_eq!(names.find("lora_unet_down_blocks_0_downsamplers_0_conv"), Some(1));
    assert_eq!(names.find("lora_unet_up_blocks_1_upsamplers_0_conv"), Some(4));
}

#[test]
fn a_refiner_has_only_the_second_text_encoder_whatever_the_file_calls_it() {
    let layers = [layer("text_encoder_2", Q_PROJ, &[2, 2])];
    for name in [
        "lora_te_text_model_encoder_layers_1_self_attn_q_proj",
        "text_encoder.encoder.layers.1.self_attn.q_proj",
    ] {
        assert_eq!(Names::new(&layers).find(name), Some(0));
    }
}

#[test]
fn names_that_two_layers_could_mean_find_none() {
    let layers =
        [layer("unet", "a.b_c", &[1, 1]), layer("unet", "a_b.c", &[1, 1]), layer("unet", "d", &[1, 1])];
    let names = Names::new(&layers);
    assert_eq!((names.find("lora_unet_a_b_c"), names.find("unet.d")), (None, Some(2)));
}

#[test]
fn a_change_is_up_times_down_times_alpha_by_rank() {
    // up · down = [[1 * 3 + 2 * 5, 1 * 4 + 2 * 6], [..]]; alpha 1 by rank 2 is a half.
    let module = format!("lora_unet_{}", TO_Q.replace('.', "_"));
    let tensors = vec![
        tensor(format!("{module}.lora_up.weight"), &[2, 2], &[1.0, 2.0, -1.0, 0.0]),
        tensor(format!("{module}.lora_down.weight"), &[2, 3], &[3.0, 4.0, 0.0, 5.0, 6.0, 1.0]),
        tensor(format!("{module}.alpha"), &[], &[1.0]),
    ];
    let layers = [layer("unet", TO_Q, &[2, 3])];
    assert_eq!(delta(&file(&tensors), &layers, 1.0), [6.5, 8.0, 1.0, -1.5, -2.0, 0.0]);
    assert_eq!(delta(&file(&tensors), &layers, -2.0), [-13.0, -16.0, -2.0, 3.0, 4.0, 0.0]);
    let without_alpha = tensors[..2].to_vec();
    assert_eq!(delta(&file(&without_alpha), &layers, 1.0), [13.0, 16.0, 2.0, -3.0, -4.0, 0.0]);
    // A layer that is kept as a convolution of one pixel, and a change that is.
    let kernel = [layer("unet", TO_Q, &[2, 3, 1, 1])];
    assert_eq!(delta(&file(&tensors), &kernel, 2.0), [13.0, 16.0, 2.0, -3.0, -4.0, 0.0]);
    let mut convolutions = tensors.clone();
    (convolutions[0].1, convolutions[1].1) = (vec![2, 2, 1, 1], vec![2, 3, 1, 1]);
    assert_eq!(delta(&file(&convolutions), &layers, 2.0), [13.0, 16.0, 2.0, -3.0, -4.0, 0.0]);
}

#[test]
fn a_convolution_is_changed_whole_and_through_a_middle_part() {
    let layers = [layer("unet", "conv_in", &[1, 1, 3, 3])];
    let kernel: Vec<f32> = (1..=9).map(|value| value as f32).collect();
    let whole = vec![
        tensor("lora_unet_conv_in.lora_up.weight", &[1, 1, 1, 1], &[2.0]),
        tensor("lora_unet_conv_in.lora_down.weight", &[1, 1, 3, 3], &kernel),
    ];
    let expected: Vec<f32> = kernel.iter().map(|value| 2.0 * value).collect();
    assert_eq!(delta(&file(&whole), &layers, 1.0), expected);
    // One output, one input, rank 2: the sum over both ranks of up[a] mid[a, b] down[b].
    let mids: Vec<f32> =
        [1.0, 10.0, 100.0, 1000.0].iter().flat_map(|by| kernel.iter().map(move |value| by * value)).collect();
    let tucker = vec![
        tensor("lora_unet_conv_in.lora_up.weight", &[1, 2, 1, 1], &[1.0, 2.0]),
        tensor("lora_unet_conv_in.lora_mid.weight", &[2, 2, 3, 3], &mids),
        tensor("lora_unet_conv_in.lora_down.weight", &[2, 1, 1, 1], &[1.0, 3.0]),
        tensor("lora_unet_conv_in.alpha", &[1], &[4.0]),
    ];
    let factor = 2.0 * (1.0 + 10.0 * 3.0 + 2.0 * (100.0 + 1000.0 * 3.0));
    let expected: Vec<f32> = kernel.iter().map(|value| factor * value).collect();
    assert_eq!(delta(&file(&tucker), &layers, 1.0), expected);
}

/// The same change in every spelling: `(prefix and module, down, up)`.
fn spellings() -> Vec<(String, &'static str, &'static str)> {
    let kohya = format!("lora_unet_{}", TO_Q.replace('.', "_"));
    let makers = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q".to_owned();
    let old = TO_Q.replace("to_q", "processor.to_q");
    vec![
        (kohya, ".lora_down.weight", ".lora_up.weight"),
        (makers, ".lora_down.weight", ".lora_up.weight"),
        (format!("unet.{TO_Q}"), ".lora_A.weight", ".lora_B.weight"),
        (format!("unet.{TO_Q}"), ".lora.down.weight", ".lora.up.weight"),
        (format!("base_model.model.{TO_Q}"), ".lora_A.default.weight", ".lora_B.default.weight"),
        (TO_Q.to_owned(), ".lora_A.weight", ".lora_B.weight"),
        (format!("unet.{old}"), "_lora.down.weight", "_lora.up.weight"),
        (old, "_lora.down.weight", "_lora.up.weight"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn files_that_say_the_same_make_the_same_change(
        (rank, output, input) in (1..5_usize, 1..7_usize, 1..12_usize),
        values in prop::collection::vec(-4.0..4.0_f32, 4 * (6 + 11)),
        alpha in prop::option::of(-3.0..3.0_f32),
        scale in -2.0..2.0_f32,
    ) {
        // `input_blocks.1.1` is the first block's, so this model has no block before it.
        let block = TO_Q.replace("down_blocks.1", "down_blocks.0");
        let layers = [layer("unet", &block, &[output, input]), layer("unet", "down_blocks.0.resnets.0.conv1", &[1, 1, 1, 1])];
        let (down, up) = (&values[..rank * input], &values[rank * input..][..output * rank]);
        let mut seen: Option<Vec<f32>> = None;
        for (module, down_name, up_name) in spellings() {
            let module = module.replace("down_blocks.1", "down_blocks.0").replace("down_blocks_1", "down_blocks_0");
            let mut tensors = vec![
                tensor(format!("{module}{down_name}"), &[rank, input], down),
                tensor(format!("{module}{up_name}"), &[output, rank], up),
            ];
            tensors.extend(alpha.map(|alpha| tensor(format!("{module}.alpha"), &[], &[alpha])));
            let found = delta(&file(&tensors), &layers, scale);
            match &seen {
                None => seen = Some(found),
                Some(seen) => prop_assert_eq!(seen, &found, "{}", module),
            }
        }
    }
}

#[test]
fn settings_in_the_header_are_the_factor_of_a_file_of_peft() {
    let tensors = vec![
        tensor(format!("unet.{TO_Q}.lora_A.weight"), &[2, 1], &[1.0, 1.0]),
        tensor(format!("unet.{TO_Q}.lora_B.weight"), &[1, 2], &[1.0, 2.0]),
    ];
    let settings = [("lora_adapter_metadata", r#"{"unet.lora_alpha": 8, "unet.r": 2}"#)];
    assert_eq!(delta(&file_with(&tensors, &settings), &[layer("unet", TO_Q, &[1, 1])], 1.0), [12.0]);
}

#[test]
fn what_is_not_applied_is_told() {
    let q = format!("lora_unet_{}", TO_Q.replace('.', "_"));
    let pair = |module: &str, output, input| {
        [
            tensor(format!("{module}.lora_down.weight"), &[1, input], &vec![1.0; input]),
            tensor(format!("{module}.lora_up.weight"), &[output, 1], &vec![1.0; output]),
        ]
    };
    let mut tensors: Tensors =
        [pair(&q, 2, 2), pair("lora_unet_conv_in", 3, 2), pair("lora_te_nothing", 2, 2)].concat();
    tensors.extend(pair("unet.conv_out", 2, 2));
    tensors.extend(pair("lora_unet_out_2", 2, 2));
    tensors.extend([
        tensor("lora_unet_conv_in.diff_b", &[1], &[0.0]),
        tensor("lora_unet_norm.alpha", &[], &[1.0]),
    ]);
    let fit = Lora::open(file(&tensors).path()).unwrap().fit(&layers(&[2, 2]));
    let changes: Vec<&str> = fit.changes.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(changes, [q.as_str(), "lora_unet_out_2"]);
    assert_eq!(
        fit.unmatched,
        [
            "lora_te_nothing",
            "lora_unet_conv_in",
            "lora_unet_conv_in.diff_b",
            "lora_unet_norm.alpha",
            "unet.conv_out"
        ],
        "another shape, no such layer, a layer that is changed already, and what is no LoRA of a layer"
    );
    let nothing = Lora::open(file(&tensors).path()).unwrap().fit(&[layer("unet", "x", &[2, 2])]);
    assert_eq!((nothing.changes.len(), nothing.unmatched.len()), (0, 7));
}

#[test]
fn a_file_that_attends_to_other_prompts_suits_nothing_of_a_model() {
    let key = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k";
    let pair = |module: &str, input| {
        [
            tensor(format!("unet.{module}.lora_A.weight"), &[1, input], &vec![1.0; input]),
            tensor(format!("unet.{module}.lora_B.weight"), &[2, 1], &[1.0; 2]),
        ]
    };
    let tensors: Tensors = [pair(TO_Q, 2), pair(key, 3)].concat();
    let fit = Lora::open(file(&tensors).path()).unwrap().fit(&layers(&[2, 2]));
    assert_eq!((fit.changes.len(), fit.unmatched.len()), (0, 2));
}

#[test]
fn widths_and_names_tell_the_family() {
    let base = |module: &str, input: usize| {
        let tensors = vec![
            tensor(format!("{module}.lora_down.weight"), &[1, input], &vec![0.0; input]),
            tensor(format!("{module}.lora_up.weight"), &[2, 1], &[0.0; 2]),
        ];
        Lora::open(file(&tensors).path()).unwrap().base()
    };
    let key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k";
    assert_eq!(base(key, 768), Some(Family::Sd1));
    assert_eq!(base(key, 1024), Some(Family::Sd2));
    assert_eq!(base(key, 2048), Some(Family::Sdxl));
    assert_eq!(base(key, 1280), Some(Family::SdxlRefiner));
    assert_eq!(base("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280), Some(Family::Sdxl));
    assert_eq!(base("lora_te_text_model_encoder_layers_0_mlp_fc1", 768), Some(Family::Sd1));
    assert_eq!(base("lora_unet_conv_in", 4), None);
}

#[track_caller]
fn assert_refused(file: &NamedTempFile, says: &str) {
    let text = Lora::open(file.path()).unwrap_err().to_string();
    assert!(text.contains(says), "{text:?} does not say {says:?}");
    assert!(text.len() < 1500, "{} bytes", text.len());
}

#[test]
fn adapters_of_other_kinds_are_refused_by_name() {
    for (name, kind) in [
        ("x.hada_w1_a", "LoHa"),
        ("x.lokr_w1", "LoKr"),
        ("x.dora_scale", "DoRA"),
        ("x.lora_magnitude_vector", "DoRA"),
        ("x.oft_diag", "OFT"),
        ("x.oft_blocks", "OFT"),
        ("x.a1.weight", "GLoRA"),
        ("x.on_input", "IA3"),
    ] {
        let mut tensors =
            vec![tensor("x.lora_down.weight", &[1, 1], &[1.0]), tensor("x.lora_up.weight", &[1, 1], &[1.0])];
        tensors.push(tensor(name, &[1], &[1.0]));
        assert_refused(&file(&tensors), kind);
    }
    assert_refused(
        &file(&vec![tensor("model.diffusion_model.out.0.bias", &[1], &[1.0])]),
        "no LoRA of any layer",
    );
}

#[test]
fn a_pickle_is_refused_with_the_way_out() {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), [b"PK\x03\x04".as_slice(), &[0; 600]].concat()).unwrap();
    assert!(matches!(Lora::open(file.path()).unwrap_err(), Error::UnsafeFormat { .. }));
    assert_refused(&file, "save_file");
}

#[test]
fn changes_that_do_not_fit_themselves_are_refused() {
    let with = |down: &[usize], up: &[usize], more: Tensors| {
        let values = |shape: &[usize]| vec![1.0; shape.iter().product()];
        let mut tensors = vec![
            tensor("x.lora_down.weight", down, &values(down)),
            tensor("x.lora_up.weight", up, &values(up)),
        ];
        tensors.extend(more);
        file(&tensors)
    };
    assert_refused(&with(&[2, 3], &[3, 1], vec![]), "rank");
    assert_refused(&with(&[2, 3], &[3, 2, 3, 3], vec![]), "rank");
    assert_refused(&with(&[2, 3, 1], &[3, 2], vec![]), "shape");
    assert_refused(&with(&[2, 0], &[3, 2], vec![]), "shape");
    assert_refused(&with(&[0, 3], &[3, 0], vec![]), "shape");
    assert_refused(&with(&[4097, 1], &[1, 4097], vec![]), "4097");
    assert_refused(
        &with(&[2, 3], &[3, 2], vec![tensor("x.lora_mid.weight", &[2, 3, 1, 1], &[1.0; 6])]),
        "between",
    );
    assert_refused(&with(&[2, 3], &[3, 2], vec![tensor("x.alpha", &[2], &[1.0; 2])]), "not one number");
    assert_refused(&with(&[2, 3], &[3, 2], vec![tensor("x.alpha", &[], &[f32::NAN])]), "finite");
    assert_refused(&with(&[2, 3], &[3, 2], vec![tensor("x.alpha", &[1, 1], &[f32::INFINITY])]), "finite");
    assert_refused(&with(&[2, 3], &[3, 2], vec![tensor("x.lora_A.weight", &[2, 3], &[1.0; 6])]), "twice");
    assert_refused(&file(&vec![tensor("x.lora_down.weight", &[1, 1], &[1.0])]), "missing");
    let integers = r#"{"x.lora_down.weight":{"dtype":"I32","shape":[1,1],"data_offsets":[0,4]},
        "x.lora_up.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}"#;
    assert_refused(&raw(integers, &[0; 8]), "I32");
}

#[test]
fn an_alpha_may_be_a_whole_number() {
    let header = format!(
        r#"{{"unet.{TO_Q}.alpha":{{"dtype":"I64","shape":[],"data_offsets":[0,8]}},
            "unet.{TO_Q}.lora_A.weight":{{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]}},
            "unet.{TO_Q}.lora_B.weight":{{"dtype":"F16","shape":[1,1],"data_offsets":[10,12]}}}}"#
    );
    let data = [
        &3_i64.to_le_bytes()[..],
        &half::bf16::from_f32(2.0).to_le_bytes(),
        &half::f16::from_f32(0.5).to_le_bytes(),
    ]
    .concat();
    assert_eq!(delta(&raw(&header, &data), &[layer("unet", TO_Q, &[1, 1])], 1.0), [3.0]);
}

#[test]
fn files_that_claim_what_is_not_there_cost_nothing() {
    let claims = |shape: &str| {
        raw(
            &format!(r#"{{"x.lora_down.weight":{{"dtype":"F16","shape":{shape},"data_offsets":[0,2]}}}}"#),
            &[0; 2],
        )
    };
    for shape in ["[4294967296,4294967296]", "[18446744073709551615,2]", "[1000000,1000000]"] {
        assert!(matches!(Lora::open(claims(shape).path()).unwrap_err(), Error::Damaged { .. }), "{shape}");
    }
    let many: Vec<String> = (0..100_000)
        .map(|index| format!(r#""{index}.alpha":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    assert_refused(&raw(&format!("{{{}}}", many.join(",")), &[]), "more than");
}

#[test]
fn values_that_are_not_finite_are_refused_when_they_are_read() {
    let tensors = vec![
        tensor(format!("unet.{TO_Q}.lora_A.weight"), &[1, 1], &[f32::NAN]),
        tensor(format!("unet.{TO_Q}.lora_B.weight"), &[1, 1], &[1.0]),
    ];
    let file = file(&tensors);
    let lora = LoraFile::open(file.path()).unwrap();
    let fit = lora.lora().fit(&[layer("unet", TO_Q, &[1, 1])]);
    let error = lora.add(&fit.changes[0], 1.0, &mut [1.0]).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
    let error = lora.add(&fit.changes[0], 1.0, &mut [1.0; 2]).unwrap_err();
    assert!(error.to_string().contains("does not fit"), "{error}");
}
