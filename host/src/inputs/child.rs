// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice picture`: the process that the daemon starts to read one picture. It gets the picture's file as its standard
//! input and one for the result as its standard output, walls itself in, does its one job, and says in one line on its
//! standard error how that went.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::panic;

use alice_plugin::load::close_inherited;
use image::{DynamicImage, RgbImage};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::outline::Refusal;
use super::reader::{Answer, Job, Limits, Part, Want};
use super::{ResizeMode, canny, decode, shape};
use crate::worker::confine;

/// Memory that the process may have, the program itself with it.
const MEMORY_BYTES: u64 = 1 << 30;
/// Seconds of a core that it may take.
const CPU_SECONDS: u64 = 10;

/// Does the job that is told in `job`, as JSON.
///
/// # Errors
/// When no daemon has started this process, when it cannot be walled in, and when files cannot be read or written.
pub fn serve(job: &str) -> io::Result<()> {
    close_inherited()?;
    let job: Job = serde_json::from_str(job)?;
    wall_in(&job)?;
    // A decoder that gives up in this way says no more than that the file is damaged, and standard error is taken.
    panic::set_hook(Box::new(|_| {}));
    let (input, output) = descriptors()?;
    let answer = panic::catch_unwind(|| answer(&job, input, output));
    let answer = answer.unwrap_or(Ok(Answer::Refused(Refusal::Broken)))?;
    let line = serde_json::to_vec(&answer)?;
    io::stderr().write_all(&line)
}

/// From here on the process can compute, read and write the files that it has, and end.
fn wall_in(job: &Job) -> io::Result<()> {
    confine();
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Fsize, limit(job.most_bytes()))?;
    // A second before the end there is a signal that says what it is about.
    let time = Rlimit { current: Some(CPU_SECONDS), maximum: Some(CPU_SECONDS + 1) };
    setrlimit(Resource::Cpu, time)?;
    if cfg!(target_os = "linux") {
        // Others count what a process never touches, or know no such limit.
        setrlimit(Resource::As, limit(MEMORY_BYTES))?;
    }
    #[cfg(target_os = "linux")]
    linux::allow_little().map_err(io::Error::other)?;
    Ok(())
}

fn descriptors() -> io::Result<(File, File)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((input.into(), output.into()))
}

fn answer(job: &Job, input: File, output: File) -> io::Result<Answer> {
    match job {
        Job::Take(limits) => take(input, output, limits),
        Job::Make(want, limits) => make(input, output, want, limits),
    }
}

fn take(input: File, output: File, limits: &Limits) -> io::Result<Answer> {
    let picture = match read(input, limits)? {
        Ok(picture) => picture,
        Err(refusal) => return Ok(Answer::Refused(refusal)),
    };
    let mut output = BufWriter::new(output);
    decode::encode(&picture, &mut output).map_err(io::Error::other)?;
    output.flush()?;
    let (width, height) = (picture.width(), picture.height());
    let (has_alpha, tones) = (picture.color().has_alpha(), shape::tones(&picture));
    Ok(Answer::Taken { width, height, has_alpha, tones })
}

fn make(input: File, mut output: File, want: &Want, limits: &Limits) -> io::Result<Answer> {
    let picture = match read(input, limits)? {
        Ok(picture) => picture,
        Err(refusal) => return Ok(Answer::Refused(refusal)),
    };
    output.write_all(&made(picture, want))?;
    Ok(Answer::Made)
}

fn read(input: File, limits: &Limits) -> io::Result<Result<DynamicImage, Refusal>> {
    let mut bytes = Vec::new();
    input.take(limits.bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(decode::decode(&bytes, limits))
}

fn made(picture: DynamicImage, want: &Want) -> Vec<u8> {
    match *want {
        Want::Rgb { width, height, mode, part } => rgb(picture, (width, height), mode, part).into_raw(),
        Want::Mask { width, height, mode, polarity, blur } => {
            let mask = shape::shaped(shape::mask(&picture, polarity).into(), width, height, mode);
            shape::blurred(mask, blur).into_luma8().into_raw()
        }
        Want::Canny { width, height, mode, part, low, high } => {
            let edges = canny::edges(&rgb(picture, (width, height), mode, part), low, high);
            DynamicImage::from(edges).into_rgb8().into_raw()
        }
    }
}

fn rgb(picture: DynamicImage, (width, height): (u32, u32), mode: ResizeMode, part: Option<Part>) -> RgbImage {
    let picture = DynamicImage::from(shape::on_white(picture));
    let shaped = match part {
        None => shape::shaped(picture, width, height, mode),
        Some(Part { of, region: [left, top, across, down] }) => {
            let part = shape::shaped(picture, of.0, of.1, mode).crop_imm(left, top, across, down);
            shape::shaped(part, width, height, ResizeMode::Stretch)
        }
    };
    shaped.into_rgb8()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    /// What a program needs that has memory and two open files.
    const ALLOWED: &[i64] = &[
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_pread64,
        libc::SYS_read,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_tgkill,
        libc::SYS_write,
        libc::SYS_writev,
    ];

    /// Refuses every other call of the system: no file is opened and no program started from here on.
    pub(super) fn allow_little() -> Result<(), seccompiler::Error> {
        let rules: BTreeMap<_, _> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        let refusal = SeccompAction::Errno(libc::EPERM as u32);
        let architecture = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, refusal, SeccompAction::Allow, architecture)?;
        apply_filter(&BpfProgram::try_from(filter)?)
    }
}
