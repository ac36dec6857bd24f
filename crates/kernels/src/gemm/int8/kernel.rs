//! The innermost loops to choose from.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::tile::{Sums, Tile};
#[cfg(target_arch = "x86_64")]
use super::{super::amx::Shapes, amx, x86};
use crate::isa::{Isa, isa};

/// Rows of the highest tile.
pub(super) const MOST_ROWS: usize = 32;

/// An innermost loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Amx,
    Avx512Vnni,
    Avx512,
    AvxVnni,
    Avx2,
    Neon,
    Portable,
}

/// The instructions that int8 is multiplied with at the level in use, for messages; nothing where there are none for it, so that it is
/// correct but saves memory alone.
pub fn int8_instructions() -> Option<&'static str> {
    match Kernel::best() {
        Kernel::Amx => Some("AMX"),
        Kernel::Avx512Vnni => Some("AVX512-VNNI"),
        Kernel::AvxVnni => Some("AVX-VNNI"),
        Kernel::Neon => Some("dotprod"),
        Kernel::Avx512 | Kernel::Avx2 | Kernel::Portable => None,
    }
}

impl Kernel {
    /// All of them, best first.
    pub(super) const ALL: [Self; 7] =
        [Self::Amx, Self::Avx512Vnni, Self::Avx512, Self::AvxVnni, Self::Avx2, Self::Neon, Self::Portable];

    /// The best at the level of instructions in use.
    pub(super) fn best() -> Self {
        let level = Isa::ALL.iter().position(|&level| level == isa()).unwrap_or(0);
        let fits = |kernel: &Self| Isa::ALL[level..].contains(&kernel.isa()) && kernel.available();
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Portable)
    }

    /// The level of instructions that it belongs to.
    fn isa(self) -> Isa {
        match self {
            Self::Amx => Isa::Amx,
            Self::Avx512Vnni | Self::Avx512 => Isa::Avx512,
            Self::AvxVnni | Self::Avx2 => Isa::Avx2,
            Self::Neon | Self::Portable => Isa::Baseline,
        }
    }

    /// Whether this CPU has it.
    pub(super) fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let extra = match self {
            Self::Amx => amx::available(),
            Self::Avx512Vnni => is_x86_feature_detected!("avx512vnni"),
            Self::AvxVnni => is_x86_feature_detected!("avxvnni"),
            _ => self != Self::Neon,
        };
        #[cfg(target_arch = "aarch64")]
        let extra = !matches!(self, Self::Neon) || std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let extra = self != Self::Neon;
        self.isa().available() && extra
    }

    /// Rows of a tile.
    pub(super) fn rows(self) -> usize {
        if self == Self::Amx { MOST_ROWS } else { 8 }
    }

    /// What a thread needs while it computes tiles.
    ///
    /// # Safety
    ///
    /// The kernel is available.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn prepared(self) -> Option<Shapes> {
        // SAFETY: passed on.
        (self == Self::Amx).then(|| unsafe { Shapes::new() })
    }

    /// Nothing.
    ///
    /// # Safety
    ///
    /// None.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) unsafe fn prepared(self) {}

    /// What is taken from the bytes of the left operand before they are multiplied.
    pub(super) fn offset(self) -> i32 {
        if self == Self::Neon { 128 } else { 0 }
    }

    /// Computes the sums of a tile.
    ///
    /// # Safety
    ///
    /// The kernel is available, and the left operand has `rows <= self.rows()` rows of the panel's depth, and room for rows up to a multiple
    /// of [`MOST_ROWS`]. What [`Self::prepared`] returned is alive.
    #[inline]
    pub(super) unsafe fn run(self, tile: &Tile, sums: &mut Sums) {
        // SAFETY: what the callees ask for is what the caller promises.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Amx => amx::tile(tile, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Vnni => x86::avx512_vnni(tile, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => x86::avx512(tile, sums),
                #[cfg(target_arch = "x86_64")]
                Self::AvxVnni => x86::avx_vnni(tile, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => x86::avx2(tile, sums),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::tile(tile, sums),
                _ => portable::tile(tile, sums),
            }
        }
    }
}
