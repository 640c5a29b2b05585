// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Networks that stand beside a model: those whose hints guide it, and those that make pictures larger. Also encoding
//! in tiles and of pixels that are not seen, which came with them.

use alice_plugin::{
    Backend, ConditioningHandle, Control, DecodeOptions, EncodeOptions, ErrorKind, Hint, LatentShape,
    ModelHandle, ModelInfo, Result, Uncontrolled, UpscaleOptions,
};

use super::control::can_be_cancelled;
use super::{Named, not_offered, refused};
use crate::conformance::bench::{Bench, Row};
use crate::conformance::{Stop, Subject, Verdict, ensure};

pub(super) const CHECKS: &[Named] = &[
    ("encoding pictures in tiles refuses tiles without a side, and can be cancelled", encoding_in_tiles),
    ("encoding pictures of which not all is seen is blind to what is not", encoding_what_is_seen),
    ("encoding a hint refuses pictures and shapes that do not fit as invalid", hint_arguments),
    ("encoding a hint shows progress and can be cancelled", encoding_a_hint_can_be_cancelled),
    ("a hint moves the answer by its scale, not at all by none, and the same twice", hints_act_by_scale),
    ("rows with hints give the same answers alone and beside rows with others", hints_ignore_company),
    ("hints that another model has encoded, or for another shape, are refused", hints_belong_to_their_model),
    ("rows whose hints are of different models, or of no finite scale, are invalid", hints_of_one_kind),
    ("a released hint is stale, and so are the hints of an unloaded model", released_hints_are_stale),
    ("making a picture larger refuses slices, sides and tiles that do not fit as invalid", larger_arguments),
    ("a larger picture has the model's factor, is written whole, and is the same twice", larger_pictures),
    ("making a picture larger shows progress and can be cancelled", larger_can_be_cancelled),
    ("networks that stand beside a model refuse as invalid what only others do", each_to_its_trade),
    ("unloading networks that stand beside a model gives their memory back", memory_comes_back),
];

const INVALID: &[ErrorKind] = &[ErrorKind::Invalid];
const STALE: &[ErrorKind] = &[ErrorKind::StaleHandle];
/// Both tell that a handle does not belong where it is used.
const FOREIGN: &[ErrorKind] = &[ErrorKind::Invalid, ErrorKind::StaleHandle];

/// The families whose hints guide a model.
const GUIDES: &[&str] = &["controlnet", "t2i_adapter"];
const UPSCALERS: &[&str] = &["upscaler"];

/// Sides of the pictures that are made larger.
const SIDES: (u32, u32) = (12, 20);

/// A network of one of these families, on the instance of `bench`.
fn load(subject: &Subject<'_>, bench: &mut Bench, families: &[&str]) -> Verdict<(ModelHandle, ModelInfo)> {
    let known = families.iter().any(|family| bench.description.families.iter().any(|known| known == family));
    if !known {
        return Err(Stop::Skipped(format!("it loads no {}", families.join(" or "))));
    }
    let beside = subject.model.into_iter().flat_map(|model| &model.beside);
    let found = beside.into_iter().find(|network| families.contains(&network.family.as_str()));
    let found =
        found.ok_or_else(|| Stop::Skipped(format!("it needs a {} to check with", families.join(" or "))))?;
    let request = found.request(&bench.description)?;
    Ok(bench.backend.load(&request, &Uncontrolled)?)
}

/// An instance with a model and one whose hints guide it.
struct Guided {
    bench: Bench,
    guide: ModelHandle,
}

impl Guided {
    fn new(subject: &Subject<'_>) -> Verdict<Self> {
        let mut bench = Bench::new(subject)?;
        let (guide, info) = load(subject, &mut bench, GUIDES)?;
        let suits = info.latent_channels == bench.info.latent_channels
            && info.latent_scale == bench.info.latent_scale;
        ensure(suits && info.output_channels == 0, || format!("what it has loaded cannot be: {info:?}"))?;
        Ok(Self { bench, guide })
    }

    /// The picture of this number, for the bench's shape.
    fn picture(&self, number: u8) -> Vec<u8> {
        (0..self.bench.picture_len()).map(|place| (place / 64) as u8 ^ number.wrapping_mul(85)).collect()
    }

    fn hint(&mut self, number: u8) -> Result<ConditioningHandle> {
        self.hint_with(number, &Uncontrolled)
    }

