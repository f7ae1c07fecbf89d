use crate::fields::{Fields, Slot};
use crate::json::marks::Marks;
use crate::json::parser::{Hole, MAX_STEPS, Step, scalar_end};

/// So many ways to go on from one place are learned.
const MAX_BRANCHES: usize = 16;
/// So many places, and bytes of literals; all is forgotten when there are more.
const MAX_NODES: usize = MAX_STEPS;
const MAX_BYTES: usize = 256 << 10;
const NONE: u32 = u32::MAX;

/// The shapes of records that were read before.
///
/// The records of a log are alike: one after the other has the same keys in the same order, and only
/// the values differ. A shape is the text of a record without its values, cut where they were. Records
/// of a shape that is known are compared with it, literal by literal, and only their values are read:
/// what was found to be JSON once, with these keys meaning these fields, need not be found out again.
/// Shapes that begin alike share their beginning, so this is a tree.
///
/// Nothing is taken on trust. A record is of a shape if every byte of it is either equal to the
/// literal's or within a value that is checked; of all others the parser decides.
#[derive(Debug)]
pub(crate) struct Shapes {
    nodes: Vec<Node>,
    /// The literals of all nodes.
    bytes: Vec<u8>,
}

/// A literal, and the hole behind it.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// What the literal begins with: up to eight bytes, and which bits of them count.
    head: u64,
    mask: u64,
    /// Where the literal is.
    literal: (u32, u32),
    /// Another literal that may be here instead.
    sibling: u32,
    /// The literal behind the hole.
    child: u32,
    clear: u64,
    slot: Slot,
    hole: Hole,
}

impl Default for Shapes {
    fn default() -> Self {
        let mut shapes = Self { nodes: Vec::new(), bytes: Vec::new() };
        shapes.forget();
        shapes
    }
}

impl Shapes {
    /// Forgets all but the root, which has no literal and stands before the record.
    fn forget(&mut self) {
        self.bytes.clear();
        self.nodes.clear();
        self.nodes.push(Node {
            head: 0,
            mask: 0,
            literal: (0, 0),
            sibling: NONE,
            child: NONE,
            clear: 0,
            slot: Slot::NONE,
            hole: Hole::Text,
        });
    }

    /// Reads a record if its shape is known; whether it is. `fields` is of use only then.
    pub(crate) fn read(&self, line: &[u8], marks: &Marks, fields: &mut Fields) -> bool {
        fields.clear();
        let (mut at, mut id) = (0, self.nodes[0].child);
        while let Some(node) = self.nodes.get(id as usize) {
            let rest = line.get(at..).unwrap_or_default();
            if !self.begins(rest, node) {
                id = node.sibling;
                continue;
            }
            let (start, end) = node.literal;
            let from = at + (end - start) as usize;
            let (to, escaped) = match node.hole {
                Hole::Text => match marks.string_end(line, from) {
                    Some(end) => (Some(end.at), end.escaped),
                    None => return false,
                },
                Hole::Scalar => (scalar_end(line, from), false),
                Hole::End => ((from == line.len()).then_some(from), false),
            };
            if let Some(end) = to {
                let Node { hole, clear, slot, .. } = *node;
                // Most values are of no interest.
                if slot != Slot::NONE || clear != 0 {
                    Step { hole, start: from, end, escaped, clear, slot }.put(line, fields);
                }
                if hole == Hole::End {
                    return true;
                }
            }
            // A literal may go on where another ends with a number: then that is a sibling.
            (at, id) = to.map_or((at, node.sibling), |to| (to, node.child));
        }
        false
    }

    /// Whether a text begins with the literal of a node. Literals are short: a call to compare them costs
    /// more than to do it here.
    #[inline]
    fn begins(&self, text: &[u8], node: &Node) -> bool {
        let (start, end) = (node.literal.0 as usize, node.literal.1 as usize);
        let Some(first) = text.first_chunk::<8>() else {
            return text.starts_with(&self.bytes[start..end]);
        };
        if (u64::from_ne_bytes(*first) ^ node.head) & node.mask != 0 {
            return false;
        }
        let length = end - start;
        length <= 8 || text.get(..length).is_some_and(|text| equal(text, &self.bytes[start..end]))
    }

    /// Learns the shape of a record.
    pub(crate) fn learn(&mut self, line: &[u8], steps: &[Step]) {
        if steps.len() >= MAX_STEPS || line.len() > MAX_BYTES {
            return;
        }
        if self.nodes.len() + steps.len() > MAX_NODES || self.bytes.len() + line.len() > MAX_BYTES {
            self.forget();
        }
        let (mut at, mut parent) = (0, 0);
        for step in steps {
            let literal = line.get(at..step.start).unwrap_or_default();
            let Some(child) = self.child(parent, literal, step) else { return };
            (at, parent) = (step.end, child);
        }
    }

    /// Returns the child with this literal, new or not; none if there are too many.
    fn child(&mut self, parent: usize, literal: &[u8], step: &Step) -> Option<usize> {
        let mut last = None;
        let mut next = self.nodes[parent].child;
        let mut count = 0;
        while let Some(node) = self.nodes.get(next as usize) {
            let (start, end) = node.literal;
            if node.hole == step.hole && self.bytes[start as usize..end as usize] == *literal {
                return Some(next as usize);
            }
            (last, next, count) = (Some(next as usize), node.sibling, count + 1);
        }
        if count >= MAX_BRANCHES {
            return None;
        }
        let new = self.nodes.len();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(literal);
        let (head, mask) = head(literal);
        self.nodes.push(Node {
            head,
            mask,
            literal: (start as u32, self.bytes.len() as u32),
            sibling: NONE,
            child: NONE,
            clear: step.clear,
            slot: step.slot,
            hole: step.hole,
        });
        match last {
            Some(last) => self.nodes[last].sibling = new as u32,
            None => self.nodes[parent].child = new as u32,
        }
        Some(new)
    }
}

/// Returns the first eight bytes of a literal as a number, and a mask where it is shorter.
fn head(literal: &[u8]) -> (u64, u64) {
    let (mut bytes, mut mask) = ([0; 8], [0; 8]);
    for ((to, mask), from) in bytes.iter_mut().zip(&mut mask).zip(literal) {
        (*to, *mask) = (*from, u8::MAX);
    }
    (u64::from_ne_bytes(bytes), u64::from_ne_bytes(mask))
}

/// Whether two texts of one length, of at least eight bytes, are equal.
#[inline]
fn equal(ours: &[u8], theirs: &[u8]) -> bool {
    let pairs = ours.as_chunks::<8>().0.iter().zip(theirs.as_chunks::<8>().0);
    let differ = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    let ends = ours.last_chunk().zip(theirs.last_chunk());
    ends.is_some_and(|(a, b)| pairs.fold(differ(a, b), |odd, (a, b)| odd | differ(a, b)) == 0)
}
