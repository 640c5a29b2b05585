// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! In the worker: one call after the other, from the frame and the shared memory to the library and back.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alice_plugin::load::PluginBackend;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DenoiseRow, Error, Hint, LatentShape, ModelHandle,
    NamedTensor, Result, TextChunk, TextPart, TextRequest,
};
use bytemuck::{AnyBitPattern, cast_slice, cast_slice_mut, try_cast_slice};

use super::frames::{Answer, Call, Chunk, Message, Request, Row, Sender, Tensor};
use super::memory::{KEPT, Memory, Span};

/// The shortest time between two signs of life: the daemon needs no more, and each wakes it.
const BREATH: Duration = Duration::from_millis(20);

/// The backend, and what its calls need.
pub(super) struct Worker {
    backend: PluginBackend,
    memory: Memory,
    sender: Arc<Sender>,
    /// The tensors of a call, in and out; room that is not large is kept for the next one.
    input: Vec<u32>,
    output: Vec<u32>,
}

impl Worker {
    pub(super) fn new(backend: PluginBackend, memory: Memory, sender: Arc<Sender>) -> Self {
        Self { backend, memory, sender, input: Vec::new(), output: Vec::new() }
    }

    /// Gives back what a large call took. It has been answered.
    pub(super) fn tidy(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if size_of_val(buffer.as_slice()) as u64 > KEPT {
                *buffer = Vec::new();
            }
        }
    }

    /// Runs one call.
    pub(super) fn answer(&mut self, request: &Request) -> Result<Answer> {
        let Self { backend, memory, sender, input, output } = self;
        let (memory, control) = (&*memory, &Listening::new(request.number, memory, sender));
        let whole = request.input;
        let bytes = room(input, whole.length);
        memory.read(whole.at, bytes).map_err(unshared)?;
        let input = Input { bytes, whole };
        match &request.call {
            Call::Open { .. } => Err(Error::invalid("a library is open already")),
            Call::Describe => backend.describe().map(Answer::Described),
            Call::Load(request) => {
                let (model, info) = backend.load(request, control)?;
                Ok(Answer::Loaded(model.0, info))
            }
            Call::Adapt { model, adapters } => {
                let adapters: Vec<_> = adapters
                    .iter()
                    .map(|(path, scale)| Adapter { path: path.clone(), scale: f32::from_bits(*scale) })
                    .collect();
                backend.adapt(ModelHandle(*model), &adapters, control).map(|()| Answer::Nothing)
            }
            Call::EncodeText { model, chunks, extra_rows, clip_skip } => {
                let chunks = chunks.iter().map(|chunk| input.chunk(chunk)).collect::<Result<Vec<_>>>()?;
                let extra_rows = input.tensors(extra_rows)?;
                let request = TextRequest { chunks: &chunks, extra_rows: &extra_rows, clip_skip: *clip_skip };
                let handle = backend.encode_text(ModelHandle(*model), &request, control)?;
                Ok(Answer::Handle(handle.0))
            }
            Call::ReadText { conditioning, part } => {
                let named = TextPart::named(part);
                let part = named.ok_or_else(|| Error::invalid(format!("a prompt has no part `{part}`")))?;
                let values = backend.read_text(ConditioningHandle(*conditioning), part)?;
                memory.write(whole.next(0).at, cast_slice(&values)).map_err(unshared)?;
                Ok(Answer::Values(values.len()))
            }
            Call::Denoise { model, shape, rows, out } => {
                let extras = rows.iter().map(|row| input.tensors(&row.extras)).collect::<Result<Vec<_>>>()?;
                let hints: Vec<_> = rows.iter().map(hints).collect();
                let rows = rows.iter().zip(extras.iter().zip(&hints));
                let rows = rows.map(|(row, (extras, hints))| input.row(row, extras, hints));
                let rows = rows.collect::<Result<Vec<_>>>()?;
                let values = room(output, out.length);
                backend.denoise(
                    ModelHandle(*model),
                    latent(shape),
                    &rows,
                    cast_slice_mut(values),
                    control,
                )?;
                give(memory, *out, values)
            }
            Call::Decode { model, shape, latents, options, out } => {
                let latents = input.numbers(*latents)?;
                let pixels = room(output, out.length);
                backend.decode(ModelHandle(*model), latent(shape), latents, options, pixels, control)?;
                give(memory, *out, pixels)
            }
            Call::EncodeImage { model, shape, pixels, options, mean, deviation } => {
                let (model, pixels) = (ModelHandle(*model), input.bytes(*pixels)?);
                let both = Span { at: mean.at, length: mean.length + deviation.length };
                let values = room(output, both.length);
                let (means, deviations) = values.split_at_mut(mean.length as usize);
                let (means, deviations) = (cast_slice_mut(means), cast_slice_mut(deviations));
                let shape = latent(shape);
                backend.encode_image(model, shape, pixels, options, means, deviations, control)?;
                give(memory, both, values)
            }
            Call::EncodeHint { model, shape, pixels } => {
                let pixels = input.bytes(*pixels)?;
                let handle = backend.encode_hint(ModelHandle(*model), latent(shape), pixels, control)?;
                Ok(Answer::Handle(handle.0))
            }
            Call::Upscale { model, height, width, pixels, options, out } => {
                let (model, pixels) = (ModelHandle(*model), input.bytes(*pixels)?);
                let larger = room(output, out.length);
                backend.upscale(model, *height, *width, pixels, options, larger, control)?;
                give(memory, *out, larger)
            }
            Call::Release(handle) => backend.release(ConditioningHandle(*handle)).map(|()| Answer::Nothing),
            Call::Unload(model) => backend.unload(ModelHandle(*model)).map(|()| Answer::Nothing),
            Call::Memory => backend.memory().map(Answer::Used),
        }
    }
}