    fn hint_with(&mut self, number: u8, control: &dyn Control) -> Result<ConditioningHandle> {
        let (shape, picture) = (self.bench.shape(), self.picture(number));
        self.bench.backend.encode_hint(self.guide, shape, &picture, control)
    }

    fn row(&mut self, latent: u32) -> Result<Row> {
        Ok(Row { latent, timestep: 100.0 * latent as f32, conditioning: self.bench.encode(latent)? })
    }

    /// A hint of this network.
    fn by(&self, hint: ConditioningHandle, scale: f32) -> Vec<Hint> {
        vec![Hint { model: self.guide, hint, scale }]
    }

    fn denoise(&mut self, rows: &[Row], hints: &[Vec<Hint>]) -> Result<Vec<f32>> {
        self.bench.denoise_guided(rows, hints, &Uncontrolled)
    }
}

fn encoding_in_tiles(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (shape, pixels) = (bench.shape(), vec![100; bench.picture_len()]);
    let mut encode = |tile: Option<u32>, control: &dyn Control| {
        let (mut mean, mut deviation) = (vec![f32::NAN; shape.len()], vec![f32::NAN; shape.len()]);
        let (model, options) = (bench.model, EncodeOptions { tile, ..EncodeOptions::default() });
        bench.backend.encode_image(model, shape, &pixels, &options, &mut mean, &mut deviation, control)?;
        Ok([mean, deviation].concat())
    };
    let whole = encode(Some(64), &Uncontrolled);
    if not_offered(&whole) {
        return Err(Stop::Skipped("it does not encode pictures in tiles".into()));
    }
    refused("a tile of no cells", encode(Some(0), &Uncontrolled), INVALID)?;
    can_be_cancelled(|control| encode(Some(8), control).map(drop))?;
    for tile in [8, 64, u32::MAX] {
        let written = encode(Some(tile), &Uncontrolled)?.iter().all(|value| value.is_finite());
        ensure(written, || format!("a latent in tiles of {tile} is not finite, or was not written"))?;
    }
    let one = encode(None, &Uncontrolled)?;
    bench.same("a picture in one tile and in one piece", &one, &whole?)
}

fn encoding_what_is_seen(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (shape, bytes) = (bench.shape(), bench.picture_len());
    let mut encode = |pixels: &[u8], alpha: bool| {
        let (mut mean, mut deviation) = (vec![f32::NAN; shape.len()], vec![f32::NAN; shape.len()]);
        let (model, options) = (bench.model, EncodeOptions { alpha, ..EncodeOptions::default() });
        let backend = &mut bench.backend;
        backend.encode_image(model, shape, pixels, &options, &mut mean, &mut deviation, &Uncontrolled)?;
        Ok([mean, deviation].concat())
    };
    let rgb: Vec<u8> = (0..bytes).map(|place| (place / 64) as u8).collect();
    let plain = encode(&rgb, false);
    if not_offered(&plain) {
        return Err(Stop::Skipped("it does not encode pictures".into()));
    }
    // The upper half is seen.
    let half = |seen: u8, unseen: u8, rgb: &[u8]| {
        let pixels = rgb.chunks_exact(3).enumerate();
        let alpha = |place: usize| if place < bytes / 6 { seen } else { unseen };
        pixels.flat_map(|(place, pixel)| [pixel, &[alpha(place)]].concat()).collect::<Vec<_>>()
    };
    let (all, upper) = (encode(&half(255, 255, &rgb), true)?, encode(&half(255, 0, &rgb), true)?);
    let other: Vec<u8> = [&rgb[..bytes / 2], &vec![9; bytes - bytes / 2]].concat();
    let again = encode(&half(255, 0, &other), true)?;
    refused("a picture without what is seen", encode(&rgb, true), INVALID)?;
    refused("what is seen without being asked for", encode(&half(255, 255, &rgb), false), INVALID)?;
    bench.same("a picture and the same with all of it seen", &plain?, &all)?;
    bench.same("two pictures that differ in what is not seen", &upper, &again)?;
    ensure(all != upper, || "what is not seen is encoded as if it were".into())
}

