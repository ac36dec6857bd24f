//! The innermost loops for any CPU. That for bf16 is an emulation.

use super::tile::{Block, Tile, Vector, compute, products as products_of};

/// Numbers in a vector; the compiler finds the instructions.
const LANES: usize = 8;

/// Computes a tile of f32 products.
///
/// # Safety
///
/// The tile may be written.
pub(super) unsafe fn tile(block: Block, tile: &Tile) {
    // SAFETY: the caller's promise; no special instructions are needed.
    unsafe { compute::<Portable<F32>, 3>(block, tile) }
}

/// Computes a tile of bf16 products.
///
/// # Safety
///
/// The tile may be written.
pub(super) unsafe fn tile_bf16(block: Block, tile: &Tile) {
    // SAFETY: the caller's promise; no special instructions are needed.
    unsafe { compute::<Portable<Bf16>, 3>(block, tile) }
}

/// See [`super::tile::products`].
pub(super) fn products(steps: usize, word: u32) -> f32 {
    // SAFETY: no special instructions are needed.
    unsafe { products_of::<Portable<F32>>(steps, word) }
}

/// See [`super::tile::products`].
pub(super) fn products_bf16(steps: usize, word: u32) -> f32 {
    // SAFETY: no special instructions are needed.
    unsafe { products_of::<Portable<Bf16>>(steps, word) }
}

/// What a packed word holds.
trait Word: Copy {
    /// The sum and the word's product or products.
    fn multiply_add(sum: f32, a: u32, b: u32) -> f32;
}

#[derive(Clone, Copy)]
struct F32;

impl Word for F32 {
    #[inline(always)]
    fn multiply_add(sum: f32, a: u32, b: u32) -> f32 {
        sum + f32::from_bits(a) * f32::from_bits(b)
    }
}

#[derive(Clone, Copy)]
struct Bf16;

impl Word for Bf16 {
    #[inline(always)]
    fn multiply_add(sum: f32, a: u32, b: u32) -> f32 {
        let (low, high) = (|x: u32| f32::from_bits(x << 16), |x: u32| f32::from_bits(x & 0xffff_0000));
        sum + high(a) * high(b) + low(a) * low(b)
    }
}

/// Sums of products.
#[derive(Clone, Copy)]
struct Portable<W> {
    sums: [f32; LANES],
    word: std::marker::PhantomData<W>,
}

impl<W> From<[f32; LANES]> for Portable<W> {
    #[inline(always)]
    fn from(sums: [f32; LANES]) -> Self {
        Self { sums, word: std::marker::PhantomData }
    }
}

impl<W: Word> Vector for Portable<W> {
    const LANES: usize = LANES;
    const ROWS: usize = 4;
    type Words = [u32; LANES];

    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; LANES].into()
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self::Words {
        [word; LANES]
    }

    #[inline(always)]
    unsafe fn words(from: *const u32) -> Self::Words {
        // SAFETY: the caller promises that LANES words can be read.
        unsafe { from.cast::<Self::Words>().read() }
    }

    #[inline(always)]
    unsafe fn multiply_add(mut self, a: Self::Words, b: Self::Words) -> Self {
        for l in 0..LANES {
            self.sums[l] = W::multiply_add(self.sums[l], a[l], b[l]);
        }
        self
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for l in 0..LANES {
            self.sums[l] += other.sums[l];
        }
        self
    }

    #[inline(always)]
    unsafe fn square_add(self, mut other: Self) -> Self {
        for l in 0..LANES {
            other.sums[l] += self.sums[l] * self.sums[l];
        }
        other
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises that LANES numbers can be read.
        unsafe { from.cast::<[f32; LANES]>().read() }.into()
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises that LANES numbers can be written.
        unsafe { to.cast::<[f32; LANES]>().write(self.sums) }
    }
}
