//! The loops around the innermost one: which task computes which tiles of the output.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::ahead::{Ahead, Upcoming};
use super::kernel::{Kernel, Work};
use super::pack::{Left, LeftWords, SQUARE};
use super::panel::{Panel, Right};
use super::tile::{Block, ROWS, Tile};
use super::{Epilogue, Matrix, Precision};
use crate::isa::{Isa, isa};
use crate::optimizer::{Factors, OptimizerStep, Update, optimizer_step};
use crate::pool::each_with_next;
use crate::profile::{Operation, apart, within};

/// Tasks that each thread should get: they come out even, and one thread may be slower.
const TASKS_PER_THREAD: usize = 8;
/// Rows that one task takes whole, at most: the left operand, which is read again for every panel, stays in the caches.
const MOST_ROWS: usize = 512;
/// Words of the left operand, a stretch of its rows where they are long, that one task reads again for every panel with AMX: half a
/// level-2 cache, as nothing further away is fast enough for it.
const MOST_WORDS: usize = 1 << 18;
/// Rows of a block where there are several: enough to be worth a task.
const BLOCK_ROWS: usize = 128;
/// Multiplications below which a task is not worth a thread of its own.
const SMALL: usize = 1 << 17;

thread_local! {
    /// The panel that a thread multiplies with.
    static PANEL: RefCell<Panel> = RefCell::default();
}

/// Buffers of a multiplication, used again from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    left: Left,
    right: Right,
    /// What lies between two products.
    between: Left,
}

/// `c [M, N] = a [M, K] · b [K, N]`, or as the epilogue says, with operands rounded to `precision`.
pub fn multiply(buffers: &mut Buffers, c: &mut [f32], a: Matrix, b: Matrix, precision: Precision, epilogue: Epilogue) {
    multiply_with(Kernel::best(precision), isa(), buffers, [c, &mut []], a, b, epilogue, &mut []);
}

/// As [`multiply`] for a transposed `a`, the sums of whose rows are added to `sums [M]`; returns the sum of the squares of `c`, each
/// taken when it is written.
pub(crate) fn multiply_and_sum(
    buffers: &mut Buffers,
    [c, sums]: [&mut [f32]; 2],
    a: Matrix,
    b: Matrix,
    precision: Precision,
    epilogue: Epilogue,
) -> f64 {
    let kernel = Kernel::best(precision);
    let tiles = a.shape()[0].div_ceil(kernel.rows()) * b.shape()[1].div_ceil(Panel::COLUMNS);
    let mut squares = vec![0.0; tiles];
    assert!(a.is_transposed() && sums.len() == a.shape()[0], "sums of the rows of a transposed operand");
    multiply_with(kernel, isa(), buffers, [c, sums], a, b, epilogue, &mut squares);
    // always in the order of the tiles
    squares.into_iter().sum()
}

/// [`multiply`] with a given kernel, and the instructions of `isa` around it. To `sums`, unless it is empty, the sums of the rows
/// of a transposed `a` are added. `squares` is empty, or gets the sum of the squares of each tile, tiles of a row together.
#[allow(clippy::too_many_arguments)] // the product and the two choices of how to compute it
pub(super) fn multiply_with(
    kernel: Kernel,
    isa: Isa,
    buffers: &mut Buffers,
    [c, sums]: [&mut [f32]; 2],
    a: Matrix,
    b: Matrix,
    epilogue: Epilogue,
    squares: &mut [f64],
) {
    let product = Product::of(kernel, isa, &mut buffers.left, [c, sums], a, b.shape(), epilogue);
    assert!(squares.is_empty() || squares.len() == product.row_tiles() * product.panels(), "squares of each tile");
    let product = Product { squares: squares.as_mut_ptr(), square: !squares.is_empty(), ..product };
    // the gradient of a weight matrix goes to memory: rows that are finished together lie together there
    let small_blocks = product.shape[0].div_ceil(BLOCK_ROWS).max(1);
    let blocks = if a.is_transposed() { small_blocks } else { blocks(kernel, product.shape, TASKS_PER_THREAD) };
    if blocks == 1 {
        return product.compute(1, |panel| Columns::From(b, panel * Panel::COLUMNS));
    }
    let arranged = buffers.right.arrange(isa, b, kernel.precision(), product.words());
    product.compute(blocks, |panel| Columns::arranged(arranged, panel, product.words()));
}

