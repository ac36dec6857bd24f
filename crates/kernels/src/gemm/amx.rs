//! The innermost loop for bf16 with AMX: registers that are tiles of 16 rows of 64 bytes, and an instruction that multiplies two of
//! them. Rust has the instructions in assembly only.
//!
//! ```text
//!              16 columns each                A tile of the left operand: 16 rows of 32 ks; of the right one: 16 words (pairs
//!          tmm7:   B0   B1   B2               of ks) of 16 columns. One register each for them, in turn; six hold the sums.
//! 16 rows  tmm6:  tmm0 tmm1 tmm2
//! 16 rows  tmm6:  tmm3 tmm4 tmm5
//! ```

use std::arch::asm;
use std::marker::PhantomData;

use super::Epilogue;
use super::avx512_bf16::Bf16;
use super::pack::SQUARE;
use super::panel::Panel;
use super::tile::{Block, Tile};

/// Rows, and words, of one.
pub(super) const SIDE: usize = SQUARE;
/// Bytes from word to word along K in a panel.
pub(super) const PANEL_STRIDE: usize = Panel::COLUMNS * size_of::<u32>();

/// Adds to the sums the products of one AMX tile along K: of `$tiles` tiles of the left operand, whose rows are `$stride` bytes apart, and
/// three of a panel. `$instruction` is that of the operands' numbers.
macro_rules! multiply_step {
    ($instruction:literal, $tiles:expr, $left:expr, $stride:expr, $right:expr) => {{
        asm!(
            "tileloadd tmm6, [{left} + {stride}]",
            "tileloadd tmm7, [{right} + {panel}]",
            concat!($instruction, " tmm0, tmm6, tmm7"),
            "tileloadd tmm7, [{right} + {panel} + 64]",
            concat!($instruction, " tmm1, tmm6, tmm7"),
            "tileloadd tmm7, [{right} + {panel} + 128]",
            concat!($instruction, " tmm2, tmm6, tmm7"),
            left = in(reg) $left, stride = in(reg) $stride, right = in(reg) $right, panel = in(reg) PANEL_STRIDE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
        if $tiles == 2 {
            // the last tile of the panel is there already
            asm!(
                "tileloadd tmm6, [{left} + {stride}]",
                concat!($instruction, " tmm5, tmm6, tmm7"),
                "tileloadd tmm7, [{right} + {panel} + 64]",
                concat!($instruction, " tmm4, tmm6, tmm7"),
                "tileloadd tmm7, [{right} + {panel}]",
                concat!($instruction, " tmm3, tmm6, tmm7"),
                left = in(reg) $left.byte_add(SIDE * $stride), stride = in(reg) $stride, right = in(reg) $right,
                panel = in(reg) PANEL_STRIDE,
                out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
    }};
}
pub(super) use multiply_step;

/// The shapes of this thread's tiles, all of 16 rows of 64 bytes, while it lives.
pub(super) struct Shapes(PhantomData<*const ()>);

/// What `ldtilecfg` reads: palette, 15 reserved bytes, 16 numbers of bytes a row, 16 numbers of rows.
#[repr(C, align(64))]
struct Configuration {
    palette: [u8; 16],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Sets them.
    ///
    /// # Safety
    ///
    /// The CPU has AMX, and the operating system lets this process use it.
    pub(super) unsafe fn new() -> Self {
        let mut configuration = Configuration { palette: [0; 16], bytes: [0; 16], rows: [0; 16] };
        configuration.palette[0] = 1;
        configuration.bytes[..8].fill(64);
        configuration.rows[..8].fill(SIDE as u8);
        // SAFETY: reads the configuration, 64 bytes; the compiler itself has no use for tiles.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly)) };
        Self(PhantomData)
    }
}

impl Drop for Shapes {
    fn drop(&mut self) {
        // SAFETY: AMX may be used, as in `new`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Computes a tile: 32 rows, or 16 where it has no more.
///
/// # Safety
///
/// As [`super::kernel::Kernel::run`]; a [`Shapes`] of this thread lives. Tiles of 16 rows are read of the left operand, whose words
/// along K lie together, and read and written of the output. The block's depth is a multiple of 16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn tile(block: Block, tile: &Tile) {
    debug_assert!(block.right.len().is_multiple_of(SIDE) && block.left.strides[1] == 1);
    // SAFETY: passed on.
    unsafe {
        if tile.rows > SIDE {
            multiply::<2>(block, tile);
        } else {
            multiply::<1>(block, tile);
        }
        if !tile.squares.is_null() {
            *tile.squares += squares(tile);
        }
    }
}

/// Computes `TILES` times 16 rows. What a piece of assembly leaves in the tiles, the next one finds there: between them is nothing
/// that uses tiles.
///
/// # Safety
///
/// See [`tile`].
#[inline(always)]
unsafe fn multiply<const TILES: usize>(block: Block, tile: &Tile) {
    let Block { left, right, ahead } = block;
    let stride = left.strides[0] * size_of::<u32>();
    let steps = right.len() / SIDE;
    // SAFETY: the tiles that are read are inside the operands by the caller's promise.
    unsafe {
        begin::<TILES>(tile);
        let mut asked = 0;
        for step in 0..steps {
            let left = left.start.add(step * SIDE);
            let right = right.as_ptr().add(step * SIDE);
            multiply_step!("tdpbf16ps", TILES, left, stride, right);
            let wanted = ahead.rows_until(step + 1, steps);
            for row in asked..wanted {
                ahead.ask::<Bf16>(row);
            }
            asked = wanted;
        }
        store::<TILES>(tile.start.cast(), tile.stride * size_of::<f32>());
    }
}

/// Puts into the sums what the product is added to: nothing, the output, or the bias in every row.
///
/// # Safety
///
/// See [`tile`].
#[inline(always)]
unsafe fn begin<const TILES: usize>(tile: &Tile) {
    let (from, stride, second) = match tile.epilogue {
        // SAFETY: passed on.
        Epilogue::Overwrite => return unsafe { clear() },
        Epilogue::Add => (tile.start.cast_const(), tile.stride * size_of::<f32>(), SIDE * tile.stride),
        Epilogue::Bias(bias) => (bias.as_ptr(), 0, 0),
    };
    // SAFETY: the output has these rows by the caller's promise, and the bias 48 numbers.
    unsafe {
        asm!(
            "tileloadd tmm0, [{from} + {stride}]",
            "tileloadd tmm1, [{from} + {stride} + 64]",
            "tileloadd tmm2, [{from} + {stride} + 128]",
            from = in(reg) from, stride = in(reg) stride,
            out("tmm0") _, out("tmm1") _, out("tmm2") _,
            options(nostack, readonly),
        );
        if TILES == 2 {
            asm!(
                "tileloadd tmm3, [{from} + {stride}]",
                "tileloadd tmm4, [{from} + {stride} + 64]",
                "tileloadd tmm5, [{from} + {stride} + 128]",
                from = in(reg) from.add(second), stride = in(reg) stride,
                out("tmm3") _, out("tmm4") _, out("tmm5") _,
                options(nostack, readonly),
            );
        }
    }
}

/// Sets the sums to zero.
///
/// # Safety
///
/// A [`Shapes`] of this thread lives.
#[inline(always)]
pub(super) unsafe fn clear() {
    // SAFETY: the caller's promise; nothing of the memory is used.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4", "tilezero tmm5",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
            options(nostack, nomem),
        );
    }
}

/// Writes the sums of `TILES` times 16 rows of 48 numbers, `stride` bytes apart.
///
/// # Safety
///
/// A [`Shapes`] of this thread lives, and the rows may be written.
#[inline(always)]
pub(super) unsafe fn store<const TILES: usize>(to: *mut u32, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 64], tmm1",
            "tilestored [{to} + {stride} + 128], tmm2",
            to = in(reg) to, stride = in(reg) stride,
            options(nostack),
        );
        if TILES == 2 {
            asm!(
                "tilestored [{to} + {stride}], tmm3",
                "tilestored [{to} + {stride} + 64], tmm4",
                "tilestored [{to} + {stride} + 128], tmm5",
                to = in(reg) to.byte_add(SIDE * stride), stride = in(reg) stride,
                options(nostack),
            );
        }
    }
}

