//! Which instructions the kernels are compiled for, chosen once at run time.

use std::sync::OnceLock;

/// A level of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// [`Self::Avx512Bf16`] with Intel's matrix instructions for bf16, on Linux.
    Amx,
    /// [`Self::Avx512`] with products of bf16.
    Avx512Bf16,
    /// x86-64 with AVX-512 (F, VL, BW, DQ).
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// Whatever the target has without asking: SSE2 on x86-64, NEON on AArch64.
    Baseline,
}

impl Isa {
    /// All levels, best first.
    pub const ALL: [Self; 5] = [Self::Amx, Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Baseline];

    /// The name that `DISTUNE_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Self::Baseline => "baseline",
        }
    }

    /// Whether this CPU has it, and the operating system lets it be used.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Amx => Self::Avx512Bf16.available() && amx(),
            Self::Avx512Bf16 => is_x86_feature_detected!("avx512bf16") && Self::Avx512.available(),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && Self::Avx2.available()
            }
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Baseline => true,
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Baseline
        }
    }
}

/// The level in use: the best that the CPU has, or the one that the environment variable `DISTUNE_ISA` names,
/// when the CPU has it.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let forced = std::env::var("DISTUNE_ISA").ok();
        let wanted = |isa: &Isa| forced.as_deref().is_none_or(|name| name == isa.name());
        let best = |filter: &dyn Fn(&Isa) -> bool| Isa::ALL.into_iter().find(|i| i.available() && filter(i));
        best(&wanted).or_else(|| best(&|_| true)).unwrap_or(Isa::Baseline)
    })
}

/// Whether the CPU has tiles and multiplies bf16 in them, and Linux, which is asked once a process, keeps them for each thread.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx() -> bool {
    /// In the feature bits of leaf 7: products of bf16, tiles.
    const FEATURES: u32 = 1 << 22 | 1 << 24;
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    /// The state component that is the tiles.
    const XTILEDATA: libc::c_ulong = 18;
    static AMX: OnceLock<bool> = OnceLock::new();
    *AMX.get_or_init(|| {
        let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
        // SAFETY: asks the kernel for a permission; it writes nothing. Where the kernel does not know the request, or does not save tiles, it says so.
        features & FEATURES == FEATURES
            && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
    })
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn amx() -> bool {
    false
}

/// How the code around it multiplies and adds: compiled for the level in use, it knows which.
#[derive(Clone, Copy, Debug)]
pub struct MultiplyAdd {
    /// In one instruction, with one rounding; without it, a function that imitates that takes longer than both.
    fused: bool,
}

impl MultiplyAdd {
    /// As all CPUs of this kind can.
    pub(crate) const PORTABLE: Self = Self { fused: cfg!(target_arch = "aarch64") };
    /// For code that is compiled for a CPU with the instruction.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) const FUSED: Self = Self { fused: true };

    /// `a * b + c`
    #[inline(always)]
    pub(crate) fn of(self, a: f32, b: f32, c: f32) -> f32 {
        if self.fused { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Runs `f`, compiled for the level in use: the closure is inlined into a function with those target features, and
/// its loops are vectorized there. Call it inside a task, around loops over slices, and with a closure marked
/// `#[inline(always)]`, as everything that it calls: what is not inlined is compiled without those features. That goes for the closures of
/// `map` and `for_each`, too; one with intrinsics in it calls each of them as a function (`.ci/run` looks for these).
#[inline]
pub(crate) fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    vectorize_fused(
        #[inline(always)]
        |_| f(),
    )
}

/// [`vectorize`] for what is worth fewer instructions.
#[inline]
pub(crate) fn vectorize_fused<R>(f: impl FnOnce(MultiplyAdd) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match isa() {
        // SAFETY: `isa` returns only levels that this CPU has.
        Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 => return unsafe { avx512(f) },
        // SAFETY: as above.
        Isa::Avx2 => return unsafe { avx2(f) },
        Isa::Baseline => {}
    }
    f(MultiplyAdd::PORTABLE)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn avx512<R>(f: impl FnOnce(MultiplyAdd) -> R) -> R {
    f(MultiplyAdd::FUSED)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce(MultiplyAdd) -> R) -> R {
    f(MultiplyAdd::FUSED)
}
