// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a plugin says of itself, and which models it refuses.

use alice_plugin::load::backend_name;
use alice_plugin::{Backend, ErrorKind, LoadRequest, ModelFiles, Uncontrolled};

use super::{Named, refused};
use crate::conformance::bench::{Bench, request, start};
use crate::conformance::{Stop, Subject, Verdict, ensure};

pub(super) const CHECKS: &[Named] = &[
    ("it describes itself: name, version, and either what it can do or why it cannot", describes_itself),
    ("it describes a model that it has loaded", describes_a_model),
    ("it refuses a directory that does not exist as a bad model", refuses_a_missing_directory),
    ("it refuses an unknown family and number format as unsupported", refuses_unknown_formats),
    ("it refuses a device that it has not listed as invalid", refuses_an_unknown_device),
];

fn describes_itself(subject: &Subject<'_>) -> Verdict {
    let mut backend = subject.plugin.start(subject.options)?;
    let description = backend.describe()?;
    let path = subject.plugin.path();
    let expected = backend_name(path)
        .ok_or_else(|| Stop::Failed(format!("`{}` is not named libalice_backend_<name>", path.display())))?;
    let name = &description.name;
    ensure(*name == expected, || format!("it calls itself `{name}`, its file `{expected}`"))?;
    ensure(!description.version.is_empty(), || "its version is empty".into())?;
    if description.score == 0 {
        return ensure(description.reason.is_some(), || "its score is 0 and it gives no reason".into());
    }
    let lists = [description.devices.len(), description.dtypes.len(), description.families.len()];
    ensure(!lists.contains(&0), || "it can run here, without a device, a format or a family".into())?;
    let indices = description.devices.iter().map(|device| device.index);
    let distinct = indices.collect::<std::collections::BTreeSet<_>>().len();
    ensure(distinct == description.devices.len(), || "two devices have the same index".into())
}

fn describes_a_model(subject: &Subject<'_>) -> Verdict {
    let Bench { info, description, .. } = Bench::new(subject)?;
    let whole = info.output_channels > 0
        && info.text_encoders.iter().all(|encoder| encoder.context_length > 0 && encoder.vocab_size > 0);
    ensure(whole, || format!("sizes of nothing: {info:?}"))?;
    ensure(description.dtypes.contains(&info.dtype), || {
        format!("it has loaded `{}`, which is not among its formats", info.dtype)
    })
}

/// A request that could work, were it not for its directory.
fn plausible(subject: &Subject<'_>) -> Verdict<LoadRequest> {
    let (_, description) = start(subject)?;
    let family = description.families.first().cloned().unwrap_or_default();
    let device = description.devices.first().map_or(0, |device| device.index);
    let path = std::env::temp_dir().join("alice-conformance/there-is-no-such-directory");
    Ok(LoadRequest { files: ModelFiles::Diffusers { path }, family, vae: None, dtype: "auto".into(), device })
}

fn refuses_a_missing_directory(subject: &Subject<'_>) -> Verdict {
    let request = plausible(subject)?;
    let (mut backend, _) = start(subject)?;
    refused("loading nothing", backend.load(&request, &Uncontrolled), &[ErrorKind::BadModel])
}

fn refuses_unknown_formats(subject: &Subject<'_>) -> Verdict {
    let (mut backend, description) = start(subject)?;
    let good = request(subject, &description)?;
    let dtype = LoadRequest { dtype: "no-such-format".into(), ..good.clone() };
    refused("a number format", backend.load(&dtype, &Uncontrolled), &[ErrorKind::Unsupported])?;
    if !description.stand_in {
        let family = LoadRequest { family: "no-such-family".into(), ..good.clone() };
        refused("a family", backend.load(&family, &Uncontrolled), &[ErrorKind::Unsupported])?;
    }
    backend.load(&good, &Uncontrolled).map(drop).map_err(Stop::from)
}

fn refuses_an_unknown_device(subject: &Subject<'_>) -> Verdict {
    let (mut backend, description) = start(subject)?;
    let good = request(subject, &description)?;
    let request = LoadRequest { device: u32::MAX, ..good };
    refused("a device", backend.load(&request, &Uncontrolled), &[ErrorKind::Invalid])
}
