// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The exported table in the hands of a caller who makes every mistake that can be recognised.

// Here the calls are the point, not what each of them may do: all pointers are to locals or wrong on purpose.
#![allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use crate::ErrorKind;
use crate::abi::{self, Status, Table};

// A plugin exports at its root; here the symbol stays in the test program.
#[allow(unreachable_pub)]
mod exported {
    crate::export_backend!(crate::export::tiny::tiny);
}

fn table() -> Table {
    unsafe { *exported::alice_backend_entry() }
}

fn host() -> abi::Host {
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        user: null_mut(),
        log: None,
        log_enabled: None,
    }
}

/// A status and its message.
fn said(call: impl FnOnce(*mut abi::Error) -> Status) -> (Status, String) {
    let mut message = [0_u8; 200];
    let mut error = room(&mut message);
    let status = call(&mut error);
    (status, String::from_utf8(message[..error.message_len as usize].to_vec()).unwrap())
}

fn room(message: &mut [u8]) -> abi::Error {
    abi::Error {
        struct_size: size_of::<abi::Error>() as u32,
        message_len: 0,
        message: message.as_mut_ptr(),
        message_capacity: message.len(),
    }
}

#[track_caller]
fn assert_refused(kind: ErrorKind, word: &str, call: impl FnOnce(*mut abi::Error) -> Status) {
    let (status, message) = said(call);
    assert_eq!((abi::kind_of(status), status != abi::OK), (kind, true), "{message}");
    assert!(message.contains(word), "{message}");
}

/// An instance that ends with the test.
struct Running(*mut abi::Instance);

impl Running {
    fn new(options: &str) -> Self {
        let mut instance = null_mut();
        let create = table().create.unwrap();
        let outcome =
            said(|error| unsafe { create(&host(), options.as_ptr(), options.len(), &mut instance, error) });
        assert_eq!(outcome, (abi::OK, String::new()));
        Self(instance)
    }

    /// With a model, whose handle is returned, and a conditioning.
    fn ready() -> (Self, u64, u64) {
        let (running, request) = (Self::new("{}"), load_request());
        let (mut model, mut conditioning, sink) = (0, 0, sink());
        let load = table().load.unwrap();
        let outcome = said(|error| unsafe {
            load(running.0, request.as_ptr(), request.len(), null(), &mut model, &sink, error)
        });
        assert_eq!(outcome.0, abi::OK, "{}", outcome.1);
        let (ids, weights) = ([1, 2], [1.0; 2]);
        let chunk = chunk(&ids, &weights);
        let call = text_call(model, &chunk, 1);
        let encode = table().encode_text.unwrap();
        let outcome = said(|error| unsafe { encode(running.0, &call, null(), &mut conditioning, error) });
        assert_eq!(outcome.0, abi::OK, "{}", outcome.1);
        (running, model, conditioning)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        unsafe { table().destroy.unwrap()(self.0) }
    }
}

fn load_request() -> &'static str {
    r#"{"files":{"layout":"diffusers","path":"/m"},"family":"sd1","dtype":"auto","device":0}"#
}

fn sink() -> abi::Sink {
    unsafe extern "C" fn emit(_user: *mut c_void, _bytes: *const u8, _length: usize) -> i32 {
        0
    }
    abi::Sink { struct_size: size_of::<abi::Sink>() as u32, user: null_mut(), emit: Some(emit) }
}

fn chunk(ids: &[u32], weights: &[f32]) -> abi::TextChunk {
    abi::TextChunk {
        struct_size: size_of::<abi::TextChunk>() as u32,
        encoder: 0,
        ids: ids.as_ptr(),
        id_count: ids.len(),
        weights: weights.as_ptr(),
        weight_count: weights.len(),
    }
}

fn text_call(model: u64, chunks: *const abi::TextChunk, chunk_count: usize) -> abi::TextCall {
    abi::TextCall {
        struct_size: size_of::<abi::TextCall>() as u32,
        clip_skip: 0,
        model,
        chunks,
        chunk_count,
        extra_rows: null(),
        extra_row_count: 0,
    }
}