fn hint_arguments(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let (shape, picture, guide) = (guided.bench.shape(), guided.picture(1), guided.guide);
    let mut encode = |what: &str, shape: LatentShape, picture: &[u8]| {
        let result = guided.bench.backend.encode_hint(guide, shape, picture, &Uncontrolled);
        refused(what, result, INVALID)
    };
    encode("a picture that is too short", shape, &picture[1..])?;
    encode("no picture", shape, &[])?;
    encode("two pictures", shape, &picture.repeat(2))?;
    encode("other channels", LatentShape { channels: shape.channels + 1, ..shape }, &picture)?;
    encode("no height", LatentShape { height: 0, ..shape }, &[])?;
    encode("another height", LatentShape { height: shape.height * 2, ..shape }, &picture)?;
    encode("a shape beyond memory", LatentShape { height: u32::MAX, width: u32::MAX, ..shape }, &picture)?;
    guided.hint(1)?;
    Ok(())
}

fn encoding_a_hint_can_be_cancelled(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    can_be_cancelled(|control| {
        let hint = guided.hint_with(1, control)?;
        guided.bench.backend.release(hint)
    })
}

fn hints_act_by_scale(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let (row, hint, again) = ([guided.row(1)?], guided.hint(1)?, guided.hint(1)?);
    let plain = guided.bench.denoise(&row)?;
    let mut answer = |hint, scale| {
        let hints = guided.by(hint, scale);
        guided.denoise(&row, &[hints])
    };
    let (none, half, whole) = (answer(hint, 0.0)?, answer(hint, 0.5)?, answer(hint, 1.0)?);
    let (twice, equal) = (answer(hint, 1.0)?, answer(again, 1.0)?);
    guided.bench.same("no hint and one with the scale 0", &plain, &none)?;
    guided.bench.same("the same hint twice", &whole, &twice)?;
    guided.bench.same("two encodings of one picture", &whole, &equal)?;
    ensure(none != half && half != whole, || "scales of 0, 0.5 and 1 give the same answer".into())?;
    let both = [guided.by(hint, 0.5), guided.by(hint, 0.5)].concat();
    guided.denoise(&row, &[both])?;
    let after = guided.bench.denoise(&row)?;
    guided.bench.same("before and after hints", &plain, &after)
}

fn hints_ignore_company(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let rows = [guided.row(1)?, guided.row(2)?, guided.row(3)?];
    let (first, second) = (guided.hint(1)?, guided.hint(2)?);
    let hints = [guided.by(first, 1.0), guided.by(second, 0.5), guided.by(first, 0.0)];
    let together = guided.denoise(&rows, &hints)?;
    let length = guided.bench.answer_len();
    for (index, answer) in together.chunks(length).enumerate() {
        let alone = guided.denoise(&rows[index..=index], &hints[index..=index])?;
        guided.bench.same(&format!("guided row {index} alone and in company"), &alone, answer)?;
    }
    Ok(())
}

fn hints_belong_to_their_model(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let (row, own) = ([guided.row(1)?], guided.hint(1)?);
    let (other, _) = load(subject, &mut guided.bench, GUIDES)?;
    let (shape, picture) = (guided.bench.shape(), guided.picture(1));
    let foreign = guided.bench.backend.encode_hint(other, shape, &picture, &Uncontrolled)?;
    let wider = LatentShape { width: shape.width * 2, ..shape };
    let wide = guided.bench.backend.encode_hint(guided.guide, wider, &picture.repeat(2), &Uncontrolled)?;
    let base = guided.bench.model;
    for (what, model, hint, kinds) in [
        ("a hint that another model has encoded", guided.guide, foreign, FOREIGN),
        ("a prompt in a hint's place", guided.guide, row[0].conditioning, FOREIGN),
        ("a hint of the model that is guided", base, own, FOREIGN),
        ("a hint for another shape", guided.guide, wide, INVALID),
    ] {
        let hints = vec![Hint { model, hint, scale: 1.0 }];
        refused(what, guided.denoise(&row, &[hints]), kinds)?;
    }
    let prompt = [Row { conditioning: own, ..row[0] }];
    refused("a hint in a prompt's place", guided.bench.denoise(&prompt), FOREIGN)?;
    let hints = guided.by(own, 1.0);
    guided.denoise(&row, &[hints])?;
    Ok(())
}

