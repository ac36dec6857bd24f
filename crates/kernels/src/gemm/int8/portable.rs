//! The innermost loop for any CPU.

use super::tile::{Dot, Sums, Tile, compute};

/// Sums in a vector; the compiler finds the instructions.
const LANES: usize = 8;

/// Computes a tile.
///
/// # Safety
///
/// See [`compute`].
pub(super) unsafe fn tile(tile: &Tile, sums: &mut Sums) {
    // SAFETY: the caller's promise; no special instructions are needed.
    unsafe { compute::<Portable, 2>(tile, sums) }
}

#[derive(Clone, Copy)]
struct Portable([i32; LANES]);

// SAFETY of the blocks below: the callers promise that the pointers are good for as many numbers.
impl Dot for Portable {
    const LANES: usize = LANES;
    const ROWS: usize = 2;
    type Left = [i32; 4];
    type Right = [u32; LANES];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; LANES])
    }

    #[inline(always)]
    unsafe fn left(word: u32) -> [i32; 4] {
        word.to_le_bytes().map(i32::from)
    }

    #[inline(always)]
    unsafe fn right(from: *const u32) -> [u32; LANES] {
        // SAFETY: see above.
        unsafe { from.cast::<[u32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add(mut self, left: [i32; 4], right: [u32; LANES]) -> Self {
        for i in 0..4 {
            for l in 0..LANES {
                let byte = (right[l] << (24 - 8 * i)).cast_signed() >> 24;
                self.0[l] += left[i] * byte;
            }
        }
        self
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: see above.
        unsafe { to.cast::<[i32; LANES]>().write_unaligned(self.0) }
    }
}
