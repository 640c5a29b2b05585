// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real plugin libraries, good and bad, in the hands of the loader and of conformance level A.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use alice::conformance::{self, Check, Model, Network, Outcome};
use alice_plugin::load::{Plugin, PluginBackend};
use alice_plugin::{
    Backend, ConditioningHandle, Error, ErrorKind, LoadRequest, ModelFiles, ModelHandle, Result, Uncontrolled,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::harness::{plugin, source};

/// A model of configurations only: the stand-ins look at nothing else.
pub(crate) fn model() -> (TempDir, Model) {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("model_index.json", json!({"_class_name": "StableDiffusionPipeline"})),
        ("unet/config.json", json!({"in_channels": 4})),
        (
            "text_encoder/config.json",
            json!({"max_position_embeddings": 24, "vocab_size": 300, "hidden_size": 8}),
        ),
        ("scheduler/scheduler_config.json", json!({"prediction_type": "v_prediction"})),
    ] {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.to_string()).unwrap();
    }
    let beside = [("controlnet", "control/config.json"), ("upscaler", "upscaler/weights")];
    let beside = beside.map(|(family, file)| {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        let path = if family == "upscaler" { path } else { path.parent().unwrap().to_owned() };
        Network { path, family: family.into() }
    });
    let path = directory.path().to_owned();
    let model = Model { directory: path, family: "sd1".into(), beside: beside.to_vec() };
    (directory, model)
}

fn paint(options: Value) -> PluginBackend {
    Plugin::open(&plugin("paint")).unwrap().start(&options).unwrap()
}

fn load(backend: &mut PluginBackend, model: &Model) -> Result<ModelHandle> {
    let request = LoadRequest {
        files: ModelFiles::Diffusers { path: model.directory.clone() },
        family: model.family.clone(),
        vae: None,
        dtype: "auto".into(),
        device: 0,
    };
    backend.load(&request, &Uncontrolled).map(|(model, _)| model)
}

/// Compiles a plugin from C source with the project's header.
fn compiled(directory: &Path, name: &str, file: &str, definition: &str) -> PathBuf {
    compiled_against(&source("backends/plugin/include"), directory, name, file, definition)
}

/// As [`compiled`], with the header in the directory `include`.
pub(crate) fn compiled_against(
    include: &Path,
    directory: &Path,
    name: &str,
    file: &str,
    definition: &str,
) -> PathBuf {
    let library = directory.join(format!("libalice_backend_{name}{}", std::env::consts::DLL_SUFFIX));
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-shared", "-fPIC", definition, "-I"]);
    cc.arg(include).arg("-o").arg(&library).arg(source("tests/plugins").join(file));
    let output = cc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// Fails unless every check has passed, but for those that may be skipped.
#[track_caller]
pub(crate) fn assert_conforms(checks: &[Check], may_skip: &[&str]) {
    assert!(checks.len() > 20);
    let wrong = |check: &&Check| match &check.outcome {
        Outcome::Passed => false,
        Outcome::Skipped(_) => !may_skip.iter().any(|part| check.name.contains(part)),
        Outcome::Failed(_) => true,
    };
    let wrong = checks.iter().filter(wrong).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_stand_in_conforms_to_level_a() {
    let (_directory, model) = model();
    let absent = ["parts of an encoded prompt", "reading a prompt back", "an input that the model demands"];
    assert_conforms(&conformance::run(&plugin("paint"), &json!({}), Some(&model)), &absent);
}

#[test]
fn a_plugin_in_c_conforms_to_level_a() {
    let (directory, model) = model();
    let library = compiled(directory.path(), "minimal", "minimal.c", "-DNDEBUG");
    assert_conforms(
        &conformance::run(&library, &json!({}), Some(&model)),
        &["encoding pictures", "an input that the model demands"],
    );
}

#[test]
fn conformance_finds_the_faults_of_a_plugin() {
    let (_directory, model) = model();
    for (fault, name) in [
        (json!({"call": "describe", "do": "internal"}), "it describes itself"),
        (json!({"call": "release", "do": "internal"}), "a released conditioning is stale"),
        (json!({"call": "denoise", "at": 2, "do": "panic"}), "the same call twice"),
        (json!({"call": "decode", "at": 2, "do": "device_lost"}), "beside another"),
        (json!({"call": "unload", "do": "stale_handle"}), "unloading a model gives its memory back"),
    ] {
        let checks = conformance::run(&plugin("paint"), &json!({"faults": [fault]}), Some(&model));
        let found = checks.iter().find(|check| check.name.contains(name)).unwrap();
        assert!(matches!(found.outcome, Outcome::Failed(_)), "{found:?}");
    }
}

#[test]
fn without_a_model_conformance_says_what_it_left_out() {
    let checks = conformance::run(&plugin("paint"), &json!({}), None);
    let count = |wanted: fn(&Outcome) -> bool| checks.iter().filter(|check| wanted(&check.outcome)).count();
    assert_eq!(count(|outcome| matches!(outcome, Outcome::Failed(_))), 0, "{checks:#?}");
    assert!(count(|outcome| *outcome == Outcome::Passed) >= 3);
    assert!(count(|outcome| matches!(outcome, Outcome::Skipped(_))) > 15);
}

#[test]
fn files_that_are_no_plugins_are_refused_with_their_name_and_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("libalice_backend_missing.so");
    let text = directory.path().join("libalice_backend_text.so");
    fs::write(&text, "this is a text").unwrap();
    let empty = directory.path().join("libalice_backend_empty.so");
    fs::write(&empty, "").unwrap();
    let broken =
        |name: &str, which: &str| compiled(directory.path(), name, "broken.c", &format!("-DBROKEN={which}"));
    for (path, words) in [
        (missing, &["No such file"][..]),
        (text, &["cannot be loaded"]),
        (empty, &["cannot be loaded"]),
        (directory.path().to_owned(), &["cannot be loaded"]),
        (broken("no_symbol", "NO_SYMBOL"), &["no plugin", "alice_backend_entry"]),
        (broken("null", "NULL_TABLE"), &["no table"]),
        (broken("major", "WRONG_MAJOR"), &["version 99.3", "this program 1.3"]),
        (broken("short", "CUT_SHORT"), &["Table has 96 bytes", "104"]),
        (broken("lacking", "NO_FUNCTIONS"), &["lacks `denoise`"]),
    ] {
        let error = Plugin::open(&path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Contract);
        for word in [path.to_str().unwrap()].iter().chain(words) {
            assert!(error.message.contains(word), "{error}");
        }
        assert!(!error.message.contains("dlopen failed"), "the system's own reason is missing: {error}");
        let checks = conformance::run(&path, &json!({}), None);
        assert!(matches!(&checks[..], [Check { outcome: Outcome::Failed(_), .. }]));
    }
}

#[test]
fn a_start_that_fails_gives_the_plugins_own_reason() {
    let directory = tempfile::tempdir().unwrap();
    let start = |which: &str| {
        let library = compiled(directory.path(), which, "broken.c", &format!("-DBROKEN={which}"));
        Plugin::open(&library).unwrap().start(&json!({})).unwrap_err()
    };
    assert_eq!(start("REFUSES_TO_START"), Error::internal("the driver is too old"));
    assert_eq!(start("GIVES_NO_INSTANCE").kind, ErrorKind::Contract);
    let error = Plugin::open(&plugin("paint")).unwrap().start(&json!({"step_seconds": 1})).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("step_seconds"), "{error}");
}