fn hints_of_one_kind(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let (rows, own) = ([guided.row(1)?, guided.row(2)?], guided.hint(1)?);
    let (other, _) = load(subject, &mut guided.bench, GUIDES)?;
    let (shape, picture) = (guided.bench.shape(), guided.picture(1));
    let second = guided.bench.backend.encode_hint(other, shape, &picture, &Uncontrolled)?;
    let one = guided.by(own, 1.0);
    let another = vec![Hint { model: other, hint: second, scale: 1.0 }];
    let both = [one.clone(), another.clone()].concat();
    let turned = [another.clone(), one.clone()].concat();
    for (what, hints) in [
        ("a row with a hint beside one without", [one.clone(), Vec::new()]),
        ("a row without a hint before one with", [Vec::new(), one.clone()]),
        ("rows with hints of different models", [one.clone(), another]),
        ("rows with another number of hints", [one.clone(), both.clone()]),
        ("rows with hints in another order", [both.clone(), turned]),
        ("a scale that is no number", [one.clone(), guided.by(own, f32::NAN)]),
        ("a scale without an end", [guided.by(own, f32::INFINITY), one]),
    ] {
        refused(what, guided.denoise(&rows, &hints), INVALID)?;
    }
    guided.denoise(&rows, &[both.clone(), both])?;
    Ok(())
}

fn released_hints_are_stale(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let (row, first, kept) = ([guided.row(1)?], guided.hint(1)?, guided.hint(2)?);
    guided.bench.backend.release(first)?;
    let hints = guided.by(first, 1.0);
    refused("denoise after release", guided.denoise(&row, std::slice::from_ref(&hints)), STALE)?;
    refused("a second release", guided.bench.backend.release(first), STALE)?;
    let next = guided.hint(3)?;
    ensure(next != first, || format!("the handle {:#x} was given out again", first.0))?;
    refused("denoise with the old handle", guided.denoise(&row, &[hints]), STALE)?;
    let hints = guided.by(kept, 1.0);
    guided.denoise(&row, std::slice::from_ref(&hints))?;

    guided.bench.backend.unload(guided.guide)?;
    refused("a hint of an unloaded model", guided.denoise(&row, &[hints]), STALE)?;
    refused("encoding with an unloaded model", guided.hint(1), STALE)?;
    refused("release after its model's unload", guided.bench.backend.release(kept), STALE)?;
    let old = std::mem::replace(&mut guided.guide, load(subject, &mut guided.bench, GUIDES)?.0);
    ensure(old != guided.guide, || format!("the handle {:#x} was given out again", old.0))?;
    let new = guided.hint(1)?;
    let hints = vec![Hint { model: old, hint: new, scale: 1.0 }];
    refused("a new hint by the old model", guided.denoise(&row, &[hints]), STALE)?;
    guided.bench.denoise(&row)?;
    Ok(())
}

/// An instance with an upscaler, and its factor.
struct Enlarging {
    bench: Bench,
    model: ModelHandle,
    factor: u32,
}

impl Enlarging {
    fn new(subject: &Subject<'_>) -> Verdict<Self> {
        let mut bench = Bench::new(subject)?;
        let (model, info) = load(subject, &mut bench, UPSCALERS)?;
        let sound = (info.latent_channels, info.output_channels) == (3, 3) && info.latent_scale > 0;
        ensure(sound, || format!("what it has loaded cannot be: {info:?}"))?;
        Ok(Self { bench, model, factor: info.latent_scale })
    }

    /// Bytes of a picture of [`SIDES`], and of the larger one.
    fn lengths(&self) -> (usize, usize) {
        let (small, factor) = ((SIDES.0 * SIDES.1 * 3) as usize, self.factor as usize);
        (small, small * factor * factor)
    }

    fn upscale_over(&mut self, background: u8, tile: Option<u32>, control: &dyn Control) -> Result<Vec<u8>> {
        let (small, large) = self.lengths();
        let pixels: Vec<u8> = (0..small).map(|place| 64 + place as u8 % 128).collect();
        let (mut out, options) = (vec![background; large], UpscaleOptions { tile });
        let (height, width) = SIDES;
        self.bench.backend.upscale(self.model, height, width, &pixels, &options, &mut out, control)?;
        Ok(out)
    }
}

