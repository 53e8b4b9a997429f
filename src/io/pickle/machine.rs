//! The machine that a pickle is a program for, with every function but a few left out.

mod operations;

use std::collections::HashMap;
use std::ops::Range;

use super::refused::is_refused;
use super::{Id, Node, PickleError, Span, StorageNode, TensorView, text_in};

/// Most extents of a tensor.
const MOST_EXTENTS: usize = 8;
/// Most values, marks and remembered values: a quarter of a gigabyte of them, and more than the order of
/// an epoch of ImageNet. A pickle says how tensors lie; their numbers are elsewhere.
pub(super) const MOST_VALUES: usize = 1 << 23;
/// Most tensors, each of which takes a few hundred bytes.
const MOST_TENSORS: usize = 1 << 20;
/// Most times that a value is put on the stack.
const MOST_PUSHES: usize = 1 << 26;
/// Most bytes of a text that is kept: names are far shorter.
const LONGEST_TEXT: usize = 1 << 16;
/// Most bytes of the name or type of a storage, which every tensor in it repeats.
const LONGEST_KEY: u32 = 64;
/// Arguments of a call that are looked at.
const ARGUMENTS: usize = 8;
/// Most wrappers around the call that makes a tensor.
const MOST_WRAPPERS: usize = 4;

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// The next operation.
    pub(super) at: usize,
    /// Texts that are kept, one after another.
    pub(super) texts: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    tensors: usize,
    pushes: usize,
    /// Items copied from one value to another, which must stay below the size of the pickle.
    copied: usize,
}

