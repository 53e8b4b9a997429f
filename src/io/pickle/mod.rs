//! Reading pickles without running them.
//!
//! A pickle is a program that builds objects by calling functions. This reader knows the functions
//! that tensors and dictionaries are built with, and does their work itself. Whatever else a file asks
//! to call is never called: it becomes an inert object that knows the name of what should have made it,
//! so that the foreign objects of training frameworks do no harm and can be named where something else
//! is wanted. A file that asks for a function that acts on the machine is refused altogether.
//!
//! Every operation makes at most one value, held in one list, so that memory is a small multiple of
//! the pickle whatever it says, and bounded where that is large.

mod machine;
mod refused;

use machine::Machine;
use thiserror::Error;

/// A pickle that cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PickleError {
    /// It ends in the middle.
    #[error("the pickle ends too early")]
    Truncated,
    /// It names a function that acts on the machine.
    #[error("the pickle asks for '{0}', which is refused: nothing in a checkpoint may run code")]
    Refused(String),
    /// It holds more than any checkpoint does.
    #[error("the pickle holds more than {most} {what}")]
    TooMany {
        /// The bound.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// It is not what `torch.save` writes.
    #[error("the pickle is not valid at byte {at}: {reason}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A value of a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// Numbers in a storage, and how a tensor lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorView {
    /// Name of the storage in the container.
    pub storage: String,
    /// Its type in the words of PyTorch, such as `FloatStorage` or `float32`.
    pub kind: String,
    /// Where the tensor begins, in numbers.
    pub offset: usize,
    /// Extents.
    pub shape: Vec<usize>,
    /// Steps from one number to the next along each extent.
    pub strides: Vec<usize>,
}

/// A text of the pickle: where it lies among those that are kept.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone)]
enum Node {
    Nothing,
    Bool(bool),
    Int(i64),
    Float,
    Text(Span),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or a function.
    Global {
        module: Span,
        name: Span,
    },
    /// What a class or a function should have made.
    Object {
        maker: Id,
    },
    /// A storage, or a part of one.
    Storage(Box<StorageNode>),
    Tensor(Box<TensorView>),
    /// Bytes, sets, and whole numbers beyond 64 bits.
    Opaque,
}

#[derive(Debug, Clone, Copy)]
struct StorageNode {
    kind: Span,
    key: Span,
    /// Where it begins in the storage of that key, in numbers.
    offset: usize,
}

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle {
    texts: Vec<u8>,
    nodes: Vec<Node>,
    root: Id,
}

fn text_in(texts: &[u8], span: Span) -> Option<&str> {
    std::str::from_utf8(texts.get(span.start as usize..span.end as usize)?).ok()
}

impl Pickle {
    /// Reads a pickle of any protocol.
    ///
    /// # Errors
    /// It is truncated or malformed, or asks for a function that is refused.
    pub fn read(bytes: &[u8]) -> Result<Self, PickleError> {
        Ok(Self::read_first(bytes)?.0)
    }

    /// Reads the pickle that `bytes` begin with; gives also how many bytes it takes.
    ///
    /// # Errors
    /// As [`Pickle::read`].
    pub fn read_first(bytes: &[u8]) -> Result<(Self, usize), PickleError> {
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        let Machine { at, texts, nodes, .. } = machine;
        Ok((Self { texts, nodes, root }, at))
    }

    /// What the pickle holds.
    pub fn root(&self) -> Id {
        self.root
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// A text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) => text_in(&self.texts, *span),
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

    /// Whether a value is a dictionary.
    pub fn is_dictionary(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Dict(_))
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

    /// A whole number.
    pub fn integer(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Yes or no.
    pub fn boolean(&self, id: Id) -> Option<bool> {
        match self.node(id) {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Name and type of every storage that is spoken of, as often as it is.
    pub fn storages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => {
                let text = |span| text_in(&self.texts, span);
                Some((text(storage.key)?, text(storage.kind)?))
            }
            _ => None,
        })
    }

    /// A word for what a value is.
    pub fn kind(&self, id: Id) -> &'static str {
        match self.node(id) {
            Node::Nothing => "nothing",
            Node::Bool(_) | Node::Int(_) | Node::Float => "number",
            Node::Text(_) => "text",
            Node::Tuple(_) | Node::List(_) => "list",
            Node::Dict(_) => "dictionary",
            Node::Tensor(_) | Node::Storage(_) => "tensor",
            Node::Global { .. } | Node::Object { .. } => "foreign object",
            Node::Opaque => "bytes",
        }
    }

