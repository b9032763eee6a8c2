//! What Linux has beyond POSIX, also under Android: one file for each of its mechanisms.

mod advice;
mod barrier;
mod call_number;
mod futex;
mod hardening;
mod huge_pages;
mod limits;
mod lock_on_fault;
mod mapping;
mod protection_key;
mod secret_memory;
mod tasks;

pub(super) use advice::{keep_from_children, keep_private, wipe_in_children};
pub(super) use barrier::{barrier_everywhere, register_barrier};
pub(super) use futex::{sleep, wait_while, wake_one};
pub(super) use hardening::{
    can_seal, empty_core_dumps, forbid_dumps_and_tracers, forbid_huge_pages, forbid_named_tracer,
    forbid_new_privileges, forbid_write_and_execute, seal,
};
pub(super) use huge_pages::{has_huge_pages, map_guarded_huge};
pub(super) use limits::may_exceed_lock_limit;
pub(super) use lock_on_fault::lock_on_fault;
pub(super) use mapping::{DO_NOT_NEED_LOCKED, LEFT_OUT_OF_DUMPS, flags_in_place, reserve};
pub(super) use protection_key::{has_protection_key, set_access, set_thread_right};
pub(super) use secret_memory::{has_secret_memory, place_secret_memory};
pub(super) use tasks::{is_alone, thread_number};
