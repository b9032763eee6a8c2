//! libevent's objects and their owners: real requests and answers over loopback. All objects are
//! freed in the right order, however and wherever their owners are dropped. libevent allocates
//! through functions of this test, which count.

#![cfg(all(unix, feature = "events"))]

use bitcoin_support::SecureVec;
use bitcoin_support::events::{
    EvHttp, EvHttpConnection, Event, EventBase, EventFlags, EventSource, EventsError, Incoming,
    Method, Reply, obtain_event, obtain_event_base, obtain_evhttp, obtain_evhttp_connection_base,
    obtain_evhttp_request,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

unsafe extern "C" {
    fn event_set_mem_functions(
        malloc: extern "C" fn(usize) -> *mut c_void,
        realloc: extern "C" fn(*mut c_void, usize) -> *mut c_void,
        free: extern "C" fn(*mut c_void),
    );
}

/// The blocks that libevent has allocated and not freed, and the addresses that it has freed, in
/// order.
#[derive(Default)]
struct Heap {
    live: HashMap<usize, usize>,
    freed: Vec<usize>,
}

static HEAP: Mutex<Option<Heap>> = Mutex::new(None);

fn heap<R>(look: impl FnOnce(&mut Heap) -> R) -> R {
    look(HEAP.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: takes a number.
    let block = unsafe { libc::malloc(size) };
    heap(|heap| heap.live.insert(block.addr(), size));
    block
}

extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: libevent passes null or a block that came from these functions.
    let block = unsafe { libc::realloc(old, size) };
    heap(|heap| {
        heap.live.remove(&old.addr());
        heap.live.insert(block.addr(), size);
    });
    block
}

extern "C" fn free(block: *mut c_void) {
    heap(|heap| {
        assert!(block.is_null() || heap.live.remove(&block.addr()).is_some(), "not libevent's");
        heap.freed.push(block.addr());
    });
    // SAFETY: libevent passes null or a block that came from these functions.
    unsafe { libc::free(block) };
}

/// Lets one test run at a time. The test must leave nothing allocated.
struct Turn {
    live: usize,
    _turn: MutexGuard<'static, ()>,
}

fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    static ONCE: Once = Once::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        // SAFETY: libevent has not been used yet, and the functions allocate, resize and free as it
        // requires.
        unsafe { event_set_mem_functions(malloc, realloc, free) };
        // The first base makes libevent's allocations that are made once.
        drop(obtain_event_base());
    });
    let live = heap(|heap| {
        heap.freed.clear();
        heap.live.len()
    });
    Turn { live, _turn: turn }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(heap(|heap| heap.live.len()), self.live, "libevent's objects are left");
        }
    }
}