    /// What a value is, in words with their article; foreign objects by the name of what made them.
    pub fn describe(&self, id: Id) -> String {
        match self.node(id) {
            Node::Nothing => "nothing (None)".to_owned(),
            Node::Text(_) => "text".to_owned(),
            Node::Opaque => "bytes or a set".to_owned(),
            Node::Global { .. } => match self.name(id) {
                Some(name) => format!("the class or function '{name}'"),
                None => "a class or function".to_owned(),
            },
            Node::Object { maker } => match self.name(*maker) {
                Some(name) => format!("an object of '{name}'"),
                None => "a foreign object".to_owned(),
            },
            _ => format!("a {}", self.kind(id)),
        }
    }

    /// The full name of a class or function, or of what made the object that was called.
    fn name(&self, mut id: Id) -> Option<String> {
        const MOST_CALLS: usize = 8;
        for _ in 0..MOST_CALLS {
            match self.node(id) {
                Node::Global { module, name } => {
                    let text = |span: &Span| text_in(&self.texts, *span);
                    return Some(format!("{}.{}", text(module)?, text(name)?));
                }
                Node::Object { maker } => id = *maker,
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pickle: &[u8]) -> Pickle {
        Pickle::read(pickle).unwrap()
    }

    #[test]
    fn functions_that_act_are_refused_by_name() {
        for (pickle, name) in [
            (b"cos\nsystem\n(X\x04\0\0\0trueR.".as_slice(), "os.system"),
            (b"cposix\nsystem\n.", "posix.system"),
            (b"cbuiltins\neval\n.", "builtins.eval"),
            (b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93.", "subprocess.Popen"),
            (b"\x80\x04\x8c\x09posixpath\x8c\x09os.system\x93.", "posixpath.os.system"),
            (b"(X\x04\0\0\0trueios\nsystem\n.", "os.system"),
            // In a place that nobody asks for, as an argument, as an instance.
            (b"}(X\x01\0\0\0acos\nsystem\nu.", "os.system"),
            (b"cfunctools\npartial\n(cos\nsystem\ntR.", "os.system"),
            (b"(cos\nsystem\no.", "os.system"),
        ] {
            assert_eq!(Pickle::read(pickle).unwrap_err(), PickleError::Refused(name.to_owned()));
        }
    }

    #[test]
    fn foreign_objects_are_inert_and_known_by_name() {
        // {'a': ModelCheckpoint.__new__(ModelCheckpoint) with a state, 'b': 7}
        let pickle = read(b"}(X\x01\0\0\0aclightning\nModelCheckpoint\n)\x81}bX\x01\0\0\0bK\x07u.");
        let root = pickle.root();
        let object = pickle.get(root, "a").unwrap();
        assert_eq!(pickle.kind(object), "foreign object");
        assert_eq!(pickle.describe(object), "an object of 'lightning.ModelCheckpoint'");
        assert_eq!(pickle.integer(pickle.get(root, "b").unwrap()), Some(7));
        for (pickle, expected) in [
            (
                b"cfunctools\npartial\n(ctorch\ngelu\ntR.".as_slice(),
                "an object of 'functools.partial'",
            ),
            (
                b"cbuiltins\ngetattr\n(X\x01\0\0\0aX\x05\0\0\0uppertR.",
                "an object of 'builtins.getattr'",
            ),
            (b"c__builtin__\nlong\n.", "the class or function '__builtin__.long'"),
            (b"cio\nBytesIO\n(C\x01xtR.", "an object of 'io.BytesIO'"),
            (b"cm\nf\n)R)R.", "an object of 'm.f'"),
            (b"(im\nf\n.", "an object of 'm.f'"),
            (b"(cm\nf\nK\x01o.", "an object of 'm.f'"),
            (b"cm\nf\n)}\x92.", "an object of 'm.f'"),
            (b"X\x01\0\0\0a)R.", "a foreign object"),
            (b"N)R.", "a foreign object"),
            (b"\x82\x01.", "bytes or a set"),
            (b"Psomewhere\n.", "bytes or a set"),
            (b"K\x05Q.", "bytes or a set"),
        ] {
            let pickle = read(pickle);
            assert_eq!(pickle.describe(pickle.root()), expected);
        }
    }

    #[test]
    fn dictionaries_of_every_class_are_read() {
        for pickle in [
            b"ccollections\nOrderedDict\n)RX\x01\0\0\0aK\x07s.".as_slice(),
            b"ccollections\ndefaultdict\n(c__builtin__\nlong\ntRX\x01\0\0\0aK\x07s.",
            b"ccollections\nCounter\n(}X\x01\0\0\0aK\x07stR.",
            b"ccollections\nOrderedDict\n((lp0\n(X\x01\0\0\0aK\x07tatR.",
            b"ceasydict\nEasyDict\n)\x81X\x01\0\0\0aK\x07s}b.",
            b"cbuiltins\ndict\n(}X\x01\0\0\0aK\x07stR.",
        ] {
            let pickle = read(pickle);
            let found = pickle.get(pickle.root(), "a").and_then(|id| pickle.integer(id));
            assert_eq!(found, Some(7), "{}", pickle.describe(pickle.root()));
        }
        let list = read(b"ccollections\ndeque\n)RK\x07a.");
        assert_eq!(list.items(list.root()).unwrap().len(), 1);
    }

    #[test]
    fn tensors_are_found_through_their_wrappers() {
        const STORAGE: &str =
            "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK\x06";
        let plain =
            format!("ctorch._utils\n_rebuild_tensor_v2\n({STORAGE}tQK\x02(K\x02t(K\x01tI00\nNtR");
        let parameter = format!("ctorch._utils\n_rebuild_parameter\n({plain}I01\nNtR");
        let typed = format!(
            "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmine\nT\n(\
             {STORAGE}tQK\x02(K\x02t(K\x01tI00\nNt}}tR"
        );
        let third = format!(
            "ctorch._utils\n_rebuild_tensor_v3\n({STORAGE}tQK\x02(K\x02t(K\x01tI00\nNctorch\nfloat32\n\
             tR"
        );
        // A view of the storage from its first number on.
        let viewed = plain.replace("K\x06tQK\x02", "K\x06(X\x01\0\0\08K\x02K\x04ttQK\0");
        for (pickle, kind) in [
            (plain, "FloatStorage"),
            (parameter, "FloatStorage"),
            (typed, "FloatStorage"),
            (third, "float32"),
            (viewed, "FloatStorage"),
        ] {
            let pickle = read(format!("{pickle}.").as_bytes());
            let expected = TensorView {
                storage: "7".to_owned(),
                kind: kind.to_owned(),
                offset: 2,
                shape: vec![2],
                strides: vec![1],
            };
            assert_eq!(pickle.tensor(pickle.root()), Some(&expected));
            assert_eq!(pickle.storages().next(), Some(("7", "FloatStorage")));
        }
        // What is no tensor of ours is no reason to refuse the file.
        for odd in ["_rebuild_tensor_v2\n(NK\0))tR.", "_rebuild_tensor_v2\n)R."] {
            let pickle = read(format!("ctorch._utils\n{odd}").as_bytes());
            assert!(pickle.describe(pickle.root()).contains("_rebuild_tensor_v2"));
        }
    }

    #[test]
    fn pickles_one_behind_another_are_told_apart() {
        let (first, length) = Pickle::read_first(b"\x80\x02K\x07.\x80\x02\x88.").unwrap();
        assert_eq!((first.integer(first.root()), length), (Some(7), 5));
        let second = read(b"\x80\x02\x88.");
        assert_eq!(second.boolean(second.root()), Some(true));
    }

    #[test]
    fn knots_and_towers_are_read_in_little_memory() {
        // A list that holds itself, and a million tuples around one another.
        assert!(Pickle::read(b"]q\0h\0a.").is_ok());
        let mut tower = vec![b')'];
        tower.extend(std::iter::repeat_n(0x85, 1_000_000));
        tower.push(b'.');
        assert_eq!(Pickle::read(&tower).unwrap().nodes.len(), 1_000_001);
        // Calls of calls of calls.
        let mut calls = b"cm\nf\n".to_vec();
        calls.extend(b")R".repeat(100_000));
        calls.push(b'.');
        let calls = read(&calls);
        assert_eq!(calls.describe(calls.root()), "a foreign object");
        assert!(size_of::<Node>() <= 32);
    }

    #[test]
    fn floods_are_refused() {
        for flood in [b'N', b'('] {
            let mut pickle = vec![flood; machine::MOST_VALUES + 1];
            pickle.push(b'.');
            let error = Pickle::read(&pickle).unwrap_err();
            assert!(matches!(error, PickleError::TooMany { .. }), "{error}");
        }
        // A dictionary that is copied over and over.
        let mut copies = b"(lp0\n".to_vec();
        copies.extend(b"K\x01K\x02\x86a".repeat(1000));
        copies.extend(b"\x85q\x01ccollections\nOrderedDict\nq\x020".as_slice());
        copies.extend(b"h\x02h\x01R0".repeat(1000));
        copies.extend(b"N.");
        assert!(matches!(Pickle::read(&copies), Err(PickleError::Malformed { .. })));
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