fn row(conditioning: u64, latent: &[f32]) -> abi::DenoiseRow {
    abi::DenoiseRow {
        struct_size: size_of::<abi::DenoiseRow>() as u32,
        timestep: 5.0,
        conditioning,
        latent: latent.as_ptr(),
        latent_len: latent.len(),
        extras: null(),
        extra_count: 0,
        hints: null(),
        hint_count: 0,
    }
}

fn denoise_call(model: u64, rows: &[abi::DenoiseRow], out: &mut [f32]) -> abi::DenoiseCall {
    abi::DenoiseCall {
        struct_size: size_of::<abi::DenoiseCall>() as u32,
        channels: 1,
        height: 1,
        width: 2,
        model,
        rows: rows.as_ptr(),
        row_count: rows.len(),
        out: out.as_mut_ptr(),
        out_len: out.len(),
    }
}

fn denoise(running: &Running, call: *const abi::DenoiseCall, error: *mut abi::Error) -> Status {
    unsafe { table().denoise.unwrap()(running.0, call, null(), error) }
}

#[test]
fn the_table_is_complete_and_says_its_version() {
    let table = table();
    assert_eq!(table.struct_size as usize, size_of::<Table>());
    assert_eq!((table.abi_major, table.abi_minor), (abi::ABI_MAJOR, abi::ABI_MINOR));
    assert!(table.adapt.is_some() && table.encode_image.is_some() && table.read_text.is_some());
    assert!(table.encode_image_tiled.is_some() && table.encode_hint.is_some() && table.upscale.is_some());
}

