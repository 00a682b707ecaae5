//! Reads the header and the key-value pairs of a GGUF file.

use std::io::{ErrorKind, Read};

use super::error::GgufError;
use super::metadata::Metadata;
use super::value::{Array, Value};

/// Most key-value pairs.
const MAX_PAIRS: u64 = 65_536;
/// Most bytes of a key (the format's own limit).
const MAX_KEY_BYTES: u64 = 65_535;
/// Most bytes of one text (a chat template has less than 100 KB).
const MAX_STRING_BYTES: u64 = 4 << 20;
/// Most elements of an array (the largest vocabularies have 300,000, their merges twice as many).
const MAX_ARRAY_ITEMS: u64 = 1 << 22;
/// Arrays in arrays.
const MAX_ARRAY_DEPTH: u32 = 4;
/// Most bytes of metadata altogether.
const MAX_METADATA_BYTES: u64 = 256 << 20;

/// Reads the metadata of `file`, which has `file_bytes` bytes. Of arrays, only those whose key
/// `wanted` accepts are kept.
pub fn read_metadata(
    file: impl Read,
    file_bytes: u64,
    wanted: impl Fn(&str) -> bool,
) -> Result<Metadata, GgufError> {
    let mut reader = Reader {
        file,
        left: file_bytes.min(MAX_METADATA_BYTES),
        key: "header".to_owned(),
    };
    let magic: [u8; 4] = reader.array()?;
    if &magic != b"GGUF" {
        return Err(GgufError::NotGguf { found: magic });
    }
    let version = u32::from_le_bytes(reader.array()?);
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version { version });
    }
    let _tensors = reader.u64()?;
    let count = reader.u64()?;
    reader.limit("key-value pairs", count, MAX_PAIRS)?;
    let mut metadata = Metadata::default();
    for _ in 0..count {
        reader.key = "a key".to_owned();
        let key = reader.string(MAX_KEY_BYTES)?;
        reader.key.clone_from(&key);
        let kind = reader.u32()?;
        let value = reader.value(kind, wanted(&key))?;
        if metadata.pairs.insert(key.clone(), value).is_some() {
            return Err(GgufError::Duplicate { key });
        }
    }
    Ok(metadata)
}

/// The value types of the format.
mod kind {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

struct Reader<R> {
    file: R,
    /// Bytes that may still be read.
    left: u64,
    /// What is being read, for errors.
    key: String,
}

impl<R: Read> Reader<R> {
    fn truncated(&self, needed: u64) -> GgufError {
        GgufError::Truncated {
            key: self.key.clone(),
            needed,
            left: self.left,
        }
    }

    fn limit(&self, what: &'static str, given: u64, limit: u64) -> Result<(), GgufError> {
        if given <= limit {
            Ok(())
        } else {
            Err(GgufError::Limit {
                key: self.key.clone(),
                what,
                given,
                limit,
            })
        }
    }