/// A right operand `[K, N]` that is arranged once and multiplied with many times.
#[derive(Clone, Debug)]
pub(crate) struct Arranged {
    right: Right,
    precision: Precision,
    shape: [usize; 2],
}

impl Arranged {
    pub(crate) fn new(matrix: Matrix, precision: Precision) -> Self {
        let (mut right, kernel) = (Right::default(), Kernel::best(precision));
        right.arrange(isa(), matrix, precision, words(kernel, matrix.shape()[0]));
        Self { right, precision, shape: matrix.shape() }
    }

    /// Size of the words.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.right.words())
    }
}

/// As [`multiply`], with a right operand that is arranged already.
pub(crate) fn multiply_arranged(buffers: &mut Buffers, c: &mut [f32], a: Matrix, b: &Arranged, epilogue: Epilogue) {
    let kernel = Kernel::best(b.precision);
    Product::of(kernel, isa(), &mut buffers.left, [c, &mut []], a, b.shape, epilogue).compute_arranged(b);
}

/// `c [M, N] = gelu(a [M, K] · first + bias) · second + bias`, with right operands that are arranged already: what is between is
/// written as the second product reads it. Whether this can be: with AMX, when no sum of the first product comes in stretches and its
/// columns fill lines of words.
pub(crate) fn multiply_twice(
    buffers: &mut Buffers,
    c: &mut [f32],
    a: Matrix,
    [(first, first_bias), (second, second_bias)]: [(&Arranged, &[f32]); 2],
) -> bool {
    let (kernel, isa, [m, _]) = (Kernel::best(first.precision), isa(), a.shape());
    let width = first_bias.len();
    let chain = [a.shape()[1], width] == [first.shape[0], second.shape[0]] && first.precision == second.precision;
    assert!(chain, "{:?} x {:?} x {:?}", a.shape(), first.shape, second.shape);
    let at_once = words(kernel, first.shape[0]) <= kernel.depth();
    if kernel != Kernel::Amx || !at_once || !width.is_multiple_of(2 * SQUARE) {
        return false;
    }
    let (left, between) = (&mut buffers.left, &mut buffers.between);
    let left = left.arrange(isa, a, first.precision, kernel.group(), &mut []);
    let output = Output::activated(between, [m, width]);
    Product::new(kernel, isa, left, output, first.shape, Epilogue::Bias(first_bias)).compute_arranged(first);
    let left = buffers.between.rounded([m, width]);
    let output = Output::of(c, [m, second_bias.len()]);
    Product::new(kernel, isa, left, output, second.shape, Epilogue::Bias(second_bias)).compute_arranged(second);
    true
}

