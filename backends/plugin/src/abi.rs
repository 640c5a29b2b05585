// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The contract as a C library offers it: one symbol, one table of functions, a few plain structs.
//!
//! `include/alice_backend.h` says the same for C, `docs/PLUGIN.md` explains it. Metadata travels as JSON
//! (a new option never changes this file), tensors and pixels as slices that the caller has allocated.
//! Every struct that may grow begins with its own size, and grows only at its end.
//!
//! Nothing here does anything: `export` fills the table, `load` calls it.

#[cfg(all(test, feature = "export", feature = "load"))]
mod golden;
#[cfg(any(feature = "export", feature = "load"))]
pub(crate) mod read;

use std::ffi::c_void;

use crate::ErrorKind;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the plugin contract is laid out for 64-bit machines");

/// The version of the contract that both sides must share. It changes when a field changes its meaning.
pub const ABI_MAJOR: u16 = 1;
/// Counts the additions within one major version; a difference here is never a reason to refuse.
pub const ABI_MINOR: u16 = 0;

/// The name of the one exported symbol, an [`Entry`].
pub const ENTRY_SYMBOL: &str = "alice_backend_entry";

/// Most elements that a list (chunks, rows, extra tensors) may have; more is taken for a broken count.
pub const LIST_LIMIT: usize = 65_536;

/// The exported function. The table it points to is never changed or freed.
pub type Entry = unsafe extern "C" fn() -> *const Table;

/// What a call answers: 0 when it worked, else the number of an [`ErrorKind`] as [`status_of`] gives it.
/// Never a Rust enum: the other side may send any number.
pub type Status = i32;

/// The [`Status`] of a call that worked.
pub const OK: Status = 0;

/// The number of `kind` in the contract.
pub fn status_of(kind: ErrorKind) -> Status {
    match kind {
        ErrorKind::Invalid => 1,
        ErrorKind::Unsupported => 2,
        ErrorKind::BadModel => 3,
        ErrorKind::OutOfMemory => 4,
        ErrorKind::Cancelled => 5,
        ErrorKind::DeviceLost => 6,
        ErrorKind::StaleHandle => 7,
        ErrorKind::Panic => 8,
        ErrorKind::Contract => 9,
        ErrorKind::Internal => 10,
    }
}

/// The kind behind a status other than [`OK`]. A number that a newer version may have added is `Internal`.
pub fn kind_of(status: Status) -> ErrorKind {
    match status {
        1 => ErrorKind::Invalid,
        2 => ErrorKind::Unsupported,
        3 => ErrorKind::BadModel,
        4 => ErrorKind::OutOfMemory,
        5 => ErrorKind::Cancelled,
        6 => ErrorKind::DeviceLost,
        7 => ErrorKind::StaleHandle,
        8 => ErrorKind::Panic,
        9 => ErrorKind::Contract,
        _ => ErrorKind::Internal,
    }
}

/// A running backend: whatever the plugin keeps behind the pointer that its `create` gave out.
#[repr(C)]
pub struct Instance {
    _opaque: [u8; 0],
}

/// The functions of a plugin. `None` in an optional place means "not offered".
///
/// One instance runs one call at a time, on any thread; two instances may run at the same time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Bytes in this struct. With the two versions, it stays where it is in every major version.
    pub struct_size: u32,
    /// [`ABI_MAJOR`] of the plugin.
    pub abi_major: u16,
    /// [`ABI_MINOR`] of the plugin.
    pub abi_minor: u16,
    /// `(host, options JSON, its length, out instance, error)`: starts a backend. Required.
    pub create: Option<CreateFn>,
    /// Ends an instance and everything in it; null is ignored. Required.
    pub destroy: Option<unsafe extern "C" fn(*mut Instance)>,
    /// Emits a `Description` as JSON. Required.
    pub describe: Option<unsafe extern "C" fn(*mut Instance, *const Sink, *mut Error) -> Status>,
    /// `(instance, LoadRequest JSON, its length, control, out model, sink for ModelInfo JSON, error)`. Required.
    pub load: Option<LoadFn>,
    /// `(instance, model, JSON array of Adapter, its length, control, error)`. Optional.
    pub adapt: Option<AdaptFn>,
    /// `(instance, call, control, out conditioning, error)`. Required.
    pub encode_text: Option<EncodeTextFn>,
    /// `(instance, call, control, error)`. Required.
    pub denoise: Option<WorkFn<DenoiseCall>>,
    /// `(instance, call, control, error)`. Required.
    pub decode: Option<WorkFn<DecodeCall>>,
    /// `(instance, call, control, error)`. Optional.
    pub encode_image: Option<WorkFn<EncodeImageCall>>,
    /// `(instance, conditioning, error)`. Required.
    pub release: Option<HandleFn>,
    /// `(instance, model, error)`. Required.
    pub unload: Option<HandleFn>,
    /// Emits a `Memory` as JSON. Required.
    pub memory: Option<unsafe extern "C" fn(*mut Instance, *const Sink, *mut Error) -> Status>,
}

