// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The arguments of the calls that take more than a few numbers.

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
    /// The first chunk; see its `struct_size` for the next.
    pub chunks: *const TextChunk,
    /// Number of chunks.
    pub chunk_count: usize,
    /// The first tensor of extra embedding rows, each named `rows.<encoder>`: `[count, hidden_size]`.
    pub extra_rows: *const Tensor,
    /// Number of such tensors.
    pub extra_row_count: usize,
}

/// A part of an encoded prompt to read back, since 1.1.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ReadTextCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// The encoded prompt.
    pub conditioning: u64,
    /// The name of the part: `tokens` or `pooled`.
    pub part: *const u8,
    /// Bytes in `part`.
    pub part_len: usize,
    /// Initialised room for the part's values, row-major; may be null when `out_len` is 0.
    pub out: *mut f32,
    /// Number of values in `out`: exactly those of the part, or 0 to ask for their number alone.
    pub out_len: usize,
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
    /// The first of the pictures that guide the row. The rows of a call name the same models in the same order.
    /// Since 1.2.
    pub hints: *const Hint,
    /// Number of pictures that guide the row, 0 when `encode_hint` is not offered.
    pub hint_count: usize,
}

/// A picture that guides a row, since 1.2.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Hint {
    /// Bytes in this struct, and the distance to the next one of a list.
    pub struct_size: u32,
    /// Factor on everything that the network adds; 0 adds nothing.
    pub scale: f32,
    /// The model, of the family `controlnet` or `t2i_adapter`.
    pub model: u64,
    /// What that model has encoded, for latents of the call's shape.
    pub hint: u64,
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
    /// The first row; see its `struct_size` for the next.
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
    /// `[rows, height * latent_scale, width * latent_scale, 3]`; with the option `alpha` 4 bytes a pixel, since 1.3.
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
    /// `EncodeOptions` as JSON; none stands for the whole picture in one piece. Since 1.2.
    pub options: *const u8,
    /// Bytes in `options`.
    pub options_len: usize,
}

/// A picture that is to guide rows, since 1.2.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HintCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Channels of a latent of the rows.
    pub channels: u32,
    /// Rows of one latent's cells.
    pub height: u32,
    /// Columns of one latent's cells.
    pub width: u32,
    /// The model, of the family `controlnet` or `t2i_adapter`.
    pub model: u64,
    /// `[height * latent_scale, width * latent_scale, 3]`.
    pub pixels: *const u8,
    /// Bytes in `pixels`.
    pub pixels_len: usize,
}

/// A picture to make larger, since 1.2.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UpscaleCall {
    /// Bytes in this struct.
    pub struct_size: u32,
    /// Rows of the picture's pixels.
    pub height: u32,
    /// Columns of the picture's pixels.
    pub width: u32,
    /// The model, of the family `upscaler`.
    pub model: u64,
    /// `[height, width, 3]`.
    pub pixels: *const u8,
    /// Bytes in `pixels`.
    pub pixels_len: usize,
    /// `UpscaleOptions` as JSON.
    pub options: *const u8,
    /// Bytes in `options`.
    pub options_len: usize,
    /// Initialised room for `[height * latent_scale, width * latent_scale, 3]`.
    pub out: *mut u8,
    /// Bytes in `out`.
    pub out_len: usize,
}
