//! Where file data lives: the sandbox's memory file, behind a trait.

use abi::Errno;

/// Ranges of one big sparse file. Offsets and lengths are multiples of the page size unless a method says otherwise.
pub trait PageStore: Send + Sync {
    /// A range of `len` bytes, all zero, nobody else's.
    fn allocate(&self, len: u64) -> Result<u64, Errno>;
    /// Gives a range (or a part of one) back. Nobody maps it any more.
    fn free(&self, offset: u64, len: u64);
    /// Reads any bytes of a range; never short.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno>;
    /// Writes any bytes of a range; never short.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno>;
    /// Makes whole pages zero and returns their memory to the host; whoever maps them sees zeroes.
    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno>;
}

#[cfg(test)]
type Pages = std::collections::HashMap<u64, Box<[u8; 4096]>>;

/// A store on the heap, for tests.
#[cfg(test)]
#[derive(Default)]
pub struct HeapStore {
    state: sync::Mutex<(u64, Pages)>,
    /// Bytes allocated and not freed.
    pub live: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl PageStore for HeapStore {
    fn allocate(&self, len: u64) -> Result<u64, Errno> {
        assert_eq!(len % 4096, 0);
        self.live
            .fetch_add(len, std::sync::atomic::Ordering::SeqCst);
        let mut state = self.state.lock();
        let at = state.0;
        state.0 += len;
        Ok(at)
    }
    fn free(&self, offset: u64, len: u64) {
        self.zero(offset, len).unwrap();
        self.live
            .fetch_sub(len, std::sync::atomic::Ordering::SeqCst);
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let state = self.state.lock();
        assert!(offset + buf.len() as u64 <= state.0);
        for (i, b) in buf.iter_mut().enumerate() {
            let at = offset + i as u64;
            *b = state
                .1
                .get(&(at / 4096))
                .map_or(0, |p| p[(at % 4096) as usize]);
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        let mut state = self.state.lock();
        assert!(offset + buf.len() as u64 <= state.0);
        for (i, b) in buf.iter().enumerate() {
            let at = offset + i as u64;
            state
                .1
                .entry(at / 4096)
                .or_insert_with(|| Box::new([0; 4096]))[(at % 4096) as usize] = *b;
        }
        Ok(())
    }
    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno> {
        assert_eq!((offset % 4096, len % 4096), (0, 0));
        let mut state = self.state.lock();
        for page in offset / 4096..(offset + len) / 4096 {
            state.1.remove(&page);
        }
        Ok(())
    }
}