/// The tensors that came with a call.
struct Input<'a> {
    bytes: &'a [u8],
    whole: Span,
}

impl<'a> Input<'a> {
    fn bytes(&self, span: Span) -> Result<&'a [u8]> {
        let found = span.within(self.whole).map(|range| &self.bytes[range]);
        found.ok_or_else(|| Error::internal("a tensor lies outside the shared memory"))
    }

    fn numbers<T: AnyBitPattern>(&self, span: Span) -> Result<&'a [T]> {
        let numbers = try_cast_slice(self.bytes(span)?);
        numbers.map_err(|error| Error::internal(format!("a tensor in the shared memory: {error}")))
    }

    fn chunk(&self, chunk: &Chunk) -> Result<TextChunk<'a>> {
        let (ids, weights) = (self.numbers(chunk.ids)?, self.numbers(chunk.weights)?);
        Ok(TextChunk { encoder: chunk.encoder, ids, weights })
    }

    fn tensors(&self, tensors: &'a [Tensor]) -> Result<Vec<NamedTensor<'a>>> {
        let tensor = |Tensor { name, shape, data }: &'a Tensor| {
            Ok(NamedTensor { name, shape, data: self.numbers(*data)? })
        };
        tensors.iter().map(tensor).collect()
    }

    fn row(&self, row: &Row, extras: &'a [NamedTensor<'a>], hints: &'a [Hint]) -> Result<DenoiseRow<'a>> {
        Ok(DenoiseRow {
            latent: self.numbers(row.latent)?,
            timestep: f32::from_bits(row.timestep),
            conditioning: ConditioningHandle(row.conditioning),
            extras,
            hints,
        })
    }
}

fn hints(row: &Row) -> Vec<Hint> {
    let hint = |hint: &super::frames::Hint| Hint {
        model: ModelHandle(hint.model),
        hint: ConditioningHandle(hint.hint),
        scale: f32::from_bits(hint.scale),
    };
    row.hints.iter().map(hint).collect()
}

/// `length` bytes of `buffer`, which grows to the next number of four bytes if it must.
fn room(buffer: &mut Vec<u32>, length: u64) -> &mut [u8] {
    // What the daemon asks for, it has in its own memory already.
    let length = length as usize;
    let words = length.div_ceil(size_of::<u32>());
    if buffer.len() < words {
        buffer.resize(words, 0);
    }
    &mut cast_slice_mut(buffer)[..length]
}

fn give(memory: &Memory, span: Span, bytes: &[u8]) -> Result<Answer> {
    memory.write(span.at, bytes).map_err(unshared)?;
    Ok(Answer::Nothing)
}

fn latent(&[channels, height, width]: &[u32; 3]) -> LatentShape {
    LatentShape { channels, height, width }
}

fn unshared(error: io::Error) -> Error {
    Error::internal(format!("the memory that is shared with the server: {error}"))
}

/// Tells the daemon now and then that a call goes on, and sees whether it is to stop.
struct Listening<'a> {
    number: u64,
    memory: &'a Memory,
    sender: &'a Sender,
    last: Cell<Instant>,
}

impl<'a> Listening<'a> {
    fn new(number: u64, memory: &'a Memory, sender: &'a Sender) -> Self {
        Self { number, memory, sender, last: Cell::new(Instant::now()) }
    }
}

impl Control for Listening<'_> {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        if self.memory.is_stopped(self.number).map_err(unshared)? {
            return Err(Error::cancelled());
        }
        let now = Instant::now();
        if now.duration_since(self.last.get()) >= BREATH {
            self.last.set(now);
            let told = self.sender.send(&Message::Progress { done, total });
            // A daemon that cannot be told anything wants nothing any more.
            told.map_err(|_| Error::cancelled())?;
        }
        Ok(())
    }
}
