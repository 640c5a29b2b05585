// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations of the networks on this crate's tensors and kernels.

use std::sync::Arc;

use alice_checkpoint::Tensor as Weight;
use alice_nets::{Activation, ConvAdd, ConvSpec, Ops, Padding};
use alice_plugin::{Error, Result};

use crate::{
    format::{Bf16, Element},
    isa::Isa,
    kernels::{
        self, Kernels,
        attention::{Attention, Heads, MOST_WIDTH},
        memory::Arena,
        pack::{self, Packed, Room},
        product::Out,
        window::Left,
        winograd,
    },
    machine::{Joining, Machine, Norm, read},
    tensor::{Kept, Shape, Tensor},
    threads::Threads,
};
#[cfg(target_arch = "x86_64")]
use crate::{kernels::amx::Amx, tiled::TileWeights};

/// A number format to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32 bits.
    F32,
    /// 16 bits with the range of f32, where the processor multiplies them.
    Bf16,
    /// The same, and weights in 8 bits, with which what they are multiplied is rounded to 8 bits as well.
    Int8,
}

/// [`Ops`] on this processor, in one number format.
pub struct CpuOps {
    pub(crate) machine: Machine,
    pub(crate) f32: &'static Kernels<f32>,
    pub(crate) winograd: &'static winograd::Kernel,
    /// There unless the format is f32: tensors are in bf16 then.
    pub(crate) bf16: Option<&'static Kernels<Bf16>>,
    /// Products of bf16 and int8 on tiles.
    #[cfg(target_arch = "x86_64")]
    amx: Option<Amx>,
    pub(crate) format: Format,
    /// The operations in f32, unless these are they.
    precise: Option<Box<Self>>,
    /// The operations for the autoencoder, unless these are they.
    fine: Option<Box<Self>>,
}

/// Packed weights in the format that they are multiplied in.
pub(crate) enum Weights {
    F32(Packed<f32>),
    Bf16(Packed<Bf16>),
    #[cfg(target_arch = "x86_64")]
    Tiled(Amx, TileWeights),
}

/// A convolution's weights and geometry.
pub struct Conv {
    pub(crate) spec: ConvSpec,
    pub(crate) weights: Weights,
}

/// The weights of a linear layer, or of a gated linear unit.
pub struct Linear {
    weights: Weights,
}

/// A group normalisation's weights.
pub struct GroupNorm {
    norm: Norm,
    groups: usize,
}

/// A table of vectors.
pub struct Embedding {
    values: Vec<f32>,
    width: usize,
}

/// Calls a function that is generic over the format with this crate's format of the operations.
macro_rules! in_format {
    ($ops:ident, $kernels:ident, $format:ident => $body:expr) => {
        match $ops.bf16 {
            Some($kernels) => {
                type $format = Bf16;
                $body
            }
            None => {
                type $format = f32;
                let $kernels = $ops.f32;
                $body
            }
        }
    };
}

impl CpuOps {
    /// The operations on those threads with the instructions of `isa`, which this processor has.
    ///
    /// # Errors
    /// `OutOfMemory` when the system has no addresses left for tensors.
    pub fn new(isa: Isa, format: Format, threads: Arc<Threads>) -> Result<Self> {
        let machine = Machine { threads, arena: Arena::new()? };
        Ok(Self::of(machine, isa, format))
    }

    fn of(machine: Machine, isa: Isa, format: Format) -> Self {
        let beside = |other| (format != other).then(|| Box::new(Self::of(machine.clone(), isa, other)));
        let bf16 = kernels::of_bf16(isa).filter(|_| format != Format::F32);
        Self {
            f32: kernels::of_f32(isa),
            winograd: winograd::of(isa),
            bf16,
            #[cfg(target_arch = "x86_64")]
            amx: bf16.filter(|_| isa == Isa::Amx).and_then(|_| Amx::find()),
            precise: beside(Format::F32),
            fine: if format == Format::Int8 { beside(Format::Bf16) } else { None },
            format,
            machine,
        }
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.machine.arena
    }

    /// Packs a matrix in the format that suits it: pairs of bf16 need an even depth.
    fn weights(
        &self,
        weight: &Weight<'_>,
        bias: Option<&Weight<'_>>,
        spec: ConvSpec,
        gated: bool,
    ) -> Result<Weights> {
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = self.amx {
            return Ok(Weights::Tiled(amx, self.tiles(weight, bias, spec, gated)?));
        }
        match self.bf16 {
            Some(kernels) if spec.input.is_multiple_of(Bf16::DEPTH) => {
                Ok(Weights::Bf16(self.machine.packed(kernels.layout, weight, bias, spec, gated)?))
            }
            _ => Ok(Weights::F32(self.machine.packed(self.f32.layout, weight, bias, spec, gated)?)),
        }
    }