#[test]
fn every_kind_of_error_arrives_as_itself() {
    for (effect, kind) in [
        ("invalid", ErrorKind::Invalid),
        ("unsupported", ErrorKind::Unsupported),
        ("bad_model", ErrorKind::BadModel),
        ("out_of_memory", ErrorKind::OutOfMemory),
        ("cancelled", ErrorKind::Cancelled),
        ("device_lost", ErrorKind::DeviceLost),
        ("stale_handle", ErrorKind::StaleHandle),
        ("contract", ErrorKind::Contract),
        ("internal", ErrorKind::Internal),
        ("panic", ErrorKind::Panic),
    ] {
        let mut backend = paint(json!({"faults": [{"call": "memory", "at": 2, "do": effect}]}));
        backend.memory().unwrap();
        let error = backend.memory().unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(error.message.contains("was asked for"), "{error}");
        assert_eq!(backend.memory().is_ok(), kind != ErrorKind::Panic);
    }
}

#[test]
fn after_a_panic_an_instance_refuses_everything_and_a_new_one_works() {
    let (_directory, model) = model();
    let options = json!({"faults": [{"call": "load", "at": 2, "do": "panic"}]});
    let mut backend = paint(options.clone());
    let loaded = load(&mut backend, &model).unwrap();
    let error = load(&mut backend, &model).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Panic);
    assert!(error.message.contains("this panic was asked for"), "{error}");
    assert_eq!(backend.unload(loaded), Err(error.clone()));
    assert_eq!(backend.release(ConditioningHandle(1)), Err(error.clone()));
    assert_eq!(backend.describe().map(drop), Err(error.clone()));
    assert_eq!(load(&mut backend, &model), Err(error));
    drop(backend);
    assert!(load(&mut paint(options), &model).is_ok());
}

/// Collects the events of one thread as (target, level, text).
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, Level, String)>>>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // A filter by target, as an operator would set it.
        ["alice_backend_paint", "alice_plugin"].iter().any(|target| metadata.target().starts_with(target))
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{}: {value:?}", field.name());
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let target = event.metadata().target().to_owned();
        self.0.lock().unwrap().push((target, *event.metadata().level(), text.0));
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[test]
fn a_plugins_logs_arrive_with_target_level_and_fields() {
    let (_directory, model) = model();
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || load(&mut paint(json!({})), &model).unwrap());
    let events = log.0.lock().unwrap().clone();
    let expected = "message: Pretending to have loaded a model family=\"sd1\"";
    assert_eq!(events, [("alice_backend_paint::backend".to_owned(), Level::DEBUG, expected.to_owned())]);
}

#[test]
fn a_plugins_panic_is_logged_with_its_place() {
    let log = Log::default();
    let options = json!({"faults": [{"call": "memory", "do": "panic"}]});
    tracing::subscriber::with_default(log.clone(), || paint(options).memory().unwrap_err());
    let events = log.0.lock().unwrap().clone();
    let [(target, level, text)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((target.as_str(), *level), ("alice_plugin::export::logs", Level::ERROR));
    assert!(text.contains("faults.rs") && text.contains("this panic was asked for"), "{text}");
}
