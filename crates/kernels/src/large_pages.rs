//! The allocator of the program, which asks for large pages where much memory is taken at once.
//!
//! Pages of 4 kB cost a tenth of a second for each gigabyte and more when they are touched first, and lookups ever after; weights,
//! gradients and moments are some arrays of many megabytes. Linux gives pages of 2 MB to those who ask (`madvise(2)`,
//! `MADV_HUGEPAGE`); elsewhere this is the system's allocator alone.

use std::alloc::{GlobalAlloc, Layout, System};

/// The least that is worth asking for: with its neighbours it often fills pages of 2 MB.
const LARGE: usize = 1 << 20;

/// The system's allocator with large pages, for `#[global_allocator]`.
#[derive(Debug)]
pub struct LargePages;

// SAFETY: the system's allocator does everything; advice about pages changes no contents.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: passed on.
        advised(unsafe { System.realloc(start, layout, size) }, size)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

/// `start`, after asking for large pages in the `size` bytes there if that is worth it.
#[inline]
fn advised(start: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !start.is_null() {
        const PAGE: usize = 4096;
        let skipped = start.align_offset(PAGE);
        // SAFETY: the range lies in the allocation; the kernel refuses what it does not like, and that changes nothing.
        unsafe { libc::madvise(start.add(skipped).cast(), (size - skipped) / PAGE * PAGE, libc::MADV_HUGEPAGE) };
    }
    start
}
