// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The loader against tables in this very program: complete ones, newer ones and broken ones.

use std::ffi::c_void;
use std::fs;
use std::ptr::{null, null_mut};
use std::sync::Once;

use serde_json::json;

use super::*;
use crate::export::tiny::tiny;
use crate::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, EncodeOptions, Hint,
    LatentShape, LoadRequest, ModelFiles, ModelHandle, NamedTensor, TextChunk, TextPart, TextRequest,
    Uncontrolled, UpscaleOptions,
};

const SHAPE: LatentShape = LatentShape { channels: 1, height: 1, width: 2 };

unsafe extern "C" fn create(
    host: *const abi::Host,
    options: *const u8,
    options_len: usize,
    instance: *mut *mut abi::Instance,
    error: *mut abi::Error,
) -> abi::Status {
    // The two halves share one `tracing` here: forwarded to itself, an event would never end.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let quiet = tracing::subscriber::NoSubscriber::default();
        tracing::subscriber::set_global_default(quiet).unwrap();
    });
    // SAFETY: the arguments are passed on as the caller gave them.
    unsafe {
        crate::export::create(host, options, options_len, instance, error, |options| {
            Ok(Box::new(tiny(options)?))
        })
    }
}

fn table() -> Table {
    crate::export::table(create)
}

fn opened(table: Table) -> Result<Plugin> {
    // SAFETY: a table whose functions are of this program, or null where that is tested.
    unsafe { Plugin::from_table("/plugins/libalice_backend_tiny.so".into(), &table) }
}

fn started(table: Table) -> PluginBackend {
    opened(table).unwrap().start(&json!({})).unwrap()
}

fn load(backend: &mut PluginBackend, control: &dyn Control) -> Result<ModelHandle> {
    let request = LoadRequest {
        files: ModelFiles::Diffusers { path: "/models/x".into() },
        family: "sd1".into(),
        vae: None,
        dtype: "auto".into(),
        device: 3,
    };
    let (model, info) = backend.load(&request, control)?;
    assert_eq!(info.dtype, r#"auto 3 Diffusers { path: "/models/x" }"#);
    Ok(model)
}

#[test]
fn every_argument_and_every_answer_arrives() {
    let mut backend = started(table());
    assert_eq!(backend.describe().unwrap().reason.as_deref(), Some("it only adds"));
    let model = load(&mut backend, &Uncontrolled).unwrap();
    let chunks = [[1, 2], [3, 10]];
    let chunks = chunks.each_ref().map(|ids| TextChunk { encoder: 0, ids, weights: &[0.5, 0.25] });
    let extra_rows = [NamedTensor { name: "rows.0", shape: &[1, 3], data: &[100.0, 200.0, 300.0] }];
    let request = TextRequest { chunks: &chunks, extra_rows: &extra_rows, clip_skip: 1000 };
    let conditioning = backend.encode_text(model, &request, &Uncontrolled).unwrap();

    // Token ids, weights, extra rows and the layers to skip.
    let prompt = 16.0 + 1.5 + 600.0 + 1000.0;
    assert_eq!(backend.read_text(conditioning, TextPart::Tokens), Ok(vec![prompt, -prompt]));
    let error = backend.read_text(conditioning, TextPart::Pooled).unwrap_err();
    assert_eq!(error, Error::unsupported("there is nothing to pool"));

    let mask = [NamedTensor { name: "mask", shape: &[2], data: &[0.125; 2] }];
    let row = |timestep, latent, extras| DenoiseRow { latent, timestep, conditioning, extras, hints: &[] };
    let rows = [row(10_000.0, &[1.0, 2.0], &[]), row(20_000.0, &[3.0, 4.0], &mask)];
    let mut out = [0.0; 4];
    backend.denoise(model, SHAPE, &rows, &mut out, &Uncontrolled).unwrap();
    assert_eq!(out, [prompt + 10_001.0, prompt + 10_002.0, prompt + 20_003.25, prompt + 20_004.25]);

    let mut pixels = [0; 24];
    let options = DecodeOptions { tile: Some(5) };
    backend.decode(model, SHAPE, &[1.0, 2.0], &options, &mut pixels, &Uncontrolled).unwrap();
    assert_eq!(pixels, [8; 24]);
    let (mut mean, mut deviation) = ([0.0; 2], [0.0; 2]);
    backend
        .encode_image(
            model,
            SHAPE,
            &pixels,
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            &Uncontrolled,
        )
        .unwrap();
    assert_eq!((mean, deviation), ([8.0; 2], [0.5; 2]));
    let options = EncodeOptions { tile: Some(3), alpha: true };
    let seen = [8, 8, 8, 51].repeat(8);
    backend.encode_image(model, SHAPE, &seen, &options, &mut mean, &mut deviation, &Uncontrolled).unwrap();
    assert_eq!(mean, [8.0 / 5.0 + 3.0; 2]);

    let pictures = [[2; 24], [3; 24]];
    let guides = pictures.map(|picture| backend.encode_hint(model, SHAPE, &picture, &Uncontrolled).unwrap());
    let hint = |place: usize, scale| Hint { model, hint: guides[place], scale };
    let (one, both) = ([hint(0, 0.5), hint(1, 0.0)], [hint(0, 1.0), hint(1, -0.25)]);
    let row = DenoiseRow { latent: &[1.0, 2.0], timestep: 0.0, conditioning, extras: &[], hints: &one };
    let rows = [row, DenoiseRow { hints: &both, ..row }];
    backend.denoise(model, SHAPE, &rows, &mut out, &Uncontrolled).unwrap();
    assert_eq!(out, [prompt + 2.0, prompt + 3.0, prompt + 2.25, prompt + 3.25]);
    guides.into_iter().for_each(|guide| backend.release(guide).unwrap());

    let (small, mut large, options) = ([4; 6], [0; 24], UpscaleOptions { tile: Some(2) });
    backend.upscale(model, 1, 2, &small, &options, &mut large, &Uncontrolled).unwrap();
    assert_eq!(large, [6; 24]);

    let adapters = vec![Adapter { path: "/a".into(), scale: -1.0 }; 7];
    backend.adapt(model, &adapters, &Uncontrolled).unwrap();
    let memory = backend.memory().unwrap();
    assert_eq!((memory.weights, memory.working), (7, 1));
    backend.release(conditioning).unwrap();
    assert_eq!(backend.release(conditioning).unwrap_err().kind, ErrorKind::StaleHandle);
    backend.unload(model).unwrap();
    assert_eq!(backend.unload(model).unwrap_err().kind, ErrorKind::StaleHandle);
}

#[test]
fn a_table_that_does_not_fit_is_named_with_both_versions_or_sizes() {
    let refused = |table: Table, words: &[&str]| {
        let error = opened(table).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Contract);
        for word in ["/plugins/libalice_backend_tiny.so"].iter().chain(words) {
            assert!(error.message.contains(word), "{error}");
        }
    };
    refused(Table { abi_major: 7, abi_minor: 3, ..table() }, &["version 7.3", "this program 1.3"]);
    refused(Table { struct_size: 96, ..table() }, &["96 bytes", "104"]);
    refused(Table { denoise: None, ..table() }, &["lacks `denoise`"]);
    // SAFETY: null is what is tested.
    let error = unsafe { Plugin::from_table("/x".into(), null()) }.unwrap_err();
    assert!(error.message.contains("gave no table"), "{error}");
}

