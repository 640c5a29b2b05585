// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Open files that a process has been given by its parent.

use std::io;

/// Closes every file but the standard streams. For the first moment of a process that is to open a library: a
/// parent may have handed down files by mistake, or for another purpose, such as a listening socket.
///
/// Nothing of this process may have opened a file yet. Linux only; elsewhere nothing happens.
///
/// # Errors
/// The system's refusal (a kernel before 5.9 does not know the call).
pub fn close_inherited() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let (first, last, flags): (libc::c_uint, libc::c_uint, libc::c_int) = (3, libc::c_uint::MAX, 0);
        // SAFETY: the call takes three numbers and touches no memory. No file is closed under the hands of code
        // that owns it: by the caller's word there is none yet.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
