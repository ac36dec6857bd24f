//! Packed, cache-blocked matrix multiplication in f32 or bf16, always summed in f32. The linear layers call it.
//!
//! `c [M, N] = a [M, K] · b [K, N]`: [`Left`] and [`Right`] hold `a` and `b` rearranged for the innermost loop, so
//! that an operand that is used again (a weight matrix: in every call of a step) is rearranged once:
//!
//! ```text
//! for each block of row panels, for each column panel of c     (one task each, on any thread)      driver.rs
//!   for each block of K                                        (in order; later blocks add to c)   driver.rs
//!     for each row panel: an 8 x 48 tile of c in registers     (K innermost)                       tile.rs
//! ```
//!
//! The packed form is the same for every CPU; only the innermost tile is compiled per instruction set (`avx512.rs`,
//! `avx512_bf16.rs`, `avx2.rs`, `portable.rs`). Every element of `c` is summed in one order, whatever the number of
//! threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod driver;
mod kernel;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_x86;
mod peak;
mod portable;
#[cfg(test)]
mod tests;
mod tile;

pub use driver::multiply;
pub(crate) use kernel::small;
pub use pack::{Left, Matrix, Right};
pub use peak::peak;
pub(crate) use tile::Small;

/// What the operands are rounded to. Sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// bfloat16, to nearest, ties to even.
    Bf16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl Precision {
    /// Whether this CPU has instructions for it. Without them it is emulated: correct, and slow.
    pub fn accelerated(self) -> bool {
        self == Self::F32 || kernel::Kernel::best(self) != kernel::Kernel::PortableBf16
    }

    /// How many values along K share a packed 32-bit word.
    fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// What becomes of the product.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a, T = f32> {
    /// `c = a · b`
    Overwrite,
    /// `c += a · b`
    Add,
    /// `c = a · b + bias`, with `bias [N]` added to every row.
    Bias(&'a [T]),
}