/// See [`Table::create`].
pub type CreateFn =
    unsafe extern "C" fn(*const Host, *const u8, usize, *mut *mut Instance, *mut Error) -> Status;
/// See [`Table::load`].
pub type LoadFn = unsafe extern "C" fn(
    *mut Instance,
    *const u8,
    usize,
    *const Control,
    *mut u64,
    *const Sink,
    *mut Error,
) -> Status;
/// See [`Table::adapt`].
pub type AdaptFn =
    unsafe extern "C" fn(*mut Instance, u64, *const u8, usize, *const Control, *mut Error) -> Status;
/// See [`Table::encode_text`].
pub type EncodeTextFn =
    unsafe extern "C" fn(*mut Instance, *const TextCall, *const Control, *mut u64, *mut Error) -> Status;
/// A call that reads a struct and writes into slices that the struct names.
pub type WorkFn<Call> =
    unsafe extern "C" fn(*mut Instance, *const Call, *const Control, *mut Error) -> Status;
/// A call about one handle.
pub type HandleFn = unsafe extern "C" fn(*mut Instance, u64, *mut Error) -> Status;

/// What the daemon offers to a plugin, given to `create`, which copies what it wants to keep. The functions
/// and `user` stay valid until the process ends, and may be used from any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// [`ABI_MAJOR`] of the daemon.
    pub abi_major: u16,
    /// [`ABI_MINOR`] of the daemon.
    pub abi_minor: u16,
    /// Handed to both functions.
    pub user: *mut c_void,
    /// `(user, level, target, its length, message, its length)`: one line for the log, both in UTF-8.
    pub log: Option<LogFn>,
    /// `(user, level)`: 0 when nobody would read a line of this level.
    pub log_enabled: Option<unsafe extern "C" fn(*mut c_void, u32) -> i32>,
}

/// See [`Host::log`]. Levels: 1 error, 2 warning, 3 information, 4 debug, 5 trace.
pub type LogFn = unsafe extern "C" fn(*mut c_void, u32, *const u8, usize, *const u8, usize);

/// The caller's ear and brake during one call, used on the thread that made the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Handed to `progress`.
    pub user: *mut c_void,
    /// `(user, done, total)`: 0 goes on; anything else ends the call with the status of `Cancelled`.
    pub progress: Option<unsafe extern "C" fn(*mut c_void, u64, u64) -> i32>,
}

/// Where a call puts text whose length the caller cannot know.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Handed to `emit`.
    pub user: *mut c_void,
    /// `(user, bytes, length)`: takes a copy; several pieces are joined. Not 0: the text is not wanted any
    /// more, and the call ends with the status of `Internal`.
    pub emit: Option<unsafe extern "C" fn(*mut c_void, *const u8, usize) -> i32>,
}

/// Where a failed call says why, in a buffer of the caller's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Set by the callee: how many bytes of `message` it has written.
    pub message_len: u32,
    /// Room for a sentence in UTF-8; no closing zero is needed.
    pub message: *mut u8,
    /// Bytes of room.
    pub message_capacity: usize,
}

