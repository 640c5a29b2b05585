// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations on tiles: what is copied in planes before it is multiplied, and what is multiplied where it lies.

use alice_checkpoint::Tensor as Weight;
use alice_nets::{ConvAdd, ConvSpec, Padding};
use alice_plugin::Result;

use crate::{
    format::Bf16,
    kernels::{
        amx::{
            Amx, Tile,
            planes::{Places, Planes, Stage, Staging},
            product::{Scales, Tiled},
        },
        attention::Heads,
        pack::Packed,
        product::Out,
        window::{Walk, Windows},
    },
    machine::Joining,
    ops::{CpuOps, Format},
    tensor::{Shape, Tensor},
};

/// Packed weights.
pub(crate) enum TileWeights {
    Bf16(Packed<Bf16>),
    /// With the size of a step in each column, in the order of the panels.
    Int8(Packed<i8>, Vec<f32>),
}

impl TileWeights {
    fn columns(&self) -> usize {
        match self {
            Self::Bf16(right) => right.columns(),
            Self::Int8(right, _) => right.columns(),
        }
    }
}

/// Channels below which int8 saves nothing: a tile takes 64 of them.
const FEWEST_INT8: usize = 64;

impl CpuOps {
    /// Packs a matrix.
    pub(crate) fn tiles(
        &self,
        weight: &Weight<'_>,
        bias: Option<&Weight<'_>>,
        spec: ConvSpec,
        gated: bool,
    ) -> Result<TileWeights> {
        if self.format == Format::Int8 && spec.input >= FEWEST_INT8 {
            let (right, steps) = self.machine.quantised(weight, bias, spec, gated)?;
            return Ok(TileWeights::Int8(right, steps));
        }
        Ok(TileWeights::Bf16(self.machine.packed(Bf16::LAYOUT, weight, bias, spec, gated)?))
    }

    pub(crate) fn linear_tiled(
        &self,
        amx: Amx,
        right: &TileWeights,
        tokens: &Tensor,
        joining: &Joining<'_>,
    ) -> Result<Tensor> {
        let tokens = tokens.in_format::<Bf16>(self.arena())?;
        let residual = self.brought::<Bf16>(joining.residual)?;
        let joining = &Joining { residual: residual.as_ref(), ..*joining };
        let Shape { rows, height, width, channels, .. } = tokens.shape;
        let shape = Shape { channels: right.columns(), ..tokens.shape };
        let values = tokens.slice::<Bf16>();
        let in_place = Places::in_place(tokens.shape.pixels(), tokens.shape.area(), channels);
        if let (TileWeights::Bf16(right), Some(places)) = (right, in_place) {
            let left = Planes { bytes: bytemuck::cast_slice(values), places: &places };
            return self.multiply_tiled(amx, left, right, None, joining, shape);
        }
        let how = Staging::Framed { frame: 0, source: [height, width] };
        let stage = Stage::new(values, channels, rows, [height, width], how);
        self.multiply_staged(amx, stage, right, joining, shape)
    }

    pub(crate) fn conv_tiled(
        &self,
        amx: Amx,
        right: &TileWeights,
        spec: ConvSpec,
        (image, seen): (&Tensor, [usize; 2]),
        add: &ConvAdd<'_, Tensor>,
    ) -> Result<Tensor> {
        let image = image.in_format::<Bf16>(self.arena())?;
        let beside = self.beside::<Bf16>(add)?;
        let joining = beside.joining();
        let Shape { rows, height, width, channels, .. } = image.shape;
        let (source, values) = ([height, width], image.slice::<Bf16>());
        let ConvSpec { kernel, stride, padding, output, .. } = spec;
        let shape =
            |[height, width]: [usize; 2]| Shape { rows, height, width, channels: output, is_image: true };
        let frame = match (kernel, stride, padding) {
            (3, 1, Padding::Around(1)) => Some(1),
            (1, 1, Padding::Around(0)) if seen == source => {
                return self.linear_tiled(amx, right, &image, &joining);
            }
            (1, 1, Padding::Around(0)) => Some(0),
            _ => None,
        };
        if let Some(frame) = frame {
            let stage = Stage::new(values, channels, rows, seen, Staging::Framed { frame, source });
            return self.multiply_staged(amx, stage, right, &joining, shape(seen));
        }
        let windows = Windows::new(Walk { kernel, stride, padding }, source, seen, channels);
        let result = windows.result();
        let how = Staging::Unfolded { windows: &windows, taps: kernel * kernel };
        let stage = Stage::new(values, channels, rows, result, how);
        self.multiply_staged(amx, stage, right, &joining, shape(result))
    }

    fn multiply_staged(
        &self,
        amx: Amx,
        stage: Stage<'_>,
        right: &TileWeights,
        joining: &Joining<'_>,
        shape: Shape,
    ) -> Result<Tensor> {
        let threads = &self.machine.threads;
        match right {
            TileWeights::Bf16(right) => {
                let (planes, places) = amx.stage(threads, self.arena(), &stage)?;
                let left = Planes { bytes: planes.as_slice(), places: &places };
                self.multiply_tiled(amx, left, right, None, joining, shape)
            }
            TileWeights::Int8(right, columns) => {
                let scales = stage.scales(&amx.magnitudes(threads, stage.image, stage.channels));
                let steps: Vec<_> = scales.iter().map(|scale| 1.0 / scale).collect();
                let (planes, places) = amx.stage(threads, self.arena(), &stage.in_int8(&steps))?;
                let left = Planes { bytes: planes.as_slice(), places: &places };
                let scales = Scales { left: &scales, right: columns };
                self.multiply_tiled(amx, left, right, Some(scales), joining, shape)
            }
        }
    }

    fn multiply_tiled<T: Tile>(
        &self,
        amx: Amx,
        left: Planes<'_>,
        right: &Packed<T>,
        scales: Option<Scales<'_>>,
        joining: &Joining<'_>,
        shape: Shape,
    ) -> Result<Tensor> {
        Tensor::build::<Bf16>(self.arena(), shape, |out| {
            let product = Tiled { left, joined: joining.to(right, Out::new(out)), scales };
            amx.multiply(&self.machine.threads, &product);
        })
    }

    pub(crate) fn attend_tiled(
        &self,
        amx: Amx,
        [query, key, value]: [&Tensor; 3],
        heads: usize,
        causal: bool,
    ) -> Result<Tensor> {
        let arena = self.arena();
        let [query, key, value] =
            [query.in_format::<Bf16>(arena)?, key.in_format::<Bf16>(arena)?, value.in_format::<Bf16>(arena)?];
        let mut buffer = arena.take::<Bf16>(query.shape.count())?;
        let task = Heads {
            query: query.slice::<Bf16>(),
            queries: query.shape.area(),
            keys: key.shape.area(),
            width: query.shape.channels,
            heads,
            scale: 1.0 / ((query.shape.channels / heads) as f32).sqrt(),
            causal,
            out: Out::new(buffer.as_mut_slice()),
        };
        let from = [key.slice::<Bf16>(), value.slice::<Bf16>()];
        amx.attend(&self.machine.threads, arena, task, from, query.shape.rows)?;
        Ok(Tensor::of::<Bf16>(query.shape, buffer))
    }
}
