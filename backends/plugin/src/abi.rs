// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The contract as a C library offers it: one symbol, one table of functions, a few plain structs.
//!
//! `include/alice_backend.h` is made from this file and `abi/structs.rs`, so their comments are read in C too;
//! `docs/PLUGIN.md` explains. Metadata travels as JSON (a new option never changes this file), tensors and
//! pixels as slices that the caller has allocated. Every struct that may grow begins with its own size, and
//! grows only at its end.
//!
//! Nothing here does anything: `export` fills the table, `load` calls it.

#[cfg(all(test, feature = "export", feature = "load"))]
mod golden;
#[cfg(test)]
mod header;
#[cfg(any(feature = "export", feature = "load"))]
pub(crate) mod read;
mod structs;

use std::ffi::c_void;

pub use structs::{
    DecodeCall, DenoiseCall, DenoiseRow, EncodeImageCall, Hint, HintCall, ReadTextCall, Tensor, TextCall,
    TextChunk, UpscaleCall,
};

use crate::ErrorKind;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the plugin contract is laid out for 64-bit machines");

/// The version of the contract: must be equal on both sides. It changes when a field changes its meaning.
pub const ABI_MAJOR: u16 = 1;
/// Counts the additions within one major version; a difference here is never a reason to refuse.
pub const ABI_MINOR: u16 = 3;

/// The name of the one exported symbol, an [`Entry`].
pub const ENTRY_SYMBOL: &str = "alice_backend_entry";

/// The exported function. The table it points to is never changed or freed.
pub type Entry = unsafe extern "C" fn() -> *const Table;

/// The daemon puts at most this many elements into a list (chunks, rows, tensors); more is a broken count.
pub const LIST_LIMIT: usize = 65_536;

/// What a call answers. Treat a number that is not listed here as an internal error.
// Never a Rust enum: the other side may send any number.
pub type Status = i32;

// Of the plain type, because cbindgen writes constants of other types at the header's end.
/// What a call answers: it worked.
pub const OK: i32 = 0;
/// The arguments make no sense.
pub const INVALID: i32 = 1;
/// They make sense, but this backend does not offer it.
pub const UNSUPPORTED: i32 = 2;
/// The model's files are missing, damaged or of another kind than stated.
pub const BAD_MODEL: i32 = 3;
/// The device has not enough memory; a smaller batch may succeed.
pub const OUT_OF_MEMORY: i32 = 4;
/// The control's `progress` said stop.
pub const CANCELLED: i32 = 5;
/// The device is gone; only a new instance can help.
pub const DEVICE_LOST: i32 = 6;
/// A handle that was never given out, or that has been released.
pub const STALE_HANDLE: i32 = 7;
/// The instance is broken, and refuses everything from here on.
pub const PANIC: i32 = 8;
/// The other side does not keep this contract.
pub const CONTRACT: i32 = 9;
/// Anything else.
pub const INTERNAL: i32 = 10;

/// A level of the host's `log`: something failed.
pub const LOG_ERROR: u32 = 1;
/// Something is wrong and the work goes on.
pub const LOG_WARN: u32 = 2;
/// What an operator wants to know.
pub const LOG_INFO: u32 = 3;
/// What a developer wants to know.
pub const LOG_DEBUG: u32 = 4;
/// Everything.
pub const LOG_TRACE: u32 = 5;

/// The number of `kind` in the contract.
pub fn status_of(kind: ErrorKind) -> Status {
    match kind {
        ErrorKind::Invalid => INVALID,
        ErrorKind::Unsupported => UNSUPPORTED,
        ErrorKind::BadModel => BAD_MODEL,
        ErrorKind::OutOfMemory => OUT_OF_MEMORY,
        ErrorKind::Cancelled => CANCELLED,
        ErrorKind::DeviceLost => DEVICE_LOST,
        ErrorKind::StaleHandle => STALE_HANDLE,
        ErrorKind::Panic => PANIC,
        ErrorKind::Contract => CONTRACT,
        ErrorKind::Internal => INTERNAL,
    }
}

/// The kind behind a status other than [`OK`]. A number that a newer version may have added is `Internal`.
pub fn kind_of(status: Status) -> ErrorKind {
    match status {
        INVALID => ErrorKind::Invalid,
        UNSUPPORTED => ErrorKind::Unsupported,
        BAD_MODEL => ErrorKind::BadModel,
        OUT_OF_MEMORY => ErrorKind::OutOfMemory,
        CANCELLED => ErrorKind::Cancelled,
        DEVICE_LOST => ErrorKind::DeviceLost,
        STALE_HANDLE => ErrorKind::StaleHandle,
        PANIC => ErrorKind::Panic,
        CONTRACT => ErrorKind::Contract,
        _ => ErrorKind::Internal,
    }
}

/// A running backend: whatever the plugin keeps behind the pointer that its `create` gave out.
#[repr(C)]
pub struct Instance {
    _opaque: [u8; 0],
}

/// What the daemon offers to a plugin, given to `create`, which copies what it wants to keep. The functions
/// and `user` stay valid until the process ends, and may be used from any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// The daemon's version of the contract.
    pub abi_major: u16,
    /// Its minor part.
    pub abi_minor: u16,
    /// Handed to both functions.
    pub user: *mut c_void,
    /// Takes one line for the log: its level, the module it is about, and the text, both in UTF-8. Never log
    /// prompts, pictures or keys.
    pub log: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            level: u32,
            target: *const u8,
            target_len: usize,
            message: *const u8,
            message_len: usize,
        ),
    >,
    /// 0 when nobody would read a line of this level.
    pub log_enabled: Option<unsafe extern "C" fn(user: *mut c_void, level: u32) -> i32>,
}