    /// A tensor that may be none in the format `E`.
    pub(crate) fn brought<E: Kept>(&self, tensor: Option<&Tensor>) -> Result<Option<Tensor>> {
        tensor.map(|tensor| tensor.in_format::<E>(self.arena())).transpose()
    }

    /// The format's own of a tensor that was computed in another one.
    pub(crate) fn own(&self, tensor: Tensor) -> Result<Tensor> {
        in_format!(self, _kernels, E => tensor.in_format::<E>(self.arena()))
    }

    fn upload(&self, shape: Shape, fill: impl FnOnce(&mut [f32])) -> Result<Tensor> {
        self.own(Tensor::build::<f32>(self.arena(), shape, fill)?)
    }

    fn linear_as<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        right: &Packed<E>,
        tokens: &Tensor,
        joining: Joining<'_>,
    ) -> Result<Tensor> {
        let tokens = tokens.in_format::<E>(self.arena())?;
        let residual = self.brought::<E>(joining.residual)?;
        let joining = Joining { residual: residual.as_ref(), ..joining };
        let left = Left::Dense { values: tokens.slice::<E>(), stride: tokens.shape.channels };
        let shape = Shape { channels: right.columns(), ..tokens.shape };
        self.own(self.machine.multiply(kernels, left, right, &joining, shape)?)
    }

    fn multiply(&self, weights: &Weights, tokens: &Tensor, joining: Joining<'_>) -> Result<Tensor> {
        match (weights, self.bf16) {
            (Weights::Bf16(right), Some(kernels)) => self.linear_as(kernels, right, tokens, joining),
            (Weights::F32(right), _) => self.linear_as(self.f32, right, tokens, joining),
            #[cfg(target_arch = "x86_64")]
            (Weights::Tiled(amx, right), _) => self.linear_tiled(*amx, right, tokens, &joining),
            (Weights::Bf16(_), None) => unreachable!("weights are bf16 only where the operations are"),
        }
    }

    fn attend<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        [query, key, value]: [&Tensor; 3],
        heads: usize,
        causal: bool,
    ) -> Result<Tensor> {
        let arena = self.arena();
        let [query, key, value] =
            [query.in_format::<E>(arena)?, key.in_format::<E>(arena)?, value.in_format::<E>(arena)?];
        let (width, keys) = (query.shape.channels, key.shape.area());
        let head_width = width / heads;
        let pack = |number: usize| {
            let place =
                |token: usize| ((number / heads) * keys + token) * width + number % heads * head_width;
            let (key, value) = (key.slice::<E>(), value.slice::<E>());
            let room = Room { threads: None, arena: Some(arena) };
            let of_keys = pack::Shape { taps: 1, depth: head_width, columns: keys, gated: false };
            let of_values = pack::Shape { taps: 1, depth: keys, columns: head_width, gated: false };
            let keys = Packed::new(
                of_keys,
                kernels.layout,
                &room,
                |_, depth, token| key[place(token) + depth].widen(),
                |_| 0.0,
            )?;
            let values = Packed::new(
                of_values,
                kernels.layout,
                &room,
                |_, token, column| value[place(token) + column].widen(),
                |_| 0.0,
            )?;
            Ok((keys, values))
        };
        let packed = self.machine.threads.map(query.shape.rows * heads, pack);
        let packed = packed.into_iter().collect::<Result<Vec<_>>>()?;
        Tensor::build::<E>(arena, query.shape, |out| {
            let task = Attention {
                heads: Heads {
                    query: query.slice::<E>(),
                    queries: query.shape.area(),
                    keys,
                    width,
                    heads,
                    scale: 1.0 / (head_width as f32).sqrt(),
                    causal,
                    out: Out::new(out),
                },
                packed: &packed,
            };
            kernels.attend(&self.machine.threads, &task, query.shape.rows * heads);
        })
    }

    fn gathered<E: Kept>(&self, shape: Shape, sources: &[(&Tensor, usize)], run: usize) -> Result<Tensor> {
        let sources = sources.iter().map(|(tensor, size)| Ok((tensor.in_format::<E>(self.arena())?, *size)));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        Tensor::build::<E>(self.arena(), shape, |out| {
            self.machine.threads.chunks(out, run, |index, out| {
                let mut rest = out;
                for (tensor, size) in &sources {
                    let (part, after) = rest.split_at_mut(*size);
                    part.copy_from_slice(&tensor.slice::<E>()[index * size..][..*size]);
                    rest = after;
                }
            });
        })
    }
}