fn server(
    base: &EventBase,
    answer: impl FnMut(&mut Incoming<'_>) -> Reply + 'static,
) -> (EvHttp, EvHttpConnection) {
    let (http, connection, _) = server_at(base, answer);
    (http, connection)
}

fn server_at(
    base: &EventBase,
    answer: impl FnMut(&mut Incoming<'_>) -> Reply + 'static,
) -> (EvHttp, EvHttpConnection, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let http = obtain_evhttp(base).unwrap();
    http.accept(listener).unwrap();
    http.set_gencb(answer);
    let connection = obtain_evhttp_connection_base(base, "127.0.0.1", port).unwrap();
    connection.set_timeout(Duration::from_secs(20));
    (http, connection, port)
}

/// Sends a request, runs the loop until there is an answer, and returns the answer's status and
/// body.
fn ask(base: &EventBase, connection: &EvHttpConnection, uri: &str) -> Option<(u16, Vec<u8>)> {
    let result = Rc::new(RefCell::new(None));
    let (store, looping) = (result.clone(), base.clone());
    let request = obtain_evhttp_request(move |answer| {
        *store.borrow_mut() = Some(answer.map(|answer| {
            let mut body = Vec::new();
            answer.read_to_end(&mut body).unwrap();
            (answer.code(), body)
        }));
        looping.loop_break();
    })
    .unwrap();
    request.add_header("Host", "127.0.0.1").unwrap();
    connection.make_request(request, Method::Get, uri).unwrap();
    if result.borrow().is_none() {
        base.dispatch().unwrap();
    }
    result.take().expect("the callback has been called")
}

#[test]
fn a_request_is_answered() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let (_server, connection) = server(&base, |request| {
        assert_eq!(request.method(), Some(Method::Post));
        assert_eq!(request.uri(), b"/wallet/w?x=1");
        assert_eq!(request.header("x-TEST").as_deref(), Some(&b"in"[..]));
        assert_eq!((request.header("absent"), request.code()), (None, 0));
        assert_eq!(request.body_len(), 100_000);
        let mut body = Vec::new();
        request.read_to_end(&mut body).unwrap();
        assert!(body == [7; 100_000]);
        Reply::new(201, [8; 200_000]).header("X-Test", "out").header("X-Bad", "a\r\nb: c")
    });

    let answer = Rc::new(RefCell::new(SecureVec::new()));
    let (store, looping) = (answer.clone(), base.clone());
    let request = obtain_evhttp_request(move |answer| {
        let answer = answer.expect("an answer");
        assert_eq!(answer.code(), 201);
        assert_eq!(answer.header("X-Test").as_deref(), Some(&b"out"[..]));
        assert_eq!((answer.header("X-Bad"), answer.header("b")), (None, None));
        // Read from libevent's own buffer, without another copy on the ordinary heap.
        *store.borrow_mut() = SecureVec::read_from(answer, 1 << 20).unwrap();
        looping.loop_break();
    })
    .unwrap();
    request.add_header("Host", "127.0.0.1").unwrap();
    request.add_header("X-Test", "in").unwrap();
    request.add_body(&[7; 50_000]).unwrap();
    request.add_body(&[7; 50_000]).unwrap();
    connection.make_request(request, Method::Post, "/wallet/w?x=1").unwrap();
    base.dispatch().unwrap();
    assert!(*answer.borrow() == [8; 200_000][..]);
}

#[test]
fn many_requests_on_one_connection() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    let (server, connection, port) = server_at(&base, move |request| {
        counted.set(counted.get() + 1);
        Reply::new(200, request.uri())
    });
    for i in 0..50 {
        let uri = format!("/{i}");
        assert_eq!(ask(&base, &connection, &uri), Some((200, uri.into_bytes())));
    }
    assert_eq!(count.get(), 50);

    // Several requests at once are answered in order.
    let answers = Rc::new(RefCell::new(Vec::new()));
    for i in 0..5_u8 {
        let (store, looping) = (answers.clone(), base.clone());
        let request = obtain_evhttp_request(move |answer| {
            let mut body = String::new();
            answer.expect("an answer").read_to_string(&mut body).unwrap();
            store.borrow_mut().push(body);
            if i == 4 {
                looping.loop_break();
            }
        });
        connection.make_request(request.unwrap(), Method::Get, &format!("/{i}")).unwrap();
    }
    base.dispatch().unwrap();
    assert_eq!(*answers.borrow(), ["/0", "/1", "/2", "/3", "/4"]);

    server.set_gencb(|_| Reply::new(404, []));
    assert_eq!(ask(&base, &connection, "/"), Some((404, vec![])));

    server.set_max_body_size(10);
    let connection = obtain_evhttp_connection_base(&base, "127.0.0.1", port).unwrap();
    let (status, looping) = (Rc::new(Cell::new(0)), base.clone());
    let store = status.clone();
    let request = obtain_evhttp_request(move |answer| {
        store.set(answer.map_or(0, |answer| answer.code()));
        looping.loop_break();
    });
    let request = request.unwrap();
    request.add_body(&[0; 11]).unwrap();
    connection.make_request(request, Method::Post, "/").unwrap();
    base.dispatch().unwrap();
    assert_eq!(status.get(), 413);
}

