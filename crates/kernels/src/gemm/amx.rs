//! The innermost loop for bf16 with AMX: registers that are tiles of 16 rows of 64 bytes, and an instruction that multiplies two of
//! them. Rust has the instructions in assembly only.
//!
//! ```text
//!              16 columns each                A tile of the left operand: 16 rows of 32 ks; of the right one: 16 words (pairs
//!          tmm7:   B0   B1   B2               of ks) of 16 columns. One register each for them, in turn; six hold the sums.
//! 16 rows  tmm6:  tmm0 tmm1 tmm2
//! 16 rows  tmm6:  tmm3 tmm4 tmm5
//! ```
//!
//! Sums go from there to a small buffer, and from it to the output while the next tile is computed: so the output's way through the
//! caches costs no time of the multiplying unit. The output's lines are asked for while the tile is computed, and nothing else
//! (`ahead.rs`): a tile reads so much that whatever comes from the memory beside it is in its way. Between the products of a prediction's
//! feed-forward network, what is written is GELU of the sums, rounded as the next product reads it.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::transmute;

use super::Epilogue;
use super::kernel::MOST_TILE_ROWS;
use super::pack::SQUARE;
use super::panel::Panel;
use super::tile::{Block, Tile};
use crate::Real;
use crate::isa::MultiplyAdd;

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

/// What `ldtilecfg` reads: palette, 15 reserved bytes, 16 numbers of bytes a row, 16 numbers of rows.
#[repr(C, align(64))]
struct Configuration {
    palette: [u8; 16],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// The shapes of this thread's tiles, all of 16 rows of 64 bytes, while it lives.
pub(super) struct Shapes(PhantomData<*const ()>);

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

/// Computes tiles of the output, one after another.
pub(super) struct Tiles<'a> {
    _shapes: Shapes,
    sums: Sums,
    /// The tile whose sums these are, when it has not been written yet.
    waiting: Option<Tile<'a>>,
}

/// The sums of a tile.
#[repr(C, align(64))]
struct Sums([[f32; Panel::COLUMNS]; MOST_TILE_ROWS]);

impl<'a> Tiles<'a> {
    /// Begins.
    ///
    /// # Safety
    ///
    /// The CPU has AMX, and the operating system lets this process use it.
    pub(super) unsafe fn new() -> Self {
        // SAFETY: passed on.
        let shapes = unsafe { Shapes::new() };
        Self { _shapes: shapes, sums: Sums([[0.0; Panel::COLUMNS]; MOST_TILE_ROWS]), waiting: None }
    }

    /// Computes a tile of up to 32 rows, and writes the one before. The last one waits for [`Self::finish`].
    ///
    /// # Safety
    ///
    /// As [`super::kernel::Work::run`]; tiles of 16 rows are read of the left operand, whose words along K lie together. The block's
    /// depth is a multiple of 16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn compute(&mut self, block: Block, tile: Tile<'a>) {
        debug_assert!(block.right.len().is_multiple_of(SIDE) && block.left.strides[1] == 1);
        // SAFETY: passed on.
        unsafe {
            match (tile.rows > SIDE, way_of(&self.waiting)) {
                (true, PLAIN) => self.multiply::<2, PLAIN>(block, &tile),
                (true, SQUARED) => self.multiply::<2, SQUARED>(block, &tile),
                (true, _) => self.multiply::<2, ACTIVATED>(block, &tile),
                (false, PLAIN) => self.multiply::<1, PLAIN>(block, &tile),
                (false, SQUARED) => self.multiply::<1, SQUARED>(block, &tile),
                (false, _) => self.multiply::<1, ACTIVATED>(block, &tile),
            }
        }
        self.waiting = Some(tile);
    }

    /// Computes `TILES` times 16 rows. What a piece of assembly leaves in the tiles, the next one finds there: between them is
    /// nothing that uses tiles.
    ///
    /// # Safety
    ///
    /// See [`Self::compute`].
    #[inline(always)]
    unsafe fn multiply<const TILES: usize, const WAY: u8>(&mut self, block: Block, tile: &Tile) {
        let Block { left, right, .. } = block;
        let stride = left.strides[0] * size_of::<u32>();
        let steps = right.len() / SIDE;
        let words_of_row = if tile.activated { Panel::COLUMNS / 2 } else { Panel::COLUMNS };
        // SAFETY: the tiles that are read are inside the operands by the caller's promise; the sums have 32 rows of 48; the tile
        // that waits may be written still.
        unsafe {
            let mut writer = Writer::new(self.waiting.take());
            clear();
            for step in 0..steps {
                let left = left.start.add(step * SIDE);
                let right = right.as_ptr().add(step * SIDE);
                multiply_step!("tdpbf16ps", TILES, left, stride, right);
                writer.rows::<WAY>(&self.sums, MOST_TILE_ROWS * (step + 1) / steps);
                if !past_caches(tile) {
                    for row in TILES * SIDE * step / steps..TILES * SIDE * (step + 1) / steps {
                        let row = tile.start.wrapping_add(row * tile.stride);
                        for column in (0..words_of_row).step_by(SIDE) {
                            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(column).cast());
                        }
                    }
                }
            }
            writer.rows::<WAY>(&self.sums, MOST_TILE_ROWS);
            store::<TILES>(self.sums.0.as_mut_ptr().cast(), PANEL_STRIDE);
        }
    }

    /// Writes the tile that waits.
    ///
    /// # Safety
    ///
    /// It may be written still.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn finish(&mut self) {
        // SAFETY: passed on.
        unsafe {
            let way = way_of(&self.waiting);
            let mut writer = Writer::new(self.waiting.take());
            match way {
                PLAIN => writer.rows::<PLAIN>(&self.sums, MOST_TILE_ROWS),
                ACTIVATED => writer.rows::<ACTIVATED>(&self.sums, MOST_TILE_ROWS),
                _ => {
                    writer.rows::<SQUARED>(&self.sums, MOST_TILE_ROWS);
                    // what went past the caches is there before another thread is told that it is
                    _mm_sfence();
                }
            }
        }
    }
}