fn matrix(weight: &Weight<'_>) -> ConvSpec {
    ConvSpec {
        input: weight.shape[1],
        output: weight.shape[0],
        kernel: 1,
        stride: 1,
        padding: Padding::Around(0),
    }
}

impl Ops for CpuOps {
    type Tensor = Tensor;
    type Conv = Conv;
    type Linear = Linear;
    type Gated = Linear;
    type GroupNorm = GroupNorm;
    type LayerNorm = Norm;
    type Embedding = Embedding;

    fn precise(&self) -> &Self {
        self.precise.as_deref().unwrap_or(self)
    }

    fn fine(&self) -> &Self {
        self.fine.as_deref().unwrap_or(self)
    }

    fn adopt(&self, tensor: &Tensor) -> Result<Tensor> {
        self.own(tensor.clone())
    }

    fn conv(&self, spec: ConvSpec, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Conv> {
        Ok(Conv { spec, weights: self.weights(weight, bias, spec, false)? })
    }

    fn linear(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Linear> {
        Ok(Linear { weights: self.weights(weight, bias, matrix(weight), false)? })
    }

    fn gated(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Linear> {
        Ok(Linear { weights: self.weights(weight, bias, matrix(weight), true)? })
    }

    fn group_norm(
        &self,
        groups: usize,
        epsilon: f32,
        weight: &Weight<'_>,
        bias: &Weight<'_>,
    ) -> Result<GroupNorm> {
        Ok(GroupNorm { norm: self.layer_norm(epsilon, weight, bias)?, groups })
    }

    fn layer_norm(&self, epsilon: f32, weight: &Weight<'_>, bias: &Weight<'_>) -> Result<Norm> {
        Ok(Norm { epsilon, weight: read(weight)?, bias: read(bias)? })
    }

    fn embedding(&self, weight: &Weight<'_>) -> Result<Embedding> {
        Ok(Embedding { values: read(weight)?, width: weight.shape[1] })
    }

    fn image(&self, [rows, channels, height, width]: [usize; 4], values: &[f32]) -> Result<Tensor> {
        let shape = Shape { rows, height, width, channels, is_image: true };
        let area = shape.area();
        self.upload(shape, |out| {
            for (place, out) in out.iter_mut().enumerate() {
                let (pixel, channel) = (place / channels, place % channels);
                *out = values[(pixel / area * channels + channel) * area + pixel % area];
            }
        })
    }

    fn tokens(&self, [rows, tokens, channels]: [usize; 3], values: &[f32]) -> Result<Tensor> {
        let shape = Shape { rows, height: tokens, width: 1, channels, is_image: false };
        self.upload(shape, |out| out.copy_from_slice(values))
    }

    fn download(&self, tensor: &Tensor, out: &mut [f32]) -> Result<()> {
        let tensor = tensor.in_format::<f32>(self.arena())?;
        let (values, shape) = (tensor.slice::<f32>(), tensor.shape);
        if !shape.is_image {
            out.copy_from_slice(values);
            return Ok(());
        }
        let (area, channels) = (shape.area(), shape.channels);
        for (place, out) in out.iter_mut().enumerate() {
            let (row, rest) = (place / (channels * area), place % (channels * area));
            *out = values[(row * area + rest % area) * channels + rest / area];
        }
        Ok(())
    }

    fn image_shape(&self, image: &Tensor) -> [usize; 4] {
        let Shape { rows, height, width, channels, .. } = image.shape;
        [rows, channels, height, width]
    }

    fn stack(&self, tensors: &[&Tensor]) -> Result<Tensor> {
        let rows = tensors.iter().map(|tensor| tensor.shape.rows).sum();
        let shape = Shape { rows, ..tensors[0].shape };
        let parts: Vec<_> = tensors.iter().map(|tensor| (*tensor, tensor.shape.count())).collect();
        in_format!(self, _kernels, E => self.gathered::<E>(shape, &parts, shape.count()))
    }

    fn apply_conv(&self, conv: &Conv, image: &Tensor, add: ConvAdd<'_, Tensor>) -> Result<Tensor> {
        self.convolve(conv, (image, [image.shape.height, image.shape.width]), &add)
    }

    fn upsample_conv(
        &self,
        conv: &Conv,
        image: &Tensor,
        height: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Tensor> {
        self.convolve(conv, (image, [height, width]), &ConvAdd { activation, ..ConvAdd::default() })
    }

    fn average_pool(&self, image: &Tensor) -> Result<Tensor> {
        let image = image.in_format::<f32>(self.arena())?;
        let Shape { height, width, channels, .. } = image.shape;
        let shape = Shape { height: height.div_ceil(2), width: width.div_ceil(2), ..image.shape };
        let values = image.slice::<f32>();
        self.upload(shape, |out| {
            for (place, out) in out.chunks_mut(channels).enumerate() {
                let (row, pixel) = (place / shape.area(), place % shape.area());
                let (y, x) = (2 * (pixel / shape.width), 2 * (pixel % shape.width));
                let (ys, xs) = (y..height.min(y + 2), x..width.min(x + 2));
                let inverse = 1.0 / (ys.len() * xs.len()) as f32;
                out.fill(0.0);
                for pixel in ys.flat_map(|y| xs.clone().map(move |x| (row * height + y) * width + x)) {
                    let pixel = &values[pixel * channels..][..channels];
                    out.iter_mut().zip(pixel).for_each(|(out, value)| *out += value);
                }
                out.iter_mut().for_each(|out| *out *= inverse);
            }
        })
    }

    fn apply_group_norm(&self, norm: &GroupNorm, image: &Tensor, activation: Activation) -> Result<Tensor> {
        let image = self.own(image.clone())?;
        in_format!(self, kernels, E => {
            self.machine.group_norm::<E>(kernels, &norm.norm, norm.groups, &image, activation)
        })
    }

    fn concat_channels(&self, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        let (one, two) = (first.shape.channels, second.shape.channels);
        let shape = Shape { channels: one + two, ..first.shape };
        in_format!(self, _kernels, E => self.gathered::<E>(shape, &[(first, one), (second, two)], one + two))
    }

    fn image_to_tokens(&self, image: &Tensor) -> Result<Tensor> {
        let shape = Shape { height: image.shape.area(), width: 1, is_image: false, ..image.shape };
        Ok(Tensor { shape, values: image.values.clone() })
    }

    fn tokens_to_image(&self, tokens: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let shape = Shape { height, width, is_image: true, ..tokens.shape };
        Ok(Tensor { shape, values: tokens.values.clone() })
    }

    fn apply_linear(
        &self,
        linear: &Linear,
        tokens: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let joining = Joining { per_channel: None, residual, residual_first: false, activation };
        self.multiply(&linear.weights, tokens, joining)
    }

    fn apply_geglu(&self, gated: &Linear, tokens: &Tensor) -> Result<Tensor> {
        let activation = Activation::None;
        let joining = Joining { per_channel: None, residual: None, residual_first: false, activation };
        self.multiply(&gated.weights, tokens, joining)
    }

    fn apply_layer_norm(&self, norm: &Norm, tokens: &Tensor) -> Result<Tensor> {
        let tokens = self.own(tokens.clone())?;
        in_format!(self, kernels, E => self.machine.layer_norm::<E>(kernels, norm, &tokens))
    }

    fn attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        heads: usize,
        causal: bool,
    ) -> Result<Tensor> {
        let head_width = query.shape.channels / heads;
        if head_width > MOST_WIDTH {
            let message = format!("attention heads of {head_width} values; up to {MOST_WIDTH} are known");
            return Err(Error::unsupported(message));
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = self.amx {
            return self.attend_tiled(amx, [query, key, value], heads, causal);
        }
        match self.bf16 {
            Some(kernels) if head_width.is_multiple_of(Bf16::DEPTH) => {
                self.attend(kernels, [query, key, value], heads, causal)
            }
            _ => self.own(self.attend(self.f32, [query, key, value], heads, causal)?),
        }
    }

    fn embed(&self, table: &Embedding, ids: &[u32]) -> Result<Tensor> {
        let shape = Shape { rows: 1, height: ids.len(), width: 1, channels: table.width, is_image: false };
        self.upload(shape, |out| {
            for (out, id) in out.chunks_mut(table.width).zip(ids) {
                out.copy_from_slice(&table.values[*id as usize * table.width..][..table.width]);
            }
        })
    }

    fn add(&self, first: &Tensor, second: &Tensor, activation: Activation) -> Result<Tensor> {
        let (first, second) = (self.own(first.clone())?, self.own(second.clone())?);
        in_format!(self, kernels, E => {
            self.machine.add::<E>(kernels, [&first, &second], |_| 1.0, activation)
        })
    }

    fn add_scaled(&self, first: &Tensor, second: &Tensor, scales: &[f32]) -> Result<Tensor> {
        let (first, second) = (self.own(first.clone())?, self.own(second.clone())?);
        in_format!(self, kernels, E => {
            self.machine.add::<E>(kernels, [&first, &second], |row| scales[row], Activation::None)
        })
    }
}
