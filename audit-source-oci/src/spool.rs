use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit_core::{Error, ErrorKind};
use tokio::sync::{Notify, Semaphore};

use crate::error::Failure;

/// A page up to this size may wait in memory.
const PAGE_MEMORY: usize = 192 << 10;
/// What is kept of a larger one before it goes to the disk.
const PIECE: usize = 2 * BLOCK;
/// All pages together that wait in memory are at most this large.
const TOTAL_MEMORY: u64 = 1 << 20;
/// Memory is taken in blocks of this size, which are used again: pages differ in size, and would leave
/// holes.
const BLOCK: usize = 64 << 10;
/// A file is not written beyond this, so that its space is freed when what it holds was read.
const FILE_BYTES: u64 = 64 << 20;

/// Where pages wait that were fetched before their turn: small ones in memory, as long as there is
/// room, the others in files without a name, which end with the process.
pub(crate) struct Spool {
    dir: Option<PathBuf>,
    limit: u64,
    used: AtomicU64,
    memory: AtomicU64,
    /// Blocks that are free.
    blocks: Mutex<Vec<Vec<u8>>>,
    /// The number of the lane whose turn it is.
    front: AtomicU64,
    changed: Notify,
    /// One writes at a time: each thread would hold memory of its own.
    writing: Semaphore,
}

/// The pages of one window.
pub(crate) struct Lane {
    spool: Arc<Spool>,
    number: u64,
    waiting: Arc<AtomicU64>,
    file: Option<(Arc<Mutex<File>>, u64)>,
}

/// A page being fetched.
pub(crate) struct PageWriter<'a> {
    lane: &'a mut Lane,
    /// Full ones, and the one that is being filled.
    buffer: VecDeque<Vec<u8>>,
    buffered: usize,
    on_disk: Option<(Arc<Mutex<File>>, u64)>,
    length: u64,
}

/// A page that waits; gives its room back when dropped.
#[derive(Debug)]
pub(crate) struct Body {
    place: Place,
    lease: Lease,
}

#[derive(Debug)]
enum Place {
    /// Blocks, and how much of the first was read.
    Memory(VecDeque<Vec<u8>>, usize),
    Disk {
        file: Arc<Mutex<File>>,
        at: u64,
        end: u64,
    },
}

struct Lease {
    spool: Arc<Spool>,
    waiting: Arc<AtomicU64>,
    bytes: u64,
    memory: u64,
}