/// Where the 48 columns of a panel come from.
#[derive(Clone, Copy)]
enum Columns<'a> {
    /// All words of the arranged operand.
    Arranged(&'a [[u32; Panel::COLUMNS]]),
    /// The columns of this operand from this one on.
    From(Matrix<'a>, usize),
}

impl<'a> Columns<'a> {
    /// Those of a panel of `words` words along K in an arranged operand.
    fn arranged(all: &'a [[u32; Panel::COLUMNS]], panel: usize, words: usize) -> Self {
        Self::Arranged(&all[panel * words..][..words])
    }

    /// What to ask for before they are wanted.
    fn upcoming(self) -> Upcoming {
        match self {
            Self::Arranged(words) => Upcoming::panel(words),
            Self::From(matrix, first) => Upcoming::columns(matrix, first),
        }
    }
}

/// `c [M, N] = a [M, K] · wᵀ`, or as the epilogue says, after a step of the optimizer for `w [N, K]`: each task makes it for the
/// rows that it multiplies with, while they are in its cache.
pub(crate) fn multiply_updating(
    buffers: &mut Buffers,
    c: &mut [f32],
    a: Matrix,
    update: Update<f32>,
    step: &OptimizerStep,
    precision: Precision,
    epilogue: Epilogue,
) {
    let [m, k] = a.shape();
    let (kernel, n) = (Kernel::best(precision), update.w.len() / k);
    // with few panels the tasks come out less even, which costs less than another way through the memory
    if blocks(kernel, [m, n, k], 2) > 1 {
        let Update { w, m, v, average, g, .. } = update;
        apart(Operation::Linear, || optimizer_step(vec![Update { w: &mut *w, m, v, average, g, ..update }], step));
        return multiply(buffers, c, a, Matrix::new(w, [n, k]).transposed(), precision, epilogue);
    }
    let product = Product::of(kernel, isa(), &mut buffers.left, [c, &mut []], a, [k, n], epilogue);
    let factors = Factors::new(step, &update);
    let workers = product.panels().div_ceil(product.least_tasks(product.panels()));
    let panels = update.chunks(Panel::COLUMNS * k).enumerate();
    let upcoming =
        |next: Option<&(usize, Update<f32>)>| next.map_or(Upcoming::NOTHING, |(_, update)| Upcoming::update(update, k));
    each_with_next(panels, workers, upcoming, |(panel, part), upcoming| {
        let Update { w, m, v, average, g, .. } = part;
        within(Operation::Optimizer, Operation::Linear, || {
            factors.make(Update { w: &mut *w, m, v, average, g, ..part });
        });
        let rows = Matrix::new(w, [w.len() / k, k]);
        // SAFETY: no other task has this panel.
        unsafe {
            let columns = Columns::From(rows.transposed(), 0);
            product.panel(0..product.row_tiles(), panel, columns, 0..product.stretches(), &upcoming);
        }
    });
}

/// Into how many blocks the rows of a product `[M, N]`, summed over K, are cut, so that each thread gets `tasks` tasks. The bits
/// do not depend on it.
fn blocks(kernel: Kernel, [m, n, k]: [usize; 3], tasks: usize) -> usize {
    let wanted = (tasks * rayon::current_num_threads()).div_ceil(n.div_ceil(Panel::COLUMNS).max(1));
    let wanted = wanted.min(m / BLOCK_ROWS).max(1);
    match kernel {
        Kernel::Amx => wanted.max(m.div_ceil(MOST_WORDS / words(kernel, k).clamp(1, kernel.depth()))),
        _ if m > MOST_ROWS => m.div_ceil(BLOCK_ROWS),
        _ => wanted,
    }
}

/// Words along K of `depth` values, with the zeros that the kernel wants behind them.
fn words(kernel: Kernel, depth: usize) -> usize {
    depth.div_ceil(kernel.precision().per_word()).next_multiple_of(kernel.granularity())
}

/// Where the output goes, row-major.
struct Output<'a> {
    start: *mut f32,
    /// From row to row.
    stride: usize,
    /// Its rows and columns.
    shape: [usize; 2],
    /// See [`Tile`].
    activated: bool,
    borrowed: PhantomData<&'a mut [f32]>,
}

impl<'a> Output<'a> {
    /// `c`
    fn of(c: &'a mut [f32], shape: [usize; 2]) -> Self {
        assert_eq!(Some(c.len()), shape[0].checked_mul(shape[1]), "output of {shape:?}");
        Self { start: c.as_mut_ptr(), stride: shape[1], shape, activated: false, borrowed: PhantomData }
    }

    /// `gelu(c)`, as the left operand of another product.
    fn activated(left: &'a mut Left, shape: [usize; 2]) -> Self {
        let (words, stride) = left.room_rounded(shape);
        Self { start: words.as_mut_ptr().cast(), stride, shape, activated: true, borrowed: PhantomData }
    }
}

/// A multiplication, several tasks of which write the output at once.
struct Product<'a> {
    kernel: Kernel,
    isa: Isa,
    output: Output<'a>,
    /// M, N and K.
    shape: [usize; 3],
    left: LeftWords<'a>,
    epilogue: Epilogue<'a>,
    /// Whether to sum up squares, and where: one number a tile.
    square: bool,
    squares: *mut f64,
}

// SAFETY: the output and the squares are only accessed in `panel`, whose callers promise that no two tasks have the same tiles.
unsafe impl Sync for Product<'_> {}

