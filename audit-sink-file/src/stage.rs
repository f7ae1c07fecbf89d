//! A batch as text, ready to be written at once.

use audit_core::{AuditEvent, Failure, Format, IdHash, RecentIds, Written};

use crate::config::Layout;

/// Collects the text of the events of a batch that are to be written; reused for each batch.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    text: Vec<u8>,
    ids: Vec<IdHash>,
    count: usize,
}

impl Stage {
    /// Takes the events that are not in the window, and adds them to it.
    pub(crate) fn fill_new(
        &mut self,
        events: &[AuditEvent],
        format: Format,
        layout: Layout,
        window: &mut RecentIds,
    ) -> Written {
        self.clear();
        let mut written = Written::all();
        for (index, event) in events.iter().enumerate() {
            let id = window.hash(event.id.as_str());
            if !window.insert(id) {
                written.duplicates.push(index);
            } else if self.push(event, index, format, layout, &mut written) {
                self.ids.push(id);
            } else {
                window.take_back(1);
            }
        }
        written
    }

    /// Takes all events.
    pub(crate) fn fill(
        &mut self,
        events: &[AuditEvent],
        format: Format,
        layout: Layout,
    ) -> Written {
        self.clear();
        let mut written = Written::all();
        for (index, event) in events.iter().enumerate() {
            self.push(event, index, format, layout, &mut written);
        }
        written
    }

    /// Returns the text, as it follows what is written so far, and the ids of its events.
    pub(crate) fn parts(&mut self, layout: Layout, first: bool) -> (&[u8], &[IdHash]) {
        if layout == Layout::Array
            && first
            && let Some(separator) = self.text.first_mut()
        {
            *separator = b'[';
        }
        (&self.text, &self.ids)
    }

    /// Returns how many events were taken.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ids.clear();
        self.count = 0;
    }

    fn push(
        &mut self,
        event: &AuditEvent,
        index: usize,
        format: Format,
        layout: Layout,
        written: &mut Written,
    ) -> bool {
        let before = self.text.len();
        if layout == Layout::Array {
            self.text.extend_from_slice(b",\n");
        }
        if let Err(error) = format.append_line(event, &mut self.text) {
            self.text.truncate(before);
            written.failures.push(Failure { index, error });
            return false;
        }
        if layout == Layout::Ndjson {
            self.text.push(b'\n');
        }
        self.count += 1;
        true
    }
}
