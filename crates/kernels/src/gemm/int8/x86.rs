//! The innermost loops for x86-64. With VNNI an instruction adds four products of u8 and s8. Without, bytes are widened to 16 bits,
//! those of even and of odd places, and an instruction adds two products: the one that multiplies bytes would cut off sums beyond
//! 16 bits.

use std::arch::x86_64::*;

use super::tile::{Dot, Sums, Tile, compute};

/// Defines a kernel: its function, its vector, and what each method does.
macro_rules! kernel {
    ($(#[$doc:meta])* $function:ident, $vector:ident($register:ty), $features:literal, $lanes:literal, $rows:literal, $vectors:literal,
     $operand:ty, $zero:expr, $left:expr, $right:expr, $add:expr, $store:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// The CPU has it; and see [`compute`].
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $function(tile: &Tile, sums: &mut Sums) {
            // SAFETY: compiled for it; the rest is the caller's promise.
            unsafe { compute::<$vector, $vectors>(tile, sums) }
        }

        #[derive(Clone, Copy)]
        struct $vector($register);

        // SAFETY of the blocks below: the callers of the methods promise that the CPU has the instructions and that the pointers are
        // good for a vector; no alignment is needed.
        impl Dot for $vector {
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;
            type Left = $operand;
            type Right = $operand;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: see above.
                Self(unsafe { $zero })
            }

            #[inline(always)]
            unsafe fn left(word: u32) -> $operand {
                // SAFETY: see above.
                unsafe { $left(word.cast_signed()) }
            }

            #[inline(always)]
            unsafe fn right(from: *const u32) -> $operand {
                // SAFETY: see above.
                unsafe { $right(from) }
            }

            #[inline(always)]
            unsafe fn add(self, left: $operand, right: $operand) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(self.0, left, right) })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut i32) {
                // SAFETY: see above.
                unsafe { $store(to.cast(), self.0) }
            }
        }
    };
}

kernel!(
    /// Computes a tile with AVX512-VNNI.
    avx512_vnni, Avx512Vnni(__m512i), "avx512f,avx512vnni", 16, 8, 3, __m512i,
    _mm512_setzero_si512(),
    |word| _mm512_set1_epi32(word),
    |from: *const u32| _mm512_loadu_si512(from.cast()),
    |sum, left, right| _mm512_dpbusd_epi32(sum, left, right),
    |to, sum| _mm512_storeu_si512(to, sum)
);

kernel!(
    /// Computes a tile with AVX-512 (F, BW).
    avx512, Avx512(__m512i), "avx512f,avx512bw", 16, 4, 3, [__m512i; 2],
    _mm512_setzero_si512(),
    |word| {
        let word = _mm512_set1_epi32(word);
        [_mm512_and_si512(word, _mm512_set1_epi16(0xff)), _mm512_srli_epi16::<8>(word)]
    },
    |from: *const u32| {
        let words = _mm512_loadu_si512(from.cast());
        [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(words)), _mm512_srai_epi16::<8>(words)]
    },
    |sum, left: [__m512i; 2], right: [__m512i; 2]| {
        let sum = _mm512_add_epi32(sum, _mm512_madd_epi16(left[0], right[0]));
        _mm512_add_epi32(sum, _mm512_madd_epi16(left[1], right[1]))
    },
    |to, sum| _mm512_storeu_si512(to, sum)
);

kernel!(
    /// Computes a tile with AVX-VNNI.
    avx_vnni, AvxVnni(__m256i), "avx2,avxvnni", 8, 4, 2, __m256i,
    _mm256_setzero_si256(),
    |word| _mm256_set1_epi32(word),
    |from: *const u32| _mm256_loadu_si256(from.cast()),
    |sum, left, right| _mm256_dpbusd_avx_epi32(sum, left, right),
    |to, sum| _mm256_storeu_si256(to, sum)
);

kernel!(
    /// Computes a tile with AVX2.
    avx2, Avx2(__m256i), "avx2", 8, 4, 2, [__m256i; 2],
    _mm256_setzero_si256(),
    |word| {
        let word = _mm256_set1_epi32(word);
        [_mm256_and_si256(word, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(word)]
    },
    |from: *const u32| {
        let words = _mm256_loadu_si256(from.cast());
        [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(words)), _mm256_srai_epi16::<8>(words)]
    },
    |sum, left: [__m256i; 2], right: [__m256i; 2]| {
        let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(left[0], right[0]));
        _mm256_add_epi32(sum, _mm256_madd_epi16(left[1], right[1]))
    },
    |to, sum| _mm256_storeu_si256(to, sum)
);
