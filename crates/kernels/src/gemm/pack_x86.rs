//! Packing compiled for AVX-512 and AVX2, with rounding and transpose in registers.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::Precision;
use super::pack::{Source, Square, bf16_pairs};

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2")]
pub(super) fn pack_avx512<const WIDTH: usize>(panels: &mut [[u32; WIDTH]], source: Source, precision: Precision) {
    source.pack(panels, precision, |values| bf16s(values), bf16_pairs, bf16_pairs, |square| transpose(square));
}

#[target_feature(enable = "avx2")]
pub(super) fn pack_avx2<const WIDTH: usize>(panels: &mut [[u32; WIDTH]], source: Source, precision: Precision) {
    source.pack(panels, precision, |values| bf16s(values), bf16_pairs, bf16_pairs, |square| transpose(square));
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2")]
pub(super) fn pack_avx512_bf16<const WIDTH: usize>(panels: &mut [[u32; WIDTH]], source: Source, precision: Precision) {
    source.pack(
        panels,
        precision,
        |values| hardware_bf16s(values),
        |rows| hardware_pairs(rows),
        |rows| hardware_wide_pairs(rows),
        |square| transpose(square),
    );
}

/// Rounds by the CPU's own instruction, which takes numbers below the normal range for zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
fn hardware_bf16s(values: &[[f32; 2]; 8]) -> [u32; 8] {
    // SAFETY: there are sixteen values, no alignment is needed, and both vectors are 256 bits.
    unsafe { transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr().cast()))) }
}

/// Rounds both rows, and interleaves them.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16,avx2")]
fn hardware_pairs([low, high]: [&[f32; 8]; 2]) -> [u32; 8] {
    // SAFETY: a row has eight values, no alignment is needed, and vectors of equal size are converted.
    unsafe {
        let low: __m128i = transmute(_mm256_cvtneps_pbh(_mm256_loadu_ps(low.as_ptr())));
        let high: __m128i = transmute(_mm256_cvtneps_pbh(_mm256_loadu_ps(high.as_ptr())));
        transmute([_mm_unpacklo_epi16(low, high), _mm_unpackhi_epi16(low, high)])
    }
}

/// As [`hardware_pairs`], for sixteen lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16")]
fn hardware_wide_pairs([low, high]: [&[f32; 16]; 2]) -> [u32; 16] {
    // value i of the first row, then value i of the second one
    let order = _mm512_add_epi32(
        _mm512_set1_epi32(16 << 16),
        _mm512_mullo_epi32(
            _mm512_set1_epi32(1 << 16 | 1),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        ),
    );
    // SAFETY: a row has sixteen values, no alignment is needed, and vectors of equal size are converted.
    unsafe {
        let (low, high) = (_mm512_loadu_ps(low.as_ptr()), _mm512_loadu_ps(high.as_ptr()));
        let rounded: __m512i = transmute(_mm512_cvtne2ps_pbh(high, low));
        transmute(_mm512_permutexvar_epi16(order, rounded))
    }
}

/// Rounds each half, packs them within 128-bit lanes, and puts the quarters in order.
#[inline]
#[target_feature(enable = "avx2")]
fn bf16s(values: &[[f32; 2]; 8]) -> [u32; 8] {
    let start: *const f32 = values.as_ptr().cast();
    // SAFETY: there are sixteen values, and no alignment is needed.
    let (low, high) = unsafe { (rounded(_mm256_loadu_ps(start)), rounded(_mm256_loadu_ps(start.add(8)))) };
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
    let mut out = [0; 8];
    // SAFETY: `out` has 256 bits, and no alignment is needed.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), words) };
    out
}

/// [`super::pack::rounded`], in the lower halves.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(x: __m256) -> __m256i {
    let bits = _mm256_castps_si256(x);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let nearest = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
    _mm256_srli_epi32::<16>(_mm256_blendv_epi8(nearest, quiet, is_nan))
}

/// Interleaves pairs of rows, then pairs of pairs, then exchanges halves.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(square: &Square) -> Square {
    // SAFETY: a row is 256 bits, and no alignment is needed.
    let r = square.each_ref().map(|row| unsafe { _mm256_loadu_si256(row.as_ptr().cast()) });
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
    let mut out = [[0; 8]; 8];
    for i in 0..4 {
        let first = _mm256_permute2x128_si256::<0x20>(upper[i], lower[i]);
        let second = _mm256_permute2x128_si256::<0x31>(upper[i], lower[i]);
        // SAFETY: a row is 256 bits, and no alignment is needed.
        unsafe {
            _mm256_storeu_si256(out[i].as_mut_ptr().cast(), first);
            _mm256_storeu_si256(out[i + 4].as_mut_ptr().cast(), second);
        }
    }
    out
}
