// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The plugin's half: a [`Backend`] behind the C table.
//!
//! [`export_backend!`](crate::export_backend) is all that a plugin says; this module is what it expands to.
//! Every entry checks its pointers, runs the backend inside `catch_unwind` and turns the result into a
//! status and a message. After a panic the instance is poisoned, since the backend's own state may be half
//! changed: every later call answers with the panic's message.

mod calls;
mod entries;
mod logs;
mod out;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tiny;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, TryLockError};

use serde_json::Value;

use crate::abi::{self, ABI_MAJOR, ABI_MINOR, Status, Table};
use crate::{Backend, Error, ErrorKind, Result};

/// Exports a backend as the one symbol of a plugin library.
///
/// The argument is a function `fn(&serde_json::Value) -> alice_plugin::Result<impl Backend + 'static>`: the
/// value holds the options that the operator wrote for this backend, an empty object when there are none.
#[macro_export]
macro_rules! export_backend {
    ($constructor:path) => {
        /// The entry of the plugin contract.
        #[unsafe(no_mangle)]
        pub extern "C" fn alice_backend_entry() -> *const $crate::abi::Table {
            static TABLE: $crate::abi::Table = $crate::export::table({
                unsafe extern "C" fn create(
                    host: *const $crate::abi::Host,
                    options: *const u8,
                    options_len: usize,
                    instance: *mut *mut $crate::abi::Instance,
                    error: *mut $crate::abi::Error,
                ) -> $crate::abi::Status {
                    // SAFETY: the arguments are passed on as the caller gave them.
                    unsafe {
                        $crate::export::create(host, options, options_len, instance, error, |options| {
                            Ok(::std::boxed::Box::new($constructor(options)?))
                        })
                    }
                }
                create
            });
            &TABLE
        }
    };
}

/// What stands behind an `abi::Instance` pointer of this crate.
struct Instance {
    /// Only tried, never waited for: a second call while one runs is an error of the caller's.
    state: Mutex<State>,
}

struct State {
    backend: Box<dyn Backend>,
    /// The message of the panic that ended this instance's life.
    panicked: Option<String>,
}

impl Instance {
    fn new(backend: Box<dyn Backend>) -> Self {
        Self { state: Mutex::new(State { backend, panicked: None }) }
    }

    /// Runs `work`, which holds everything of one call that could panic.
    fn run(&self, work: impl FnOnce(&mut dyn Backend) -> Result<()>) -> Result<()> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            // No panic passes through the lock, but a poisoned one would hold a sound state all the same.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let message = "this instance is already running a call; one instance runs one call at a time";
                return Err(Error::new(ErrorKind::Contract, message));
            }
        };
        if let Some(message) = &state.panicked {
            return Err(Error::new(ErrorKind::Panic, message.clone()));
        }
        let result = guarded(|| work(state.backend.as_mut()));
        if let Err(error) = &result
            && error.kind == ErrorKind::Panic
        {
            state.panicked = Some(error.message.clone());
        }
        result
    }
}

/// Runs `work`; a panic becomes an error of the kind `Panic`.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // Unwind safe: what a panic may leave half changed is the backend, which is not used again.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(payload.as_ref())))
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    Error::new(ErrorKind::Panic, format!("the backend panicked: {text}"))
}

/// A plugin's `create`, see [`abi::Table::create`].
pub type CreateFn = unsafe extern "C" fn(
    host: *const abi::Host,
    options: *const u8,
    options_len: usize,
    instance: *mut *mut abi::Instance,
    error: *mut abi::Error,
) -> Status;

/// A complete table whose `create` is the plugin's own.
pub const fn table(create: CreateFn) -> Table {
    Table {
        struct_size: size_of::<Table>() as u32,
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        create: Some(create),
        destroy: Some(entries::destroy),
        describe: Some(entries::describe),
        load: Some(entries::load),
        adapt: Some(entries::adapt),
        encode_text: Some(entries::encode_text),
        denoise: Some(entries::denoise),
        decode: Some(entries::decode),
        encode_image: Some(entries::encode_image),
        release: Some(entries::release),
        unload: Some(entries::unload),
        memory: Some(entries::memory),
        read_text: Some(entries::read_text),
        // What a caller of an earlier version leaves out stands for the whole picture.
        encode_image_tiled: Some(entries::encode_image),
        encode_hint: Some(entries::encode_hint),
        upscale: Some(entries::upscale),
    }
}

/// The body of a plugin's `create`, around its constructor.
///
/// # Safety
/// Pointers that are not null point to what [`abi::Table::create`] says.
pub unsafe fn create(
    host: *const abi::Host,
    options: *const u8,
    options_len: usize,
    instance: *mut *mut abi::Instance,
    error: *mut abi::Error,
    constructor: impl FnOnce(&Value) -> Result<Box<dyn Backend>>,
) -> Status {
    let result = guarded(|| {
        out::present(instance, "instance")?;
        // SAFETY: the caller's promise about `host`.
        unsafe { meet(host) }?;
        // SAFETY: the caller's promise about `options`.
        let options = unsafe { calls::json::<Value>(options, options_len, "options") }?;
        let running = Box::new(Instance::new(constructor(&options)?));
        // SAFETY: the caller's promise about `instance`.
        unsafe { out::put(instance, Box::into_raw(running).cast(), "instance") }
    });
    // SAFETY: the caller's promise about `error`.
    unsafe { out::report(result, error) }
}

/// Refuses a daemon of another major version, and sends this library's logs to it.
///
/// # Safety
/// `host` is null or points to a [`abi::Host`].
unsafe fn meet(host: *const abi::Host) -> Result<()> {
    // SAFETY: the caller's promise.
    let host = unsafe { abi::read::read(host) }?;
    let (major, minor) = (host.abi_major, host.abi_minor);
    if major != ABI_MAJOR {
        let message = format!("the daemon speaks version {major}.{minor} of the plugin contract");
        let message = format!("{message}, this plugin {ABI_MAJOR}.{ABI_MINOR}");
        return Err(Error::new(ErrorKind::Contract, message));
    }
    logs::install(host);
    Ok(())
}
