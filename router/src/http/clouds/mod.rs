//! The routes by which cloud platforms call a model. They answer nothing themselves: what they are
//! sent is handed to the route that knows it, as a request of its own.

mod forward;
mod invocations;
mod vertex;

pub use forward::Inner;
pub use invocations::{describe as describe_invocations, route as invocations};
pub use vertex::{describe as describe_vertex, route as vertex};
