// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The engine against a backend that holds still until it is told to go on.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};

use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, Error, ErrorKind,
    LatentShape, LoadRequest, Memory, ModelFiles, ModelHandle, ModelInfo, Result, TextEncoderInfo,
    TextRequest,
};
use futures::FutureExt;

use super::{Chunk, Engine, Extra, Row};

const SHAPE: LatentShape = LatentShape { channels: 1, height: 1, width: 2 };

/// Answers each row with its latent plus its timestep, and notes what it was asked.
struct Gated {
    /// Each denoising call waits for one permission; `Err` is what the call then fails with.
    gate: Arc<Mutex<mpsc::Receiver<Result<()>>>>,
    seen: mpsc::Sender<usize>,
    handles: u64,
}

impl Backend for Gated {
    fn describe(&mut self) -> Result<Description> {
        Err(Error::internal("not asked in these tests"))
    }

    fn load(&mut self, _: &LoadRequest, _: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        self.handles += 1;
        let encoder = TextEncoderInfo { context_length: 1, vocab_size: 1, hidden_size: 1 };
        let info = ModelInfo {
            latent_channels: 1,
            output_channels: 1,
            latent_scale: 1,
            text_encoders: vec![encoder],
            inputs: Vec::new(),
            dtype: "f32".into(),
            memory_bytes: 0,
        };
        Ok((ModelHandle(self.handles), info))
    }

    fn adapt(&mut self, _: ModelHandle, _: &[Adapter], _: &dyn Control) -> Result<()> {
        Ok(())
    }

    fn encode_text(
        &mut self,
        _: ModelHandle,
        _: &TextRequest<'_>,
        _: &dyn Control,
    ) -> Result<ConditioningHandle> {
        self.handles += 1;
        Ok(ConditioningHandle(self.handles))
    }

    fn denoise(
        &mut self,
        _: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.seen.send(rows.len()).unwrap();
        self.gate.lock().unwrap().recv().unwrap()?;
        control.progress(0, 1)?;
        for (row, out) in rows.iter().zip(out.chunks_mut(shape.len())) {
            for (value, out) in row.latent.iter().zip(out) {
                *out = value + row.timestep;
            }
        }
        Ok(())
    }

    fn decode(
        &mut self,
        _: ModelHandle,
        _: LatentShape,
        _: &[f32],
        _: &DecodeOptions,
        out: &mut [u8],
        _: &dyn Control,
    ) -> Result<()> {
        out.fill(7);
        Ok(())
    }

    fn encode_image(
        &mut self,
        _: ModelHandle,
        _: LatentShape,
        _: &[u8],
        _: &mut [f32],
        _: &mut [f32],
        _: &dyn Control,
    ) -> Result<()> {
        Err(Error::unsupported("not asked in these tests"))
    }

    fn release(&mut self, _: ConditioningHandle) -> Result<()> {
        Ok(())
    }

    fn unload(&mut self, _: ModelHandle) -> Result<()> {
        Ok(())
    }

    fn memory(&mut self) -> Result<Memory> {
        Ok(Memory::default())
    }
}

/// An engine over a [`Gated`] backend, with the ends that steer it.
struct Bench {
    engine: Engine,
    go: mpsc::Sender<Result<()>>,
    seen: mpsc::Receiver<usize>,
}

impl Bench {
    fn new(max_rows: usize) -> Self {
        let ((go, gate), (notes, seen)) = (mpsc::channel(), mpsc::channel());
        let gate = Arc::new(Mutex::new(gate));
        let start = move || {
            Ok(Box::new(Gated { gate: gate.clone(), seen: notes.clone(), handles: 0 }) as Box<dyn Backend>)
        };
        Self { engine: Engine::start(Box::new(start), max_rows).unwrap(), go, seen }
    }

    /// Lets as many denoising calls end, each in its way.
    fn allow(&self, ends: impl IntoIterator<Item = Result<()>>) {
        ends.into_iter().for_each(|end| self.go.send(end).unwrap());
    }