fn larger_arguments(subject: &Subject<'_>) -> Verdict {
    let mut enlarging = Enlarging::new(subject)?;
    let (small, large) = enlarging.lengths();
    let (height, width) = SIDES;
    let model = enlarging.model;
    let mut upscale = |what: &str, model, (height, width), pixels: usize, room: usize, tile, kinds| {
        let (pixels, mut out, options) = (vec![100; pixels], vec![0; room], UpscaleOptions { tile });
        let backend = &mut enlarging.bench.backend;
        let result = backend.upscale(model, height, width, &pixels, &options, &mut out, &Uncontrolled);
        refused(what, result, kinds)
    };
    for wrong in [small - 1, small + 1, 0] {
        upscale("the picture's length", model, SIDES, wrong, large, None, INVALID)?;
    }
    for wrong in [large - 1, large + 1, 0] {
        upscale("the room for the larger picture", model, SIDES, small, wrong, None, INVALID)?;
    }
    upscale("no height", model, (0, width), 0, 0, None, INVALID)?;
    upscale("no width", model, (height, 0), 0, 0, None, INVALID)?;
    upscale("sides beyond memory", model, (u32::MAX, u32::MAX), small, large, None, INVALID)?;
    upscale(
        "a tile of no pixels",
        model,
        SIDES,
        small,
        large,
        Some(0),
        &[ErrorKind::Invalid, ErrorKind::Unsupported],
    )?;
    for stranger in [0, u64::MAX, model.0 ^ (1 << 63)] {
        upscale("an unknown model", ModelHandle(stranger), SIDES, small, large, None, STALE)?;
    }
    enlarging.bench.backend.unload(model)?;
    refused("an unloaded model", enlarging.upscale_over(0, None, &Uncontrolled), STALE)
}

fn larger_pictures(subject: &Subject<'_>) -> Verdict {
    let mut enlarging = Enlarging::new(subject)?;
    for tile in [None, Some(8), Some(u32::MAX)] {
        let black = enlarging.upscale_over(0, tile, &Uncontrolled);
        if tile.is_some() && not_offered(&black) {
            continue;
        }
        let black = black?;
        let white = enlarging.upscale_over(255, tile, &Uncontrolled)?;
        enlarging.bench.same_picture(
            &format!("two larger pictures with the tile {tile:?}"),
            &black,
            &white,
        )?;
    }
    Ok(())
}

fn larger_can_be_cancelled(subject: &Subject<'_>) -> Verdict {
    let mut enlarging = Enlarging::new(subject)?;
    let before = enlarging.upscale_over(0, None, &Uncontrolled)?;
    can_be_cancelled(|control| enlarging.upscale_over(0, None, control).map(drop))?;
    if !not_offered(&enlarging.upscale_over(0, Some(8), &Uncontrolled)) {
        can_be_cancelled(|control| enlarging.upscale_over(0, Some(8), control).map(drop))?;
    }
    let after = enlarging.upscale_over(0, None, &Uncontrolled)?;
    enlarging.bench.same_picture("before and after cancelled calls", &before, &after)
}

fn each_to_its_trade(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    let (upscaler, info) = load(subject, &mut guided.bench, UPSCALERS)?;
    let (base, guide, shape) = (guided.bench.model, guided.guide, guided.bench.shape());
    let picture = guided.picture(1);
    for model in [base, upscaler] {
        let result = guided.bench.backend.encode_hint(model, shape, &picture, &Uncontrolled);
        refused("a hint by another kind of model", result, INVALID)?;
    }
    let options = UpscaleOptions::default();
    let mut out = vec![0; 3 * (info.latent_scale * info.latent_scale) as usize];
    for model in [base, guide] {
        let backend = &mut guided.bench.backend;
        let result = backend.upscale(model, 1, 1, &[0; 3], &options, &mut out, &Uncontrolled);
        refused("a larger picture by another kind of model", result, INVALID)?;
    }
    let row = [guided.row(1)?];
    for model in [guide, upscaler] {
        guided.bench.model = model;
        refused("a prompt by a network beside", guided.bench.encode(1), INVALID)?;
        refused("a step by a network beside", guided.bench.denoise(&row), FOREIGN)?;
        let (latent, mut pixels) = (guided.bench.latent(1), vec![0; picture.len()]);
        let (backend, options) = (&mut guided.bench.backend, DecodeOptions::default());
        let result = backend.decode(model, shape, &latent, &options, &mut pixels, &Uncontrolled);
        refused("a picture by a network beside", result, INVALID)?;
    }
    guided.bench.model = base;
    guided.bench.denoise(&row)?;
    Ok(())
}

fn memory_comes_back(subject: &Subject<'_>) -> Verdict {
    let mut guided = Guided::new(subject)?;
    guided.bench.backend.unload(guided.guide)?;
    let before = guided.bench.backend.memory()?;
    for _ in 0..3 {
        guided.guide = load(subject, &mut guided.bench, GUIDES)?.0;
        guided.hint(1)?;
        guided.bench.backend.unload(guided.guide)?;
        let now = guided.bench.backend.memory()?;
        let kept = now.weights > before.weights || now.working > before.working;
        ensure(!kept, || format!("{before:?} has become {now:?}"))?;
    }
    Ok(())
}
