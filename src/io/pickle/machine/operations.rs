//! The operations, a byte each.

use std::ops::Range;

use super::{MOST_VALUES, Machine, Node, PickleError, within};

impl Machine<'_> {
    /// Does one operation. Those of a kind are together; each of the functions below says whether the
    /// operation is of its kind.
    pub(super) fn step(&mut self, operation: u8) -> Result<(), PickleError> {
        let known = self.on_stack(operation)?
            || self.plain(operation)?
            || self.textual(operation)?
            || self.collect(operation)?
            || self.memorise(operation)?
            || self.construct(operation)?;
        if known { Ok(()) } else { self.fault(format!("operation {operation:#04x} is not known")) }
    }

    /// Protocol, frames, marks, and the stack itself.
    fn on_stack(&mut self, operation: u8) -> Result<bool, PickleError> {
        match operation {
            0x80 => self.byte().map(drop),
            0x95 => self.take(8).map(drop),
            b'(' => {
                within(self.marks.len(), MOST_VALUES, "marks")?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => self.since_mark().map(drop),
            b'0' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let id = self.top()?;
                self.put(id)
            }
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    /// Plain values.
    fn plain(&mut self, operation: u8) -> Result<bool, PickleError> {
        match operation {
            b'N' => self.push(Node::Nothing),
            0x88 | 0x89 => self.push(Node::Bool(operation == 0x88)),
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))
            }
            b'K' => {
                let value = self.byte()?;
                self.push(Node::Int(value.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))
            }
            0x8a => {
                let length = self.byte()?.into();
                self.long(length)
            }
            0x8b => {
                let length = self.size4()?;
                self.long(length)
            }
            b'G' => {
                self.take(8)?;
                self.push(Node::Float)
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let node = match self.str(line)?.trim() {
                    "00" => Node::Bool(false),
                    "01" => Node::Bool(true),
                    text => text.trim_end_matches('L').parse().map_or(Node::Opaque, Node::Int),
                };
                self.push(node)
            }
            b'F' => {
                self.line()?;
                self.push(Node::Float)
            }
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    /// Text and bytes; bytes are text where they are ASCII, as Python 2 wrote it.
    fn textual(&mut self, operation: u8) -> Result<bool, PickleError> {
        match operation {
            b'X' | b'T' => {
                let length = self.size4()?;
                self.string(length)
            }
            0x8c | b'U' => {
                let length = self.byte()?.into();
                self.string(length)
            }
            0x8d => {
                let length = self.size8()?;
                self.string(length)
            }
            b'V' => {
                let line = self.line()?;
                self.push_text(line)
            }
            b'S' => {
                let line = self.line()?;
                let quoted = line.len() >= 2;
                let inner = if quoted { line.start + 1..line.end - 1 } else { line };
                self.push_text(inner)
            }
            b'B' => {
                let length = self.size4()?;
                self.opaque_bytes(length)
            }
            b'C' => {
                let length = self.byte()?.into();
                self.opaque_bytes(length)
            }
            0x8e | 0x96 => {
                let length = self.size8()?;
                self.opaque_bytes(length)
            }
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    /// Collections, and what is put in them.
    fn collect(&mut self, operation: u8) -> Result<bool, PickleError> {
        match operation {
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items))
            }
            0x85..=0x87 => {
                let count = usize::from(operation) - 0x84;
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                let list = self.top()?;
                self.add_items(list, &[item]);
                Ok(())
            }
            b'e' => {
                let items = self.since_mark()?;
                let list = self.top()?;
                self.add_items(list, &items);
                Ok(())
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.since_mark()?;
                self.push(Node::Dict(Vec::new()))?;
                let dict = self.top()?;
                self.add_entries(dict, &items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                let dict = self.top()?;
                self.add_entries(dict, &[key, value])
            }
            b'u' => {
                let items = self.since_mark()?;
                let dict = self.top()?;
                self.add_entries(dict, &items)
            }
            0x8f => self.push(Node::Opaque),
            0x90 => self.since_mark().map(drop),
            0x91 => {
                self.since_mark()?;
                self.push(Node::Opaque)
            }
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    /// The memo.
    fn memorise(&mut self, operation: u8) -> Result<bool, PickleError> {
        match operation {
            b'q' => {
                let index = self.byte()?.into();
                self.remember(index)
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.remember(index)
            }
            b'p' => {
                let index = self.line_number()?;
                self.remember(index)
            }
            0x94 => {
                #[expect(clippy::cast_possible_truncation, reason = "each is of a value, bounded")]
                let index = self.memo.len() as u32;
                self.remember(index)
            }
            b'h' => {
                let index = self.byte()?.into();
                self.recall(index)
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)
            }
            b'g' => {
                let index = self.line_number()?;
                self.recall(index)
            }
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    /// Functions and classes, what they make, and values that lie outside.
    fn construct(&mut self, operation: u8) -> Result<bool, PickleError> {
        match operation {
            b'c' => {
                let id = self.global_of_lines()?;
                self.put(id)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let names = match (self.node(module), self.node(name)) {
                    (Node::Text(module), Node::Text(name)) => (*module, *name),
                    _ => return self.fault("a function whose name is not text"),
                };
                let id = self.global(names.0, names.1)?;
                self.put(id)
            }
            b'i' => {
                let class = self.global_of_lines()?;
                self.since_mark()?;
                self.push(Node::Object { maker: class })
            }
            b'o' => {
                let parts = self.since_mark()?;
                let node =
                    parts.first().map_or(Node::Opaque, |class| Node::Object { maker: *class });
                self.push(node)
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.put(made)
            }
            0x92 => {
                let (_, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.put(made)
            }
            // The state of an object: kept nowhere.
            b'b' => self.pop().map(drop),
            // Classes by a number that only their program knows.
            0x82..=0x84 => {
                self.take(1 << (operation - 0x82))?;
                self.push(Node::Opaque)
            }
            // Values that lie outside.
            b'P' => {
                self.line()?;
                self.push(Node::Opaque)
            }
            b'Q' => {
                let id = self.pop()?;
                let value = self.persistent(id)?;
                self.put(value)
            }
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    fn string(&mut self, length: usize) -> Result<(), PickleError> {
        let range = self.take(length)?;
        self.push_text(range)
    }

    fn push_text(&mut self, range: Range<usize>) -> Result<(), PickleError> {
        let node = self.keep(range).map_or(Node::Opaque, Node::Text);
        self.push(node)
    }

    fn opaque_bytes(&mut self, length: usize) -> Result<(), PickleError> {
        self.take(length)?;
        self.push(Node::Opaque)
    }

    /// A whole number of any length; beyond 64 bits it is of no use here.
    fn long(&mut self, length: usize) -> Result<(), PickleError> {
        let range = self.take(length)?;
        let bytes = &self.bytes[range];
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        if length > 8 {
            return self.push(Node::Opaque);
        }
        number[..length].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(number)))
    }
}