    /// `call`, after the backend has begun with its one row and waits for permission.
    async fn running<T>(&self, call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
        let call = waiting(call);
        assert_eq!(self.seen.recv().unwrap(), 1);
        call
    }

    async fn model(&self) -> Arc<super::LoadedModel> {
        let files = ModelFiles::Diffusers { path: PathBuf::from("nowhere") };
        let request = LoadRequest { files, family: "sd1".into(), dtype: "auto".into(), device: 0 };
        self.engine.load(request).await.unwrap()
    }

    async fn row(&self, model: &Arc<super::LoadedModel>, timestep: f32) -> Row {
        let chunk = Chunk { encoder: 0, ids: vec![0], weights: vec![1.0] };
        let conditioning = self.engine.encode(model, vec![chunk], 0).await.unwrap();
        Row { latent: Arc::new([10.0, 20.0]), timestep, conditioning, extras: Arc::new([]) }
    }
}

/// `call`, after it has put itself into the mailbox.
fn waiting<T>(call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    assert!(call.as_mut().now_or_never().is_none());
    call
}

#[tokio::test]
async fn evaluations_that_wait_together_share_a_pass_and_get_their_own_rows() {
    let bench = Bench::new(3);
    let model = bench.model().await;
    let (one, two, three) =
        (bench.row(&model, 1.0).await, bench.row(&model, 2.0).await, bench.row(&model, 3.0).await);
    let evaluate = |rows| bench.engine.denoise(&model, SHAPE, rows);
    let first = bench.running(evaluate(vec![one.clone()])).await;
    let others = futures::future::join3(
        evaluate(vec![one.clone(), two.clone()]),
        evaluate(vec![three.clone()]),
        evaluate(vec![two.clone(), three]),
    );
    let others = waiting(others);
    bench.allow([Ok(()), Ok(()), Ok(())]);
    let (first, (second, third, fourth)) = (first.await, others.await);
    assert_eq!(first.unwrap(), [11.0, 21.0]);
    assert_eq!(second.unwrap(), [11.0, 21.0, 12.0, 22.0]);
    assert_eq!(third.unwrap(), [13.0, 23.0]);
    assert_eq!(fourth.unwrap(), [12.0, 22.0, 13.0, 23.0]);
    assert_eq!(bench.seen.try_iter().collect::<Vec<_>>(), [3, 2], "two rows and one join, the last two wait");
}

#[tokio::test]
async fn one_evaluation_is_never_split_and_other_shapes_never_join() {
    let bench = Bench::new(1);
    let model = bench.model().await;
    let row = bench.row(&model, 0.0).await;
    let tall = LatentShape { height: 2, width: 1, ..SHAPE };
    bench.allow([Ok(()), Ok(())]);
    let (both, other) = futures::future::join(
        bench.engine.denoise(&model, SHAPE, vec![row.clone(), row.clone()]),
        bench.engine.denoise(&model, tall, vec![row.clone()]),
    )
    .await;
    assert_eq!((both.unwrap().len(), other.unwrap().len()), (4, 2));
    assert_eq!(bench.seen.try_iter().collect::<Vec<_>>(), [2, 1]);
}