/// A tensor with a name.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// Bytes in this struct, and the distance to the next one of a list.
    pub struct_size: u32,
    /// Number of sizes in `shape`.
    pub rank: u32,
    /// What it is, in UTF-8.
    pub name: *const u8,
    /// Bytes in `name`.
    pub name_len: usize,
    /// Its sizes, outermost first.
    pub shape: *const u32,
    /// Row-major values.
    pub data: *const f32,
    /// Number of values, the product of the sizes.
    pub data_len: usize,
}

/// One context window of token ids for one text encoder.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TextChunk {
    /// Bytes in this struct, and the distance to the next one of a list.
    pub struct_size: u32,
    /// Which text encoder of the model.
    pub encoder: u32,
    /// Token ids.
    pub ids: *const u32,
    /// Number of ids.
    pub id_count: usize,
    /// One weight per id.
    pub weights: *const f32,
    /// Number of weights.
    pub weight_count: usize,
}

/// A prompt to encode.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TextCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Layers to leave out at the encoder's end.
    pub clip_skip: u32,
    /// The model.
    pub model: u64,
    /// The first chunk; see [`TextChunk::struct_size`] for the next.
    pub chunks: *const TextChunk,
    /// Number of chunks.
    pub chunk_count: usize,
    /// The first tensor of extra embedding rows.
    pub extra_rows: *const Tensor,
    /// Number of such tensors.
    pub extra_row_count: usize,
}

/// One row of a denoising call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DenoiseRow {
    /// Bytes in this struct, and the distance to the next one of a list.
    pub struct_size: u32,
    /// The timestep in the model's training units.
    pub timestep: f32,
    /// The encoded prompt.
    pub conditioning: u64,
    /// `[channels, height, width]`.
    pub latent: *const f32,
    /// Number of values in `latent`.
    pub latent_len: usize,
    /// The first of the row's further inputs.
    pub extras: *const Tensor,
    /// Number of further inputs.
    pub extra_count: usize,
}

/// One evaluation of the denoiser.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DenoiseCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Channels of one latent.
    pub channels: u32,
    /// Rows of one latent's cells.
    pub height: u32,
    /// Columns of one latent's cells.
    pub width: u32,
    /// The model.
    pub model: u64,
    /// The first row; see [`DenoiseRow::struct_size`] for the next.
    pub rows: *const DenoiseRow,
    /// Number of rows.
    pub row_count: usize,
    /// Initialised room for `[rows, output_channels, height, width]`.
    pub out: *mut f32,
    /// Number of values in `out`.
    pub out_len: usize,
}

/// Latents to decode into pictures.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DecodeCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Channels of one latent.
    pub channels: u32,
    /// Rows of one latent's cells.
    pub height: u32,
    /// Columns of one latent's cells.
    pub width: u32,
    /// The model.
    pub model: u64,
    /// `[rows, channels, height, width]`.
    pub latents: *const f32,
    /// Number of values in `latents`.
    pub latents_len: usize,
    /// `DecodeOptions` as JSON.
    pub options: *const u8,
    /// Bytes in `options`.
    pub options_len: usize,
    /// Initialised room for `[rows, height * latent_scale, width * latent_scale, 3]`.
    pub out: *mut u8,
    /// Bytes in `out`.
    pub out_len: usize,
}

/// Pictures to encode into latents.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EncodeImageCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Channels of one latent.
    pub channels: u32,
    /// Rows of one latent's cells.
    pub height: u32,
    /// Columns of one latent's cells.
    pub width: u32,
    /// The model.
    pub model: u64,
    /// `[rows, height * latent_scale, width * latent_scale, 3]`.
    pub pixels: *const u8,
    /// Bytes in `pixels`.
    pub pixels_len: usize,
    /// Initialised room for `[rows, channels, height, width]`.
    pub mean: *mut f32,
    /// Number of values in `mean`.
    pub mean_len: usize,
    /// Initialised room for as many standard deviations.
    pub deviation: *mut f32,
    /// Number of values in `deviation`.
    pub deviation_len: usize,
}
