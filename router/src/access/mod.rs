//! Who may ask, and how much: API keys, the tenants they stand for, and their limits.
//!
//! No HTTP here: a guess comes as bytes, a refusal goes as a value, and time is an argument.

mod account;
mod bucket;
mod file;
mod hash;
mod keys;

pub use account::{Account, Kind, Limits, Quota, Refusal, Spending, Tenant};
pub use bucket::Level;
pub use file::{KeyEntry, KeyFileError, read_keys};
pub use hash::KeyHash;
pub use keys::Keys;
