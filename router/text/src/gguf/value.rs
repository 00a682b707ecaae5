//! Values of GGUF metadata, widened to a few kinds.

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// u8 … u64.
    Unsigned(u64),
    /// i8 … i64.
    Signed(i64),
    /// f32, f64.
    Float(f64),
    /// bool.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// Several of one type.
    Array(Array),
}

/// An array's elements. Arrays that nobody asked for are skipped and keep only their length.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// string[].
    Strings(Vec<String>),
    /// Any integer type or bool.
    Integers(Vec<i64>),
    /// f32[], f64[].
    Floats(Vec<f32>),
    /// Read past.
    Skipped {
        /// Number of elements.
        length: u64,
    },
}

impl Value {
    /// A number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A flag.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// Text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// An array of text.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Value::Array(Array::Strings(texts)) => Some(texts),
            _ => None,
        }
    }

    /// An array of integers.
    pub fn as_integers(&self) -> Option<&[i64]> {
        match self {
            Value::Array(Array::Integers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    /// An array of numbers with a fraction.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match self {
            Value::Array(Array::Floats(numbers)) => Some(numbers),
            _ => None,
        }
    }

    /// The kind's name, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Unsigned(_) | Value::Signed(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a flag",
            Value::String(_) => "text",
            Value::Array(_) => "an array",
        }
    }
}
