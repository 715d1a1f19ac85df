//! JSON text without its grammar: where a value ends, be it valid or not.

/// The state of a scan of JSON text: enough to tell brackets from text in strings.
#[derive(Default)]
pub(crate) struct Scan {
    depth: usize,
    pub(crate) in_string: bool,
    escaped: bool,
}

impl Scan {
    pub(crate) const fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    pub(crate) const fn is_between_values(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}
