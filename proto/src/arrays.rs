//! Arrays on the wire: little-endian packed `bytes`, read through views that allocate nothing.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes, BytesMut};

/// Why a field does not hold what its comment in the proto promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// Not a whole number of elements.
    #[error("{field}: {bytes} bytes are not a multiple of the {element} bytes of an element")]
    Length {
        /// Name of the field in the proto.
        field: &'static str,
        /// Bytes given.
        bytes: usize,
        /// Bytes an element.
        element: usize,
    },
    /// Two arrays that belong together differ in length.
    #[error("{field}: {entries} entries where {expected} are due")]
    Entries {
        /// Name of the field in the proto.
        field: &'static str,
        /// Entries given.
        entries: usize,
        /// Entries its companion asks for.
        expected: usize,
    },
    /// A count or an id below zero.
    #[error("{field}[{index}] is {value}; it must not be negative")]
    Negative {
        /// Name of the field in the proto.
        field: &'static str,
        /// Where in the array.
        index: usize,
        /// The value given.
        value: i32,
    },
    /// An id or a count that is too high.
    #[error("{field}[{index}] is {value}; it must be below {limit}")]
    OutOfRange {
        /// Name of the field in the proto.
        field: &'static str,
        /// Where in the array.
        index: usize,
        /// The value given.
        value: u32,
        /// The first value that is not allowed.
        limit: u32,
    },
}

/// A type that arrays on the wire are made of.
pub trait Element: Copy {
    /// Bytes an element.
    const BYTES: usize;
    /// Reads one from exactly `BYTES` bytes.
    fn read(bytes: &[u8]) -> Self;
    /// Appends one.
    fn write(self, buffer: &mut BytesMut);
}

macro_rules! element {
    ($type:ty) => {
        impl Element for $type {
            const BYTES: usize = size_of::<$type>();

            fn read(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(bytes);
                <$type>::from_le_bytes(array)
            }

            fn write(self, buffer: &mut BytesMut) {
                buffer.put_slice(&self.to_le_bytes());
            }
        }
    };
}

element!(u8);
element!(i32);
element!(u64);
element!(f32);

/// Packs values into one field.
pub fn pack<T: Element>(values: impl Iterator<Item = T>) -> Bytes {
    let mut buffer = BytesMut::with_capacity(values.size_hint().0 * T::BYTES);
    for value in values {
        value.write(&mut buffer);
    }
    buffer.freeze()
}

/// Packs counts or ids, which are `u32` in the program and `i32` on the wire (no valid one reaches
/// 2³¹; one that does would be read as negative and refused).
pub fn pack_u32(values: impl Iterator<Item = u32>) -> Bytes {
    pack(values.map(u32::cast_signed))
}

/// A field seen as an array of `T`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    field: &'static str,
    bytes: &'a [u8],
    element: PhantomData<T>,
}

impl<'a, T: Element> View<'a, T> {
    /// Looks at `bytes`; `field` names it in errors.
    ///
    /// # Errors
    /// `ArrayError::Length` when the last element is cut.
    pub fn new(field: &'static str, bytes: &'a [u8]) -> Result<Self, ArrayError> {
        if !bytes.len().is_multiple_of(T::BYTES) {
            return Err(ArrayError::Length {
                field,
                bytes: bytes.len(),
                element: T::BYTES,
            });
        }
        Ok(Self {
            field,
            bytes,
            element: PhantomData,
        })
    }

    /// Like `new`, and the array must have `expected` entries.
    ///
    /// # Errors
    /// `ArrayError::Length` or `ArrayError::Entries`.
    pub fn with_entries(field: &'static str, bytes: &'a [u8], expected: usize) -> Result<Self, ArrayError> {
        let view = Self::new(field, bytes)?;
        if view.len() != expected {
            return Err(ArrayError::Entries {
                field,
                entries: view.len(),
                expected,
            });
        }
        Ok(view)
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / T::BYTES
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entry at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        let start = index.checked_mul(T::BYTES)?;
        self.bytes.get(start..start + T::BYTES).map(T::read)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        self.bytes.chunks_exact(T::BYTES).map(T::read)
    }
}

impl View<'_, i32> {
    /// The entries as counts.
    ///
    /// # Errors
    /// `ArrayError::Negative` for the first one below zero.
    pub fn counts(&self) -> Result<Vec<u32>, ArrayError> {
        let field = self.field;
        let count = |(index, value): (usize, i32)| {
            u32::try_from(value).map_err(|_| ArrayError::Negative { field, index, value })
        };
        self.iter().enumerate().map(count).collect()
    }

    /// The entries as ids in `[0, limit)`.
    ///
    /// # Errors
    /// `ArrayError::Negative` or `ArrayError::OutOfRange` for the first one outside.
    pub fn ids_below(&self, limit: u32) -> Result<Vec<u32>, ArrayError> {
        let ids = self.counts()?;
        match ids.iter().position(|id| *id >= limit) {
            Some(index) => Err(ArrayError::OutOfRange {
                field: self.field,
                index,
                value: ids[index],
                limit,
            }),
            None => Ok(ids),
        }
    }
}

/// The sum of counts, as the length of the array they cut into pieces.
#[must_use]
pub fn total(counts: &[u32]) -> usize {
    counts.iter().map(|count| *count as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_back() {
        let ids = [0_u64, 1, u64::MAX];
        let packed = pack(ids.iter().copied());
        assert_eq!(packed.len(), 24);
        assert_eq!(
            View::<u64>::new("ids", &packed)
                .unwrap()
                .iter()
                .collect::<Vec<_>>(),
            ids
        );
        let packed = pack([1.5_f32, -0.0].into_iter());
        assert_eq!(View::<f32>::new("f", &packed).unwrap().get(0), Some(1.5));
        assert_eq!(View::<f32>::new("f", &packed).unwrap().get(2), None);
    }

    #[test]
    fn the_bytes_are_little_endian() {
        assert_eq!(&pack([258_i32].into_iter())[..], [2, 1, 0, 0]);
    }

    #[test]
    fn a_cut_element_is_refused() {
        let error = View::<i32>::new("rows.num_tokens", &[0; 7]).unwrap_err();
        assert_eq!(
            error,
            ArrayError::Length {
                field: "rows.num_tokens",
                bytes: 7,
                element: 4
            }
        );
    }

    #[test]
    fn companions_must_agree_in_length() {
        let error = View::<i32>::with_entries("rows.num_tokens", &[0; 8], 3).unwrap_err();
        assert_eq!(error.to_string(), "rows.num_tokens: 2 entries where 3 are due");
    }

    #[test]
    fn negative_counts_and_high_ids_are_refused() {
        let packed = pack([3_i32, -1].into_iter());
        let view = View::<i32>::new("counts", &packed).unwrap();
        assert_eq!(
            view.counts(),
            Err(ArrayError::Negative {
                field: "counts",
                index: 1,
                value: -1
            })
        );
        let packed = pack_u32([3, 4].into_iter());
        let view = View::<i32>::new("ids", &packed).unwrap();
        assert_eq!(view.ids_below(5), Ok(vec![3, 4]));
        let refused = ArrayError::OutOfRange {
            field: "ids",
            index: 1,
            value: 4,
            limit: 4,
        };
        assert_eq!(view.ids_below(4), Err(refused));
    }
}