/// The caller's ear and brake during one call, used on the thread that made the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Handed to `progress`.
    pub user: *mut c_void,
    /// Call it often: once per tensor file, once per network block. 0 goes on; at anything else the call ends at
    /// once, as cancelled. `total` may be 0 when it is not known.
    pub progress: Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>,
}

/// Where a call puts text whose length the caller cannot know.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Handed to `emit`.
    pub user: *mut c_void,
    /// Takes a copy of the bytes; several pieces are joined. Not 0: the text is not wanted any more, and the call
    /// ends with an internal error.
    pub emit: Option<unsafe extern "C" fn(user: *mut c_void, bytes: *const u8, len: usize) -> i32>,
}

/// Where a failed call writes a sentence for a person, never a prompt or a picture. The buffer is the caller's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Set by the callee: how many bytes of `message` it has written.
    pub message_len: u32,
    /// Room for the sentence in UTF-8; no closing zero is needed.
    pub message: *mut u8,
    /// Bytes of room.
    pub message_capacity: usize,
}

/// The functions of a plugin. Those that are optional may be null: "not offered". The size and the two numbers
/// of the version keep their places in every major version.
///
/// One instance runs one call at a time, on any thread; two instances may run at the same time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// The plugin's version of the contract.
    pub abi_major: u16,
    /// Its minor part.
    pub abi_minor: u16,
    /// Starts a backend with its options, a JSON object. Required.
    pub create: Option<
        unsafe extern "C" fn(
            host: *const Host,
            options: *const u8,
            options_len: usize,
            instance: *mut *mut Instance,
            error: *mut Error,
        ) -> Status,
    >,
    /// Ends an instance and everything in it; null is ignored. Required.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut Instance)>,
    /// Emits a Description as JSON. Required.
    pub describe: Option<
        unsafe extern "C" fn(instance: *mut Instance, description: *const Sink, error: *mut Error) -> Status,
    >,
    /// Loads the model of a LoadRequest in JSON, sets its handle and emits a ModelInfo as JSON. Required.
    pub load: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            request: *const u8,
            request_len: usize,
            control: *const Control,
            model: *mut u64,
            info: *const Sink,
            error: *mut Error,
        ) -> Status,
    >,
    /// Makes a model behave as with exactly these adapters, a JSON array of Adapter. Optional.
    pub adapt: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            model: u64,
            adapters: *const u8,
            adapters_len: usize,
            control: *const Control,
            error: *mut Error,
        ) -> Status,
    >,
    /// Encodes a prompt and sets the handle of its conditioning. Required.
    pub encode_text: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const TextCall,
            control: *const Control,
            conditioning: *mut u64,
            error: *mut Error,
        ) -> Status,
    >,
    /// Evaluates the denoiser once for every row. Required.
    pub denoise: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const DenoiseCall,
            control: *const Control,
            error: *mut Error,
        ) -> Status,
    >,
    /// Decodes latents into pictures. Required.
    pub decode: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const DecodeCall,
            control: *const Control,
            error: *mut Error,
        ) -> Status,
    >,
    /// Encodes pictures into the mean and the standard deviation of their latents, each in one piece: it need not
    /// look at the call's options. Optional.
    pub encode_image: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const EncodeImageCall,
            control: *const Control,
            error: *mut Error,
        ) -> Status,
    >,
    /// Forgets an encoded prompt or hint. Required.
    pub release:
        Option<unsafe extern "C" fn(instance: *mut Instance, conditioning: u64, error: *mut Error) -> Status>,
    /// Frees a model and every conditioning made with it. Required.
    pub unload:
        Option<unsafe extern "C" fn(instance: *mut Instance, model: u64, error: *mut Error) -> Status>,
    /// Emits a Memory as JSON. Required.
    pub memory: Option<
        unsafe extern "C" fn(instance: *mut Instance, memory: *const Sink, error: *mut Error) -> Status,
    >,
    /// Sets how many values a part of an encoded prompt has, and writes them when there is room for exactly as many.
    /// No room at all asks for the number alone. Optional, since 1.1.
    pub read_text: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const ReadTextCall,
            values: *mut usize,
            error: *mut Error,
        ) -> Status,
    >,
    /// As `encode_image`, by the call's options, of which `alpha` is asked of plugins since 1.3. Optional, since 1.2.
    pub encode_image_tiled: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const EncodeImageCall,
            control: *const Control,
            error: *mut Error,
        ) -> Status,
    >,
    /// Encodes a picture that is to guide rows, with a model of the family `controlnet` or `t2i_adapter`, and sets
    /// its handle, which is given back with `release`. Without it no row has hints. Optional, since 1.2.
    pub encode_hint: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const HintCall,
            control: *const Control,
            hint: *mut u64,
            error: *mut Error,
        ) -> Status,
    >,
    /// Makes a picture larger with a model of the family `upscaler`. Optional, since 1.2.
    pub upscale: Option<
        unsafe extern "C" fn(
            instance: *mut Instance,
            call: *const UpscaleCall,
            control: *const Control,
            error: *mut Error,
        ) -> Status,
    >,
}
