// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations that a backend must offer to run every network of this crate.
//!
//! The grain is fused, so that a backend can do in one pass over memory what the networks always do
//! together. Tensors are opaque and of two kinds, and the backend chooses their layout and number format:
//!
//! - an *image*: `[rows, channels, height, width]`,
//! - *tokens*: `[rows, tokens, width]`; a vector per row is one token.
//!
//! Layers are the backend's own types, built once while loading from the file's tensors, so that each
//! backend can convert, pack and blend them as its kernels want. Every loaded model has operations of its own; those for
//! one device and one number format understand each other's tensors, which is how a ControlNet sees a model's prompt.
//!
//! Rounding in the text encoders or on the way from the timestep to the blocks moves a whole picture, and both are little
//! work. Whatever the format of a model, they run on its [precise](Ops::precise) operations.

use alice_checkpoint::Tensor as Weight;
use alice_plugin::Result;

/// What a fused layer does to its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * sigmoid(1.702 x)`, OpenAI CLIP's approximation.
    QuickGelu,
    /// The exact `x * Φ(x)` by the error function, as PyTorch's default; not the tanh approximation.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `x`, and a fifth of it where it is below 0: the slope of the networks that enlarge pictures.
    LeakyRelu,
}

/// Geometry of a square convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Side of the kernel: 1 or 3.
    pub kernel: usize,
    /// Step between two positions: 1 or 2.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: Padding,
}

/// Zeros around an image before a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// The same number on all four sides.
    Around(usize),
    /// One row below and one column to the right only (the downsampling of the autoencoder's encoder).
    BelowAndRight,
}

/// What joins a convolution's result before it is stored:
/// `activation(conv(x) + bias + per_channel + residual)`.
#[derive(Debug)]
pub struct ConvAdd<'a, T> {
    /// One value per row and output channel, tokens `[rows, 1, output]` of the [precise](Ops::precise) operations:
    /// the projected time embedding.
    pub per_channel: Option<&'a T>,
    /// An image of the result's own shape.
    pub residual: Option<&'a T>,
    /// Comes last.
    pub activation: Activation,
}

impl<T> Default for ConvAdd<'_, T> {
    fn default() -> Self {
        Self { per_channel: None, residual: None, activation: Activation::None }
    }
}

