// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A backend in a process of its own: [`Worker`] is a [`Backend`] whose calls are carried out by a child
//! process, `alice worker`. A library that crashes, hangs or talks nonsense takes that process with it and
//! nothing else: the call fails with [`DeviceLost`](alice_plugin::ErrorKind::DeviceLost) and a sentence for the operator.
//!
//! Calls and answers are frames on a socket (`worker/frames.rs`), tensors lie in memory that both share
//! (`worker/memory.rs`). The child's half is `worker/serve.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alice_plugin::load::backend_name;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    Error, LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, NamedTensor, Result, TextPart,
    TextRequest, Uncontrolled, UpscaleOptions,
};
use bytemuck::{cast_slice, cast_slice_mut};
use serde_json::Value;
use tracing::level_filters::LevelFilter;

mod answers;
mod channel;
mod confine;
mod frames;
mod logs;
mod memory;
mod process;
mod serve;

pub(crate) use confine::enter as confine;
pub(crate) use memory::file as memory_file;
pub(crate) use process::Process;
pub use process::program;
pub use serve::serve;

use channel::Channel;
use frames::{Answer, Call, Chunk, Hint, Row, Tensor};
use memory::{Layout, Span};

/// How long a library may take at most to be opened and to describe itself. Drivers of cold devices take seconds.
const OPENING: Duration = Duration::from_secs(30);
/// The most values that a part of an encoded prompt may have; more is taken for a broken count.
const PART_LIMIT: usize = 1 << 27;

/// How long a worker may show no sign of life before it is ended. Clones share the value, so that whoever
/// learns how long a step takes can change it at any time.
#[derive(Clone, Debug)]
pub struct Patience {
    least: Duration,
    silence_ms: Arc<AtomicU64>,
}

impl Patience {
    /// A limit of so much time, until somebody learns that more is needed.
    pub fn new(least: Duration) -> Self {
        Self { least, silence_ms: Arc::default() }
    }

    /// Where it is written, in milliseconds, how long a call that is well may be silent. It counts where it is
    /// more than the limit, also for the call that is running.
    pub fn silence_ms(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.silence_ms)
    }

    /// The limit now.
    pub fn get(&self) -> Duration {
        self.least.max(Duration::from_millis(self.silence_ms.load(Ordering::Relaxed)))
    }
}

/// A backend in a child process. Dropping it ends the process and everything that it has started.
///
/// When the process dies the running call fails with [`DeviceLost`](alice_plugin::ErrorKind::DeviceLost), and
/// so does every later one: a new worker is needed. The process is also ended when the backend itself says
/// that it has lost its device or has panicked, so that its memory is free for the next one.
#[derive(Debug)]
pub struct Worker {
    channel: Channel,
    patience: Patience,
    contract: (u16, u16),
    description: Description,
}

impl Worker {
    /// Starts `program worker` ([`program`] is the running one), which opens `library` and starts an instance
    /// with `options`. `threads` among them is also the number into which rayon is to cut its work.
    ///
    /// # Errors
    /// `Internal` when no process can be started; `DeviceLost` when it dies of opening the library or takes
    /// longer for it than `patience` and than 30 s allow; what the library itself says.
    pub fn start(program: &Path, library: &Path, options: &Value, patience: Patience) -> Result<Self> {
        let name = backend_name(library).unwrap_or_else(|| library.display().to_string());
        let mut channel = Channel::open(name, program, options["threads"].as_u64())?;
        let call = Call::Open {
            library: library.to_owned(),
            options: options.clone(),
            level: LevelFilter::current().to_string(),
        };
        let opening = Patience::new(patience.get().min(OPENING));
        let answer = channel.call(call, &Layout::new(), &opening, &Uncontrolled)?;
        let Answer::Opened(major, minor, description) = answer else { return Err(channel.garbled()) };
        Ok(Self { channel, patience, contract: (major, minor), description })
    }

    /// Major and minor version of the contract that the library speaks.
    pub fn contract(&self) -> (u16, u16) {
        self.contract
    }

    /// What the backend said of itself when it was started.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The number by which the system knows the process; `None` when it has ended.
    pub fn process_id(&self) -> Option<u32> {
        self.channel.process_id()
    }

    /// Why the process is no more, if it has ended since its last call.
    pub fn obituary(&mut self) -> Option<Error> {
        self.channel.obituary()
    }

    fn call(&mut self, call: Call, layout: &Layout<'_>, control: &dyn Control) -> Result<Answer> {
        self.channel.call(call, layout, &self.patience, control)
    }

    /// A call without tensors, which nobody stops.
    fn ask(&mut self, call: Call) -> Result<Answer> {
        self.call(call, &Layout::new(), &Uncontrolled)
    }

    /// A call that fills these pieces of the shared memory, which are then read.
    fn fill(
        &mut self,
        call: Call,
        layout: &Layout<'_>,
        control: &dyn Control,
        outs: &mut [(Span, &mut [u8])],
    ) -> Result<()> {
        let answer = self.call(call, layout, control).and_then(|answer| self.nothing(answer));
        let filled =
            answer.and_then(|()| outs.iter_mut().try_for_each(|(at, out)| self.channel.read(at.at, out)));
        self.channel.tidy();
        filled
    }

    /// Checks that a call has the answer that calls without a result have.
    fn nothing(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Nothing => Ok(()),
            _ => Err(self.channel.garbled()),
        }
    }
}

