//! The innermost loops to choose from.

use super::Precision;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::pack::SQUARE;
use super::portable;
use super::small::Small;
use super::tile::{Block, ROWS, SUMS, Tile};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512, avx512_bf16};
use crate::isa::{Isa, isa};

/// Computes a product of small f32 matrices, `n` a multiple of 16, with the instructions in use; gives it back where there
/// are none.
#[inline]
pub(crate) fn small(product: Small) -> Option<Small> {
    assert!(product.shape[1].is_multiple_of(16), "{:?}", product.shape);
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: levels in use are those that the CPU has; n was checked.
        Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 => unsafe { avx512::small(product) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2::small(product) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every 64-bit ARM has NEON; n was checked.
        _ => unsafe { neon::small(product) },
        #[cfg(not(target_arch = "aarch64"))]
        _ => return Some(product),
    }
    None
}

/// Rows of the highest tile.
pub(super) const MOST_TILE_ROWS: usize = 32;

/// An innermost loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Amx,
    Avx512Bf16,
    Avx512,
    Avx2,
    Neon,
    Portable,
    PortableBf16,
}

impl Kernel {
    /// All of them, best first.
    pub(super) const ALL: [Self; 7] =
        [Self::Amx, Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Neon, Self::Portable, Self::PortableBf16];

    /// The best for these operands at the level of instructions in use.
    pub(super) fn best(precision: Precision) -> Self {
        let level = Isa::ALL.iter().position(|&level| level == isa()).unwrap_or(0);
        let fits = |kernel: &Self| {
            kernel.precision() == precision && Isa::ALL[level..].contains(&kernel.isa()) && kernel.available()
        };
        let portable = if precision == Precision::Bf16 { Self::PortableBf16 } else { Self::Portable };
        Self::ALL.into_iter().find(fits).unwrap_or(portable)
    }

    /// What it multiplies.
    pub(super) fn precision(self) -> Precision {
        match self {
            Self::Amx | Self::Avx512Bf16 | Self::PortableBf16 => Precision::Bf16,
            Self::Avx512 | Self::Avx2 | Self::Neon | Self::Portable => Precision::F32,
        }
    }

    /// The level of instructions that it belongs to.
    fn isa(self) -> Isa {
        match self {
            Self::Amx => Isa::Amx,
            Self::Avx512Bf16 => Isa::Avx512Bf16,
            Self::Avx512 => Isa::Avx512,
            Self::Avx2 => Isa::Avx2,
            Self::Neon | Self::Portable | Self::PortableBf16 => Isa::Baseline,
        }
    }

    /// Whether this CPU has it.
    pub(super) fn available(self) -> bool {
        self.isa().available() && (self != Self::Neon || cfg!(target_arch = "aarch64"))
    }

    /// Words along K that are summed before the tile is written: with 512-bit registers a column panel may stream
    /// from the level-2 cache, narrower ones need it in the level-1 cache.
    pub(super) fn depth(self) -> usize {
        match self {
            Self::Amx => 512,
            Self::Avx512Bf16 | Self::Avx512 => 768,
            Self::Avx2 | Self::Neon | Self::Portable | Self::PortableBf16 => 128,
        }
    }

    /// Rows of a tile of the output.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Amx => MOST_TILE_ROWS,
            _ => ROWS,
        }
    }

    /// What the rows that it reads of the left operand, and the words along K, are multiples of.
    pub(super) fn granularity(self) -> usize {
        if self == Self::Amx { SQUARE } else { 1 }
    }

    /// How it reads a left operand whose source is transposed: so many lanes, whose words at one k are neighbours.
    pub(super) fn group(self) -> usize {
        if self == Self::Amx { 1 } else { ROWS }
    }

    /// Begins to compute tiles on this thread.
    ///
    /// # Safety
    ///
    /// The kernel is available.
    pub(super) unsafe fn begin<'a>(self) -> Work<'a> {
        Work {
            kernel: self,
            tiles: std::marker::PhantomData,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: passed on.
            amx: (self == Self::Amx).then(|| unsafe { amx::Tiles::new() }),
        }
    }

    /// Sums in a vector.
    fn lanes(self) -> usize {
        match self {
            Self::Amx | Self::Avx512Bf16 | Self::Avx512 => 16,
            Self::Avx2 | Self::Portable | Self::PortableBf16 => 8,
            Self::Neon => 4,
        }
    }

    /// Multiplies and adds in registers alone; returns the number of floating-point operations.
    pub(super) fn exercise(self, steps: usize) -> f64 {
        // the compiler must not know that nothing changes
        let word = std::hint::black_box(0);
        #[cfg(target_arch = "x86_64")]
        if self == Self::Amx {
            // SAFETY: as below.
            return 2.0 * unsafe { amx::products(steps) } as f64;
        }
        // SAFETY: `best` returns only kernels that the CPU has, and it is where they come from.
        std::hint::black_box(unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 => avx512_bf16::products(steps, word),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::products(steps, word),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::products(steps, word),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::products(steps, word),
                Self::PortableBf16 => portable::products_bf16(steps, word),
                _ => portable::products(steps, word),
            }
        });
        let products = self.lanes() * self.precision().per_word() * SUMS * steps;
        2.0 * products as f64
    }
}

/// A kernel that computes one tile after another.
pub(super) struct Work<'a> {
    kernel: Kernel,
    tiles: std::marker::PhantomData<Tile<'a>>,
    #[cfg(target_arch = "x86_64")]
    amx: Option<amx::Tiles<'a>>,
}

impl<'a> Work<'a> {
    /// Computes a tile. It may be written as late as in [`Self::finish`].
    ///
    /// # Safety
    ///
    /// `tile` may be written until then (see [`Tile`]), and the left operand has its rows, rounded up to the
    /// [`Kernel::granularity`], of which the depth is a multiple.
    #[inline]
    pub(super) unsafe fn run(&mut self, block: Block, tile: Tile<'a>) {
        // SAFETY: the kernel is available, as promised in `begin`; what else the callees ask for is what the caller promises.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if let Some(amx) = &mut self.amx {
                return amx.compute(block, tile);
            }
            match self.kernel {
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Bf16 => avx512_bf16::tile(block, &tile),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512 => avx512::tile(block, &tile),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => avx2::tile(block, &tile),
                #[cfg(target_arch = "aarch64")]
                Kernel::Neon => neon::tile(block, &tile),
                Kernel::PortableBf16 => portable::tile_bf16(block, &tile),
                _ => portable::tile(block, &tile),
            }
        }
    }

    /// Ends: now all tiles are written.
    ///
    /// # Safety
    ///
    /// They may be.
    pub(super) unsafe fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(mut amx) = self.amx {
            // SAFETY: the kernel is available, as promised in `begin`; the caller's promise.
            unsafe { amx.finish() };
        }
    }
}
