// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Directories as they are found in the wild, and broken ones.

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::*;

/// A small model directory of the family `sd1`.
struct Model(tempfile::TempDir);

impl Model {
    fn new() -> Self {
        let model = Self(tempfile::tempdir().unwrap());
        model.write("model_index.json", &index().to_string());
        model.write("unet/config.json", &unet().to_string());
        model.tensors(
            "unet/diffusion_pytorch_model.safetensors",
            &[
                ("conv_in.weight", &[8, 4, 3, 3]),
                ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", &[8, 16]),
            ],
        );
        model
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn tensors(&self, name: &str, tensors: &[(&str, &[usize])]) {
        self.write(name, "");
        let tensors: Vec<_> =
            tensors.iter().map(|(n, s)| (*n, s.to_vec(), vec![0; s.iter().product()])).collect();
        let views =
            tensors.iter().map(|(n, s, bytes)| (*n, TensorView::new(Dtype::U8, s.clone(), bytes).unwrap()));
        fs::write(self.0.path().join(name), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    /// Whether the network's weights have the tensor `name`.
    fn has(&self, component: &str, name: &str) -> bool {
        self.open().catalog(component).unwrap().entries.contains_key(name)
    }

    fn open(&self) -> Directory {
        Directory::open(self.0.path()).unwrap()
    }
}

fn index() -> Value {
    json!({"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"],
           "safety_checker": [null, null]})
}

fn unet() -> Value {
    json!({"_class_name": "UNet2DConditionModel", "in_channels": 4, "cross_attention_dim": 16,
           "addition_embed_type": null})
}

/// `value` with one member changed.
fn with(mut value: Value, key: &str, member: Value) -> String {
    value[key] = member;
    value.to_string()
}

/// What the error about the family says was seen.
fn seen(model: &Model) -> String {
    match model.open().family() {
        Err(Error::UnknownFamily { seen, .. }) => seen,
        other => panic!("expected an unknown family, got {other:?}"),
    }
}

#[test]
fn one_text_encoder_and_a_plain_unet_are_sd1_whatever_the_sizes() {
    assert_eq!(Model::new().open().family().unwrap(), Family::Sd1);
}

#[test]
fn a_directory_without_an_index_is_refused() {
    let model = Model::new();
    model.remove("model_index.json");
    let message = Directory::open(model.0.path()).unwrap_err().to_string();
    assert!(message.contains("model_index.json"), "{message}");
    let nowhere = model.0.path().join("nowhere");
    assert!(matches!(Directory::open(nowhere), Err(Error::Missing { .. })));
}

#[test]
fn another_pipeline_is_of_no_known_family() {
    let model = Model::new();
    model.write("model_index.json", &with(index(), "_class_name", json!("FluxPipeline")));
    let message = Directory::open(model.0.path()).unwrap_err().to_string();
    assert!(message.contains("no known model family") && message.contains("FluxPipeline"), "{message}");
}

#[test]
fn the_second_generation_is_told_by_the_width_of_its_prompts_or_by_its_projections() {
    let family = |context: usize, projection: &[usize]| {
        let model = Model::new();
        model.write("unet/config.json", &with(unet(), "cross_attention_dim", json!(context)));
        model.tensors(
            "unet/diffusion_pytorch_model.safetensors",
            &[
                ("conv_in.weight", &[8, 4, 3, 3]),
                ("mid_block.attentions.0.proj_in.weight", projection),
                ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", &[8, context]),
            ],
        );
        model.open().family().unwrap()
    };
    let (convolution, matrix) = (&[8, 8, 1, 1][..], &[8, 8][..]);
    assert_eq!(family(768, convolution), Family::Sd1);
    assert_eq!(family(768, matrix), Family::Sd1);
    assert_eq!(family(1024, matrix), Family::Sd2);
    assert_eq!(family(1024, convolution), Family::Sd2);
    assert_eq!(family(16, convolution), Family::Sd1);
    assert_eq!(family(16, matrix), Family::Sd2);
}

/// A model of SDXL's build with these text encoders (null for none).
fn xl(first: Value, second: Value) -> Model {
    let model = Model::new();
    let index = json!({"_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": [null, first],
                       "text_encoder_2": [null, second]});
    model.write("model_index.json", &index.to_string());
    model.write("unet/config.json", &with(unet(), "addition_embed_type", json!("text_time")));
    model.tensors(
        "unet/diffusion_pytorch_model.safetensors",
        &[("conv_in.weight", &[8, 4, 3, 3]), ("add_embedding.linear_1.weight", &[1])],
    );
    model
}

#[test]
fn two_text_encoders_are_sdxl_and_the_second_alone_its_refiner() {
    let (plain, projected) = (json!("CLIPTextModel"), json!("CLIPTextModelWithProjection"));
    let model = xl(plain.clone(), projected.clone());
    let both = model.open();
    assert_eq!(both.family().unwrap(), Family::Sdxl);
    let encoder = |component, tokenizer, projection| TextEncoder { component, tokenizer, projection };
    let second = encoder("text_encoder_2", "tokenizer_2", true);
    assert_eq!(both.text_encoders().unwrap(), [encoder("text_encoder", "tokenizer", false), second]);

    let model = xl(Value::Null, projected);
    let refiner = model.open();
    assert_eq!(refiner.family().unwrap(), Family::SdxlRefiner);
    assert_eq!(refiner.text_encoders().unwrap(), [second]);

    assert!(seen(&xl(plain.clone(), Value::Null)).contains("text_encoder"));
    assert!(seen(&xl(plain, json!("T5EncoderModel"))).contains("T5EncoderModel"));
}

#[test]
fn a_pipelines_settings_have_the_defaults_of_its_class() {
    let settings = |index: Value| {
        let model = Model::new();
        model.write("model_index.json", &index.to_string());
        model.open().settings().unwrap().force_zeros_for_empty_prompt
    };
    assert!(!settings(index()));
    assert!(settings(json!({"_class_name": "StableDiffusionXLPipeline"})));
    let refiner =
        json!({"_class_name": "StableDiffusionXLImg2ImgPipeline", "force_zeros_for_empty_prompt": false});
    assert!(!settings(refiner));
}

#[test]
fn a_text_encoder_that_is_null_is_none() {
    let model = Model::new();
    model.write("model_index.json", &with(index(), "text_encoder_2", json!([null, null])));
    assert_eq!(model.open().family().unwrap(), Family::Sd1);
    model.write("model_index.json", &with(index(), "text_encoder", json!([null, null])));
    assert!(seen(&model).contains("text encoders"));
}

#[test]
fn added_conditioning_that_is_not_the_pipelines_is_of_no_known_family() {
    for (key, kind) in [
        ("addition_embed_type", "text_time"),
        ("addition_embed_type", "image"),
        ("class_embed_type", "timestep"),
        ("encoder_hid_dim_type", "text_proj"),
    ] {
        let model = Model::new();
        model.write("unet/config.json", &with(unet(), key, json!(kind)));
        assert!(seen(&model).contains(kind));
    }
    let model = Model::new();
    let tensors: [(&str, &[usize]); 2] =
        [("conv_in.weight", &[8, 4, 3, 3]), ("add_embedding.linear_1.weight", &[1])];
    model.tensors("unet/diffusion_pytorch_model.safetensors", &tensors);
    assert!(seen(&model).contains("add_embedding"));
    let model = xl(json!("CLIPTextModel"), json!("CLIPTextModelWithProjection"));
    model.write("unet/config.json", &unet().to_string());
    assert!(seen(&model).contains("StableDiffusionXLImg2ImgPipeline"));
}

#[test]
fn tensors_that_contradict_the_configuration_are_named() {
    let model = Model::new();
    model.write("unet/config.json", &with(unet(), "in_channels", json!(9)));
    assert!(seen(&model).contains("9 channels"));
    for width in [json!(768), json!([8, 768])] {
        model.write("unet/config.json", &with(unet(), "cross_attention_dim", width));
        assert!(seen(&model).contains("attn2.to_k"));
    }
    model.write("unet/config.json", &with(unet(), "cross_attention_dim", json!([8, 16])));
    model.open().family().unwrap();
    model.write("unet/config.json", &with(unet(), "_class_name", json!("SD3Transformer2DModel")));
    assert!(seen(&model).contains("SD3Transformer2DModel"));
}

#[test]
fn half_precision_weights_are_taken_only_when_alone() {
    let model = Model::new();
    model.tensors("vae/diffusion_pytorch_model.fp16.safetensors", &[("half", &[1])]);
    assert!(model.has("vae", "half"));
    model.tensors("vae/diffusion_pytorch_model.safetensors", &[("full", &[1])]);
    assert!(model.has("vae", "full"));
    model.tensors("text_encoder/model.fp16.safetensors", &[("half", &[1])]);
    assert!(model.has("text_encoder", "half"));
}

#[test]
fn weights_that_are_only_there_as_pickles_are_refused_with_the_way_out() {
    let model = Model::new();
    model.write("vae/config.json", "{}");
    assert!(matches!(model.open().catalog("vae"), Err(Error::Missing { .. })));
    model.write("vae/diffusion_pytorch_model.bin", "x");
    let error = model.open().catalog("vae").unwrap_err();
    assert!(matches!(error, Error::UnsafeFormat { .. }));
    let message = error.to_string();
    assert!(
        message.contains("diffusion_pytorch_model.bin") && message.contains("save_pretrained"),
        "{message}"
    );
    model.tensors("vae/diffusion_pytorch_model.safetensors", &[("full", &[1])]);
    assert!(model.open().catalog("vae").is_ok(), "a pickle beside sound weights does not matter");
}

#[test]
fn a_configuration_is_read_into_the_callers_type_or_named() {
    #[derive(Debug, Deserialize)]
    struct Config {
        in_channels: usize,
    }
    let model = Model::new();
    let directory = model.open();
    assert_eq!(directory.config::<Config>("unet").unwrap().in_channels, 4);
    assert!(directory.config::<Config>("vae").unwrap_err().to_string().contains("vae/config.json"));
    model.write("unet/config.json", r#"{"in_channels": -4}"#);
    let message = directory.config::<Config>("unet").unwrap_err().to_string();
    assert!(message.contains("unet/config.json") && message.contains("line 1"), "{message}");
}

#[test]
fn an_oversized_configuration_is_refused() {
    let model = Model::new();
    model.write("scheduler/scheduler_config.json", &" ".repeat(MAX_CONFIG_BYTES as usize));
    assert_eq!(model.open().scheduler_config().unwrap().len(), MAX_CONFIG_BYTES as usize);
    model.write("scheduler/scheduler_config.json", &" ".repeat(MAX_CONFIG_BYTES as usize + 1));
    assert!(matches!(model.open().scheduler_config(), Err(Error::TooLarge { .. })));
}

#[test]
fn both_ways_of_keeping_a_vocabulary_are_found() {
    let model = Model::new();
    let directory = model.open();
    let tokenizer = || directory.tokenizer("tokenizer");
    assert!(tokenizer().unwrap().is_none(), "a model may bring none");
    model.write("tokenizer/vocab.json", "v");
    assert!(matches!(tokenizer(), Err(Error::Missing { .. })), "half of one is a damaged one");
    model.write("tokenizer/tokenizer.json", "t");
    assert_eq!(tokenizer().unwrap().unwrap().vocabulary, Vocabulary::Tokenizer(b"t".to_vec()));
    model.write("tokenizer/merges.txt", "m");
    model.write("tokenizer/special_tokens_map.json", "s");
    let files = tokenizer().unwrap().unwrap();
    assert_eq!(files.vocabulary, Vocabulary::Merges { vocab: b"v".to_vec(), merges: b"m".to_vec() });
    assert_eq!((files.config, files.special_tokens), (None, Some(b"s".to_vec())));
}

/// Two shards of a VAE with the index `index` says.
fn sharded(index: &Value) -> Model {
    let model = Model::new();
    model.tensors("vae/diffusion_pytorch_model-00001-of-00002.safetensors", &[("a", &[1]), ("b", &[2])]);
    model
        .tensors("vae/diffusion_pytorch_model-00002-of-00002.safetensors", &[("c", &[3]), ("unnamed", &[4])]);
    model.write("vae/diffusion_pytorch_model.safetensors.index.json", &index.to_string());
    model
}

/// An index that says where `a`, `b` and `c` are, and `c` in the file `third`.
fn shard_index(third: &str) -> Value {
    let first = "diffusion_pytorch_model-00001-of-00002.safetensors";
    json!({"metadata": {"total_size": 6}, "weight_map": {"a": first, "b": first, "c": third}})
}

#[test]
fn weights_in_several_files_are_one_set() {
    let model = sharded(&shard_index("diffusion_pytorch_model-00002-of-00002.safetensors"));
    let catalog = model.open().catalog("vae").unwrap();
    assert_eq!(catalog.values(), 6);
    let set = crate::TensorSet::open(catalog).unwrap();
    assert_eq!(
        set.names().collect::<Vec<_>>(),
        ["a", "b", "c"],
        "the index says what belongs to the network"
    );
    assert_eq!(set.tensor("c").unwrap().shape, [3]);
    model.tensors("vae/diffusion_pytorch_model.safetensors", &[("whole", &[1])]);
    assert!(model.has("vae", "whole"), "one file is preferred");
}

#[test]
fn an_index_leads_nowhere_but_to_the_files_beside_it() {
    for outside in [
        "../unet/diffusion_pytorch_model.safetensors",
        "/etc/passwd.safetensors",
        "..",
        ".",
        "",
        "sub/file.safetensors",
        "a\\b.safetensors",
        "diffusion_pytorch_model.bin",
    ] {
        let error = sharded(&shard_index(outside)).open().catalog("vae").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{outside}: {error}");
    }
    let gone = sharded(&shard_index("diffusion_pytorch_model-00003-of-00002.safetensors"));
    let message = gone.open().catalog("vae").unwrap_err().to_string();
    assert!(message.contains("00003") && message.contains("download"), "{message}");
    let elsewhere = sharded(&shard_index("diffusion_pytorch_model-00001-of-00002.safetensors"));
    assert!(matches!(elsewhere.open().catalog("vae"), Err(Error::MissingTensor { .. })));
}

#[test]
fn an_index_that_is_none_or_too_long_is_refused() {
    for index in [json!([]), json!({}), json!({"weight_map": {"a": 1}}), json!({"weight_map": ["a"]})] {
        assert!(matches!(sharded(&index).open().catalog("vae"), Err(Error::Json { .. })), "{index}");
    }
    let model = sharded(&json!({"weight_map": {"a": "x".repeat(9 << 20)}}));
    assert!(matches!(model.open().catalog("vae"), Err(Error::TooLarge { .. })));
    let many: serde_json::Map<_, _> =
        (0..1100).map(|index| (index.to_string(), json!(format!("{index}.safetensors")))).collect();
    let model = sharded(&json!({ "weight_map": many }));
    for index in 0..1100 {
        let tensor = index.to_string();
        model.tensors(&format!("vae/{index}.safetensors"), &[(tensor.as_str(), &[1])]);
    }
    let message = model.open().catalog("vae").unwrap_err().to_string();
    assert!(message.contains("more than 1024"), "{message}");
}

#[test]
fn variants_are_taken_in_the_order_of_their_precision() {
    let model = Model::new();
    model.tensors("unet/diffusion_pytorch_model.bf16.safetensors", &[("bf16", &[1])]);
    model.remove("unet/diffusion_pytorch_model.safetensors");
    for variant in ["bf16", "fp16", "fp32"] {
        model.tensors(&format!("unet/diffusion_pytorch_model.{variant}.safetensors"), &[(variant, &[1])]);
        assert!(model.has("unet", variant));
    }
    model.write(
        "unet/diffusion_pytorch_model.safetensors.index.json",
        &json!({"weight_map": {"shard": "s.safetensors"}}).to_string(),
    );
    model.tensors("unet/s.safetensors", &[("shard", &[1])]);
    assert!(model.has("unet", "shard"), "shards of full precision come before variants");
    let half = Model::new();
    half.write(
        "text_encoder/model.safetensors.index.fp16.json",
        &json!({"weight_map": {"half": "model.fp16-00001-of-00001.safetensors"}}).to_string(),
    );
    half.tensors("text_encoder/model.fp16-00001-of-00001.safetensors", &[("half", &[1])]);
    assert!(half.has("text_encoder", "half"));
}

#[test]
fn a_text_encoders_tensors_have_the_module_around_them_whichever_the_file_has() {
    let model = Model::new();
    let layer = "encoder.layers.0.mlp.fc1.weight";
    model.tensors("text_encoder/model.safetensors", &[("final_layer_norm.weight", &[1]), (layer, &[2, 3])]);
    let bare = model.open().catalog("text_encoder").unwrap().layers("text_encoder");
    let around = format!("text_model.{layer}");
    model.tensors(
        "text_encoder/model.safetensors",
        &[("text_model.final_layer_norm.weight", &[1]), (around.as_str(), &[2, 3])],
    );
    assert_eq!(model.open().catalog("text_encoder").unwrap().layers("text_encoder"), bare);
    let module = "text_model.encoder.layers.0.mlp.fc1".to_owned();
    assert_eq!(bare, [crate::Layer { component: "text_encoder", module, shape: vec![2, 3] }]);
}