#[test]
fn nobody_there_is_no_answer() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let connection = obtain_evhttp_connection_base(&base, "127.0.0.1", port).unwrap();
    assert_eq!(ask(&base, &connection, "/"), None);
    assert_eq!(ask(&base, &connection, "/"), None, "nor the second time");
}

#[test]
fn a_server_that_goes_away_gives_no_answer() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let here = Rc::new(RefCell::new(None));
    let going = here.clone();
    // The server is dropped in its own handler, before the request is answered.
    let (server, connection) = server(&base, move |_| {
        assert!(going.take().is_some());
        Reply::new(200, "last words")
    });
    *here.borrow_mut() = Some(server);
    ask(&base, &connection, "/");
    assert!(here.borrow().is_none());
    assert_eq!(ask(&base, &connection, "/"), None);
}

#[test]
fn text_that_may_not_be_there_is_refused() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let (_server, connection) = server(&base, |_| Reply::new(200, []));
    for uri in ["", "/ ", "/\r\nX: y", "/\0", "/é"] {
        let request = obtain_evhttp_request(|_| panic!("called")).unwrap();
        assert_eq!(connection.make_request(request, Method::Get, uri), Err(EventsError::BadText));
    }
    let request = obtain_evhttp_request(|_| panic!("called")).unwrap();
    for (name, value) in
        [("", "v"), ("a:", "v"), ("a b", "v"), ("a\n", "v"), ("a", "v\r"), ("a", "\0")]
    {
        assert_eq!(request.add_header(name, value), Err(EventsError::BadText), "{name:?}");
    }
    let host = obtain_evhttp_connection_base(&base, "local\0host", 1);
    assert_eq!(host.map(drop), Err(EventsError::BadText));
}

#[test]
fn bases_are_freed_after_what_was_made_for_them() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let event = obtain_event(&base, EventSource::Timer, EventFlags::NONE, |_| {}).unwrap();
    let http = obtain_evhttp(&base).unwrap();
    let connection = obtain_evhttp_connection_base(&base, "127.0.0.1", 1).unwrap();
    let request = obtain_evhttp_request(|_| {}).unwrap();
    let objects = [
        event.as_ptr().addr(),
        http.as_ptr().addr(),
        connection.as_ptr().addr(),
        request.as_ptr().addr(),
        base.as_ptr().addr(),
    ];
    // In the wrong order.
    drop(base);
    heap(|heap| assert!(!heap.freed.contains(&objects[4])));
    drop(event);
    drop(http);
    drop(connection);
    drop(request);
    let freed = heap(|heap| {
        heap.freed.retain(|address| objects.contains(address));
        heap.freed.clone()
    });
    // The request was dropped last, but it has no base and is freed at once.
    assert_eq!(freed, [objects[0], objects[1], objects[2], objects[4], objects[3]]);
}

/// An event that can be reached, and dropped, from a callback.
type Slot = Rc<RefCell<Option<Event>>>;

fn slot() -> Slot {
    Rc::default()
}

#[test]
fn events_may_be_dropped_in_their_own_callback() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let slot = slot();
    let owned = Rc::new(());
    let (own, witness) = (slot.clone(), owned.clone());
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    let event = obtain_event(&base, EventSource::Timer, EventFlags::PERSIST, move |_| {
        drop(own.take());
        // What the closure owns is still alive.
        assert_eq!(Rc::strong_count(&witness), 2);
        count.set(count.get() + 1);
    });
    let event = event.unwrap();
    event.add(Some(Duration::from_micros(10))).unwrap();
    *slot.borrow_mut() = Some(event);
    // It was the only event: the loop ends by itself.
    base.dispatch().unwrap();
    assert_eq!(calls.get(), 1);
    assert_eq!(Rc::strong_count(&owned), 1);
}

