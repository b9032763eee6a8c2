//! Draws the chunks of an arena as an SVG picture: used ones dark, free ones light, in rows of 4
//! KiB.
//!
//! `cargo run --example arena_svg -- arena.svg`

use bitcoin_support::{Arena, LockedPool};
use std::fmt::Write as _;
use std::{env, fs};

const ROW_BYTES: usize = 4096;
const WIDTH: usize = 1024;
const ROW_HEIGHT: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = env::args().nth(1).unwrap_or_else(|| "arena.svg".to_owned());

    // An arena never touches its memory, so any address will do for a picture.
    let base = 0x1000_0000;
    let mut arena = Arena::new(base as *mut u8, LockedPool::ARENA_SIZE, LockedPool::ARENA_ALIGN)?;
    wear(&mut arena)?;

    fs::write(&path, draw(&arena, base))?;
    let stats = arena.stats();
    println!(
        "{path}: {} bytes used in {} chunks, {} free in {}",
        stats.used, stats.chunks_used, stats.free, stats.chunks_free
    );
    Ok(())
}

/// Allocates and frees as a wallet might: many small keys that stay, and some larger buffers that
/// are freed.
fn wear(arena: &mut Arena) -> Result<(), bitcoin_support::FreeError> {
    let mut passing = Vec::new();
    for i in 0_usize..1500 {
        let size = match i % 7 {
            0 => 200 + i % 600,
            1 | 4 => 64,
            _ => 32,
        };
        let Some(chunk) = arena.alloc(size, LockedPool::ARENA_ALIGN) else { break };
        if i % 7 == 0 || i % 5 == 0 {
            passing.push(chunk);
        }
        if passing.len() > 40 {
            arena.free_unsized(passing.swap_remove(i % 40).as_ptr())?;
        }
    }
    Ok(())
}

fn draw(arena: &Arena, base: usize) -> String {
    let rows = arena.stats().total.div_ceil(ROW_BYTES);
    let height = rows * ROW_HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    arena.walk(|address, size, used| {
        let colour = if used { "#1f4e79" } else { "#dce9f5" };
        let (mut from, to) = (address - base, address - base + size);
        // A chunk is drawn row by row.
        while from < to {
            let row = from / ROW_BYTES;
            let end = to.min((row + 1) * ROW_BYTES);
            let scale = |bytes: usize| bytes as f64 * WIDTH as f64 / ROW_BYTES as f64;
            let (x, width) = (scale(from % ROW_BYTES), scale(end - from));
            let (y, height) = (row * ROW_HEIGHT, ROW_HEIGHT - 1);
            let width = (width - 0.5).max(0.5);
            writeln!(
                svg,
                "<rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{height}\" \
                 fill=\"{colour}\"><title>{address:#x}: {size} bytes</title></rect>"
            )
            .expect("writing to a string");
            from = end;
        }
    });
    svg.push_str("</svg>\n");
    svg
}