/// Ways to write a tile: its sums, with their squares, or GELU of them.
const PLAIN: u8 = 0;
const SQUARED: u8 = 1;
const ACTIVATED: u8 = 2;

/// That of a tile.
fn way_of(tile: &Option<Tile>) -> u8 {
    match tile {
        Some(tile) if tile.activated => ACTIVATED,
        Some(tile) if !tile.squares.is_null() => SQUARED,
        _ => PLAIN,
    }
}

/// Writes a tile of the output, some rows at a time.
struct Writer<'a> {
    tile: Option<Tile<'a>>,
    written: usize,
    /// The squares of up to eight rows.
    squares: __m512,
}

impl<'a> Writer<'a> {
    /// Of nothing, where there is no tile.
    ///
    /// # Safety
    ///
    /// The caller is compiled for AVX-512; likewise for all below.
    #[inline(always)]
    unsafe fn new(tile: Option<Tile<'a>>) -> Self {
        // SAFETY: the CPU has the instruction.
        Self { tile, written: 0, squares: unsafe { _mm512_setzero_ps() } }
    }

    /// Writes up to this row, in the way of the tile.
    ///
    /// # Safety
    ///
    /// The tile may be written.
    #[inline(always)]
    unsafe fn rows<const WAY: u8>(&mut self, sums: &Sums, end: usize) {
        let Some(tile) = &self.tile else { return };
        let end = end.min(tile.rows);
        if WAY == ACTIVATED {
            for row in self.written..end {
                // SAFETY: passed on.
                unsafe { activate(tile, row, &sums.0[row]) };
            }
            self.written = end.max(self.written);
            return;
        }
        for row in self.written..end {
            let sums = sums.0[row].as_chunks::<SIDE>().0;
            for (part, sums) in sums.iter().enumerate() {
                let column = part * SIDE;
                // all 16, or those that there are
                let mask =
                    if column + SIDE <= tile.columns { !0 } else { !(!0 << tile.columns.saturating_sub(column)) };
                // SAFETY: only what the mask has is read and written, of this row of the tile and of the bias.
                unsafe {
                    let to = tile.start.wrapping_add(row * tile.stride + column);
                    let sum = _mm512_loadu_ps(sums.as_ptr());
                    let value = match tile.epilogue {
                        Epilogue::Overwrite => sum,
                        Epilogue::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum),
                        Epilogue::Bias(bias) => {
                            _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, bias.as_ptr().wrapping_add(column)))
                        }
                    };
                    if WAY == SQUARED && past_caches(tile) && mask == !0 && to.addr().is_multiple_of(64) {
                        _mm512_stream_ps(to, value);
                    } else {
                        _mm512_mask_storeu_ps(to, mask, value);
                    }
                    if WAY == SQUARED {
                        self.squares = _mm512_mask3_fmadd_ps(value, value, self.squares, mask);
                    }
                }
            }
            if WAY == SQUARED && ((row + 1).is_multiple_of(8) || row + 1 == tile.rows) {
                // SAFETY: the CPU has the instruction.
                let squares = std::mem::replace(&mut self.squares, unsafe { _mm512_setzero_ps() });
                let mut lanes = [0.0_f32; SIDE];
                // SAFETY: sixteen numbers; the caller's promise.
                unsafe {
                    _mm512_storeu_ps(lanes.as_mut_ptr(), squares);
                    *tile.squares += lanes.into_iter().map(f64::from).sum::<f64>();
                }
            }
        }
        self.written = end.max(self.written);
    }
}

/// Writes a row of an activated tile.
///
/// # Safety
///
/// See [`Writer::rows`].
#[inline(always)]
unsafe fn activate(tile: &Tile, row: usize, sums: &[f32; Panel::COLUMNS]) {
    let mut values = *sums;
    if let Epilogue::Bias(bias) = tile.epilogue {
        for (value, bias) in values.iter_mut().zip(*bias) {
            *value += bias;
        }
    }
    for value in &mut values {
        *value *= value.normal(MultiplyAdd::FUSED).0;
    }
    for (part, values) in values.as_chunks::<SIDE>().0[..tile.columns / SIDE].iter().enumerate() {
        // SAFETY: the CPU has the instructions; sixteen columns of this row, two in a word.
        unsafe {
            let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr())));
            _mm256_storeu_si256(tile.start.wrapping_add(row * tile.stride + part * SIDE / 2).cast(), rounded);
        }
    }
}

/// Whether a tile is written past the caches. What has squares is the gradient of weights, which nobody reads before all others are
/// computed; but what it is added to has just been read.
#[inline(always)]
fn past_caches(tile: &Tile) -> bool {
    !tile.squares.is_null() && matches!(tile.epilogue, Epilogue::Overwrite)
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
