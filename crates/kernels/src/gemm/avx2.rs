//! The innermost loop for f32 with AVX2 and FMA.

use std::arch::x86_64::*;

use super::small::{Small, small as small_of};
use super::tile::{Block, Tile, Vector, compute, products as products_of};

/// Computes a tile.
///
/// # Safety
///
/// The CPU has AVX2 and FMA, and the tile may be written.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile(block: Block, tile: &Tile) {
    // SAFETY: compiled for AVX2 and FMA; the rest is the caller's promise.
    unsafe { compute::<F32, 2>(block, tile) }
}

/// See [`super::tile::products`].
///
/// # Safety
///
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn products(steps: usize, word: u32) -> f32 {
    // SAFETY: compiled for AVX2 and FMA.
    unsafe { products_of::<F32>(steps, word) }
}

/// Computes a small product.
///
/// # Safety
///
/// The CPU has AVX2 and FMA; `n` is a multiple of 8.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn small(product: Small) {
    // SAFETY: compiled for AVX2 and FMA; the rest is the caller's promise.
    unsafe { small_of::<F32, 2>(product) }
}

/// Eight sums of products of f32.
#[derive(Clone, Copy)]
struct F32(__m256);

// SAFETY of the blocks below: the callers of the methods promise that the CPU has AVX2 and FMA and that the pointers are
// good for eight numbers; no alignment is needed.
impl Vector for F32 {
    const LANES: usize = 8;
    const ROWS: usize = 4;
    type Words = __m256;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(f32::from_bits(word)) }
    }

    #[inline(always)]
    unsafe fn words(from: *const u32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, a: __m256, b: __m256) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fmadd_ps(a, b, self.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn square_add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fmadd_ps(self.0, self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        // SAFETY: see above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
}