impl Spool {
    pub(crate) fn new(dir: Option<PathBuf>, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            dir,
            limit,
            used: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            blocks: Mutex::default(),
            front: AtomicU64::new(0),
            changed: Notify::new(),
            writing: Semaphore::new(1),
        })
    }

    /// Makes the place for the pages of a window. They are numbered in the order of their turn.
    pub(crate) fn lane(self: &Arc<Self>, number: u64) -> Lane {
        Lane { spool: Arc::clone(self), number, waiting: Arc::default(), file: None }
    }

    /// Says whose turn it is.
    pub(crate) fn turn(&self, number: u64) {
        self.front.store(number, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn free_blocks(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_block(&self) -> Vec<u8> {
        self.free_blocks().pop().unwrap_or_else(|| Vec::with_capacity(BLOCK))
    }

    fn give_back(&self, blocks: impl IntoIterator<Item = Vec<u8>>) {
        let mut free = self.free_blocks();
        for mut block in blocks {
            block.clear();
            free.push(block);
        }
        free.truncate(usize::try_from(TOTAL_MEMORY).unwrap_or(usize::MAX) / BLOCK);
    }

    fn open(&self) -> io::Result<File> {
        self.dir.as_ref().map_or_else(tempfile::tempfile, tempfile::tempfile_in)
    }
}

impl Lane {
    /// Waits until there is room for one more page. The lane whose turn it is always has room for
    /// one, so that reading goes on whatever the others hold.
    pub(crate) async fn room(&self) {
        loop {
            let changed = self.spool.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Returns whether [`room`](Self::room) would not wait.
    pub(crate) fn has_room(&self) -> bool {
        let room = self.spool.used.load(Ordering::SeqCst) < self.spool.limit;
        let turn = self.spool.front.load(Ordering::SeqCst) == self.number;
        room || (turn && self.waiting.load(Ordering::SeqCst) == 0)
    }

    /// Begins a page.
    pub(crate) fn page(&mut self) -> PageWriter<'_> {
        PageWriter { lane: self, buffer: VecDeque::new(), buffered: 0, on_disk: None, length: 0 }
    }
}

impl PageWriter<'_> {
    pub(crate) async fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.length += piece.len() as u64;
        if self.length > self.lane.spool.limit {
            let error =
                Error::new(ErrorKind::Rejected, "a page is larger than what may be spooled");
            return Err(Failure::window(error.with("spool_bytes", self.lane.spool.limit)));
        }
        self.buffered += piece.len();
        let mut rest = piece;
        while !rest.is_empty() {
            let full = self.buffer.back().is_none_or(|block| block.len() >= BLOCK);
            if full {
                self.buffer.push_back(self.lane.spool.take_block());
            }
            let Some(block) = self.buffer.back_mut() else { break };
            let (now, later) = rest.split_at(rest.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            rest = later;
        }
        let most = if self.on_disk.is_some() { PIECE } else { PAGE_MEMORY };
        if self.buffered > most { self.flush().await } else { Ok(()) }
    }

    /// Moves what is in memory to the disk.
    async fn flush(&mut self) -> Result<(), Failure> {
        let blocks = std::mem::take(&mut self.buffer);
        let bytes = std::mem::take(&mut self.buffered) as u64;
        let spool = Arc::clone(&self.lane.spool);
        let file = self.lane.file.take_if(|(_, end)| self.on_disk.is_some() || *end < FILE_BYTES);
        let turn = Arc::clone(&spool);
        let turn = turn.writing.acquire().await;
        let written = tokio::task::spawn_blocking(move || {
            let (file, at) = match file {
                Some(file) => file,
                None => (Arc::new(Mutex::new(spool.open()?)), 0),
            };
            let mut handle = file.lock().unwrap_or_else(PoisonError::into_inner);
            handle.seek(SeekFrom::Start(at))?;
            blocks.iter().try_for_each(|block| handle.write_all(block))?;
            drop(handle);
            spool.give_back(blocks);
            Ok((file, at, at + bytes))
        });
        let failed = |e: io::Error| {
            let error = Error::new(ErrorKind::Unavailable, "cannot keep a page on disk").because(e);
            Failure::all(error.with_hint("make room, or give another directory as `spool_dir`"))
        };
        let written = written.await.map_err(io::Error::other).and_then(|written| written);
        drop(turn);
        let (file, at, end) = written.map_err(failed)?;
        self.on_disk.get_or_insert_with(|| (Arc::clone(&file), at));
        self.lane.file = Some((file, end));
        Ok(())
    }

    /// Ends the page.
    pub(crate) async fn finish(mut self) -> Result<Body, Failure> {
        let spool = Arc::clone(&self.lane.spool);
        let full = spool.memory.load(Ordering::SeqCst) + self.length > TOTAL_MEMORY;
        if self.on_disk.is_some() || full {
            self.flush().await?;
        }
        let place = match self.on_disk.take() {
            Some((file, at)) => Place::Disk { file, at, end: at + self.length },
            None => Place::Memory(std::mem::take(&mut self.buffer), 0),
        };
        let memory = if matches!(place, Place::Memory(..)) { self.length } else { 0 };
        let waiting = Arc::clone(&self.lane.waiting);
        spool.used.fetch_add(self.length, Ordering::SeqCst);
        spool.memory.fetch_add(memory, Ordering::SeqCst);
        waiting.fetch_add(1, Ordering::SeqCst);
        Ok(Body { place, lease: Lease { spool, waiting, bytes: self.length, memory } })
    }
}

impl Drop for PageWriter<'_> {
    fn drop(&mut self) {
        self.lane.spool.give_back(std::mem::take(&mut self.buffer));
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Place::Memory(blocks, _) = &mut self.place {
            self.lease.spool.give_back(std::mem::take(blocks));
        }
    }
}

impl Body {
    /// Returns its size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.lease.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.spool.used.fetch_sub(self.bytes, Ordering::SeqCst);
        self.spool.memory.fetch_sub(self.memory, Ordering::SeqCst);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.spool.changed.notify_waiters();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Memory(blocks, at) => {
                let Some(block) = blocks.front() else { return Ok(0) };
                let rest = block.get(*at..).unwrap_or_default();
                let (now, later) = rest.split_at(rest.len().min(out.len()));
                out.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
                *at += now.len();
                let (read, ended) = (now.len(), later.is_empty());
                if ended {
                    *at = 0;
                    self.lease.spool.give_back(blocks.pop_front());
                }
                Ok(read)
            }
            Place::Disk { file, at, end } => {
                let room =
                    usize::try_from(*end - *at).map_or(out.len(), |left| left.min(out.len()));
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*at))?;
                let read = file.read(out.get_mut(..room).unwrap_or_default())?;
                *at += read as u64;
                Ok(read)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn page(lane: &mut Lane, bytes: &[u8]) -> Body {
        let mut page = lane.page();
        for piece in bytes.chunks(100_000) {
            page.write(piece).await.unwrap();
        }
        page.finish().await.unwrap()
    }

    fn text(mut body: Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn pages_come_back_as_they_were_from_memory_and_from_disk() {
        let spool = Spool::new(None, 1 << 30);
        let mut lane = spool.lane(1);
        let sizes = [0, 10, PAGE_MEMORY, PAGE_MEMORY + 1, 3_000_000, 70_000_000, 5, 300_000];
        let pages: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
        let mut bodies = Vec::new();
        for bytes in &pages {
            bodies.push(page(&mut lane, bytes).await);
        }
        assert!(matches!(bodies[2].place, Place::Memory(..)));
        assert!(matches!(bodies[3].place, Place::Disk { .. }));
        for (body, bytes) in bodies.into_iter().zip(&pages) {
            assert!(text(body) == *bytes, "{} bytes", bytes.len());
        }
        assert_eq!(spool.used.load(Ordering::SeqCst), 0);
        assert!(!spool.free_blocks().is_empty(), "blocks are used again");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_those_whose_turn_it_is_not_go_to_disk() {
        let spool = Spool::new(None, 1 << 30);
        let mut lane = spool.lane(1);
        let mut bodies = Vec::new();
        for _ in 0..30 {
            bodies.push(page(&mut lane, &vec![1; PAGE_MEMORY]).await);
        }
        assert!(spool.memory.load(Ordering::SeqCst) <= TOTAL_MEMORY);
        assert!(bodies.iter().any(|body| matches!(body.place, Place::Disk { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_spool_stops_all_but_the_one_whose_turn_it_is() {
        let spool = Spool::new(None, 1000);
        let (mut first, mut second) = (spool.lane(0), spool.lane(1));
        let held = page(&mut second, &[0; 1000]).await;
        let waits = async |lane: &Lane| {
            tokio::time::timeout(Duration::from_secs(1), lane.room()).await.is_err()
        };
        assert!(waits(&second).await && !waits(&first).await);
        let own = page(&mut first, &[0; 10]).await;
        assert!(waits(&first).await, "one page at a time");
        drop(own);
        assert!(!waits(&first).await);
        drop(held);
        assert!(!waits(&second).await);
        assert!(first.page().write(&[0; 1001]).await.is_err(), "larger than all the room there is");
    }
}
