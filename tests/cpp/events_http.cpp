// A real HTTP request and its answer over loopback through support/events.h, the exceptions when libevent has
// no memory, and the order in which objects are freed. Exits with 0 if everything is right.
//
// c++ -std=c++17 -I include tests/cpp/events_http.cpp $(pkg-config --cflags --libs libevent_extra libevent_core)

#include <support/events.h>

#include <event2/buffer.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <type_traits>
#include <vector>

static_assert(std::is_same_v<raii_event_base::element_type, event_base>);
static_assert(std::is_same_v<raii_event::deleter_type, event_deleter>);
static_assert(std::is_same_v<decltype(obtain_evhttp(nullptr)), raii_evhttp>);
static_assert(std::is_same_v<decltype(obtain_evhttp_request(nullptr, nullptr)), raii_evhttp_request>);
static_assert(sizeof(raii_evhttp_connection) == sizeof(void*));

#define REQUIRE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            std::cerr << __FILE__ << ':' << __LINE__ << ": " << #condition << '\n'; \
            std::exit(1);                                                           \
        }                                                                           \
    } while (false)

namespace {
bool g_no_memory{false};
std::vector<void*> g_freed;
long g_live{0};

void* Malloc(size_t size)
{
    if (g_no_memory) return nullptr;
    ++g_live;
    return std::malloc(size);
}

void* Realloc(void* block, size_t size)
{
    if (!block) ++g_live;
    return std::realloc(block, size);
}

void Free(void* block)
{
    if (block) --g_live;
    g_freed.push_back(block);
    std::free(block);
}

struct Client {
    event_base* base;
    int status{0};
    std::string body;
};

void Answer(evhttp_request* request, void*)
{
    evbuffer* const output{evhttp_request_get_output_buffer(request)};
    evbuffer_add_printf(output, "you asked for %s", evhttp_request_get_uri(request));
    evhttp_send_reply(request, HTTP_OK, nullptr, nullptr);
}

void Answered(evhttp_request* request, void* context)
{
    Client& client{*static_cast<Client*>(context)};
    if (request) {
        client.status = evhttp_request_get_response_code(request);
        evbuffer* const input{evhttp_request_get_input_buffer(request)};
        client.body.resize(evbuffer_get_length(input));
        evbuffer_remove(input, client.body.data(), client.body.size());
    }
    event_base_loopbreak(client.base);
}

void RequestAndAnswer()
{
    raii_event_base base{obtain_event_base()};
    raii_evhttp server{obtain_evhttp(base.get())};
    REQUIRE(server);
    evhttp_bound_socket* const socket{evhttp_bind_socket_with_handle(server.get(), "127.0.0.1", 0)};
    REQUIRE(socket);
    sockaddr_in address{};
    socklen_t size{sizeof(address)};
    REQUIRE(getsockname(evhttp_bound_socket_get_fd(socket), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    evhttp_set_gencb(server.get(), Answer, nullptr);

    raii_evhttp_connection connection{obtain_evhttp_connection_base(base.get(), "127.0.0.1", ntohs(address.sin_port))};
    Client client{base.get(), 0, {}};
    raii_evhttp_request request{obtain_evhttp_request(Answered, &client)};
    REQUIRE(request);
    evhttp_add_header(evhttp_request_get_output_headers(request.get()), "Host", "127.0.0.1");
    REQUIRE(evhttp_make_request(connection.get(), request.release(), EVHTTP_REQ_GET, "/block/0") == 0);
    event_base_dispatch(base.get());
    REQUIRE(client.status == HTTP_OK);
    REQUIRE(client.body == "you asked for /block/0");
}

void Order()
{
    void* objects[2];
    {
        raii_event_base base{obtain_event_base()};
        raii_event event{obtain_event(base.get(), -1, 0, nullptr, nullptr)};
        objects[0] = event.get();
        objects[1] = base.get();
        g_freed.clear();
    }
    std::vector<void*> freed;
    for (void* block : g_freed) {
        if (block == objects[0] || block == objects[1]) freed.push_back(block);
    }
    REQUIRE((freed == std::vector<void*>{objects[0], objects[1]}));
}

template <typename F>
std::string Thrown(F f)
{
    g_no_memory = true;
    std::string message{"nothing"};
    try {
        f();
    } catch (const std::runtime_error& e) {
        message = e.what();
    }
    g_no_memory = false;
    return message;
}

void OutOfMemory()
{
    raii_event_base base{obtain_event_base()};
    REQUIRE(Thrown([] { obtain_event_base(); }) == "cannot create event_base");
    REQUIRE(Thrown([&] { obtain_evhttp_connection_base(base.get(), "127.0.0.1", 1); }) == "create connection failed");
    // These return null and do not throw, so the caller must check.
    REQUIRE(Thrown([&] { REQUIRE(!obtain_event(base.get(), -1, 0, nullptr, nullptr)); }) == "nothing");
    REQUIRE(Thrown([&] { REQUIRE(!obtain_evhttp(base.get())); }) == "nothing");
    REQUIRE(Thrown([&] { REQUIRE(!obtain_evhttp_request(nullptr, nullptr)); }) == "nothing");
}
} // namespace

int main()
{
    event_set_mem_functions(Malloc, Realloc, Free);
    event_set_log_callback([](int, const char*) {}); // libevent logs the failures that the test causes
    obtain_event_base();                             // makes libevent's allocations that are made once
    const long live{g_live};
    RequestAndAnswer();
    Order();
    OutOfMemory();
    REQUIRE(g_live == live);
    std::cout << "a request was answered, and everything freed in order\n";
}