/// The sum of the squares of what was written, eight rows at a time in f32.
///
/// # Safety
///
/// The tile may be read.
#[inline(always)]
unsafe fn squares(tile: &Tile) -> f64 {
    let mut total = 0.0;
    for first in (0..tile.rows).step_by(8) {
        let mut lanes = [0.0_f32; SIDE];
        for row in first..tile.rows.min(first + 8) {
            // SAFETY: a row of the tile.
            let row = unsafe { std::slice::from_raw_parts(tile.start.add(row * tile.stride), Panel::COLUMNS) };
            for c in row.as_chunks::<SIDE>().0 {
                for l in 0..SIDE {
                    lanes[l] = c[l].mul_add(c[l], lanes[l]);
                }
            }
        }
        total += lanes.into_iter().map(f64::from).sum::<f64>();
    }
    total
}

/// Products of four sums in registers, in each of `steps`: as many as the CPU can. Returns how many.
///
/// # Safety
///
/// See [`Shapes::new`].
pub(super) unsafe fn products(steps: usize) -> usize {
    // SAFETY: passed on; the tiles have shapes, and nothing of the memory is used.
    unsafe {
        let _shapes = Shapes::new();
        for _ in 0..steps {
            asm!(
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem),
            );
        }
    }
    4 * SIDE * SIDE * 2 * SIDE * steps
}
