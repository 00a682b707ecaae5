//! Views of the wire's packed little-endian arrays.

use bytes::Bytes;

use crate::invalid::{Field, InvalidStep};

/// An element of a packed array.
pub(crate) trait Element: Copy {
    /// Bytes of one element.
    const WIDTH: usize;
    /// From exactly `WIDTH` little-endian bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($type:ty) => {
        impl Element for $type {
            const WIDTH: usize = size_of::<$type>();

            fn read(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(bytes);
                <$type>::from_le_bytes(array)
            }
        }
    };
}

element!(i32);
element!(u64);
element!(f32);

/// The number of elements of type `T` in `bytes`, which must be whole.
pub(crate) fn len<T: Element>(field: Field, bytes: &Bytes) -> Result<usize, InvalidStep> {
    if bytes.len().is_multiple_of(T::WIDTH) {
        Ok(bytes.len() / T::WIDTH)
    } else {
        Err(InvalidStep::Ragged {
            field,
            bytes: bytes.len(),
            width: T::WIDTH,
        })
    }
}

/// Like [`len`], and it must be `expected`, because it is one entry `per` something.
pub(crate) fn exact_len<T: Element>(
    field: Field,
    bytes: &Bytes,
    expected: usize,
    per: &'static str,
) -> Result<(), InvalidStep> {
    let given = len::<T>(field, bytes)?;
    if given == expected {
        Ok(())
    } else {
        Err(InvalidStep::Length {
            field,
            given,
            expected,
            per,
        })
    }
}

/// The elements of a packed array whose length was checked.
pub(crate) fn iter<'a, T: Element + 'a>(bytes: &'a [u8]) -> impl ExactSizeIterator<Item = T> + 'a {
    bytes.chunks_exact(T::WIDTH).map(T::read)
}

/// Checks that every element lies in the half-open range `[low, high)`.
pub(crate) fn in_range(field: Field, bytes: &[u8], low: i64, high: i64) -> Result<(), InvalidStep> {
    match iter::<i32>(bytes)
        .enumerate()
        .find(|(_, value)| !(low..high).contains(&i64::from(*value)))
    {
        None => Ok(()),
        Some((index, value)) => Err(InvalidStep::OutOfRange {
            field,
            index,
            given: i64::from(value),
            low,
            high,
        }),
    }
}
