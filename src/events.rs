//! Owners for libevent's objects: [`EventBase`], [`Event`], [`EvHttp`], [`EvHttpRequest`] and
//! [`EvHttpConnection`], made by functions with the names of Bitcoin Core's.
//!
//! Only built with the feature `events`. Needs libevent 2.1.
//!
//! # Who frees an object, and when
//! libevent has three demands. An object must be freed before the base that it was made for. It
//! must not be freed within a callback that libevent makes for that object. And the argument of a
//! callback must live as long as libevent may make the callback. So:
//!
//! - Every object but a request holds its base by an [`Rc`](std::rc::Rc). In whatever order a
//!   program drops them, the base is freed last.
//! - An object that is dropped within a callback is freed when libevent is back in its loop, by a
//!   one-time event; at the latest it is freed with the base.
//! - A closure owns all that it uses (`'static`). It is freed after the object that may call it.
//! - A request that has been handed to a connection belongs to libevent. The connection keeps its
//!   closure.
//!
//! A panic in a callback does not unwind through libevent. It is caught, the loop ends, and the
//! panic continues from the function that entered libevent.
//!
//! ```
//! use bitcoin_support::events::{EventFlags, EventSource, obtain_event, obtain_event_base};
//! use std::time::Duration;
//!
//! let base = obtain_event_base()?;
//! let timer = obtain_event(&base, EventSource::Timer, EventFlags::NONE, |_| println!("later"))?;
//! timer.add(Some(Duration::from_millis(1)))?;
//! base.dispatch()?; // returns when no event waits any more
//! # Ok::<(), bitcoin_support::events::EventsError>(())
//! ```
//!
//! libevent's objects must stay in one thread, and so must these; `Rc` makes sure of it.

mod base;
mod connection;
mod error;
mod event;
mod event_base;
mod flags;
mod http;
mod incoming;
mod libevent;
mod method;
mod outgoing;
mod reply;
mod request;

pub use connection::{EvHttpConnection, obtain_evhttp_connection_base};
pub use error::EventsError;
pub use event::{Event, EventSource, obtain_event};
pub use event_base::{EventBase, obtain_event_base};
pub use flags::EventFlags;
pub use http::{EvHttp, obtain_evhttp};
pub use incoming::Incoming;
pub use method::Method;
pub use reply::Reply;
pub use request::{EvHttpRequest, obtain_evhttp_request};
