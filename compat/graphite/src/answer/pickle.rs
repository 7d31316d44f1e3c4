//! Python pickles, protocol 2: only what Graphite's answers need, no classes.

/// Writes one value into a pickle.
pub(super) struct Pickle(Vec<u8>);

impl Pickle {
    pub(super) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end();
        self.0
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) {
        self.0.push(b'.');
    }

    /// What has been written and not yet taken.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Bytes written and not yet taken.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A list; `items` writes its members.
    pub(super) fn list(&mut self, items: impl FnOnce(&mut Self)) {
        self.open_list();
        items(self);
        self.close_list();
    }

    /// A dictionary; `items` writes keys and values in turn.
    pub(super) fn dict(&mut self, items: impl FnOnce(&mut Self)) {
        self.open_dict();
        items(self);
        self.close_dict();
    }

    /// What follows are the members of a list, until it is closed.
    pub(super) fn open_list(&mut self) {
        self.0.extend_from_slice(b"](");
    }

    pub(super) fn close_list(&mut self) {
        self.0.push(b'e');
    }

    /// What follows are keys and values in turn, until the dictionary is closed.
    pub(super) fn open_dict(&mut self) {
        self.0.extend_from_slice(b"}(");
    }

    pub(super) fn close_dict(&mut self) {
        self.0.push(b'u');
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.push(b'X');
        let len = u32::try_from(text.len()).expect("names are shorter than 4 GiB");
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn int(&mut self, i: i64) {
        if let Ok(small) = i32::try_from(i) {
            self.0.push(b'J');
            self.0.extend_from_slice(&small.to_le_bytes());
        } else {
            self.0.extend_from_slice(&[0x8a, 8]);
            self.0.extend_from_slice(&i.to_le_bytes());
        }
    }

    pub(super) fn flag(&mut self, b: bool) {
        self.0.push(if b { 0x88 } else { 0x89 });
    }

    /// NaN is none.
    pub(super) fn float(&mut self, x: f64) {
        if x.is_nan() {
            self.0.push(b'N');
        } else {
            self.0.push(b'G');
            self.0.extend_from_slice(&x.to_be_bytes());
        }
    }
}
