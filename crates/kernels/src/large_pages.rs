//! The allocator of the program, which asks for large pages where much memory is taken at once, and begins arrays with a cache line.
//!
//! Pages of 4 kB cost a tenth of a second for each gigabyte and more when they are touched first, and lookups ever after; weights,
//! gradients and moments are some arrays of many megabytes. Linux gives pages of 2 MB to those who ask (`madvise(2)`,
//! `MADV_HUGEPAGE`); elsewhere this is the system's allocator alone.

use std::alloc::{GlobalAlloc, Layout, System};

/// The least that is worth asking for: with its neighbours it often fills pages of 2 MB.
const LARGE: usize = 1 << 20;
/// The least that begins with a cache line.
const ALIGNED: usize = 1 << 14;
/// A cache line.
const LINE: usize = 64;

/// The system's allocator with large pages, for `#[global_allocator]`.
#[derive(Debug)]
pub struct LargePages;

// SAFETY: the system's allocator does everything; a larger alignment is still the one asked for, and advice about pages changes no
// contents.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = aligned(layout);
        // SAFETY: passed on.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = aligned(layout);
        // SAFETY: passed on.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size < ALIGNED && layout.size() < ALIGNED {
            // SAFETY: passed on.
            return unsafe { System.realloc(start, layout, size) };
        }
        // SAFETY: the caller promises a size that makes a layout, and to use the old memory no more; both blocks have as many bytes
        // as are copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(start, new, size.min(layout.size()));
                self.dealloc(start, layout);
            }
            new
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: passed on; this is the layout that it was asked for with.
        unsafe { System.dealloc(start, aligned(layout)) }
    }
}

/// What the system is asked for: arrays begin with a cache line, so that no vector of theirs lies in two.
#[inline]
fn aligned(layout: Layout) -> Layout {
    match layout.align_to(LINE) {
        Ok(aligned) if layout.size() >= ALIGNED => aligned,
        _ => layout,
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