#[test]
fn a_newer_minor_version_works_and_its_additions_are_not_read() {
    #[repr(C)]
    struct Later(Table, usize);
    let mut table = table();
    (table.struct_size, table.abi_minor) = (size_of::<Later>() as u32, 9);
    let later = Later(table, usize::MAX);
    // SAFETY: a table that is longer than this version's.
    let plugin = unsafe { Plugin::from_table("/x".into(), (&raw const later).cast()) }.unwrap();
    assert_eq!((plugin.abi(), later.1), ((1, 9), usize::MAX));
    let mut backend = plugin.start(&json!({})).unwrap();
    assert_eq!(backend.describe().unwrap().name, "tiny");
}

#[test]
fn a_table_of_version_1_0_ends_before_the_additions_and_works_without_them() {
    let whole = table();
    let first = std::mem::offset_of!(Table, read_text);
    // What lies behind the table is the plugin's own memory, here a call that must not be made.
    assert!(whole.read_text.is_some());
    let mut backend = started(Table { struct_size: first as u32, abi_minor: 0, ..whole });
    assert_eq!(backend.describe().unwrap().name, "tiny");
    let error = backend.read_text(ConditioningHandle(1), TextPart::Tokens).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}

#[test]
fn entries_that_are_not_offered_answer_unsupported() {
    let none = Table { encode_image_tiled: None, encode_hint: None, upscale: None, ..table() };
    let mut backend = started(Table { adapt: None, encode_image: None, read_text: None, ..none });
    let model = load(&mut backend, &Uncontrolled).unwrap();
    let error = backend.adapt(model, &[], &Uncontrolled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = backend
        .encode_image(model, SHAPE, &[], &EncodeOptions::default(), &mut [], &mut [], &Uncontrolled)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = backend.read_text(ConditioningHandle(1), TextPart::Pooled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = backend.encode_hint(model, SHAPE, &[0; 24], &Uncontrolled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let options = UpscaleOptions::default();
    let error = backend.upscale(model, 1, 1, &[0; 3], &options, &mut [0; 12], &Uncontrolled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}

#[test]
fn what_a_plugin_of_version_1_1_would_pass_over_is_not_asked_of_it() {
    let first = std::mem::offset_of!(Table, encode_image_tiled);
    let mut backend = started(Table { struct_size: first as u32, abi_minor: 1, ..table() });
    let model = load(&mut backend, &Uncontrolled).unwrap();
    let (pixels, mut mean, mut deviation) = ([9; 24], [0.0; 2], [0.0; 2]);
    let mut encode = |options| {
        backend.encode_image(model, SHAPE, &pixels, &options, &mut mean, &mut deviation, &Uncontrolled)
    };
    assert_eq!(encode(EncodeOptions::default()), Ok(()));
    let tiled = EncodeOptions { tile: Some(1), ..EncodeOptions::default() };
    assert_eq!(encode(tiled).unwrap_err().kind, ErrorKind::Unsupported);
    let chunks = [TextChunk { encoder: 0, ids: &[1, 2], weights: &[1.0; 2] }];
    let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
    let conditioning = backend.encode_text(model, &request, &Uncontrolled).unwrap();
    let hints = [Hint { model, hint: conditioning, scale: 1.0 }];
    let row = DenoiseRow { latent: &[1.0, 2.0], timestep: 0.0, conditioning, extras: &[], hints: &hints };
    let error = backend.denoise(model, SHAPE, &[row], &mut [0.0; 2], &Uncontrolled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}

#[test]
fn what_a_plugin_before_version_1_3_is_not_to_see_is_grey_for_it() {
    let pixels = [[200, 0, 7, 255], [200, 0, 7, 0], [200, 0, 8, 128]];
    assert_eq!(backend::greyed(pixels.as_flattened()), [200, 0, 7, 128, 128, 128, 164, 64, 68]);
    let unseen = [200, 0, 7, 0].repeat(8);
    let whole_only = Table { encode_image_tiled: None, ..table() };
    for (table, expected) in [
        (table(), 0.0),
        (Table { abi_minor: 2, ..table() }, 128.0),
        (
            Table {
                struct_size: std::mem::offset_of!(Table, encode_image_tiled) as u32,
                abi_minor: 1,
                ..table()
            },
            128.0,
        ),
        (whole_only, 128.0),
    ] {
        let mut backend = started(table);
        let model = load(&mut backend, &Uncontrolled).unwrap();
        let (mut mean, mut deviation) = ([9.0; 2], [0.0; 2]);
        let options = EncodeOptions { alpha: true, ..EncodeOptions::default() };
        backend
            .encode_image(model, SHAPE, &unseen, &options, &mut mean, &mut deviation, &Uncontrolled)
            .unwrap();
        assert_eq!(mean, [expected; 2]);
    }
}

#[test]
fn a_failed_start_says_what_the_plugin_said() {
    let plugin = opened(table()).unwrap();
    let error = plugin.start(&json!({"refuse": "no such option"})).unwrap_err();
    assert_eq!(error, Error::invalid("no such option"));
}

struct Stopping(fn() -> Result<()>);

impl Control for Stopping {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        assert_eq!((done, total), (1, 2));
        (self.0)()
    }
}

#[test]
fn a_control_that_stops_or_panics_cancels_and_the_instance_goes_on() {
    let mut backend = started(table());
    let stop = Stopping(|| Err(Error::new(ErrorKind::Cancelled, "the client hung up")));
    let error = load(&mut backend, &stop).unwrap_err();
    assert_eq!(error, Error::new(ErrorKind::Cancelled, "the client hung up"));
    let panic = Stopping(|| panic!("a bug in the daemon"));
    assert_eq!(load(&mut backend, &panic).unwrap_err().kind, ErrorKind::Cancelled);
    assert!(load(&mut backend, &Stopping(|| Ok(()))).is_ok());
}

#[test]
fn progress_from_another_thread_stops_the_call() {
    struct Address(abi::Control);
    // SAFETY: this breaks the contract on purpose; the callback must notice before it touches anything.
    unsafe impl Send for Address {}
    let listener = callbacks::Listener::new(&Uncontrolled);
    let address = Address(listener.control());
    let ask = |address: &Address| {
        // SAFETY: the listener lives until the end of this test.
        unsafe { (address.0.progress.unwrap())(address.0.user, 0, 0) }
    };
    assert_eq!(ask(&address), 0);
    let elsewhere = std::thread::scope(|scope| {
        scope
            .spawn(move || {
                let address = address;
                ask(&address)
            })
            .join()
            .unwrap()
    });
    assert_ne!(elsewhere, 0);
}

/// A plugin that says it works and does not.
mod dishonest {
    use super::*;

    pub(super) unsafe extern "C" fn create(
        _host: *const abi::Host,
        _options: *const u8,
        _options_len: usize,
        _instance: *mut *mut abi::Instance,
        _error: *mut abi::Error,
    ) -> abi::Status {
        abi::OK
    }

    pub(super) unsafe extern "C" fn unheard_of(
        _instance: *mut abi::Instance,
        _handle: u64,
        error: *mut abi::Error,
    ) -> abi::Status {
        // SAFETY: the loader always gives an error struct.
        let error = unsafe { &mut *error };
        error.message_len = u32::MAX;
        1234
    }

    pub(super) unsafe extern "C" fn silent(
        _instance: *mut abi::Instance,
        _handle: u64,
        _error: *mut abi::Error,
    ) -> abi::Status {
        -1
    }

    pub(super) unsafe extern "C" fn chatter(
        _instance: *mut abi::Instance,
        sink: *const abi::Sink,
        _error: *mut abi::Error,
    ) -> abi::Status {
        // SAFETY: the loader always gives a sink.
        let sink = unsafe { *sink };
        let piece = [b' '; 1 << 20];
        for _ in 0..17 {
            // SAFETY: the sink's own function, with its own `user` and a live slice.
            unsafe { (sink.emit.unwrap())(sink.user, piece.as_ptr(), piece.len()) };
        }
        abi::OK
    }

    pub(super) unsafe extern "C" fn nonsense(
        _instance: *mut abi::Instance,
        sink: *const abi::Sink,
        _error: *mut abi::Error,
    ) -> abi::Status {
        // SAFETY: the loader always gives a sink.
        let sink = unsafe { *sink };
        // SAFETY: the sink's own function; a null piece must be survived.
        unsafe { (sink.emit.unwrap())(sink.user, null(), 3) };
        // SAFETY: a null `user` must be survived.
        unsafe { (sink.emit.unwrap())(null_mut::<c_void>(), null(), 0) };
        abi::OK
    }

    pub(super) unsafe extern "C" fn endless(
        _instance: *mut abi::Instance,
        call: *const abi::ReadTextCall,
        values: *mut usize,
        _error: *mut abi::Error,
    ) -> abi::Status {
        // SAFETY: the loader always gives a call.
        let call = unsafe { *call };
        // SAFETY: the first call's name tells which lie is wanted.
        let name = unsafe { std::slice::from_raw_parts(call.part, call.part_len) };
        let count = if name == b"pooled" { usize::MAX } else { 3 + call.out_len };
        // SAFETY: the loader always gives a place for the number.
        unsafe { values.write(count) };
        abi::OK
    }
}

#[test]
fn answers_that_break_the_contract_are_errors() {
    let plugin = opened(Table { create: Some(dishonest::create), ..table() }).unwrap();
    let error = plugin.start(&json!({})).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Contract, "it gave no instance"));

    let mut backend = started(Table {
        describe: Some(dishonest::chatter),
        memory: Some(dishonest::nonsense),
        unload: Some(dishonest::unheard_of),
        release: Some(dishonest::silent),
        read_text: Some(dishonest::endless),
        ..table()
    });
    for (part, word) in [(TextPart::Pooled, "18446744073709551615"), (TextPart::Tokens, "3 values, then 6")] {
        let error = backend.read_text(ConditioningHandle(1), part).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Contract);
        assert!(error.message.contains(word), "{error}");
    }
    assert_eq!(backend.describe().unwrap_err().kind, ErrorKind::Contract);
    assert_eq!(backend.memory().unwrap_err().kind, ErrorKind::Contract);
    assert_eq!(backend.unload(ModelHandle(1)).unwrap_err().kind, ErrorKind::Internal);
    let error = backend.release(ConditioningHandle(1)).unwrap_err();
    assert_eq!(error, Error::internal("the plugin gave the status -1 and no reason"));
}

#[test]
#[cfg_attr(miri, ignore = "reads directories")]
fn the_first_directory_wins_and_unreadable_ones_are_passed_over() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |name: &str| format!("libalice_backend_{name}{}", std::env::consts::DLL_SUFFIX);
    for (directory, names) in [(&first, &["b"][..]), (&second, &["b", "a", ""])] {
        for name in names {
            fs::write(directory.path().join(file(name)), "").unwrap();
        }
    }
    for stranger in ["libother.so", "libalice_backend_c.txt", "alice_backend_d.so"] {
        fs::write(second.path().join(stranger), "").unwrap();
    }
    let missing = first.path().join("missing");
    let found = find(&[missing, first.path().into(), second.path().into()]);
    assert_eq!(found, [second.path().join(file("a")), first.path().join(file("b"))]);
    assert_eq!(backend_name(&found[0]).as_deref(), Some("a"));
    assert_eq!(backend_name(Path::new(&file("candle_cpu"))).as_deref(), Some("candle-cpu"));
}