impl Backend for Worker {
    fn describe(&mut self) -> Result<Description> {
        match self.ask(Call::Describe)? {
            Answer::Described(description) => Ok(description),
            _ => Err(self.channel.garbled()),
        }
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        match self.call(Call::Load(request.clone()), &Layout::new(), control)? {
            Answer::Loaded(model, info) => Ok((ModelHandle(model), info)),
            _ => Err(self.channel.garbled()),
        }
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        let adapters =
            adapters.iter().map(|adapter| (adapter.path.clone(), adapter.scale.to_bits())).collect();
        let answer = self.call(Call::Adapt { model: model.0, adapters }, &Layout::new(), control)?;
        self.nothing(answer)
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let mut layout = Layout::new();
        let chunks = request.chunks.iter().map(|chunk| Chunk {
            encoder: chunk.encoder,
            ids: layout.place(cast_slice(chunk.ids)),
            weights: layout.place(cast_slice(chunk.weights)),
        });
        let chunks = chunks.collect();
        let extra_rows = tensors(&mut layout, request.extra_rows);
        let call = Call::EncodeText { model: model.0, chunks, extra_rows, clip_skip: request.clip_skip };
        match self.call(call, &layout, control)? {
            Answer::Handle(handle) => Ok(ConditioningHandle(handle)),
            _ => Err(self.channel.garbled()),
        }
    }

    fn read_text(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Result<Vec<f32>> {
        let call = Call::ReadText { conditioning: conditioning.0, part: part.name().to_owned() };
        match self.ask(call)? {
            Answer::Values(count) if count <= PART_LIMIT => {
                let mut values = vec![0.0; count];
                let at = Layout::new().behind(0).at;
                self.channel.read(at, cast_slice_mut(&mut values))?;
                Ok(values)
            }
            _ => Err(self.channel.garbled()),
        }
    }

    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        let mut layout = Layout::new();
        let rows = rows.iter().map(|row| Row {
            latent: layout.place(cast_slice(row.latent)),
            timestep: row.timestep.to_bits(),
            conditioning: row.conditioning.0,
            extras: tensors(&mut layout, row.extras),
            hints: row.hints.iter().map(hint).collect(),
        });
        let (model, shape, rows, room) =
            (model.0, sides(shape), rows.collect(), layout.behind(size_of_val(out)));
        let call = Call::Denoise { model, shape, rows, out: room };
        self.fill(call, &layout, control, &mut [(room, cast_slice_mut(out))])
    }

    fn decode(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        latents: &[f32],
        options: &DecodeOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        let mut layout = Layout::new();
        let latents = layout.place(cast_slice(latents));
        let (model, shape, room) = (model.0, sides(shape), layout.behind(out.len()));
        let call = Call::Decode { model, shape, latents, options: *options, out: room };
        self.fill(call, &layout, control, &mut [(room, out)])
    }

    fn encode_image(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        let mut layout = Layout::new();
        let pixels = layout.place(pixels);
        let means = layout.behind(size_of_val(mean));
        let deviations = means.next(size_of_val(deviation));
        let (model, shape) = (model.0, sides(shape));
        let options = *options;
        let call = Call::EncodeImage { model, shape, pixels, options, mean: means, deviation: deviations };
        let outs = &mut [(means, cast_slice_mut(mean)), (deviations, cast_slice_mut(deviation))];
        self.fill(call, &layout, control, outs)
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let mut layout = Layout::new();
        let pixels = layout.place(pixels);
        let call = Call::EncodeHint { model: model.0, shape: sides(shape), pixels };
        match self.call(call, &layout, control)? {
            Answer::Handle(handle) => Ok(ConditioningHandle(handle)),
            _ => Err(self.channel.garbled()),
        }
    }

    fn upscale(
        &mut self,
        model: ModelHandle,
        height: u32,
        width: u32,
        pixels: &[u8],
        options: &UpscaleOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        let mut layout = Layout::new();
        let pixels = layout.place(pixels);
        let (model, options, room) = (model.0, *options, layout.behind(out.len()));
        let call = Call::Upscale { model, height, width, pixels, options, out: room };
        self.fill(call, &layout, control, &mut [(room, out)])
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        let answer = self.ask(Call::Release(conditioning.0))?;
        self.nothing(answer)
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        let answer = self.ask(Call::Unload(model.0))?;
        self.nothing(answer)
    }

    fn memory(&mut self) -> Result<Memory> {
        match self.ask(Call::Memory)? {
            Answer::Used(memory) => Ok(memory),
            _ => Err(self.channel.garbled()),
        }
    }
}

fn sides(LatentShape { channels, height, width }: LatentShape) -> [u32; 3] {
    [channels, height, width]
}

fn hint(&alice_plugin::Hint { model, hint, scale }: &alice_plugin::Hint) -> Hint {
    Hint { model: model.0, hint: hint.0, scale: scale.to_bits() }
}

fn tensors<'a>(layout: &mut Layout<'a>, tensors: &[NamedTensor<'a>]) -> Vec<Tensor> {
    let tensor = |tensor: &NamedTensor<'a>| Tensor {
        name: tensor.name.to_owned(),
        shape: tensor.shape.to_vec(),
        data: layout.place(cast_slice(tensor.data)),
    };
    tensors.iter().map(tensor).collect()
}
