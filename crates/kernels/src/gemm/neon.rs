//! The innermost loop for f32 with NEON.

use std::arch::aarch64::*;

use super::small::{Small, small as small_of};
use super::tile::{Block, Tile, Vector, compute, products as products_of};

/// Computes a tile.
///
/// # Safety
///
/// The CPU has NEON, and the tile may be written.
pub(super) unsafe fn tile(block: Block, tile: &Tile) {
    // SAFETY: NEON is in every 64-bit ARM; the rest is the caller's promise.
    unsafe { compute::<F32, 3>(block, tile) }
}

/// See [`super::tile::products`].
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn products(steps: usize, word: u32) -> f32 {
    // SAFETY: NEON is in every 64-bit ARM.
    unsafe { products_of::<F32>(steps, word) }
}

/// Computes a small product.
///
/// # Safety
///
/// The CPU has NEON; `n` is a multiple of 4.
pub(super) unsafe fn small(product: Small) {
    // SAFETY: NEON is in every 64-bit ARM; the rest is the caller's promise.
    unsafe { small_of::<F32, 3>(product) }
}

/// Four sums of products of f32.
#[derive(Clone, Copy)]
struct F32(float32x4_t);

// SAFETY of the blocks below: the callers of the methods promise that the CPU has NEON and that the pointers are
// good for four numbers; no alignment is needed.
impl Vector for F32 {
    const LANES: usize = 4;
    const ROWS: usize = 8;
    type Words = float32x4_t;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { vdupq_n_f32(0.0) })
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(f32::from_bits(word)) }
    }

    #[inline(always)]
    unsafe fn words(from: *const u32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, a: float32x4_t, b: float32x4_t) -> Self {
        // SAFETY: see above.
        Self(unsafe { vfmaq_f32(self.0, a, b) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn square_add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vfmaq_f32(other.0, self.0, self.0) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { vld1q_f32(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, self.0) }
    }
}
