//! The clock and the randomness of this process.
//!
//! The simulated code asks the system for the time and for random bytes in many places: the standard library for
//! `Instant`, `SystemTime` and the keys of its hash tables, the crates for UUIDs and tokens, tokio for its `select!`.
//! All of them call two functions of the C library. This program defines functions with these names itself, and the
//! linker uses them instead of the library's; while a seed runs their results come from the seed and from simulated
//! time, and before that from the system. So the simulated code needs no changes.
//!
//! This is the only position that needs `unsafe`: the functions are called from outside of Rust's rules, with pointers.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// When a simulation begins, in nanoseconds since 1970: 1 January 2030.
const EPOCH: i64 = 1_893_456_000_000_000_000;

/// Whether a seed is running in this process, on one thread.
static IS_SIMULATED: AtomicBool = AtomicBool::new(false);
/// The nanoseconds that have passed.
static PASSED: AtomicU64 = AtomicU64::new(0);
/// By how many nanoseconds the clock has been set since the beginning.
static SET_BY: AtomicI64 = AtomicI64::new(0);
/// The state of the sequence of random bytes.
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// From here on time and randomness come from the seed.
pub fn simulate(seed: u64) {
    RANDOM.store(seed ^ 0x005E_ED0F_5EED, Ordering::SeqCst);
    IS_SIMULATED.store(true, Ordering::SeqCst);
}

/// Lets time pass, up to this long after the beginning.
pub fn pass(since_beginning: Duration) {
    // One second had already passed when the simulation began, so that no code computes a time before the first.
    let nanos = u64::try_from(since_beginning.as_nanos()).unwrap_or(u64::MAX);
    PASSED.store(nanos.saturating_add(1_000_000_000), Ordering::SeqCst);
}

/// Sets the clock forward or back by this many milliseconds.
pub fn set_clock(by_millis: i64) {
    SET_BY.fetch_add(by_millis * 1_000_000, Ordering::SeqCst);
}

/// Corrects the clock.
pub fn correct_clock() {
    SET_BY.fetch_max(0, Ordering::SeqCst);
}

/// The next eight bytes of the sequence (SplitMix64).
fn random() -> u64 {
    let state = RANDOM.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Replaces the C library's function of this name.
///
/// # Safety
/// As for that function: `time` must point to memory for a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let passed = PASSED.load(Ordering::SeqCst) as i64;
    let nanos = match clock {
        _ if !IS_SIMULATED.load(Ordering::SeqCst) => None,
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => Some(EPOCH + passed + SET_BY.load(Ordering::SeqCst)),
        libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => None,
        _ => Some(passed),
    };
    match nanos {
        Some(nanos) => {
            let result = libc::timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
            // SAFETY: the caller guarantees that there is memory for a time.
            unsafe { time.write(result) };
            0
        }
        // SAFETY: the arguments of this function are passed on to the system.
        None => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int },
    }
}

/// Replaces the C library's function of this name.
///
/// # Safety
/// As for that function: `bytes` must point to memory for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(bytes: *mut c_void, length: usize, flags: c_uint) -> isize {
    if !IS_SIMULATED.load(Ordering::SeqCst) {
        // SAFETY: the arguments of this function are passed on to the system.
        return unsafe { libc::syscall(libc::SYS_getrandom, bytes, length, flags) as isize };
    }
    for position in 0..length {
        // SAFETY: the caller guarantees that there is memory for that many bytes.
        unsafe { bytes.cast::<u8>().add(position).write(random() as u8) };
    }
    length as isize
}

/// Runs `work` in a process of its own, a copy of this one, and returns its process id. This process must have only one
/// thread.
///
/// Each seed has a process of its own, since the simulated code keeps some things for as long as its process lives:
/// counters, caches, keys. The process is killed after `limit` seconds.
pub fn fork(limit: u32, work: impl FnOnce()) -> i32 {
    // SAFETY: this process has only one thread, so that no other thread holds a lock.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: a signal without a handler ends the process.
            unsafe { libc::alarm(limit) };
            work();
            // SAFETY: nothing of this process is needed any more; the steps that its parent takes when it ends must not
            // be taken here.
            unsafe { libc::_exit(0) }
        }
        child => child,
    }
}

/// Waits for a child to end; returns its process id and whether it exited normally.
pub fn wait() -> (i32, bool) {
    let mut status = 0;
    // SAFETY: `status` is valid memory for the status.
    let child = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    (child, libc::WIFEXITED(status))
}
