//! The innermost loop for bf16 with AVX512-BF16.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::tile::{Block, Tile, Vector, compute, products as products_of};

/// Computes a tile.
///
/// # Safety
///
/// The CPU has AVX512-BF16, and the tile may be written.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn tile(block: Block, tile: &Tile) {
    // SAFETY: compiled for AVX512-BF16; the rest is the caller's promise.
    unsafe { compute::<Bf16, 3>(block, tile) }
}

/// See [`super::tile::products`].
///
/// # Safety
///
/// The CPU has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn products(steps: usize, word: u32) -> f32 {
    // SAFETY: compiled for AVX512-BF16.
    unsafe { products_of::<Bf16>(steps, word) }
}

/// Sixteen sums of products of bf16, two at a time.
#[derive(Clone, Copy)]
pub(super) struct Bf16(__m512);

// SAFETY of the blocks below: the callers of the methods promise that the CPU has AVX512-BF16 and that the pointers are
// good for sixteen numbers; no alignment is needed.
impl Vector for Bf16 {
    const LANES: usize = 16;
    const ROWS: usize = 8;
    type Words = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn words(from: *const u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, a: __m512i, b: __m512i) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_dpbf16_ps(self.0, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b)) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn square_add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fmadd_ps(self.0, self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        // SAFETY: see above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
}
