//! The bytes of a journal, and what they say.

use xxhash_rust::xxh3::xxh3_64;

use crate::journal::{FileId, HEADER, ID, MAGIC, RECORD};
use audit_core::{IdHash, RecentIds};

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// These ids are durable somewhere.
    Known = 1,
    /// The next batches go to this file: `offset` bytes that were there, `length` of batches.
    Place = 2,
    /// A batch will be written at `offset`.
    Batch = 3,
    /// The batch before is durable.
    Done = 4,
    /// The file of the last place has its final name; what comes next begins a new one.
    Published = 5,
}

/// A record of the journal, without its ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) content: u64,
    pub(crate) serial: u64,
}

impl Record {
    pub(crate) fn of(kind: Kind) -> Self {
        Self { kind, file: FileId::default(), offset: 0, length: 0, content: 0, serial: 0 }
    }

    /// Appends the record and its ids to `out`.
    pub(crate) fn append(self, ids: &mut dyn ExactSizeIterator<Item = IdHash>, out: &mut Vec<u8>) {
        let start = out.len();
        // No batch comes near 2^32 events; one that did would be refused when read back.
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(self.kind as u32).to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        let FileId { device, inode } = self.file;
        for number in [device, inode, self.offset, self.length, self.content, self.serial] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.reserve(ids.len() * ID);
        ids.for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        let check = xxh3_64(&out[start + 8..]);
        out[start..start + 8].copy_from_slice(&check.to_le_bytes());
    }

    /// Returns whether this can be a record a little behind the serial given: a cheap look.
    fn may_begin(bytes: &[u8], serial: u64) -> bool {
        let at = bytes.get(RECORD - 8..).and_then(<[u8]>::first_chunk);
        let found = at.map_or(0, |number| u64::from_le_bytes(*number));
        (serial..serial.saturating_add(1 << 20)).contains(&found)
    }

    /// Reads the record at the start of `bytes` and the bytes of its ids; nothing if it is torn.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (check, rest) = bytes.split_first_chunk()?;
        let (head, ids) = rest.split_at_checked(RECORD - 8)?;
        let (kind, numbers) = head.split_first_chunk()?;
        let (count, numbers) = numbers.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (ids, _) = ids.split_at_checked(count.checked_mul(ID)?)?;
        if xxh3_64(&rest[..RECORD - 8 + ids.len()]) != u64::from_le_bytes(*check) {
            return None;
        }
        let kind = match u32::from_le_bytes(*kind) {
            1 => Kind::Known,
            2 => Kind::Place,
            3 => Kind::Batch,
            4 => Kind::Done,
            5 => Kind::Published,
            _ => return None,
        };
        let (numbers, _) = numbers.as_chunks();
        let [device, inode, offset, length, content, serial] = *numbers else { return None };
        let number = u64::from_le_bytes;
        let file = FileId { device: number(device), inode: number(inode) };
        let (offset, length) = (number(offset), number(length));
        offset.checked_add(length)?;
        let (content, serial) = (number(content), number(serial));
        Some((Self { kind, file, offset, length, content, serial }, ids))
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// How long the journal is, less a torn record; 0 if there is none.
    pub(crate) end: u64,
    /// The serial of the last record.
    pub(crate) serial: u64,
    /// The file being written, as far as it is known to be durable; nothing before the first batch
    /// and after publishing.
    pub(crate) place: Option<Place>,
    /// The last batch, if it is not known to be durable.
    pub(crate) pending: Option<Pending>,
}

/// A file and how far it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: FileId,
    /// Its length before the first batch of this place.
    pub(crate) begin: u64,
    /// Its length behind the last.
    pub(crate) end: u64,
}

/// An announced batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) content: u64,
    /// How many ids it has; they are the newest of the window.
    pub(crate) count: usize,
    /// Where its record begins.
    pub(crate) at: u64,
}

impl State {
    /// Takes the pending batch as written.
    pub(crate) fn settle(&mut self) {
        if let Some(batch) = self.pending.take() {
            let begin = match self.place {
                Some(place) if place.file == batch.file && place.end == batch.offset => place.begin,
                _ => batch.offset,
            };
            let end = batch.offset + batch.length;
            self.place = Some(Place { file: batch.file, begin, end });
        }
    }
}

/// Reads a journal up to its end or a torn last record.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn replay(bytes: &[u8]) -> Result<(State, RecentIds), &'static str> {
    let Some((magic, body)) = bytes.split_first_chunk() else { return Err("cut off") };
    let Some((seed, records)) = body.split_first_chunk() else { return Err("cut off") };
    if magic != MAGIC {
        return Err("not a journal, or one of a newer version");
    }
    let seed = u64::from_le_bytes(*seed);
    let mut state = State { end: HEADER as u64, ..State::default() };
    let mut window = RecentIds::with_seed(seed);
    let mut rest = records;
    while let Some((record, ids)) = Record::read(rest) {
        if record.serial != state.serial + 1 {
            break;
        }
        // A batch is announced only once the one before is durable or taken back.
        if state.pending.is_some() {
            let len = state.pending.map_or(0, |batch| batch.count);
            state.settle();
            window.batch_done(len);
        }
        let Record { kind, file, offset, length, content, serial } = record;
        let (ids, _) = ids.as_chunks();
        let mut count = 0;
        for id in ids {
            count += usize::from(window.insert(u128::from_le_bytes(*id)));
        }
        match kind {
            Kind::Known => window.batch_done(count),
            Kind::Place => {
                state.place = Some(Place { file, begin: offset, end: offset + length });
            }
            Kind::Batch => {
                let at = state.end;
                state.pending = Some(Pending { file, offset, length, content, count, at });
            }
            Kind::Done => {}
            Kind::Published => state.place = None,
        }
        state.serial = serial;
        let len = RECORD + ids.len() * ID;
        state.end += len as u64;
        rest = &rest[len..];
    }
    if is_damaged(rest, state.serial) { Err("damaged") } else { Ok((state, window)) }
}

/// Returns whether what follows the last good record is more than a torn one.
///
/// A record is written when the one before is durable, or at least a note that may get lost
/// (`Done`). So the last two may be torn, or the last but one alone; a good record further on, or a
/// note behind the record it belongs to, shows that something durable was changed.
fn is_damaged(rest: &[u8], serial: u64) -> bool {
    // All records begin at a multiple of 16.
    (ID..rest.len()).step_by(ID).any(|at| {
        let later = rest.get(at..).filter(|bytes| Record::may_begin(bytes, serial));
        later.and_then(Record::read).is_some_and(|(record, ids)| {
            record.kind == Kind::Done || at + RECORD + ids.len() < rest.len()
        })
    })
}
