//! Writes made-up audit records to standard output: `generate COUNT [SEED] > FILE`. A million are 1 GB.

mod records;

use std::io::{self, BufWriter, Write as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let count = arguments.next().ok_or("how many records?")??;
    let mut records = records::Records::new(arguments.next().unwrap_or(Ok(1))?);
    let mut out = BufWriter::new(io::stdout().lock());
    for n in 0..count {
        out.write_all(&records.line(n, count))?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
