//! What happens to secrets in locked memory when the process exits.

use super::status::{BITCOIN_SUPPORT_BAD_OPTION, BITCOIN_SUPPORT_OK, bitcoin_support_status};
use crate::pages::{ExitPolicy, set_exit_policy};

/// What happens to the secrets that are left in locked memory when the process exits, by a return
/// from main or by exit. It concerns all pools over the operating system's own pages, and all
/// buffers. It is the last thing that happens, after exit handlers and destructors of objects with
/// static storage. A process that ends in another way is not concerned: the kernel takes its memory
/// back and zeroes it before another process gets it.
pub type bitcoin_support_exit_policy = u32;

/// The default. Secrets are wiped if the exiting thread is the only one that uses this memory.
/// Otherwise they are left to the kernel, so that no thread finds zeros in place of its secret.
/// Where the system cannot tell (Linux does, by unshare), nothing is wiped.
pub const BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE: u32 = 0;
/// Secrets are always left to the kernel.
pub const BITCOIN_SUPPORT_EXIT_NEVER: u32 = 1;
/// Secrets become inaccessible at once, even while another thread uses them: the kernel takes the
/// contents back, and a thread that touches a secret afterwards ends the process (SIGSEGV).
pub const BITCOIN_SUPPORT_EXIT_INACCESSIBLE: u32 = 2;

/// Chooses what happens to secrets when the process exits: a BITCOIN_SUPPORT_EXIT_ value. Any
/// thread may call this at any time. The last call counts.
///
/// Returns: BITCOIN_SUPPORT_OK or _BAD_OPTION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_set_exit_policy(
    policy: bitcoin_support_exit_policy,
) -> bitcoin_support_status {
    let policy = match policy {
        BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE => ExitPolicy::WIPE_WHEN_ALONE,
        BITCOIN_SUPPORT_EXIT_NEVER => ExitPolicy::NEVER,
        // SAFETY: the caller promises that threads which run during the exit may fault on a secret.
        BITCOIN_SUPPORT_EXIT_INACCESSIBLE => unsafe { ExitPolicy::inaccessible() },
        _ => return BITCOIN_SUPPORT_BAD_OPTION,
    };
    set_exit_policy(policy);
    BITCOIN_SUPPORT_OK
}
