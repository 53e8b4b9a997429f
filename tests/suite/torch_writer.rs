//! Checkpoints as `torch.save` writes them, for tests.

use std::io::{Seek, Write};

use zip::write::{SimpleFileOptions, ZipWriter};

/// A pickle of protocol 2, put together operation by operation.
#[derive(Default)]
pub struct PickleWriter(Vec<u8>);

impl PickleWriter {
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    pub fn number(&mut self, value: usize) -> &mut Self {
        // As a long of eight bytes.
        self.raw(&[0x8a, 8]).raw(&(value as u64).to_le_bytes())
    }

    pub fn numbers(&mut self, values: &[usize]) -> &mut Self {
        self.raw(b"(");
        for value in values {
            self.number(*value);
        }
        self.raw(b"t")
    }

    pub fn tensor(
        &mut self,
        kind: &str,
        key: &str,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> &mut Self {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage");
        self.raw(format!("ctorch\n{kind}\n").as_bytes()).text(key).text("cpu").number(0);
        self.raw(b"tQ").number(offset).numbers(shape).numbers(strides).raw(b"\x89N)tR")
    }

    /// The operations so far, without protocol and end.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn finish(&self) -> Vec<u8> {
        [b"\x80\x02".as_slice(), &self.0, b"."].concat()
    }
}

/// Steps of a row-major tensor.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// Writes a zip of stored entries: the pickle, then every storage from its own writer.
pub fn write_zip<W: Write + Seek>(
    file: W,
    pickle: &[u8],
    storages: impl Iterator<Item = (String, Vec<u8>)>,
) {
    let mut zip = ZipWriter::new(file);
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(true);
    zip.start_file("archive/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    for (key, bytes) in storages {
        zip.start_file(format!("archive/data/{key}"), options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// Writes a file as PyTorch did before 1.6: magic number, version, system, object, keys, storages. The
/// storages hold f32.
pub fn write_legacy<W: Write>(
    mut file: W,
    pickle: &[u8],
    little_endian: bool,
    storages: impl Iterator<Item = (String, Vec<u8>)>,
) {
    const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let storages: Vec<_> = storages.collect();
    let mut keys = PickleWriter::default();
    keys.raw(b"](");
    for (key, _) in &storages {
        keys.text(key);
    }
    keys.raw(b"e");
    let mut system = PickleWriter::default();
    system.raw(b"}(").text("protocol_version").raw(b"M\xe9\x03").text("little_endian");
    system.raw(if little_endian { b"\x88u" } else { b"\x89u" });
    let version = b"\x80\x02M\xe9\x03.";
    for part in [MAGIC, version, &system.finish(), pickle, &keys.finish()] {
        file.write_all(part).unwrap();
    }
    for (_, bytes) in storages {
        file.write_all(&(bytes.len() as u64 / 4).to_le_bytes()).unwrap();
        file.write_all(&bytes).unwrap();
    }
}
