//! Memory for weights: many share one slab of huge pages, because reading gigabytes in order then needs
//! hardly any address translation. (With pages of 4 KiB a product of one row is a third slower.)

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use crate::weight::Chunk;

const HUGE_PAGE_BYTES: usize = 2 << 20;
const SLAB_BYTES: usize = 32 << 20;

/// Hands out regions of slabs. A slab lives as long as any region of it.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    current: Mutex<Option<Filling>>,
}

/// A slab and how many chunks of it are handed out.
#[derive(Debug)]
struct Filling {
    slab: Arc<Slab>,
    used: usize,
}

/// Chunks of a slab that belong to one weight.
pub(crate) struct Region {
    slab: Arc<Slab>,
    start: usize,
    len: usize,
}

#[derive(Debug)]
struct Slab {
    memory: NonNull<Chunk>,
    chunks: usize,
}

// SAFETY: a slab is plain memory; a region is written before anybody else sees it, and read after.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Arena {
    /// A region of `len` chunks, which `fill` gets zeroed.
    pub(crate) fn store(&self, len: usize, fill: impl FnOnce(&mut [Chunk])) -> Region {
        let region = self.reserve(len);
        // SAFETY: the region lies in the slab and is nobody else's; it is initialised before a slice is
        // made of it, and zero bytes are zeros of float32.
        let chunks = unsafe {
            let first = region.slab.memory.add(region.start);
            first.write_bytes(0, len);
            std::slice::from_raw_parts_mut(first.as_ptr(), len)
        };
        fill(chunks);
        region
    }

    fn reserve(&self, len: usize) -> Region {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filling) = current.as_mut()
            && filling.slab.chunks - filling.used >= len
        {
            let start = filling.used;
            filling.used += len;
            return Region {
                slab: Arc::clone(&filling.slab),
                start,
                len,
            };
        }
        let slab = Arc::new(Slab::new(len));
        // The slab with more room left takes the next weights.
        let room = current
            .as_ref()
            .map_or(0, |filling| filling.slab.chunks - filling.used);
        if slab.chunks - len > room {
            *current = Some(Filling {
                slab: Arc::clone(&slab),
                used: len,
            });
        }
        Region { slab, start: 0, len }
    }
}

impl Slab {
    fn new(min_chunks: usize) -> Self {
        let bytes = (min_chunks * size_of::<Chunk>())
            .max(SLAB_BYTES)
            .next_multiple_of(HUGE_PAGE_BYTES);
        let chunks = bytes / size_of::<Chunk>();
        let layout = Self::layout(chunks);
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        advise_huge_pages(memory, bytes);
        Self {
            memory: memory.cast(),
            chunks,
        }
    }

    fn layout(chunks: usize) -> Layout {
        // SAFETY: the alignment is a power of two, and `new` allocated as many bytes, rounded up already.
        unsafe { Layout::from_size_align_unchecked(chunks * size_of::<Chunk>(), HUGE_PAGE_BYTES) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with the same layout; no region is left.
        unsafe { dealloc(self.memory.as_ptr().cast(), Self::layout(self.chunks)) };
    }
}

impl Deref for Region {
    type Target = [Chunk];

    fn deref(&self) -> &[Chunk] {
        // SAFETY: the region lies in the slab, was initialised by `store`, and is not written any more.
        unsafe { std::slice::from_raw_parts(self.slab.memory.add(self.start).as_ptr(), self.len) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Region({} chunks at {})", self.len, self.start)
    }
}

/// A system that does not follow the advice is only slower.
fn advise_huge_pages(memory: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::mman::{MmapAdvise, madvise};
        // SAFETY: the pages are ours, whole, and advice does not change what is in them.
        let _ = unsafe { madvise(memory.cast(), bytes, MmapAdvise::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (memory, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(arena: &Arena, len: usize, number: f32) -> Region {
        arena.store(len, |chunks| {
            assert!(chunks.iter().all(|chunk| chunk.0 == [0.0; 16]));
            chunks.iter_mut().for_each(|chunk| chunk.0 = [number; 16]);
        })
    }

    #[test]
    fn regions_do_not_overlap_and_outlive_the_arena() {
        let arena = Arena::default();
        let sizes = [1, 1000, SLAB_BYTES / 64 - 1000, 7, 2 * SLAB_BYTES / 64, 5];
        let regions: Vec<Region> = sizes
            .iter()
            .enumerate()
            .map(|(number, len)| numbered(&arena, *len, number as f32))
            .collect();
        drop(arena);
        for (number, (region, len)) in regions.iter().zip(sizes).enumerate() {
            assert_eq!(region.len(), len);
            assert!(region.iter().all(|chunk| chunk.0 == [number as f32; 16]));
        }
    }

    #[test]
    fn small_regions_share_a_slab_and_a_large_one_leaves_it_alone() {
        let arena = Arena::default();
        let small = [numbered(&arena, 10, 1.0), numbered(&arena, 10, 2.0)];
        let large = numbered(&arena, SLAB_BYTES / 64 + 1, 3.0);
        let later = numbered(&arena, 10, 4.0);
        assert!(Arc::ptr_eq(&small[0].slab, &small[1].slab) && Arc::ptr_eq(&small[0].slab, &later.slab));
        assert!(!Arc::ptr_eq(&small[0].slab, &large.slab));
        assert_eq!(large.as_ptr().align_offset(HUGE_PAGE_BYTES), 0);
    }
}
