//! The program: everything is in the library.

use std::ffi::c_long;
use std::process::ExitCode;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc's header, which its crate has no name for.
const PURGE_DELAY: mi_option_t = 15;
/// Milliseconds.
const KEPT_FOR: c_long = 10_000;

fn main() -> ExitCode {
    keep_memory();
    purrscope::cli::main()
}

/// Has the allocator keep memory that is free again for seconds rather than for a moment: the buffers of a
/// step are those of the next, and fresh pages cost more than much of what is computed in them.
/// `MIMALLOC_PURGE_DELAY` has the last word.
#[expect(unsafe_code, reason = "mimalloc's options are set by a function of C")]
fn keep_memory() {
    // SAFETY: it sets one number of the allocator's own, before any other thread is there.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_FOR) };
}
