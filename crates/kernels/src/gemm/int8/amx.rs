//! The innermost loop with AMX, whose tiles of 16 rows of 64 bytes are multiplied by one instruction, u8 by s8. Rust has the instructions
//! in assembly only. Tiles are used as for bf16 (`gemm/amx.rs`): six of sums, one for each operand.

use std::arch::asm;
use std::sync::OnceLock;

use super::super::amx::{PANEL_STRIDE, SIDE, clear, multiply_step, store};
use super::super::panel::Panel;
use super::tile::{Sums, Tile};
use crate::parallel::prefetch;

/// Whether the CPU multiplies bytes in tiles, where it may use tiles at all. It is asked once: a virtual machine takes tens of
/// microseconds for the answer.
pub(super) fn available() -> bool {
    /// In the feature bits of leaf 7.
    const INT8: u32 = 1 << 25;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| std::arch::x86_64::__cpuid_count(7, 0).edx & INT8 != 0)
}

/// Computes a tile.
///
/// # Safety
///
/// A [`super::super::amx::Shapes`] of this thread lives. The left operand has rows up to the next multiple of 16, 32 at most, whose words are
/// a multiple of 16, as is the panel's depth.
pub(super) unsafe fn tile(tile: &Tile, sums: &mut Sums) {
    // SAFETY: passed on.
    unsafe {
        if tile.rows > SIDE {
            multiply::<2>(tile, sums);
        } else {
            multiply::<1>(tile, sums);
        }
    }
}

/// Computes `TILES` times 16 rows. What a piece of assembly leaves in the tiles, the next one finds there: between them is nothing
/// that uses tiles.
///
/// # Safety
///
/// See [`tile`].
#[inline(always)]
unsafe fn multiply<const TILES: usize>(tile: &Tile, sums: &mut Sums) {
    let stride = tile.stride * size_of::<u32>();
    let (steps, mut asked) = (tile.right.len() / SIDE, 0);
    // SAFETY: the tiles that are read are inside the operands by the caller's promise; the sums have 32 rows of 48.
    unsafe {
        clear();
        for step in 0..steps {
            let left = tile.left.add(step * SIDE);
            let right = tile.right.as_ptr().add(step * SIDE);
            multiply_step!("tdpbusd", TILES, left, stride, right);
            let wanted = tile.next.len() * (step + 1) / steps;
            prefetch(
                tile.next.as_flattened(),
                asked * Panel::COLUMNS,
                Panel::COLUMNS,
                [wanted - asked, Panel::COLUMNS],
            );
            asked = wanted;
        }
        store::<TILES>(sums.as_mut_ptr().cast(), PANEL_STRIDE);
    }
}
