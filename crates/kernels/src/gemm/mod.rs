//! Cache-blocked matrix multiplication in f32 or bf16, always summed in f32. The linear layers call it.
//!
//! ```text
//! arrange a for the innermost loop                            (all threads)                         pack.rs
//! for each block of rows, for each panel of 48 columns of c   (one task each, on any thread)        driver.rs
//!   for each stretch of K                                     (in order; later ones add to c)       driver.rs
//!     arrange that part of b in the thread's cache                                                  panel.rs
//!     for each 8 rows: an 8 x 48 tile of c in registers       (K innermost; 32 rows with AMX)       tile.rs, amx.rs
//!       while a part of what the next task reads is asked for                                       ahead.rs
//!       (with AMX, while the tile before is written)
//! ```
//!
//! What is arranged is the same for every CPU; only the innermost tile, rounding and transposing are compiled per instruction
//! set (`amx.rs`, `avx512.rs`, `avx512_bf16.rs`, `avx2.rs`, `neon.rs`, `portable.rs`, `pack_x86.rs`). Every element of `c` is summed in one order,
//! whatever the number of threads.

mod ahead;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod driver;
mod int8;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_x86;
mod panel;
mod peak;
mod portable;
mod small;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use driver::{Arranged, multiply_and_sum, multiply_arranged, multiply_twice, multiply_updating};
pub use driver::{Buffers, multiply};
pub use int8::{Activation, Quantized, int8_instructions};
pub(crate) use int8::{Int8Panels, Rows, multiply_int8};
pub(crate) use kernel::small;
pub use pack::Matrix;
pub(crate) use pack::transpose_small;
pub use peak::peak;
pub(crate) use small::Small;

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

    /// What this CPU multiplies faster, measured once a process; f32 where it has no instructions for bf16.
    pub fn fastest() -> Self {
        peak::fastest()
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
