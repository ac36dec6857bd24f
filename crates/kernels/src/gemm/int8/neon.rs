//! The innermost loop for 64-bit ARM with the instructions of `dotprod`, which add four products of s8 and s8. Rust has them in
//! assembly only.

use std::arch::aarch64::*;
use std::arch::asm;

use super::tile::{Dot, Sums, Tile, compute};

/// Computes a tile; its sums are those of the left operand less 128 ([`super::kernel::Kernel::offset`]).
///
/// # Safety
///
/// The CPU has `dotprod`; and see [`compute`].
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn tile(tile: &Tile, sums: &mut Sums) {
    // SAFETY: compiled for it; the rest is the caller's promise.
    unsafe { compute::<Neon, 3>(tile, sums) }
}

#[derive(Clone, Copy)]
struct Neon(int32x4_t);

// SAFETY of the blocks below: the callers of the methods promise that the CPU has the instructions and that the pointers are good for
// four numbers.
impl Dot for Neon {
    const LANES: usize = 4;
    const ROWS: usize = 6;
    type Left = int8x16_t;
    type Right = int8x16_t;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { vdupq_n_s32(0) })
    }

    #[inline(always)]
    unsafe fn left(word: u32) -> int8x16_t {
        // SAFETY: see above; changing the highest bit of a byte takes 128 from it.
        unsafe { vreinterpretq_s8_u32(vdupq_n_u32(word ^ 0x8080_8080)) }
    }

    #[inline(always)]
    unsafe fn right(from: *const u32) -> int8x16_t {
        // SAFETY: see above.
        unsafe { vreinterpretq_s8_u32(vld1q_u32(from)) }
    }

    #[inline(always)]
    unsafe fn add(self, left: int8x16_t, right: int8x16_t) -> Self {
        let mut sum = self.0;
        // SAFETY: see above.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {left:v}.16b, {right:v}.16b",
                sum = inout(vreg) sum, left = in(vreg) left, right = in(vreg) right,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        Self(sum)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: see above.
        unsafe { vst1q_s32(to, self.0) }
    }
}
