//! For tests: the files of a made-up host, in a folder.

use std::fs;
use tempfile::TempDir;

/// Writes a file, and makes the folders that it is in.
pub(crate) fn write(host: &TempDir, path: &str, text: &str) {
    let path = host.path().join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(crate) fn remove(host: &TempDir, path: &str) {
    let path = host.path().join(path);
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// Puts a folder where a file should be: it is there and cannot be read, by root neither.
pub(crate) fn unreadable(host: &TempDir, path: &str) {
    remove(host, path);
    fs::create_dir(host.path().join(path)).unwrap();
}
