//! Hibernation. The script reads the image on the disk from outside, starts the guest again from
//! it, and the last part of this runs.

use crate::holder::Holder;
use crate::kernel::report;
use std::{fs, io};

fn hibernate() -> io::Result<()> {
    fs::write("/sys/power/state", "disk")
}

fn text(refused: &Option<io::Error>) -> String {
    refused.as_ref().map_or_else(|| "no error".to_owned(), io::Error::to_string)
}

pub(crate) fn hibernation() {
    let secret = Holder::start(&["SECRET"]);
    let refused = hibernate().err();
    report(
        refused.as_ref().is_some_and(|error| error.raw_os_error() == Some(libc::EPERM)),
        format!("while a process has secret memory, hibernation is refused: {}", text(&refused)),
    );
    drop(secret);

    let mut holder = Holder::start(&["HEAP", "POOL", "SEALED"]);
    // Returns when the machine goes on from the image.
    let refused = hibernate().err();
    report(
        refused.is_none(),
        format!(
            "control: without that process, the same machine hibernates and goes on: {}",
            text(&refused)
        ),
    );
    report(
        holder.is_intact(),
        "after that, all secrets are as they were, and as much memory is locked",
    );
}