#[tokio::test]
async fn rows_with_other_further_inputs_never_join() {
    let bench = Bench::new(8);
    let model = bench.model().await;
    let row = bench.row(&model, 0.0).await;
    let with = |name: &str, count: u32| {
        let extra = Extra { name: name.into(), shape: vec![count], data: vec![0.0; count as usize] };
        vec![Row { extras: Arc::new([extra]), ..row.clone() }]
    };
    let running = bench.running(bench.engine.denoise(&model, SHAPE, vec![row.clone()])).await;
    let evaluate = |rows| bench.engine.denoise(&model, SHAPE, rows);
    let others = futures::future::join4(
        evaluate(with("time_ids", 6)),
        evaluate(with("time_ids", 5)),
        evaluate(with("concat", 6)),
        evaluate(with("time_ids", 6)),
    );
    let others = waiting(others);
    bench.allow([Ok(()), Ok(()), Ok(()), Ok(())]);
    running.await.unwrap();
    let (first, second, third, fourth) = others.await;
    assert!([first, second, third, fourth].iter().all(Result::is_ok));
    assert_eq!(bench.seen.try_iter().collect::<Vec<_>>(), [2, 1, 1], "the first and the last joined");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_runs_one_by_one() {
    let bench = Bench::new(4);
    let model = bench.model().await;
    let (one, two) = (bench.row(&model, 1.0).await, bench.row(&model, 2.0).await);
    let evaluate = |row: &Row| bench.engine.denoise(&model, SHAPE, vec![row.clone()]);
    let running = bench.running(evaluate(&one)).await;
    let others = waiting(futures::future::join(evaluate(&one), evaluate(&two)));
    let no_memory = || Err(Error::new(ErrorKind::OutOfMemory, "full"));
    bench.allow([Ok(()), no_memory(), Ok(()), no_memory()]);
    running.await.unwrap();
    let (first, second) = others.await;
    assert_eq!(first.unwrap(), [11.0, 21.0]);
    assert_eq!(second.unwrap_err().kind, ErrorKind::OutOfMemory, "alone it did not fit either");
    assert_eq!(bench.seen.try_iter().collect::<Vec<_>>(), [2, 1, 1]);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_skipped() {
    let bench = Bench::new(1);
    let model = bench.model().await;
    let row = bench.row(&model, 0.0).await;
    let running = bench.running(bench.engine.denoise(&model, SHAPE, vec![row.clone()])).await;
    drop(waiting(bench.engine.denoise(&model, SHAPE, vec![row.clone(), row.clone()])));
    bench.allow([Ok(()), Ok(())]);
    running.await.unwrap();
    bench.engine.denoise(&model, SHAPE, vec![row]).await.unwrap();
    assert_eq!(bench.seen.try_iter().collect::<Vec<_>>(), [1], "the pass of two rows never ran");
}

#[tokio::test]
async fn a_backend_that_died_is_started_anew_and_old_handles_are_refused() {
    let bench = Bench::new(1);
    let model = bench.model().await;
    let row = bench.row(&model, 0.0).await;
    bench.allow([Err(Error::new(ErrorKind::Panic, "boom"))]);
    let died = bench.engine.denoise(&model, SHAPE, vec![row.clone()]).await.unwrap_err();
    assert_eq!(died.kind, ErrorKind::Panic);
    assert_eq!(bench.engine.models_loaded(), 0);
    let old = bench.engine.denoise(&model, SHAPE, vec![row]).await.unwrap_err();
    assert_eq!(old.kind, ErrorKind::DeviceLost, "the new instance is not asked about handles of the old one");
    let model = bench.model().await;
    let row = bench.row(&model, 5.0).await;
    bench.allow([Ok(())]);
    assert_eq!(bench.engine.denoise(&model, SHAPE, vec![row]).await.unwrap(), [15.0, 25.0]);
}

#[tokio::test]
async fn a_model_is_loaded_once_and_stays_while_it_is_held() {
    let bench = Bench::new(1);
    let model = bench.model().await;
    assert!(Arc::ptr_eq(&model, &bench.model().await));
    let files = ModelFiles::Diffusers { path: PathBuf::from("elsewhere") };
    let other = LoadRequest { files, family: "sd1".into(), dtype: "auto".into(), device: 0 };
    let held = bench.engine.load(other.clone()).await.unwrap();
    assert_eq!(bench.engine.models_loaded(), 2, "a model that a request holds is not evicted");
    drop((model, held));
    bench.engine.load(LoadRequest { dtype: "f32".into(), ..other }).await.unwrap();
    assert_eq!(bench.engine.models_loaded(), 1);
}
