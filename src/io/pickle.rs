//! Reading pickles without running them.
//!
//! A pickle is a program that builds objects by calling functions. This reader knows the functions
//! that tensors and dictionaries are built with, and does their work itself. Whatever else a file
//! asks to call is never called: it becomes an opaque value, so that the foreign objects of training
//! frameworks do no harm; and a file that names a function of a module that acts on the machine is
//! refused altogether.
//!
//! Every operation makes at most one value, held in one list, so that memory is a small multiple of
//! the pickle whatever it says.

use std::collections::HashMap;
use std::ops::Range;

use thiserror::Error;

/// A pickle that cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PickleError {
    /// It ends in the middle.
    #[error("the pickle ends too early")]
    Truncated,
    /// It names a function of a module that acts on the machine.
    #[error("the pickle asks for '{0}', which is refused: nothing in a checkpoint may run code")]
    Refused(String),
    /// It is not what `torch.save` writes.
    #[error("the pickle is not valid at byte {at}: {reason}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Modules whose functions act on the machine, or reach those that do.
const REFUSED: [&str; 42] = [
    "__builtin__",
    "_io",
    "_posixsubprocess",
    "_thread",
    "asyncio",
    "bdb",
    "builtins",
    "cProfile",
    "code",
    "codeop",
    "commands",
    "concurrent",
    "ctypes",
    "cffi",
    "distutils",
    "ftplib",
    "functools",
    "http",
    "importlib",
    "io",
    "marshal",
    "multiprocessing",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "posix",
    "profile",
    "pty",
    "pydoc",
    "runpy",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "timeit",
    "urllib",
    "webbrowser",
];

/// Names of those modules that only make plain values.
const HARMLESS: [&str; 14] = [
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "object",
    "set",
    "slice",
    "str",
    "tuple",
];

/// Most extents of a tensor.
const MOST_EXTENTS: usize = 8;