/// A loop that is entered by libevent's own function may return before the event that was dropped
/// in it is freed.
#[test]
fn what_was_dropped_in_a_callback_goes_before_the_base() {
    unsafe extern "C" {
        fn event_base_dispatch(base: *mut c_void) -> i32;
        fn event_base_loopbreak(base: *mut c_void) -> i32;
    }
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let slot = slot();
    let (own, looping) = (slot.clone(), base.as_ptr());
    let event = obtain_event(&base, EventSource::Timer, EventFlags::NONE, move |_| {
        drop(own.take());
        // SAFETY: the base is alive: it is calling this.
        unsafe { event_base_loopbreak(looping) };
    });
    let event = event.unwrap();
    event.activate(EventFlags::TIMEOUT);
    let objects = [event.as_ptr().addr(), base.as_ptr().addr()];
    *slot.borrow_mut() = Some(event);
    // SAFETY: the base is alive and not in its loop.
    assert_eq!(unsafe { event_base_dispatch(base.as_ptr()) }, 0);
    heap(|heap| assert!(!heap.freed.contains(&objects[0]), "freed in its callback"));
    drop(base);
    let freed = heap(|heap| {
        heap.freed.retain(|address| objects.contains(address));
        heap.freed.clone()
    });
    assert_eq!(freed, objects);
}

#[test]
fn connections_may_be_dropped_in_their_own_answer() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let (server, connection) = server(&base, |_| Reply::new(200, []));
    let slot = Rc::new(RefCell::new(Some(connection)));
    let (own, looping) = (slot.clone(), base.clone());
    let request = obtain_evhttp_request(move |answer| {
        // Another request is under way, and gets no answer.
        let connection = own.take().expect("the connection");
        let owned = Rc::new(());
        let witness = owned.clone();
        let request = obtain_evhttp_request(move |_| panic!("called, with {witness:?}")).unwrap();
        connection.make_request(request, Method::Get, "/").unwrap();
        drop(connection);
        assert_eq!(Rc::strong_count(&owned), 1, "the closure is still there");
        assert_eq!(answer.expect("an answer").code(), 200);
        looping.loop_break();
    });
    slot.borrow().as_ref().unwrap().make_request(request.unwrap(), Method::Get, "/").unwrap();
    base.dispatch().unwrap();
    assert!(slot.borrow().is_none());
    drop(server);
}

#[test]
fn panics_go_on_behind_the_loop() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let message = |result: std::thread::Result<()>| {
        *result.expect_err("a panic").downcast::<&str>().expect("a message")
    };

    let event = obtain_event(&base, EventSource::Timer, EventFlags::NONE, |_| {
        std::panic::resume_unwind(Box::new("from an event"))
    });
    let event = event.unwrap();
    event.activate(EventFlags::TIMEOUT);
    let result = catch_unwind(AssertUnwindSafe(|| base.dispatch().unwrap()));
    assert_eq!(message(result), "from an event");

    // The request is answered nevertheless, and so is the next one.
    let (_server, connection) =
        server(&base, |_| std::panic::resume_unwind(Box::new("from a handler")));
    let status = Rc::new(Cell::new(0));
    let (store, looping) = (status.clone(), base.clone());
    let request = obtain_evhttp_request(move |answer| {
        store.set(answer.expect("an answer").code());
        looping.loop_break();
    });
    connection.make_request(request.unwrap(), Method::Get, "/").unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| base.dispatch().unwrap()));
    assert_eq!(message(result), "from a handler");
    base.dispatch().unwrap();
    assert_eq!(status.get(), 500);

    let request =
        obtain_evhttp_request(|_| std::panic::resume_unwind(Box::new("from an answer"))).unwrap();
    connection.make_request(request, Method::Get, "/").unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| base.dispatch().unwrap()));
    assert_eq!(message(result), "from an answer");
}

#[test]
fn a_loop_is_not_entered_twice() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let (again, result) = (base.clone(), Rc::new(Cell::new(Ok(()))));
    let store = result.clone();
    let event = obtain_event(&base, EventSource::Timer, EventFlags::NONE, move |_| {
        store.set(again.dispatch());
    });
    let event = event.unwrap();
    event.add(Some(Duration::ZERO)).unwrap();
    base.dispatch().unwrap();
    assert_eq!(result.get(), Err(EventsError::Reentered));
}

