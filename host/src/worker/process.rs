// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The worker as a process of the system: its start, what it inherits, and its end.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tracing::warn;

/// Environment variables that a worker gets when the daemon has them: what programs and drivers need to find
/// their files, and how an operator steers a computing library. Nothing that the daemon itself reads is among them.
const INHERITED: &[&str] = &[
    "ALICE_CPU_ISA",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "GLIBC_TUNABLES",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "MALLOC_ARENA_MAX",
    "OCL_ICD_VENDORS",
    "PATH",
    "RAYON_NUM_THREADS",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "TMPDIR",
    "TZ",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];
/// Beginnings of the names of further ones: CUDA, ROCm, Metal, Vulkan, OpenMP, BLAS libraries, torch.
const INHERITED_FAMILIES: &[&str] = &[
    "AMD_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "GGML_",
    "GPU_",
    "HIPBLASLT_",
    "HIP_",
    "HSA_",
    "KMP_",
    "METAL_",
    "MIOPEN_",
    "MKL_",
    "MTL_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PYTORCH_",
    "ROCBLAS_",
    "ROCM_",
    "ROCR_",
    "TENSILE_",
    "TORCH_",
    "VK_",
];
/// Into how many parts rayon, and with it candle, cuts its work.
const THREADS: &str = "RAYON_NUM_THREADS";

/// How often it is looked whether a worker has ended.
const GLANCE: Duration = Duration::from_millis(2);

/// The program that is running, to start it once more.
///
/// # Errors
/// When the system does not say which one that is.
pub fn program() -> io::Result<PathBuf> {
    // This leads to the same file also when an update has put another one in its place, and a worker must
    // speak this daemon's language.
    let running = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe()
}

/// A started process and everything that it has started itself. They end with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: bool,
}

impl Process {
    /// Starts `program worker` with `socket` as its standard input and `memory` as its standard output, which
    /// is all that it inherits beside the log. `threads` is the number that the operator chose.
    pub(super) fn start(
        program: &Path,
        socket: OwnedFd,
        memory: OwnedFd,
        threads: Option<u64>,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg0("alice").arg("worker").process_group(0);
        command.stdin(socket).stdout(memory).stderr(Stdio::inherit());
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)));
        if threads.is_some() || std::env::var_os(THREADS).is_none() {
            // Else candle counts the cores for every product of two matrices by reading files.
            command.env(THREADS, threads.unwrap_or_else(cores).to_string());
        }
        Self::start_command(command)
    }

    /// Starts `command`, which makes a process group of its own. It may ask to be killed with this program.
    pub(crate) fn start_command(command: Command) -> io::Result<Self> {
        Ok(Self { child: spawn(command)?, ended: false })
    }

    /// The end of its standard error, if that is a pipe and nobody has taken it.
    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The number by which the system knows it.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process and what it has started, after `grace` in which it may end by itself: only then there is
    /// a status, its own.
    pub(crate) fn end(&mut self, grace: Duration) -> io::Result<Option<ExitStatus>> {
        let by_itself = self.ends_within(grace)?;
        // The group first: the number is the worker's until it has been waited for, even if it has ended.
        if kill_process_group(self.pid(), Signal::KILL).is_err() {
            // So some systems answer for a group of which nobody lives any more.
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        self.ended = true;
        Ok(by_itself.then_some(status))
    }

    /// Whether the worker has ended, by itself or by others.
    pub(super) fn has_ended(&self) -> bool {
        // If the system does not say so, the next call finds out.
        self.ends_within(Duration::ZERO).unwrap_or(false)
    }

    fn pid(&self) -> Pid {
        let number = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        number.expect("a child has a number, and systems count them with 31 bits")
    }

    /// Whether the worker ends, without taking note of it.
    fn ends_within(&self, mut grace: Duration) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            if waitid(WaitId::Pid(self.pid()), options)?.is_some() {
                return Ok(true);
            }
            if grace.is_zero() {
                return Ok(false);
            }
            thread::sleep(GLANCE);
            grace = grace.saturating_sub(GLANCE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.end(Duration::ZERO)
        {
            warn!(%error, "A compute worker cannot be ended");
        }
    }
}

/// What a status says to a person, to follow "it".
pub(super) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "was killed (signal 9), perhaps because the machine ran out of memory".to_owned(),
        (_, Some(6)) => "was aborted by its library (signal 6)".to_owned(),
        (_, Some(signal @ (4 | 7 | 8 | 11))) => format!("crashed (signal {signal})"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        (Some(code), None) => format!("ended by itself with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn is_inherited(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| {
        INHERITED.contains(&name) || INHERITED_FAMILIES.iter().any(|family| name.starts_with(family))
    })
}

/// Physical cores, or fewer if this process may not use them all.
fn cores() -> u64 {
    let allowed = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    num_cpus::get_physical().clamp(1, allowed) as u64
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as the program. A worker asks the system to be killed
/// with its parent, and by that the system means the thread that has started it.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<io::Result<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        let serve = move || {
            for (mut command, reply) in inbox {
                // The asker waits below, so that it is there.
                let _there = reply.send(command.spawn());
            }
        };
        thread::Builder::new().name("spawner".into()).spawn(serve)?;
        Ok(orders)
    });
    let ended = || io::Error::other("the thread that starts processes has ended");
    let orders = SPAWNER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (reply, answer) = mpsc::channel();
    orders.send((command, reply)).map_err(|_| ended())?;
    answer.recv().map_err(|_| ended())?
}