/// A value of a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// Numbers in a storage, and how a tensor lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorView {
    /// Name of the storage in the container.
    pub storage: String,
    /// Its type in the words of PyTorch, such as `FloatStorage`.
    pub kind: String,
    /// Where the tensor begins, in numbers.
    pub offset: usize,
    /// Extents.
    pub shape: Vec<usize>,
    /// Steps from one number to the next along each extent.
    pub strides: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Node {
    Nothing,
    Bool,
    Int(i64),
    Float,
    Text(Range<usize>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global { module: Range<usize>, name: Range<usize> },
    Storage { kind: Range<usize>, key: Range<usize> },
    Tensor(Box<TensorView>),
    Opaque,
}

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle {
    bytes: Vec<u8>,
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle of protocol 2 to 5.
    ///
    /// # Errors
    /// It is truncated or malformed, or asks for a function that is refused.
    pub fn read(bytes: &[u8]) -> Result<Self, PickleError> {
        let mut machine = Machine {
            bytes,
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        };
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, bytes: bytes.to_vec(), root })
    }

    /// What the pickle holds.
    pub fn root(&self) -> Id {
        self.root
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(range) => std::str::from_utf8(&self.bytes[range.clone()]).ok(),
            _ => None,
        }
    }

    /// The entries of a dictionary whose keys are text, in order; of another value, none.
    pub fn entries(&self, id: Id) -> Vec<(&str, Id)> {
        match self.node(id) {
            Node::Dict(entries) => {
                entries.iter().filter_map(|(key, value)| Some((self.text(*key)?, *value))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The value of a dictionary under `key`; the last one where there are several.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        match self.node(id) {
            Node::Dict(entries) => entries
                .iter()
                .rev()
                .find(|(found, _)| self.text(*found) == Some(key))
                .map(|(_, value)| *value),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::List(items) | Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A tensor.
    pub fn tensor(&self, id: Id) -> Option<&TensorView> {
        match self.node(id) {
            Node::Tensor(view) => Some(view),
            _ => None,
        }
    }

    /// A word for what a value is.
    pub fn kind(&self, id: Id) -> &'static str {
        match self.node(id) {
            Node::Nothing => "nothing",
            Node::Bool | Node::Int(_) | Node::Float => "number",
            Node::Text(_) => "text",
            Node::Tuple(_) | Node::List(_) => "list",
            Node::Dict(_) => "dictionary",
            Node::Tensor(_) | Node::Storage { .. } => "tensor",
            Node::Global { .. } | Node::Opaque => "foreign object",
        }
    }

    /// A whole number.
    pub fn integer(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items copied from one value to another, which must stay below the size of the pickle.
    copied: usize,
}

impl Machine<'_> {
    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, PickleError> {
        Err(PickleError::Malformed { at: self.at, reason: reason.into() })
    }

    fn take(&mut self, count: usize) -> Result<Range<usize>, PickleError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(PickleError::Truncated)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let range = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    fn size4(&mut self) -> Result<usize, PickleError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn size8(&mut self) -> Result<usize, PickleError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| PickleError::Truncated)
    }

    /// The rest of the line.
    fn line(&mut self) -> Result<Range<usize>, PickleError> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(PickleError::Truncated)?;
        let range = self.take(length)?;
        self.at += 1;
        Ok(range)
    }

    fn str(&self, range: Range<usize>) -> Result<&str, PickleError> {
        match std::str::from_utf8(&self.bytes[range]) {
            Ok(text) => Ok(text),
            Err(_) => self.fault("a text is not UTF-8"),
        }
    }

    fn make(&mut self, node: Node) -> Result<Id, PickleError> {
        let Ok(id) = u32::try_from(self.nodes.len()) else { return self.fault("too many values") };
        self.nodes.push(node);
        Ok(Id(id))
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        let id = self.make(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => self.fault("it takes a value that is not there"),
        }
    }

    fn top(&self) -> Result<Id, PickleError> {
        match self.stack.last() {
            Some(id) => Ok(*id),
            None => self.fault("it asks for a value that is not there"),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => self.fault("a mark is missing"),
        }
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn remember(&mut self, index: u32) -> Result<(), PickleError> {
        let id = self.top()?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), PickleError> {
        match self.memo.get(&index) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => self.fault(format!("it recalls value {index}, which is not there")),
        }
    }

    /// A number at the end of a line.
    fn line_number(&mut self) -> Result<u32, PickleError> {
        let line = self.line()?;
        match self.str(line)?.trim().parse() {
            Ok(number) => Ok(number),
            Err(_) => self.fault("a number is expected"),
        }
    }

    fn global(&mut self, module: Range<usize>, name: Range<usize>) -> Result<(), PickleError> {
        let (m, n) = (self.str(module.clone())?, self.str(name.clone())?);
        let package = m.split('.').next().unwrap_or_default();
        let plain = matches!(m, "builtins" | "__builtin__") && HARMLESS.contains(&n);
        if REFUSED.contains(&package) && !plain {
            return Err(PickleError::Refused(format!("{m}.{n}")));
        }
        self.push(Node::Global { module, name })
    }

    fn add_entries(&mut self, dict: Id, items: &[Id]) -> Result<(), PickleError> {
        if !items.len().is_multiple_of(2) {
            return self.fault("a key without a value");
        }
        // A class of dictionaries that is not known stays opaque, whatever is put in it.
        if let Node::Dict(entries) = &mut self.nodes[dict.0 as usize] {
            entries.extend(items.as_chunks::<2>().0.iter().map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn add_items(&mut self, list: Id, items: &[Id]) {
        if let Node::List(all) = &mut self.nodes[list.0 as usize] {
            all.extend(items);
        }
    }

    fn integer(&self, id: Id) -> Option<usize> {
        match self.node(id) {
            Node::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    fn integers(&self, id: Id) -> Option<Vec<usize>> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) if items.len() <= MOST_EXTENTS => {
                items.iter().map(|id| self.integer(*id)).collect()
            }
            _ => None,
        }
    }

    /// What a call gives, without calling anything.
    fn call(&mut self, function: Id, arguments: Id) -> Result<Id, PickleError> {
        let (Node::Global { module, name }, Node::Tuple(arguments)) =
            (self.node(function).clone(), self.node(arguments).clone())
        else {
            return self.make(Node::Opaque);
        };
        let (module, name) = (self.str(module)?, self.str(name)?);
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => self.tensor(&arguments),
            ("torch._utils", "_rebuild_parameter") if !arguments.is_empty() => Ok(arguments[0]),
            ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => {
                self.dictionary(&arguments)
            }
            _ => self.make(Node::Opaque),
        }
    }

    /// A dictionary of pairs.
    fn dictionary(&mut self, arguments: &[Id]) -> Result<Id, PickleError> {
        let mut entries = Vec::new();
        if let Some(Node::List(pairs)) = arguments.first().map(|id| self.node(*id)) {
            for pair in pairs {
                match self.node(*pair) {
                    Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => {
                        entries.push((pair[0], pair[1]));
                    }
                    _ => return self.fault("a dictionary is made of something else than pairs"),
                }
            }
        }
        self.copied += entries.len();
        if self.copied > self.bytes.len() {
            return self.fault("it copies its values over and over");
        }
        self.make(Node::Dict(entries))
    }

    /// `(storage, offset, shape, strides, ...)`
    fn tensor(&mut self, arguments: &[Id]) -> Result<Id, PickleError> {
        let [storage, offset, shape, strides, ..] = arguments else {
            return self.fault("a tensor with too few parts");
        };
        let Node::Storage { kind, key } = self.node(*storage).clone() else {
            return self.fault("a tensor without a storage");
        };
        let parts = (self.integer(*offset), self.integers(*shape), self.integers(*strides));
        let (Some(offset), Some(shape), Some(strides)) = parts else {
            return self.fault("a tensor whose place, extents or steps are not numbers");
        };
        if shape.len() != strides.len() {
            return self.fault("a tensor with more extents than steps, or fewer");
        }
        let (storage, kind) = (self.str(key)?.to_owned(), self.str(kind)?.to_owned());
        self.make(Node::Tensor(Box::new(TensorView { storage, kind, offset, shape, strides })))
    }

    /// `("storage", type, key, location, numbers)`
    fn persistent(&mut self, id: Id) -> Result<Id, PickleError> {
        let Node::Tuple(parts) = self.node(id) else {
            return self.fault("an outside value that is not a storage");
        };
        let [word, kind, key, ..] = parts[..] else {
            return self.fault("an outside value that is not a storage");
        };
        match (self.node(word), self.node(kind), self.node(key)) {
            (Node::Text(word), Node::Global { name, .. }, Node::Text(key))
                if self.bytes[word.clone()] == *b"storage" =>
            {
                let (kind, key) = (name.clone(), key.clone());
                self.make(Node::Storage { kind, key })
            }
            _ => self.fault("an outside value that is not a storage"),
        }
    }

    fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let operation = self.byte()?;
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation)?;
        }
    }

    fn step(&mut self, operation: u8) -> Result<(), PickleError> {
        match operation {
            // Protocol and frames.
            0x80 => self.byte().map(drop),
            0x95 => self.take(8).map(drop),
            // The stack.
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => self.since_mark().map(drop),
            b'0' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let id = self.top()?;
                self.stack.push(id);
                Ok(())
            }
            // Plain values.
            b'N' => self.push(Node::Nothing),
            0x88 | 0x89 => self.push(Node::Bool),
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
                let value = self.str(line)?.trim().trim_end_matches('L').parse();
                self.push(value.map_or(Node::Opaque, Node::Int))
            }
            b'F' => {
                self.line()?;
                self.push(Node::Float)
            }
            // Text and bytes; bytes are text where they are ASCII, as Python 2 wrote it.
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
                self.push(Node::Text(line))
            }
            b'S' => {
                let line = self.line()?;
                let quoted = line.len() >= 2;
                let inner = if quoted { line.start + 1..line.end - 1 } else { line };
                self.push(Node::Text(inner))
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
            // Collections.
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
            // The memo.
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
            0x94 => self.remember(self.memo.len() as u32),
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
            // Functions and classes.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.node(module).clone(), self.node(name).clone()) {
                    (Node::Text(module), Node::Text(name)) => self.global(module, name),
                    _ => self.fault("a function whose name is not text"),
                }
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
                self.pop()?;
                self.since_mark()?;
                self.push(Node::Opaque)
            }
            b'o' => {
                self.since_mark()?;
                self.push(Node::Opaque)
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.stack.push(made);
                Ok(())
            }
            0x92 => {
                let (_, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.stack.push(made);
                Ok(())
            }
            // The state of an object: kept nowhere.
            b'b' => self.pop().map(drop),
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.stack.push(storage);
                Ok(())
            }
            other => self.fault(format!("operation {other:#04x} is not known")),
        }
    }

    fn string(&mut self, length: usize) -> Result<(), PickleError> {
        let range = self.take(length)?;
        self.push(Node::Text(range))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_act_are_refused_by_name() {
        for (pickle, name) in [
            (b"cos\nsystem\n(X\x04\0\0\0trueR.".as_slice(), "os.system"),
            (b"cposix\nsystem\n.", "posix.system"),
            (b"cbuiltins\neval\n.", "builtins.eval"),
            (b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93.", "subprocess.Popen"),
            (b"(X\x04\0\0\0trueios\nsystem\n.", "os.system"),
        ] {
            assert_eq!(Pickle::read(pickle).unwrap_err(), PickleError::Refused(name.to_owned()));
        }
    }

    #[test]
    fn foreign_objects_are_opaque() {
        // {'a': ModelCheckpoint.__new__(ModelCheckpoint) with a state, 'b': 7}
        let pickle = b"}(X\x01\0\0\0aclightning\nModelCheckpoint\n)\x81}bX\x01\0\0\0bK\x07u.";
        let pickle = Pickle::read(pickle).unwrap();
        let root = pickle.root();
        assert_eq!(pickle.kind(pickle.get(root, "a").unwrap()), "foreign object");
        assert_eq!(pickle.integer(pickle.get(root, "b").unwrap()), Some(7));
    }

    #[test]
    fn knots_and_towers_are_read_in_little_memory() {
        // A list that holds itself, and a million tuples around one another.
        assert!(Pickle::read(b"]q\0h\0a.").is_ok());
        let mut tower = vec![b')'];
        tower.extend(std::iter::repeat_n(0x85, 1_000_000));
        tower.push(b'.');
        assert_eq!(Pickle::read(&tower).unwrap().nodes.len(), 1_000_001);
    }

    #[test]
    fn absurd_lengths_are_truncations() {
        for pickle in
            [b"X\xff\xff\xff\xff".as_slice(), b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", b""]
        {
            assert_eq!(Pickle::read(pickle).unwrap_err(), PickleError::Truncated);
        }
    }
}