#[test]
fn files_and_signals_and_timeouts() {
    let _turn = turn();
    let base = obtain_event_base().unwrap();
    let log = Rc::new(RefCell::new(Vec::new()));
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let mut reading = reader.try_clone().unwrap();

    let (entry, looping) = (log.clone(), base.clone());
    let flags = EventFlags::READ | EventFlags::PERSIST;
    let readable =
        obtain_event(&base, EventSource::File(OwnedFd::from(reader)), flags, move |what| {
            let mut byte = [0];
            reading.read_exact(&mut byte).unwrap();
            entry.borrow_mut().push((what, byte[0]));
            if byte[0] == 2 {
                looping.loop_break();
            }
        });
    let readable = readable.unwrap();
    readable.add(None).unwrap();

    let entry = log.clone();
    let mut writing = writer.try_clone().unwrap();
    let signal = EventSource::Signal(libc::SIGUSR2);
    let signalled = obtain_event(&base, signal, EventFlags::NONE, move |what| {
        entry.borrow_mut().push((what, 0));
        writing.write_all(&[2]).unwrap();
    });
    let signalled = signalled.unwrap();
    signalled.add(None).unwrap();

    writer.write_all(&[1]).unwrap();
    // SAFETY: sends a signal for which libevent has a handler.
    let started = obtain_event(&base, EventSource::Timer, EventFlags::NONE, |_| unsafe {
        libc::raise(libc::SIGUSR2);
    });
    let started = started.unwrap();
    started.add(Some(Duration::from_millis(5))).unwrap();
    base.dispatch().unwrap();
    assert_eq!(
        *log.borrow(),
        [(EventFlags::READ, 1), (EventFlags::SIGNAL, 0), (EventFlags::READ, 2)]
    );

    // First there is nothing to wait for; then the timeout is longer than the wait.
    log.borrow_mut().clear();
    drop((signalled, started));
    readable.remove();
    base.dispatch().unwrap();
    assert!(log.borrow().is_empty());
    readable.add(Some(Duration::MAX)).unwrap();
    readable.activate(EventFlags::WRITE);
    writer.write_all(&[2]).unwrap();
    base.dispatch().unwrap();
    assert_eq!(log.borrow().last().unwrap().1, 2);

    for number in [-1, 0, 65, i32::MAX] {
        let none = obtain_event(&base, EventSource::Signal(number), EventFlags::NONE, |_| {});
        assert_eq!(none.map(drop), Err(EventsError::NotMade("event")), "signal {number}");
    }
    let both = obtain_event(&base, EventSource::Signal(libc::SIGUSR2), flags, |_| {});
    assert_eq!(both.map(drop), Err(EventsError::NotMade("event")));
    // A source that is not a signal is not registered as one, neither as -1 nor as the number of a
    // descriptor.
    for source in [EventSource::Timer, EventSource::File(std::fs::File::open("/").unwrap().into())]
    {
        let none = obtain_event(&base, source, EventFlags::SIGNAL, |_| {});
        assert_eq!(none.map(drop), Err(EventsError::NotMade("event")));
    }
}

#[test]
fn what_is_forgotten_is_not_freed_and_does_no_harm() {
    let mut turn = turn();
    let count = Rc::new(Cell::new(0));
    {
        let base = obtain_event_base().unwrap();
        let counted = count.clone();
        let event = obtain_event(&base, EventSource::Timer, EventFlags::NONE, move |_| {
            counted.set(counted.get() + 1);
        });
        let event = event.unwrap();
        event.add(Some(Duration::ZERO)).unwrap();
        std::mem::forget(event);
        base.dispatch().unwrap();
    }
    assert_eq!(count.get(), 1);
    assert_eq!(Rc::strong_count(&count), 2);
    let live = heap(|heap| heap.live.len());
    assert!(live > turn.live);
    // This test leaks on purpose.
    turn.live = live;
}