impl<'a> Product<'a> {
    /// `c = a · b`, with `b` of this shape, or as the epilogue says. Arranges the left operand; see there for `sums`.
    fn of(
        kernel: Kernel,
        isa: Isa,
        left: &'a mut Left,
        [c, sums]: [&'a mut [f32]; 2],
        a: Matrix<'a>,
        [right_k, n]: [usize; 2],
        epilogue: Epilogue<'a>,
    ) -> Self {
        let [m, k] = a.shape();
        assert_eq!(k, right_k, "[{m}, {k}] x [{right_k}, {n}]");
        let left = left.arrange(isa, a, kernel.precision(), kernel.group(), sums);
        Self::new(kernel, isa, left, Output::of(c, [m, n]), [k, n], epilogue)
    }

    /// Of a left operand that is arranged. Checks the shapes.
    fn new(
        kernel: Kernel,
        isa: Isa,
        left: LeftWords<'a>,
        output: Output<'a>,
        [k, n]: [usize; 2],
        epilogue: Epilogue<'a>,
    ) -> Self {
        let [m, columns] = output.shape;
        assert_eq!(columns, n, "columns of the output of [{m}, {k}] x [{k}, {n}]");
        assert!(kernel.available() && isa.available(), "{kernel:?} or {isa:?} is not available");
        if let Epilogue::Bias(bias) = epilogue {
            assert_eq!(bias.len(), n, "bias of [{m}, {k}] x [{k}, {n}]");
        }
        let (square, squares) = (false, std::ptr::null_mut());
        Self { kernel, isa, output, shape: [m, n, k], left, epilogue, square, squares }
    }

    fn row_tiles(&self) -> usize {
        self.shape[0].div_ceil(self.kernel.rows())
    }

    fn panels(&self) -> usize {
        self.shape[1].div_ceil(Panel::COLUMNS)
    }

    /// Words along K, with the zeros that the kernel wants behind them.
    fn words(&self) -> usize {
        words(self.kernel, self.shape[2])
    }

    /// Into how many stretches K is cut.
    fn stretches(&self) -> usize {
        self.words().div_ceil(self.kernel.depth()).max(1)
    }

    /// The words of a stretch of K.
    fn words_of(&self, stretch: usize) -> Range<usize> {
        let (unit, all) = (self.kernel.granularity(), self.stretches());
        let units = self.words() / unit;
        stretch * units / all * unit..(stretch + 1) * units / all * unit
    }

    /// Computes all, of a right operand that is arranged.
    fn compute_arranged(&self, b: &Arranged) {
        let blocks = blocks(self.kernel, self.shape, TASKS_PER_THREAD);
        self.compute(blocks, |panel| Columns::arranged(b.right.words(), panel, self.words()));
    }

    /// Computes all, the rows in so many blocks. `columns` says where a panel comes from.
    fn compute<'c>(&self, blocks: usize, columns: impl Fn(usize) -> Columns<'c> + Sync) {
        let (panels, stretches) = (self.panels(), self.stretches());
        let tasks = blocks * panels;
        let workers = tasks.div_ceil(self.least_tasks(tasks));
        // a block of the left operand that is too long for the cache comes into it a stretch at a time
        let too_long = self.kernel == Kernel::Amx && self.shape[0].div_ceil(blocks) * self.words() > MOST_WORDS;
        let at_once = if too_long { 1 } else { stretches };
        for first in (0..stretches).step_by(at_once) {
            let upcoming =
                |next: Option<&usize>| next.map_or(Upcoming::NOTHING, |next| columns(next % panels).upcoming());
            each_with_next(0..tasks, workers, upcoming, |task, upcoming| {
                let (block, panel) = (task / panels, task % panels);
                let row_tiles = block * self.row_tiles() / blocks..(block + 1) * self.row_tiles() / blocks;
                // SAFETY: no other task has these row tiles of this panel.
                unsafe { self.panel(row_tiles, panel, columns(panel), first..first + at_once, &upcoming) };
            });
        }
    }

    /// How many of the tasks are worth a thread together.
    fn least_tasks(&self, tasks: usize) -> usize {
        SMALL.div_ceil((self.shape.iter().product::<usize>() / tasks.max(1)).max(1))
    }

