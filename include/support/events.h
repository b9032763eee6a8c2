// Drop-in for Bitcoin Core's support/events.h (0.14 to 31), over libevent alone.
// Distributed under the MIT software license, see the accompanying file LICENSE.
//
// Unique pointers that own libevent's objects and free them. An object that was made for an event_base must
// be freed before the base, so declare the base first. A request that was passed to evhttp_make_request
// belongs to libevent, so release() it.

#ifndef BITCOIN_SUPPORT_EVENTS_H
#define BITCOIN_SUPPORT_EVENTS_H

#include <event2/event.h>
#include <event2/http.h>

#include <cstdint>
#include <ios>
#include <memory>
#include <stdexcept>
#include <string>

/** Defines raii_<type>, which frees a <type> with <type>_free. */
#define BITCOIN_SUPPORT_RAII(type)                                          \
    struct type##_deleter {                                                 \
        void operator()(struct type* object) const { type##_free(object); } \
    };                                                                      \
    using raii_##type = std::unique_ptr<struct type, type##_deleter>

BITCOIN_SUPPORT_RAII(event_base);
BITCOIN_SUPPORT_RAII(event);
BITCOIN_SUPPORT_RAII(evhttp);
BITCOIN_SUPPORT_RAII(evhttp_request);
BITCOIN_SUPPORT_RAII(evhttp_connection);

#undef BITCOIN_SUPPORT_RAII

/** Makes an event_base. Throws std::runtime_error when libevent cannot. */
inline raii_event_base obtain_event_base()
{
    raii_event_base base{event_base_new()};
    if (!base) throw std::runtime_error("cannot create event_base");
    return base;
}

/** Makes an event. Null when libevent cannot. */
inline raii_event obtain_event(struct event_base* base, evutil_socket_t s, short events, event_callback_fn cb, void* arg)
{
    return raii_event{event_new(base, s, events, cb, arg)};
}

/** Makes an evhttp. Null when libevent cannot. */
inline raii_evhttp obtain_evhttp(struct event_base* base) { return raii_evhttp{evhttp_new(base)}; }

/** Makes an evhttp_request. Null when libevent cannot. */
inline raii_evhttp_request obtain_evhttp_request(void (*cb)(struct evhttp_request*, void*), void* arg)
{
    return raii_evhttp_request{evhttp_request_new(cb, arg)};
}

/** Makes an evhttp_connection. Throws std::runtime_error when libevent cannot. */
inline raii_evhttp_connection obtain_evhttp_connection_base(struct event_base* base, std::string host, uint16_t port)
{
    raii_evhttp_connection connection{evhttp_connection_base_new(base, nullptr, host.c_str(), port)};
    if (!connection) throw std::runtime_error("create connection failed");
    return connection;
}

#endif // BITCOIN_SUPPORT_EVENTS_H