#[test]
fn create_refuses_what_makes_no_sense() {
    let create = table().create.unwrap();
    let mut instance = null_mut();
    let place = &raw mut instance;
    let mut newer = host();
    newer.abi_major += 1;
    let (good, options) = (host(), "{}");
    let attempts: [(_, _, &str, _, ErrorKind, &str); 6] = [
        (null(), place, options, options.as_ptr(), ErrorKind::Contract, "Host is null"),
        (
            &raw const newer,
            place,
            options,
            options.as_ptr(),
            ErrorKind::Contract,
            "2.3 of the plugin contract",
        ),
        (&raw const good, null_mut(), options, options.as_ptr(), ErrorKind::Invalid, "instance"),
        (&raw const good, place, options, null(), ErrorKind::Invalid, "options: null"),
        (&raw const good, place, "{", "{".as_ptr(), ErrorKind::Invalid, "options"),
        (&raw const good, place, r#"{"refuse":"not today"}"#, null(), ErrorKind::Invalid, "not today"),
    ];
    for (host, place, text, data, kind, word) in attempts {
        let data = if word == "not today" { text.as_ptr() } else { data };
        assert_refused(kind, word, |error| unsafe { create(host, data, text.len(), place, error) });
    }
    assert!(instance.is_null());
}

#[test]
fn a_panic_in_the_constructor_is_an_error() {
    let (options, mut instance) = (r#"{"panic":"create"}"#, null_mut());
    let create = table().create.unwrap();
    assert_refused(ErrorKind::Panic, "a panic in create was asked for", |error| unsafe {
        create(&host(), options.as_ptr(), options.len(), &mut instance, error)
    });
}

#[test]
fn a_panic_poisons_the_instance_for_good_and_its_end_is_quiet() {
    let running = Running::new(r#"{"panic":"describe"}"#);
    let (describe, memory, release) =
        (table().describe.unwrap(), table().memory.unwrap(), table().release.unwrap());
    let word = "a panic in describe was asked for";
    let sink = sink();
    assert_eq!(said(|error| unsafe { memory(running.0, &sink, error) }).0, abi::OK);
    assert_refused(ErrorKind::Panic, word, |error| unsafe { describe(running.0, &sink, error) });
    assert_refused(ErrorKind::Panic, word, |error| unsafe { memory(running.0, &sink, error) });
    assert_refused(ErrorKind::Panic, word, |error| unsafe { release(running.0, 1, error) });
    let other = Running::new("{}");
    assert_eq!(said(|error| unsafe { describe(other.0, &sink, error) }).0, abi::OK);
    drop(Running::new(r#"{"panic":"drop"}"#));
}

#[test]
fn every_call_refuses_a_null_instance_and_null_structs() {
    let (table, sink, mut handle) = (table(), sink(), 0);
    let word = "the instance is null";
    let refused = |call: &dyn Fn(*mut abi::Error) -> Status| assert_refused(ErrorKind::Contract, word, call);
    let place = &raw mut handle;
    unsafe { table.destroy.unwrap()(null_mut()) };
    refused(&|error| unsafe { table.describe.unwrap()(null_mut(), &sink, error) });
    refused(&|error| unsafe { table.memory.unwrap()(null_mut(), &sink, error) });
    refused(&|error| unsafe { table.load.unwrap()(null_mut(), null(), 0, null(), place, &sink, error) });
    refused(&|error| unsafe { table.adapt.unwrap()(null_mut(), 0, null(), 0, null(), error) });
    refused(&|error| unsafe { table.encode_text.unwrap()(null_mut(), null(), null(), place, error) });
    let mut values = 0;
    let number = &raw mut values;
    refused(&|error| unsafe { table.read_text.unwrap()(null_mut(), null(), number, error) });
    refused(&|error| unsafe { table.denoise.unwrap()(null_mut(), null(), null(), error) });
    refused(&|error| unsafe { table.decode.unwrap()(null_mut(), null(), null(), error) });
    refused(&|error| unsafe { table.encode_image.unwrap()(null_mut(), null(), null(), error) });
    refused(&|error| unsafe { table.encode_hint.unwrap()(null_mut(), null(), null(), place, error) });
    refused(&|error| unsafe { table.upscale.unwrap()(null_mut(), null(), null(), error) });
    refused(&|error| unsafe { table.release.unwrap()(null_mut(), 0, error) });
    refused(&|error| unsafe { table.unload.unwrap()(null_mut(), 0, error) });

    let running = Running::new("{}");
    let word = "null or misaligned";
    let refused = |call: &dyn Fn(*mut abi::Error) -> Status| assert_refused(ErrorKind::Contract, word, call);
    refused(&|error| unsafe { table.describe.unwrap()(running.0, null(), error) });
    refused(&|error| unsafe { table.encode_text.unwrap()(running.0, null(), null(), place, error) });
    refused(&|error| unsafe { table.read_text.unwrap()(running.0, null(), number, error) });
    refused(&|error| denoise(&running, null(), error));
    refused(&|error| unsafe { table.decode.unwrap()(running.0, null(), null(), error) });
    refused(&|error| unsafe { table.encode_image.unwrap()(running.0, null(), null(), error) });
    refused(&|error| unsafe { table.encode_hint.unwrap()(running.0, null(), null(), place, error) });
    refused(&|error| unsafe { table.upscale.unwrap()(running.0, null(), null(), error) });
    let text = load_request();
    let load = table.load.unwrap();
    assert_refused(ErrorKind::Invalid, "no room for the model handle", |error| unsafe {
        load(running.0, text.as_ptr(), text.len(), null(), null_mut(), &sink, error)
    });
}

#[test]
fn a_model_whose_description_nobody_takes_is_unloaded_again() {
    let (running, request, mut model) = (Running::new("{}"), load_request(), 0);
    let load = table().load.unwrap();
    let mut sink = sink();
    unsafe extern "C" fn full(_user: *mut c_void, _bytes: *const u8, _length: usize) -> i32 {
        1
    }
    sink.emit = Some(full);
    assert_refused(ErrorKind::Internal, "did not take", |error| unsafe {
        load(running.0, request.as_ptr(), request.len(), null(), &mut model, &sink, error)
    });
    // The first model's handle is known, because handles are counted from one.
    let unload = table().unload.unwrap();
    assert_refused(ErrorKind::StaleHandle, "model", |error| unsafe { unload(running.0, 1 << 32, error) });
}

#[test]
fn a_layout_of_a_newer_version_is_unsupported_and_broken_json_is_invalid() {
    let (running, sink, mut model) = (Running::new("{}"), sink(), 0);
    let load = table().load.unwrap();
    let newer = load_request().replace("diffusers", "tarball");
    for (kind, text) in [(ErrorKind::Unsupported, newer.as_str()), (ErrorKind::Invalid, "{\"files\":")] {
        assert_refused(kind, "load request", |error| unsafe {
            load(running.0, text.as_ptr(), text.len(), null(), &mut model, &sink, error)
        });
    }
}

#[test]
fn slices_and_lists_that_cannot_be_are_refused() {
    let (running, model, conditioning) = Running::ready();
    let (latent, mut out) = ([1.0, 2.0], [0.0; 2]);
    let rows = [row(conditioning, &latent)];
    let good = denoise_call(model, &rows, &mut out);
    let refused = |word: &str, call: abi::DenoiseCall| {
        assert_refused(ErrorKind::Invalid, word, |error| denoise(&running, &call, error));
    };
    refused("rows: null", abi::DenoiseCall { rows: null(), ..good });
    refused("cannot be a list", abi::DenoiseCall { row_count: abi::LIST_LIMIT + 1, ..good });
    refused("do not fit into memory", abi::DenoiseCall { row_count: usize::MAX, ..good });
    refused("at least one row", abi::DenoiseCall { row_count: 0, ..good });
    refused("the answers: null", abi::DenoiseCall { out: null_mut(), ..good });
    refused("do not fit into memory", abi::DenoiseCall { out_len: usize::MAX, ..good });
    let askew = out.as_mut_ptr().cast::<u8>().wrapping_add(1).cast::<f32>();
    refused("misaligned", abi::DenoiseCall { out: askew, ..good });
    refused("overlaps", abi::DenoiseCall { out: latent.as_ptr().cast_mut(), ..good });
    refused("a latent", abi::DenoiseCall { width: u32::MAX, height: u32::MAX, ..good });
    refused("shape", abi::DenoiseCall { width: 0, ..good });
    for broken in [
        abi::DenoiseRow { latent: null(), ..rows[0] },
        abi::DenoiseRow { latent_len: usize::MAX, ..rows[0] },
        abi::DenoiseRow { extra_count: 1, ..rows[0] },
        abi::DenoiseRow { struct_size: 49, ..rows[0] },
        abi::DenoiseRow { hint_count: 1, ..rows[0] },
        abi::DenoiseRow { hints: null(), hint_count: usize::MAX, ..rows[0] },
    ] {
        let call = abi::DenoiseCall { rows: &raw const broken, ..good };
        assert_refused(ErrorKind::Invalid, "", |error| denoise(&running, &call, error));
    }
    let short = abi::DenoiseCall { struct_size: 55, ..good };
    assert_refused(ErrorKind::Contract, "55 bytes", |error| denoise(&running, &short, error));
    assert_eq!(said(|error| denoise(&running, &good, error)), (abi::OK, String::new()));
    assert_eq!(out, [1.0 + 5.0 + 5.0, 2.0 + 5.0 + 5.0], "the instance still works");
}

#[test]
fn a_row_of_an_earlier_version_has_no_hints_whatever_lies_behind_it() {
    let (running, model, conditioning) = Running::ready();
    let (latent, mut out) = ([1.0, 2.0], [0.0; 2]);
    let first = std::mem::offset_of!(abi::DenoiseRow, hints) as u32;
    let rows = [abi::DenoiseRow { struct_size: first, hint_count: usize::MAX, ..row(conditioning, &latent) }];
    let call = denoise_call(model, &rows, &mut out);
    assert_eq!(said(|error| denoise(&running, &call, error)).0, abi::OK);
}

#[test]
fn an_encoding_call_of_an_earlier_version_is_one_of_whole_pictures() {
    let (running, model, _) = Running::ready();
    let (pixels, mut mean, mut deviation) = ([9_u8; 24], [0.0; 2], [0.0; 2]);
    let mut call = |struct_size: usize, options: &'static str| abi::EncodeImageCall {
        struct_size: struct_size as u32,
        channels: 1,
        height: 1,
        width: 2,
        model,
        pixels: pixels.as_ptr(),
        pixels_len: pixels.len(),
        mean: mean.as_mut_ptr(),
        mean_len: 2,
        deviation: deviation.as_mut_ptr(),
        deviation_len: 2,
        options: options.as_ptr(),
        options_len: options.len(),
    };
    let (whole, first) =
        (size_of::<abi::EncodeImageCall>(), std::mem::offset_of!(abi::EncodeImageCall, options));
    let calls = [
        call(first, "{"),
        call(whole, ""),
        call(whole, r#"{"tile":3}"#),
        call(whole, "{"),
        call(whole, r#"{"tile":"small"}"#),
    ];
    let encode = table().encode_image.unwrap();
    let outcome = |call: &abi::EncodeImageCall| {
        let status = said(|error| unsafe { encode(running.0, call, null(), error) }).0;
        // SAFETY: the call's own room.
        (status, unsafe { *call.mean })
    };
    assert_eq!(outcome(&calls[0]), (abi::OK, 9.0));
    assert_eq!(outcome(&calls[1]), (abi::OK, 9.0));
    assert_eq!(outcome(&calls[2]), (abi::OK, 12.0));
    assert_eq!(outcome(&calls[3]).0, abi::INVALID);
    assert_eq!(outcome(&calls[4]).0, abi::UNSUPPORTED);
}

#[test]
fn a_hint_needs_a_picture_and_a_place_for_its_handle() {
    let (running, model, _) = Running::ready();
    let (pixels, mut handle) = ([7_u8; 24], 0);
    let good = abi::HintCall {
        struct_size: size_of::<abi::HintCall>() as u32,
        channels: 1,
        height: 1,
        width: 2,
        model,
        pixels: pixels.as_ptr(),
        pixels_len: pixels.len(),
    };
    let encode = table().encode_hint.unwrap();
    let mut refused = |kind, word: &str, call: abi::HintCall| {
        assert_refused(kind, word, |error| unsafe { encode(running.0, &call, null(), &mut handle, error) });
    };
    refused(ErrorKind::Invalid, "the picture: null", abi::HintCall { pixels: null(), ..good });
    refused(ErrorKind::Invalid, "bytes in the picture", abi::HintCall { pixels_len: 23, ..good });
    refused(ErrorKind::Invalid, "", abi::HintCall { width: u32::MAX, ..good });
    refused(ErrorKind::StaleHandle, "model", abi::HintCall { model: 7, ..good });
    refused(ErrorKind::Contract, "39 bytes", abi::HintCall { struct_size: 39, ..good });
    assert_refused(ErrorKind::Invalid, "hint handle", |error| unsafe {
        encode(running.0, &good, null(), null_mut(), error)
    });
    assert_eq!(said(|error| unsafe { encode(running.0, &good, null(), &mut handle, error) }).0, abi::OK);
    assert_ne!(handle, 0);
}

#[test]
fn a_larger_picture_is_written_where_the_smaller_one_is_not() {
    let (running, model, _) = Running::ready();
    let (mut pixels, mut out) = ([7_u8; 6], [0_u8; 24]);
    let good = abi::UpscaleCall {
        struct_size: size_of::<abi::UpscaleCall>() as u32,
        height: 1,
        width: 2,
        model,
        pixels: pixels.as_mut_ptr(),
        pixels_len: pixels.len(),
        options: null(),
        options_len: 0,
        out: out.as_mut_ptr(),
        out_len: out.len(),
    };
    let upscale = table().upscale.unwrap();
    let refused = |kind, word: &str, call: abi::UpscaleCall| {
        assert_refused(kind, word, |error| unsafe { upscale(running.0, &call, null(), error) });
    };
    refused(ErrorKind::Invalid, "overlaps", abi::UpscaleCall { out: good.pixels.cast_mut(), ..good });
    refused(ErrorKind::Invalid, "the larger picture: null", abi::UpscaleCall { out: null_mut(), ..good });
    refused(ErrorKind::Invalid, "room", abi::UpscaleCall { out_len: 23, ..good });
    refused(ErrorKind::Invalid, "cannot have", abi::UpscaleCall { width: 0, ..good });
    refused(ErrorKind::Invalid, "", abi::UpscaleCall { height: u32::MAX, width: u32::MAX, ..good });
    refused(ErrorKind::Contract, "71 bytes", abi::UpscaleCall { struct_size: 71, ..good });
    let none = r#"{"tile":0}"#;
    let tile = abi::UpscaleCall { options: none.as_ptr(), options_len: none.len(), ..good };
    refused(ErrorKind::Invalid, "tile", tile);
    assert_eq!(said(|error| unsafe { upscale(running.0, &good, null(), error) }).0, abi::OK);
    assert_eq!(out, [7; 24]);
}

#[test]
fn tensors_with_names_that_are_no_text_are_refused() {
    let (running, model, conditioning) = Running::ready();
    let (latent, mut out, shape) = ([1.0, 2.0], [0.0; 2], [2]);
    let extra = abi::Tensor {
        struct_size: size_of::<abi::Tensor>() as u32,
        rank: 1,
        name: [0xff_u8].as_ptr(),
        name_len: 1,
        shape: shape.as_ptr(),
        data: latent.as_ptr(),
        data_len: 2,
    };
    let rows = [abi::DenoiseRow { extras: &raw const extra, extra_count: 1, ..row(conditioning, &latent) }];
    let call = denoise_call(model, &rows, &mut out);
    assert_refused(ErrorKind::Invalid, "not UTF-8", |error| denoise(&running, &call, error));
}

#[test]
fn a_part_of_a_prompt_is_written_into_exactly_as_much_room_as_it_needs() {
    let (running, _, conditioning) = Running::ready();
    let (mut out, mut values) = ([7.0_f32; 3], 0_usize);
    let part = |name: &[u8], out: &mut [f32]| abi::ReadTextCall {
        struct_size: size_of::<abi::ReadTextCall>() as u32,
        conditioning,
        part: name.as_ptr(),
        part_len: name.len(),
        out: out.as_mut_ptr(),
        out_len: out.len(),
    };
    let mut read = |call: abi::ReadTextCall| {
        let outcome =
            said(|error| unsafe { table().read_text.unwrap()(running.0, &call, &mut values, error) });
        (abi::kind_of(outcome.0), outcome.1, std::mem::take(&mut values))
    };
    let nowhere = abi::ReadTextCall { out: null_mut(), ..part(b"tokens", &mut []) };
    assert_eq!((read(nowhere).1, read(nowhere).2), (String::new(), 2));
    assert_eq!(read(part(b"tokens", &mut out[..2])).2, 2);
    assert_eq!(out, [5.0, -5.0, 7.0]);
    for (kind, word, call) in [
        (ErrorKind::Invalid, "room for 3 values, the part has 2", part(b"tokens", &mut out)),
        (ErrorKind::Invalid, "room for 1 values, the part has 2", part(b"tokens", &mut out[..1])),
        (ErrorKind::Unsupported, "no part of this name", part(b"token", &mut out[..2])),
        (ErrorKind::Unsupported, "nothing to pool", part(b"pooled", &mut out[..2])),
        (ErrorKind::Invalid, "not UTF-8", part(b"\xff", &mut out[..2])),
        (ErrorKind::Invalid, "null", abi::ReadTextCall { part: null(), ..part(b"tokens", &mut out[..2]) }),
        (ErrorKind::Invalid, "null", abi::ReadTextCall { out: null_mut(), ..part(b"tokens", &mut out[..2]) }),
        (ErrorKind::StaleHandle, "", abi::ReadTextCall { conditioning: 0, ..part(b"tokens", &mut []) }),
    ] {
        let (found, message, values) = read(call);
        assert_eq!((found, values), (kind, 0), "{message}");
        assert!(message.contains(word), "{message}");
    }
    let mut shared = [0.0_f32; 2];
    let own = abi::ReadTextCall { part: shared.as_ptr().cast(), ..part(b"tokens", &mut shared) };
    assert!(read(own).1.contains("overlaps"));
    let word = "no room for the number of values";
    let call = part(b"tokens", &mut out[..2]);
    let read_text = table().read_text.unwrap();
    assert_refused(ErrorKind::Invalid, word, |error| unsafe {
        read_text(running.0, &call, null_mut(), error)
    });
}

#[test]
fn rows_of_a_newer_daemon_are_read_by_their_own_size() {
    #[repr(C)]
    struct LaterRow(abi::DenoiseRow, u64);
    let (running, model, conditioning) = Running::ready();
    let (latents, mut out) = ([[1.0, 2.0], [3.0, 4.0]], [0.0; 4]);
    let later = latents.each_ref().map(|latent| {
        let mut row = row(conditioning, latent);
        row.struct_size = size_of::<LaterRow>() as u32;
        LaterRow(row, u64::MAX)
    });
    let mut call = denoise_call(model, &[], &mut out);
    (call.rows, call.row_count) = (later.as_ptr().cast(), 2);
    assert_eq!(said(|error| denoise(&running, &call, error)).0, abi::OK);
    assert_eq!(out, [11.0, 12.0, 13.0, 14.0]);
    assert_eq!(later[0].1, u64::MAX);
}

#[test]
fn a_call_during_a_call_is_refused() {
    struct Inner(*mut abi::Instance, Status);
    unsafe extern "C" fn again(user: *mut c_void, _done: u64, _total: u64) -> i32 {
        let inner = unsafe { &mut *user.cast::<Inner>() };
        inner.1 = unsafe { table().release.unwrap()(inner.0, 1, null_mut()) };
        0
    }
    let (running, model, conditioning) = Running::ready();
    let mut inner = Inner(running.0, abi::OK);
    let control = abi::Control {
        struct_size: size_of::<abi::Control>() as u32,
        user: (&raw mut inner).cast(),
        progress: Some(again),
    };
    let (latent, mut out) = ([0.0; 2], [0.0; 2]);
    let rows = [row(conditioning, &latent)];
    let call = denoise_call(model, &rows, &mut out);
    let status = unsafe { table().denoise.unwrap()(running.0, &call, &control, null_mut()) };
    assert_eq!((status, abi::kind_of(inner.1)), (abi::OK, ErrorKind::Contract));
}

#[test]
fn a_message_is_cut_between_letters_and_may_be_unwanted() {
    let (options, mut instance) = (r#"{"refuse":"aé"}"#, null_mut());
    let create = table().create.unwrap();
    let mut attempt =
        |error| unsafe { create(&host(), options.as_ptr(), options.len(), &mut instance, error) };
    for (capacity, expected) in [(3, "aé"), (2, "a"), (0, "")] {
        let mut message = vec![b'x'; capacity];
        let mut error = room(&mut message);
        assert_eq!(attempt(&mut error), abi::status_of(ErrorKind::Invalid));
        assert_eq!(&message[..error.message_len as usize], expected.as_bytes());
    }
    let mut nowhere = abi::Error { message: null_mut(), ..room(&mut [0; 9]) };
    assert_eq!(attempt(&mut nowhere), abi::status_of(ErrorKind::Invalid));
    assert_eq!(attempt(null_mut()), abi::status_of(ErrorKind::Invalid));
}
