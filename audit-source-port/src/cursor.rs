use audit_core::window::Position;
use audit_core::{Cursor, Result};

const KIND: &str = "port";
const VERSION: u32 = 1;

pub(crate) fn encode(position: &Position) -> Result<Cursor> {
    Cursor::encode(KIND, VERSION, position)
}

pub(crate) fn decode(cursor: &Cursor) -> Result<Position> {
    cursor.decode(KIND, VERSION)
}