/// The operations. Every method may fail with `OutOfMemory` or `DeviceLost`; those that build a layer also
/// with `BadModel` when the number format of a weight is not known. Shapes are the networks' business: they
/// check the files' shapes before they build, so a wrong shape here is a bug and may panic.
pub trait Ops: Send + 'static {
    /// An image or tokens. Cloning is cheap (the data is shared).
    type Tensor: Clone + Send;
    /// A convolution's weights and geometry.
    type Conv: Send;
    /// A linear layer's weights.
    type Linear: Send;
    /// The weights of a gated linear unit.
    type Gated: Send;
    /// A group normalisation's weights.
    type GroupNorm: Send;
    /// A layer normalisation's weights.
    type LayerNorm: Send;
    /// A table of vectors.
    type Embedding: Send;

    // Number formats.

    /// The operations in f32 on the same device; these themselves if f32 is their format. Layers and tensors of the
    /// one are not for the other, but for [`adopt`](Self::adopt) and [`ConvAdd::per_channel`].
    fn precise(&self) -> &Self;

    /// The operations for autoencoders and upscalers on the same device: in this format if its errors cannot be seen in a picture, else in
    /// a finer one. Their tensors never meet others.
    fn fine(&self) -> &Self {
        self
    }

    /// A tensor of the [precise](Self::precise) operations in this format.
    fn adopt(&self, tensor: &Self::Tensor) -> Result<Self::Tensor>;

    // Layers, built while loading.

    /// `weight` is `[output, input, kernel, kernel]`, `bias` is `[output]`. A 1x1 kernel may come as
    /// `[output, input]`.
    fn conv(&self, spec: ConvSpec, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Self::Conv>;

    /// `weight` is `[output, input]` (also `[output, input, 1, 1]`), `bias` is `[output]`.
    fn linear(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Self::Linear>;

    /// `weight` is `[2 * output, input]`, `bias` is `[2 * output]`: values, then their gates.
    fn gated(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Self::Gated>;

    /// `weight` and `bias` are `[channels]`; statistics over each of `groups` runs of channels.
    fn group_norm(
        &self,
        groups: usize,
        epsilon: f32,
        weight: &Weight<'_>,
        bias: &Weight<'_>,
    ) -> Result<Self::GroupNorm>;

    /// `weight` and `bias` are `[width]`.
    fn layer_norm(&self, epsilon: f32, weight: &Weight<'_>, bias: &Weight<'_>) -> Result<Self::LayerNorm>;

    /// `weight` is `[entries, width]`.
    fn embedding(&self, weight: &Weight<'_>) -> Result<Self::Embedding>;

    // In and out.

    /// An image from row-major values.
    fn image(&self, shape: [usize; 4], values: &[f32]) -> Result<Self::Tensor>;

    /// Tokens from row-major values.
    fn tokens(&self, shape: [usize; 3], values: &[f32]) -> Result<Self::Tensor>;

    /// Writes the values, row-major in the order of the tensor's kind, into `out` of exactly that length.
    fn download(&self, tensor: &Self::Tensor, out: &mut [f32]) -> Result<()>;

    /// `[rows, channels, height, width]` of an image.
    fn image_shape(&self, image: &Self::Tensor) -> [usize; 4];

    /// Joins tensors of one kind along their rows.
    fn stack(&self, tensors: &[&Self::Tensor]) -> Result<Self::Tensor>;

    // Images.

    /// Convolution, plus what [`ConvAdd`] says.
    fn apply_conv(
        &self,
        conv: &Self::Conv,
        image: &Self::Tensor,
        add: ConvAdd<'_, Self::Tensor>,
    ) -> Result<Self::Tensor>;

    /// Enlarges to `height` x `width` by nearest neighbour (`source = floor(target * old / new)`), then
    /// convolves, then activates.
    fn upsample_conv(
        &self,
        conv: &Self::Conv,
        image: &Self::Tensor,
        height: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Self::Tensor>;

    /// Halves both sides: each pixel is the mean of a square of two by two. Of an odd side the last pixel stands
    /// alone, and its mean is that of the pixels that are there.
    fn average_pool(&self, image: &Self::Tensor) -> Result<Self::Tensor>;

    /// Group normalisation, then `activation`. Statistics in f32 or better.
    fn apply_group_norm(
        &self,
        norm: &Self::GroupNorm,
        image: &Self::Tensor,
        activation: Activation,
    ) -> Result<Self::Tensor>;

    /// Joins two images along their channels, `first` first.
    fn concat_channels(&self, first: &Self::Tensor, second: &Self::Tensor) -> Result<Self::Tensor>;

    /// An image's pixels as tokens `[rows, height * width, channels]`, row by row.
    fn image_to_tokens(&self, image: &Self::Tensor) -> Result<Self::Tensor>;

    /// The inverse of [`image_to_tokens`](Self::image_to_tokens).
    fn tokens_to_image(&self, tokens: &Self::Tensor, height: usize, width: usize) -> Result<Self::Tensor>;

    // Tokens.

    /// `activation(tokens x weight^T + bias)`, then plus `residual` of the result's own shape.
    fn apply_linear(
        &self,
        linear: &Self::Linear,
        tokens: &Self::Tensor,
        activation: Activation,
        residual: Option<&Self::Tensor>,
    ) -> Result<Self::Tensor>;

    /// Gated linear unit: of `tokens x weight^T + bias` the first half times `gelu` (exact) of the second.
    fn apply_geglu(&self, gated: &Self::Gated, tokens: &Self::Tensor) -> Result<Self::Tensor>;

    /// Layer normalisation over each token. Statistics in f32 or better.
    fn apply_layer_norm(&self, norm: &Self::LayerNorm, tokens: &Self::Tensor) -> Result<Self::Tensor>;

    /// `softmax(q k^T / sqrt(width / heads)) v` for each of `heads` equal parts of the width. `causal` lets a
    /// token see only itself and those before it. `key` and `value` may have another number of tokens. The
    /// scores and their softmax are in f32 or better: those of some models overflow in half precision.
    fn attention(
        &self,
        query: &Self::Tensor,
        key: &Self::Tensor,
        value: &Self::Tensor,
        heads: usize,
        causal: bool,
    ) -> Result<Self::Tensor>;

    /// One row of tokens: the table's vectors for `ids`, which the caller has checked against its length.
    fn embed(&self, table: &Self::Embedding, ids: &[u32]) -> Result<Self::Tensor>;

    /// `activation(first + second)` of two tensors of one shape.
    fn add(
        &self,
        first: &Self::Tensor,
        second: &Self::Tensor,
        activation: Activation,
    ) -> Result<Self::Tensor>;

    /// `first + scale * second` of two images of one shape, with a scale for each row. A row whose scale is 0 is the
    /// first image's as it is, whatever the second one holds.
    fn add_scaled(&self, first: &Self::Tensor, second: &Self::Tensor, scales: &[f32])
    -> Result<Self::Tensor>;
}