fn within(used: usize, most: usize, what: &'static str) -> Result<(), PickleError> {
    if used < most { Ok(()) } else { Err(PickleError::TooMany { most, what }) }
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            texts: Vec::new(),
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            tensors: 0,
            pushes: 0,
            copied: 0,
        }
    }

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

    /// The text of bytes of the pickle.
    fn str(&self, range: Range<usize>) -> Result<&str, PickleError> {
        match std::str::from_utf8(&self.bytes[range]) {
            Ok(text) => Ok(text),
            Err(_) => self.fault("a text is not UTF-8"),
        }
    }

    /// A text that was kept.
    fn text(&self, span: Span) -> Result<&str, PickleError> {
        match text_in(&self.texts, span) {
            Some(text) => Ok(text),
            None => self.fault("a text is not UTF-8"),
        }
    }

    /// Keeps a text; nothing for one that is longer than any name.
    fn keep(&mut self, range: Range<usize>) -> Option<Span> {
        let (start, end) = (self.texts.len(), self.texts.len() + range.len());
        let span = Span { start: start.try_into().ok()?, end: end.try_into().ok()? };
        if range.len() > LONGEST_TEXT {
            return None;
        }
        self.texts.extend_from_slice(&self.bytes[range]);
        Some(span)
    }

    fn make(&mut self, node: Node) -> Result<Id, PickleError> {
        within(self.nodes.len(), MOST_VALUES, "values")?;
        #[expect(clippy::cast_possible_truncation, reason = "there are no more than MOST_VALUES")]
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        Ok(id)
    }

    fn put(&mut self, id: Id) -> Result<(), PickleError> {
        within(self.pushes, MOST_PUSHES, "values")?;
        self.pushes += 1;
        self.stack.push(id);
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        let id = self.make(node)?;
        self.put(id)
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
        within(self.memo.len(), MOST_VALUES, "remembered values")?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), PickleError> {
        match self.memo.get(&index) {
            Some(id) => self.put(*id),
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

    /// The class or function of a name.
    fn global(&mut self, module: Span, name: Span) -> Result<Id, PickleError> {
        let (m, n) = (self.text(module)?, self.text(name)?);
        if is_refused(m, n) {
            return Err(PickleError::Refused(format!("{m}.{n}")));
        }
        self.make(Node::Global { module, name })
    }

    /// The same of two lines.
    fn global_of_lines(&mut self) -> Result<Id, PickleError> {
        let (module, name) = (self.line()?, self.line()?);
        match (self.keep(module), self.keep(name)) {
            (Some(module), Some(name)) => self.global(module, name),
            _ => self.fault("a function of an endless name"),
        }
    }

    fn object(&mut self, maker: Id) -> Result<Id, PickleError> {
        self.make(Node::Object { maker })
    }

    fn add_entries(&mut self, dict: Id, items: &[Id]) -> Result<(), PickleError> {
        if !items.len().is_multiple_of(2) {
            return self.fault("a key without a value");
        }
        let node = &mut self.nodes[dict.0 as usize];
        // An object that entries are put in is of a class of dictionaries.
        if let Node::Object { .. } = node {
            *node = Node::Dict(Vec::new());
        }
        if let Node::Dict(entries) = node {
            entries.extend(items.as_chunks::<2>().0.iter().map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn add_items(&mut self, list: Id, items: &[Id]) {
        let node = &mut self.nodes[list.0 as usize];
        if let Node::Object { .. } = node {
            *node = Node::List(Vec::new());
        }
        if let Node::List(all) = node {
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
    fn call(&mut self, mut function: Id, mut arguments: Id) -> Result<Id, PickleError> {
        for _ in 0..MOST_WRAPPERS {
            let (Node::Global { module, name }, Node::Tuple(all)) =
                (self.node(function), self.node(arguments))
            else {
                break;
            };
            let all: Vec<Id> = all.iter().take(ARGUMENTS).copied().collect();
            match (self.text(*module)?, self.text(*name)?, &all[..]) {
                ("torch._tensor", "_rebuild_from_type_v2", [inner, _, inside, ..]) => {
                    (function, arguments) = (*inner, *inside);
                }
                (
                    "torch._utils",
                    "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3",
                    parts,
                ) => return self.tensor(function, parts),
                (
                    "torch._utils",
                    "_rebuild_parameter" | "_rebuild_parameter_with_state",
                    [tensor, ..],
                ) => return Ok(*tensor),
                ("collections", "OrderedDict" | "defaultdict" | "Counter", first)
                | ("builtins" | "__builtin__", "dict", first) => {
                    return self.dictionary(function, first.first().copied());
                }
                _ => break,
            }
        }
        self.object(function)
    }

    /// A dictionary of pairs, of another dictionary, or of nothing yet.
    fn dictionary(&mut self, function: Id, of: Option<Id>) -> Result<Id, PickleError> {
        let pairs = match of.map(|id| (id, self.node(id))) {
            Some((id, Node::Dict(_))) => return Ok(id),
            Some((_, Node::List(pairs))) => pairs.as_slice(),
            _ => &[],
        };
        let pair = |id: &Id| match self.node(*id) {
            Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        };
        let entries: Option<Vec<(Id, Id)>> = pairs.iter().map(pair).collect();
        let Some(entries) = entries else { return self.object(function) };
        self.copied += entries.len();
        if self.copied > self.bytes.len() {
            return self.fault("it copies its values over and over");
        }
        self.make(Node::Dict(entries))
    }

    /// `(storage, offset, shape, strides, ...)`, and in the third form the type of the numbers; what
    /// does not look like that is an object like any other.
    fn tensor(&mut self, function: Id, parts: &[Id]) -> Result<Id, PickleError> {
        let Some(view) = self.view(parts) else { return self.object(function) };
        within(self.tensors, MOST_TENSORS, "tensors")?;
        self.tensors += 1;
        self.make(Node::Tensor(Box::new(view)))
    }

    fn view(&self, parts: &[Id]) -> Option<TensorView> {
        let [storage, offset, shape, strides, rest @ ..] = parts else { return None };
        let Node::Storage(storage) = self.node(*storage) else { return None };
        let offset = self.integer(*offset)?.checked_add(storage.offset)?;
        let (shape, strides) = (self.integers(*shape)?, self.integers(*strides)?);
        if shape.len() != strides.len() {
            return None;
        }
        // Types that have no storage of their own lie in one of bytes.
        let kind = match rest.get(2).map(|id| self.node(*id)) {
            Some(Node::Global { name, .. }) if is_short(*name) => *name,
            _ => storage.kind,
        };
        let text = |span| text_in(&self.texts, span).map(str::to_owned);
        Some(TensorView { storage: text(storage.key)?, kind: text(kind)?, offset, shape, strides })
    }

    /// `("storage", type, key, location, numbers)`, with the part of it in very old files, or
    /// `("module", class, ...)`; nothing else is known to lie outside of a pickle.
    fn persistent(&mut self, id: Id) -> Result<Id, PickleError> {
        let Node::Tuple(parts) = self.node(id) else { return self.make(Node::Opaque) };
        let [word, kind, rest @ ..] = &parts[..] else { return self.make(Node::Opaque) };
        let word = match self.node(*word) {
            Node::Text(span) => text_in(&self.texts, *span),
            _ => None,
        };
        let key = rest.first().map(|id| self.node(*id));
        match (word, self.node(*kind), key) {
            (Some("module"), Node::Global { .. }, _) => Ok(*kind),
            (Some("storage"), Node::Global { name, .. }, Some(Node::Text(key)))
                if is_short(*key) && is_short(*name) =>
            {
                let (kind, key) = (*name, *key);
                let part = match rest.get(3).map(|id| self.node(*id)) {
                    Some(Node::Tuple(part)) => part.get(1).and_then(|id| self.integer(*id)),
                    _ => None,
                };
                let offset = part.unwrap_or(0);
                self.make(Node::Storage(Box::new(StorageNode { kind, key, offset })))
            }
            _ => self.make(Node::Opaque),
        }
    }

    /// Goes through the pickle to its end; gives what it leaves.
    pub(super) fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let operation = self.byte()?;
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation)?;
        }
    }
}

fn is_short(span: Span) -> bool {
    span.end - span.start <= LONGEST_KEY
}