    fn claim(&mut self, bytes: u64) -> Result<(), GgufError> {
        if bytes > self.left {
            return Err(self.truncated(bytes));
        }
        self.left -= bytes;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), GgufError> {
        self.claim(buffer.len() as u64)?;
        self.file.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => GgufError::Truncated {
                key: self.key.clone(),
                needed: buffer.len() as u64,
                left: 0,
            },
            _ => GgufError::Io(error),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn string(&mut self, limit: u64) -> Result<String, GgufError> {
        let bytes = self.u64()?;
        self.limit("bytes of text", bytes, limit)?;
        if bytes > self.left {
            return Err(self.truncated(bytes));
        }
        // Bounded by `limit` (at most 4 MiB) and by the bytes that are left.
        let mut buffer = vec![0; bytes as usize];
        self.fill(&mut buffer)?;
        String::from_utf8(buffer).map_err(|_| GgufError::Utf8 {
            key: self.key.clone(),
        })
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.claim(bytes)?;
        let copied = std::io::copy(&mut (&mut self.file).take(bytes), &mut std::io::sink())?;
        if copied < bytes {
            return Err(GgufError::Truncated {
                key: self.key.clone(),
                needed: bytes,
                left: copied,
            });
        }
        Ok(())
    }

    fn value(&mut self, value_kind: u32, keep_array: bool) -> Result<Value, GgufError> {
        match value_kind {
            kind::STRING => Ok(Value::String(self.string(MAX_STRING_BYTES)?)),
            kind::ARRAY => Ok(Value::Array(self.array_value(keep_array, 0)?)),
            kind::F32 => Ok(Value::Float(f64::from(f32::from_le_bytes(self.array()?)))),
            kind::F64 => Ok(Value::Float(f64::from_le_bytes(self.array()?))),
            kind::U64 => Ok(Value::Unsigned(self.u64()?)),
            kind::BOOL => Ok(Value::Bool(self.array::<1>()? != [0])),
            other => Ok(match self.integer(other)? {
                number if number >= 0 => Value::Unsigned(number.unsigned_abs()),
                number => Value::Signed(number),
            }),
        }
    }

    fn integer(&mut self, value_kind: u32) -> Result<i64, GgufError> {
        Ok(match value_kind {
            kind::U8 | kind::BOOL => i64::from(u8::from_le_bytes(self.array()?)),
            kind::I8 => i64::from(i8::from_le_bytes(self.array()?)),
            kind::U16 => i64::from(u16::from_le_bytes(self.array()?)),
            kind::I16 => i64::from(i16::from_le_bytes(self.array()?)),
            kind::U32 => i64::from(self.u32()?),
            kind::I32 => i64::from(i32::from_le_bytes(self.array()?)),
            kind::I64 => i64::from_le_bytes(self.array()?),
            given => {
                return Err(GgufError::ValueType {
                    key: self.key.clone(),
                    given,
                });
            }
        })
    }

    fn array_value(&mut self, keep: bool, depth: u32) -> Result<Array, GgufError> {
        self.limit("arrays in arrays", u64::from(depth), u64::from(MAX_ARRAY_DEPTH))?;
        let item_kind = self.u32()?;
        let length = self.u64()?;
        self.limit("array items", length, MAX_ARRAY_ITEMS)?;
        let item_bytes = match item_kind {
            kind::U8 | kind::I8 | kind::BOOL => 1,
            kind::U16 | kind::I16 => 2,
            kind::U32 | kind::I32 | kind::F32 => 4,
            // A text has at least its length, an array its type and length.
            kind::U64 | kind::I64 | kind::F64 | kind::STRING => 8,
            kind::ARRAY => 12,
            given => {
                return Err(GgufError::ValueType {
                    key: self.key.clone(),
                    given,
                });
            }
        };
        // At most 2^22 items of 12 bytes.
        let least_bytes = length * item_bytes;
        if least_bytes > self.left {
            return Err(self.truncated(least_bytes));
        }
        match item_kind {
            kind::STRING => self.string_items(length, keep),
            kind::ARRAY => {
                for _ in 0..length {
                    self.array_value(false, depth + 1)?;
                }
                Ok(Array::Skipped { length })
            }
            _ if !keep => {
                self.skip(least_bytes)?;
                Ok(Array::Skipped { length })
            }
            kind::F32 => (0..length)
                .map(|_| Ok(f32::from_le_bytes(self.array()?)))
                .collect::<Result<_, _>>()
                .map(Array::Floats),
            kind::F64 => (0..length)
                .map(|_| Ok(f64::from_le_bytes(self.array()?) as f32))
                .collect::<Result<_, _>>()
                .map(Array::Floats),
            kind::U64 => (0..length)
                .map(|_| Ok(i64::try_from(self.u64()?).unwrap_or(i64::MAX)))
                .collect::<Result<_, _>>()
                .map(Array::Integers),
            other => (0..length)
                .map(|_| self.integer(other))
                .collect::<Result<_, _>>()
                .map(Array::Integers),
        }
    }

    fn string_items(&mut self, length: u64, keep: bool) -> Result<Array, GgufError> {
        if keep {
            let texts = (0..length)
                .map(|_| self.string(MAX_STRING_BYTES))
                .collect::<Result<_, _>>()?;
            return Ok(Array::Strings(texts));
        }
        for _ in 0..length {
            let bytes = self.u64()?;
            self.limit("bytes of text", bytes, MAX_STRING_BYTES)?;
            self.skip(bytes)?;
        }
        Ok(Array::Skipped { length })
    }
}
