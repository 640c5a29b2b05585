// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! In the worker, before a library's code runs: what this process may not do, and that it never outlives the
//! daemon. What the system refuses is logged and done without; no picture depends on it.

use std::io;
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, kill_process_group, setrlimit};
use tracing::warn;

/// Confines this thread and all that it starts.
pub(crate) fn enter() {
    // A core file would hold what people have asked for.
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    note("leave no core file behind", no_core.map_err(Into::into));
    #[cfg(target_os = "linux")]
    linux::enter();
}

/// Logs that something of this has not been possible.
pub(super) fn note(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        warn!(%error, "The compute worker cannot {what}");
    }
}

/// Ends this process and all that it has started when the daemon hangs up, whatever it is doing then.
pub(super) fn end_with(stream: UnixStream) -> io::Result<()> {
    let watch = move || {
        // Asked for nothing, `poll` tells of a hang-up alone.
        while let Ok(0) | Err(rustix::io::Errno::INTR) =
            poll(&mut [PollFd::new(&stream, PollFlags::empty())], None)
        {}
        // At once: the ends of libraries may wait for the very thread that hangs.
        let ended =
            kill_process_group(getpid(), Signal::KILL).or_else(|_| kill_process(getpid(), Signal::KILL));
        ended.expect("a process may always end itself");
    };
    thread::Builder::new().name("watch".into()).spawn(watch).map(drop)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::{fs, io};

    use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
    use rustix::thread::{set_name, set_no_new_privs};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };

    use super::note;

    /// How much rather than the daemon the system is to kill a worker when memory runs out, of 1000.
    const SACRIFICE: i32 = 500;

    pub(super) fn enter() {
        note("name itself", set_name(c"alice-worker").map_err(Into::into));
        // The daemon's end may come before this; `end_with` sees that.
        note("end with the server", set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into));
        note("offer itself when memory runs out", offer());
        // The files in /proc belong to root from here on, so what is written there comes before.
        note("hide its memory", set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Into::into));
        note("give up privileges", set_no_new_privs(true).map_err(Into::into));
        note("keep from the network", without_network().map_err(io::Error::other));
    }

    fn offer() -> io::Result<()> {
        let file = "/proc/self/oom_score_adj";
        let now: i32 = fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)?;
        fs::write(file, (now + SACRIFICE).min(1000).to_string())
    }

    /// Refuses sockets of every kind but the machine's own two, of which drivers make use. A socket can also
    /// be made through a ring of requests, so these are refused altogether.
    fn without_network() -> Result<(), seccompiler::Error> {
        let domain_is_not =
            |domain: i32| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, domain as u64);
        let elsewhere = vec![domain_is_not(libc::AF_UNIX)?, domain_is_not(libc::AF_NETLINK)?];
        let mut refused = BTreeMap::from([
            (libc::SYS_socket, vec![SeccompRule::new(elsewhere.clone())?]),
            (libc::SYS_io_uring_setup, Vec::new()),
        ]);
        if cfg!(target_arch = "x86_64") {
            // The same calls under the numbers of the x32 interface, where a kernel has it.
            const X32: i64 = 0x4000_0000;
            refused.insert(X32 | libc::SYS_socket, vec![SeccompRule::new(elsewhere)?]);
            refused.insert(X32 | libc::SYS_io_uring_setup, Vec::new());
        }
        let refusal = SeccompAction::Errno(libc::EACCES as u32);
        let architecture = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(refused, SeccompAction::Allow, refusal, architecture)?;
        apply_filter(&BpfProgram::try_from(filter)?)
    }
}