    /// Computes these row tiles of a panel of 48 columns, summed over these stretches of K, while `upcoming` comes into the cache.
    ///
    /// # Safety
    ///
    /// They exist, and nobody else has them.
    unsafe fn panel(
        &self,
        row_tiles: Range<usize>,
        panel: usize,
        columns: Columns,
        stretches: Range<usize>,
        upcoming: &Upcoming,
    ) {
        let column = panel * Panel::COLUMNS;
        let first = match self.epilogue {
            Epilogue::Bias(bias) => Epilogue::Bias(&bias[column..bias.len().min(column + Panel::COLUMNS)]),
            other => other,
        };
        let mut parts = upcoming.parts(stretches.len() * row_tiles.len());
        let add = Epilogue::Add;
        // SAFETY: the kernel is available by the assertion in `new`.
        let mut work = unsafe { self.kernel.begin() };
        PANEL.with_borrow_mut(|buffer| {
            for stretch in stretches {
                let depth = self.words_of(stretch);
                let right = match columns {
                    Columns::Arranged(words) => &words[depth.clone()],
                    Columns::From(matrix, first) => {
                        buffer.arrange(self.isa, matrix, self.kernel.precision(), first, depth.clone())
                    }
                };
                let epilogue = if stretch == 0 { &first } else { &add };
                for tile in row_tiles.clone() {
                    let ahead = parts.next().unwrap_or(Ahead::NOTHING);
                    // SAFETY: passed on; the kernel is available by the assertion in `new`. There is a number for each tile.
                    unsafe {
                        // the sums of a stretch of K that others follow are not the result
                        let wanted = self.square && stretch + 1 == self.stretches();
                        let at = self.squares.wrapping_add(tile * self.panels() + panel);
                        let squares = if wanted { at } else { std::ptr::null_mut() };
                        let left = self.left.operand(tile * self.kernel.rows(), depth.start);
                        self.tile(&mut work, tile, column, Block { left, right, ahead }, epilogue, squares);
                    }
                }
            }
        });
        // SAFETY: passed on.
        unsafe { work.finish() };
    }

    /// Computes a tile, summed over a stretch of K. The epilogue is that of its panel; it goes by
    /// reference, because a copy of it, read back at once, would wait for the output of the tile before to reach the memory.
    ///
    /// # Safety
    ///
    /// See [`Self::panel`].
    unsafe fn tile<'b>(
        &self,
        work: &mut Work<'b>,
        tile: usize,
        column: usize,
        block: Block,
        epilogue: &'b Epilogue<'b>,
        squares: *mut f64,
    ) {
        let ([m, n, _], row) = (self.shape, tile * self.kernel.rows());
        let Output { start, stride, activated, .. } = self.output;
        let (rows, columns) = (self.kernel.rows().min(m - row), Panel::COLUMNS.min(n - column));
        // SAFETY: row < m and column < n, the output's rows and columns, of which two may share a word.
        let start = unsafe { start.add(row * stride + if activated { column / 2 } else { column }) };
        if columns == Panel::COLUMNS || self.kernel == Kernel::Amx {
            // SAFETY: these rows and columns of the output exist and are this task's own; the left operand has these rows.
            return unsafe { work.run(block, Tile { start, stride, rows, columns, activated, epilogue, squares }) };
        }
        // a tile beside the output, which begins with what the product is added to: the same bits as in a whole tile
        let (mut product, mut padded) = ([0.0; ROWS * Panel::COLUMNS], [0.0; Panel::COLUMNS]);
        // SAFETY: row + r < m and column + columns <= stride for the rows r; the elements are this task's own.
        let row_of = |r: usize| unsafe { std::slice::from_raw_parts_mut(start.add(r * stride), columns) };
        let inside = match epilogue {
            Epilogue::Overwrite => Epilogue::Overwrite,
            Epilogue::Add => {
                let rows = product.chunks_exact_mut(Panel::COLUMNS).take(rows).enumerate();
                rows.for_each(|(r, product)| product[..columns].copy_from_slice(row_of(r)));
                Epilogue::Add
            }
            Epilogue::Bias(bias) => {
                padded[..columns].copy_from_slice(bias);
                Epilogue::Bias(&padded)
            }
        };
        let (start, stride) = (product.as_mut_ptr(), Panel::COLUMNS);
        let (epilogue, nowhere) = (&inside, std::ptr::null_mut());
        let whole = Tile { start, stride, rows, columns: stride, activated, epilogue, squares: nowhere };
        // SAFETY: `product` is a whole tile; the left operand has these rows; the kernel is available by the assertion in `new`.
        unsafe {
            let mut work = self.kernel.begin();
            work.run(block, whole);
            work.finish();
        }
        for (r, product) in product.chunks_exact(Panel::COLUMNS).take(rows).enumerate() {
            let c = row_of(r);
            c.copy_from_slice(&product[..columns]);
            if !squares.is_null() {
                // SAFETY: this task's own, by the caller's promise.
                unsafe { *squares += c.iter().map(|c| f64::from(*c) * f64::from(*c)).sum::<f64>() };
            }
        }
    }
}
