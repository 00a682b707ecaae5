//! The table of routes, and the document of the API that follows from it: a route cannot be served
//! without being described.

mod document;
mod operation;
mod page;
mod routes;

pub use operation::Operation;
pub use routes::Routes;
