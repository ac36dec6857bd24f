//! Rounding and transposing compiled for AVX-512 and AVX2.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::pack::{Portable, Rounding, SQUARE, Words};

/// Runs `f` compiled for AVX512-BF16.
///
/// # Safety
///
/// The CPU has it.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2")]
pub(super) unsafe fn avx512_bf16<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Runs `f` compiled for AVX-512.
///
/// # Safety
///
/// The CPU has it.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2")]
pub(super) unsafe fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Runs `f` compiled for AVX2.
///
/// # Safety
///
/// The CPU has it.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Rounds by the CPU's own instruction, which takes numbers below the normal range for zeros.
pub(super) struct Avx512Bf16;
/// Rounds with integers.
pub(super) struct Avx512;
/// Rounds with integers.
pub(super) struct Avx2;

// SAFETY of the blocks below: the callers of the methods promise that the CPU has the instructions; a reference to sixteen
// numbers is good for a load or store of 512 bits, no alignment is needed, and vectors of equal size are converted.
impl Rounding for Avx512Bf16 {
    #[inline(always)]
    unsafe fn along<const PER_WORD: usize>(values: &[[f32; PER_WORD]; SQUARE]) -> Words {
        match values.as_flattened().as_chunks::<SQUARE>().0 {
            [low, high] => {
                // SAFETY: see above.
                unsafe {
                    transmute::<__m512bh, Words>(_mm512_cvtne2ps_pbh(
                        _mm512_loadu_ps(high.as_ptr()),
                        _mm512_loadu_ps(low.as_ptr()),
                    ))
                }
            }
            // SAFETY: passed on.
            _ => unsafe { Portable::along(values) },
        }
    }

    #[inline(always)]
    unsafe fn across<const PER_WORD: usize>(values: [&[f32; SQUARE]; PER_WORD]) -> Words {
        match values[..] {
            // SAFETY: see above.
            [low, high] => unsafe {
                // value i of the first row, then value i of the second one
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let pairs = _mm512_or_si512(lanes, _mm512_slli_epi32::<16>(lanes));
                let order = _mm512_add_epi32(_mm512_set1_epi32(16 << 16), pairs);
                let rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(high.as_ptr()), _mm512_loadu_ps(low.as_ptr()));
                transmute::<__m512i, Words>(_mm512_permutexvar_epi16(order, transmute::<__m512bh, __m512i>(rounded)))
            },
            // SAFETY: passed on.
            _ => unsafe { Portable::across(values) },
        }
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [Words; SQUARE]) {
        // SAFETY: passed on.
        unsafe { transpose16(square) };
    }
}

// SAFETY: as above.
impl Rounding for Avx512 {
    #[inline(always)]
    unsafe fn along<const PER_WORD: usize>(values: &[[f32; PER_WORD]; SQUARE]) -> Words {
        // SAFETY: passed on.
        unsafe { Avx2::along(values) }
    }

    #[inline(always)]
    unsafe fn across<const PER_WORD: usize>(values: [&[f32; SQUARE]; PER_WORD]) -> Words {
        // SAFETY: passed on.
        unsafe { Portable::across(values) }
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [Words; SQUARE]) {
        // SAFETY: passed on.
        unsafe { transpose16(square) };
    }
}

// SAFETY: as above.
impl Rounding for Avx2 {
    #[inline(always)]
    unsafe fn along<const PER_WORD: usize>(values: &[[f32; PER_WORD]; SQUARE]) -> Words {
        match values.as_flattened().as_chunks::<SQUARE>().0 {
            // SAFETY: see above.
            [low, high] => unsafe { transmute::<[__m256i; 2], Words>([bf16s(low), bf16s(high)]) },
            // SAFETY: passed on.
            _ => unsafe { Portable::along(values) },
        }
    }

    #[inline(always)]
    unsafe fn across<const PER_WORD: usize>(values: [&[f32; SQUARE]; PER_WORD]) -> Words {
        // SAFETY: passed on; the compiler finds the instructions.
        unsafe { Portable::across(values) }
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [Words; SQUARE]) {
        // SAFETY: see above; each quarter is inside the square. No closures: they would be compiled without these instructions.
        unsafe {
            let [a, b] = [transpose8(square, 0, 0), transpose8(square, 0, 8)];
            let [c, d] = [transpose8(square, 8, 0), transpose8(square, 8, 8)];
            for i in 0..8 {
                _mm256_storeu_si256(square[i].as_mut_ptr().cast(), a[i]);
                _mm256_storeu_si256(square[i][8..].as_mut_ptr().cast(), c[i]);
                _mm256_storeu_si256(square[8 + i].as_mut_ptr().cast(), b[i]);
                _mm256_storeu_si256(square[8 + i][8..].as_mut_ptr().cast(), d[i]);
            }
        }
    }
}

