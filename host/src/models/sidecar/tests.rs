// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What sidecars say, rightly and wrongly.

use super::*;

fn read(text: &str) -> Result<Read, Problem> {
    parse(text, Subject::Model)
}

fn complaint(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

fn warnings(text: &str, subject: Subject) -> Vec<String> {
    let (_, warnings) = parse(text, subject).unwrap();
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn everything_that_can_be_said_is_read() {
    let text = "description: For trees\nfixed_size: true\nvae: vae/better.safetensors\n\
        prediction_type: v_prediction\nzero_snr: true\ntrigger: [oak, ' elm ']\n\
        defaults:\n  steps: 8\n  guidance_scale: 1\n  scheduler: euler\n  width: 768\n  height: 512\n  clip_skip: 1\n";
    let (sidecar, warnings) = read(text).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(sidecar.description.as_deref(), Some("For trees"));
    assert!(sidecar.fixed_size);
    assert_eq!(sidecar.vae.as_deref(), Some("vae/better.safetensors"));
    assert_eq!((sidecar.prediction, sidecar.zero_snr), (Some(Prediction::V), Some(true)));
    assert_eq!(sidecar.trigger, ["oak", "elm"]);
    let defaults = Defaults {
        steps: Some(8),
        guidance_scale: Some(1.0),
        scheduler: Some("euler".into()),
        width: Some(768),
        height: Some(512),
        clip_skip: Some(1),
    };
    assert_eq!(sidecar.defaults, defaults);
}

#[test]
fn nothing_said_is_nothing_meant() {
    for text in ["", "# nothing\n", "~", "defaults:\n", "description: null\nvae: ''\ntrigger:\n"] {
        assert_eq!(read(text).unwrap(), (Sidecar::default(), Vec::new()), "{text:?}");
    }
}

#[test]
fn a_wrong_value_names_line_and_key() {
    for (text, wanted) in [
        ("fixed_size: 3", "line 1: `fixed_size` must be true or false"),
        ("a: 1\ndefaults:\n  steps: 0\n", "line 3: `defaults.steps` must be 1 to 150, not 0"),
        ("defaults:\n  width: 4294967288\n", "line 2: `defaults.width` must be 64 to 2048, not 4294967288"),
        ("defaults:\n  steps: many\n", "line 2: `defaults.steps` must be a whole number"),
        ("defaults:\n  guidance_scale: .nan\n", "line 2: it cannot be understood"),
        ("defaults:\n  scheduler: quantum\n", "line 2: `defaults.scheduler`"),
        ("vae: [1]\n", "line 1: `vae` must be a path"),
        ("prediction_type: velocity\n", "line 1: `prediction_type` must be epsilon, v_prediction or sample"),
        ("prediction_type: flow_prediction\n", "line 1: `prediction_type` must be epsilon"),
        ("trigger: {a: 1}\n", "line 1: `trigger` must be text or a list of texts"),
        ("defaults: 5\n", "line 1: it cannot be understood"),
        ("- a list\n", "line 1: it cannot be understood"),
        ("a: [1\n", "it cannot be understood"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(wanted), "{complaint}");
    }
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest() {
    assert_eq!(
        warnings("descripton: x\ndefaults: {step: 3}\nqqq: 1\n", Subject::Model),
        [
            "line 1: `descripton` is not a known key; did you mean `description`?",
            "line 2: `defaults.step` is not a known key; did you mean `defaults.steps`?",
            "line 3: `qqq` is not a known key",
        ]
    );
}

#[test]
fn keys_of_the_python_alice_and_keys_of_models_beside_loras_are_told_apart() {
    assert_eq!(
        warnings("model_type: qwen\nflags: [--x]\nllm: y.gguf\n", Subject::Model),
        [
            "line 1: `model_type` has no effect in this version",
            "line 2: `flags` has no effect in this version",
            "line 3: `llm` has no effect in this version",
        ]
    );
    assert_eq!(
        warnings("trigger: elm\nvae: x\ndefaults: {steps: 1}\n", Subject::Lora),
        ["line 2: `vae` means nothing for a LoRA", "line 3: `defaults` means nothing for a LoRA"]
    );
}

#[test]
fn the_configuration_of_the_models_makers_says_one_thing() {
    let text =
        "model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n    parameterization: v\n";
    let (sidecar, warnings) = read(text).unwrap();
    assert_eq!((sidecar.prediction, warnings), (Some(Prediction::V), Vec::new()));
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_in_one_line() {
    let laughs = (0..9).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        let list = vec![format!("*a{n}"); 9].join(", ");
        format!("{text}a{}: &a{} [{list}]\n", n + 1, n + 1)
    });
    for text in [
        format!("description: {}", "x".repeat(1001)),
        "x".repeat(70_000),
        format!("description: {}", "[".repeat(10_000)),
        format!("x: {}{}", "[".repeat(30), "]".repeat(30)),
        laughs,
        format!("trigger: [{}]", "a, ".repeat(100)),
    ] {
        let complaint = complaint(&text);
        assert!(complaint.len() < 1000 && !complaint.contains('\n'), "{complaint}");
    }
}

#[test]
fn the_log_names_the_file_and_the_line_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.yaml");
    for (text, said) in [
        ("x".repeat(70_000), "x.yaml: it has more than"),
        ("fixed_size: 3".to_owned(), "x.yaml:1: `fixed_size`"),
    ] {
        fs::write(&path, text).unwrap();
        let error = super::read(std::slice::from_ref(&path), Subject::Model).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