/// Interleaves rows, then pairs of rows, within their quarters, then puts the quarters in order.
///
/// # Safety
///
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn transpose16(square: &mut [Words; SQUARE]) {
    // SAFETY: see above.
    unsafe {
        let mut a = [_mm512_setzero_si512(); SQUARE];
        for i in 0..SQUARE {
            a[i] = _mm512_loadu_si512(square[i].as_ptr().cast());
        }
        let mut b = a;
        for i in (0..SQUARE).step_by(4) {
            let low = [_mm512_unpacklo_epi32(a[i], a[i + 1]), _mm512_unpacklo_epi32(a[i + 2], a[i + 3])];
            let high = [_mm512_unpackhi_epi32(a[i], a[i + 1]), _mm512_unpackhi_epi32(a[i + 2], a[i + 3])];
            // b[i + c] has columns c, c + 4, c + 8, c + 12 of rows i to i + 3
            b[i] = _mm512_unpacklo_epi64(low[0], low[1]);
            b[i + 1] = _mm512_unpackhi_epi64(low[0], low[1]);
            b[i + 2] = _mm512_unpacklo_epi64(high[0], high[1]);
            b[i + 3] = _mm512_unpackhi_epi64(high[0], high[1]);
        }
        for c in 0..4 {
            let even =
                [_mm512_shuffle_i32x4::<0x88>(b[c], b[c + 4]), _mm512_shuffle_i32x4::<0x88>(b[c + 8], b[c + 12])];
            let odd = [_mm512_shuffle_i32x4::<0xdd>(b[c], b[c + 4]), _mm512_shuffle_i32x4::<0xdd>(b[c + 8], b[c + 12])];
            let rows = [
                _mm512_shuffle_i32x4::<0x88>(even[0], even[1]),
                _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]),
                _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]),
                _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]),
            ];
            for (q, row) in rows.into_iter().enumerate() {
                _mm512_storeu_si512(square[c + 4 * q].as_mut_ptr().cast(), row);
            }
        }
    }
}

/// Eight words of bf16 from sixteen values: rounds each half, packs them within 128-bit lanes, and puts the quarters in order.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn bf16s(values: &[f32; SQUARE]) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let (low, high) = (rounded(_mm256_loadu_ps(values.as_ptr())), rounded(_mm256_loadu_ps(values[8..].as_ptr())));
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high))
    }
}

/// [`super::pack::rounded`], in the lower halves.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn rounded(x: __m256) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let nearest = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(nearest, quiet, is_nan))
    }
}

/// The transpose of the quarter at (row, column): interleaves pairs of rows, then pairs of pairs, then exchanges halves.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn transpose8(square: &[Words; SQUARE], row: usize, column: usize) -> [__m256i; 8] {
    // SAFETY: see above; row and column are 0 or 8.
    unsafe {
        let mut r = [_mm256_setzero_si256(); 8];
        for i in 0..8 {
            r[i] = _mm256_loadu_si256(square[row + i][column..].as_ptr().cast());
        }
        let (a, b) = (_mm256_unpacklo_epi32(r[0], r[1]), _mm256_unpackhi_epi32(r[0], r[1]));
        let (c, d) = (_mm256_unpacklo_epi32(r[2], r[3]), _mm256_unpackhi_epi32(r[2], r[3]));
        let (e, f) = (_mm256_unpacklo_epi32(r[4], r[5]), _mm256_unpackhi_epi32(r[4], r[5]));
        let (g, h) = (_mm256_unpacklo_epi32(r[6], r[7]), _mm256_unpackhi_epi32(r[6], r[7]));
        let upper = [
            _mm256_unpacklo_epi64(a, c),
            _mm256_unpackhi_epi64(a, c),
            _mm256_unpacklo_epi64(b, d),
            _mm256_unpackhi_epi64(b, d),
        ];
        let lower = [
            _mm256_unpacklo_epi64(e, g),
            _mm256_unpackhi_epi64(e, g),
            _mm256_unpacklo_epi64(f, h),
            _mm256_unpackhi_epi64(f, h),
        ];
        let mut out = r;
        for i in 0..4 {
            out[i] = _mm256_permute2x128_si256::<0x20>(upper[i], lower[i]);
            out[i + 4] = _mm256_permute2x128_si256::<0x31>(upper[i], lower[i]);
        }
        out
    }
}
