/* etcd_bench.cc: holdfast-bench's counterpart for etcd: the same keys, values, closed loop and report over asynchronous
 * gRPC. Each client is a thread with a connection and a completion queue of its own; errors are counted by gRPC code. */
#include <getopt.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "etcd.grpc.pb.h"

extern "C" {
#include "client/bench/chooser.h"
#include "client/bench/histogram.h"
}

namespace
{

constexpr uint64_t VALUE_SHIFT = 4096; /* as holdfast-bench: a put takes its value from a random place of the pool */
constexpr int DEADLINE_MS = 10000;
constexpr int CONNECT_SECONDS = 5;
constexpr uint64_t LOAD_OUTSTANDING = 256;

constexpr uint64_t NS_PER_SECOND = 1000000000;

enum class workload { load, put, get };

struct settings {
    std::string endpoint = "127.0.0.1:2379", work = "put";
    uint64_t records = 100000, outstanding = 64, clients = 1, value_bytes = 256, seconds = 10;
    bool load_only = false, json = false;
};

const char usage[] = "usage: etcd_bench [options]\n"
                     "  --endpoint HOST:PORT   the member that leads (127.0.0.1:2379)\n"
                     "  --workload put|get     get: linearizable, of records that are there already (put)\n"
                     "  --records N            in the key space (100000)\n"
                     "  --load-only            put every record once, report that, and end\n"
                     "  --outstanding N        closed loop: operations out at a time, over all clients (64)\n"
                     "  --clients N            connections, each with a thread (1)\n"
                     "  --value-bytes N        of each put (256)\n"
                     "  --seconds N            length of the run (10)\n"
                     "  --json                 report as JSON\n";

struct bench { /* what all clients share; constant while they run */
    workload work;
    uint64_t value_bytes, seconds;
    struct chooser chooser;
    std::string endpoint, values;
};

/* One operation that may be out; its address is the tag in the completion queue. */
struct op {
    uint64_t start_ns = 0;
    bool is_put = false;
    std::optional<grpc::ClientContext> context; /* good for one call each */
    std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::PutResponse>> put;
    std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::RangeResponse>> range;
    etcdserverpb::PutRequest put_request;
    etcdserverpb::RangeRequest range_request;
    etcdserverpb::PutResponse put_response;
    etcdserverpb::RangeResponse range_response;
    grpc::Status status;
};

struct report {
    uint64_t ops = 0, begin_ns = UINT64_MAX, end_ns = 0;
    std::map<std::string, uint64_t> errors;
    std::unique_ptr<struct histogram> latency = std::make_unique<struct histogram>();
};

uint64_t now_ns()
{
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

const char *code_name(grpc::StatusCode code)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    size_t i = static_cast<size_t>(code);
    return i < sizeof names / sizeof names[0] ? names[i] : "OTHER";
}

class client
{
  public:
    client(const bench &b, uint64_t number, uint64_t outstanding, uint64_t load_begin, uint64_t load_end)
        : b_(b), ops_(outstanding), next_record_(load_begin), load_end_(load_end), random_{number * 7919 + 1}
    {
        for (op &o : ops_)
            unused_.push_back(&o);
    }

    bool connect()
    {
        grpc::ChannelArguments arguments;
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1); /* a connection of its own */
        channel_ = grpc::CreateCustomChannel(b_.endpoint, grpc::InsecureChannelCredentials(), arguments);
        stub_ = etcdserverpb::KV::NewStub(channel_);
        return channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(CONNECT_SECONDS));
    }

    void run()
    {
        result.begin_ns = now_ns();
        deadline_ns_ = result.begin_ns + b_.seconds * NS_PER_SECOND;
        for (;;) {
            while (!unused_.empty() && !over()) {
                op *o = unused_.back();
                unused_.pop_back();
                issue(o);
            }
            if (unused_.size() == ops_.size())
                break;
            take();
        }
        result.end_ns = now_ns();
    }

    report result;

  private:
    bool over()
    {
        ended_ = ended_ || (b_.work == workload::load ? next_record_ == load_end_ : now_ns() >= deadline_ns_);
        return ended_;
    }

    void issue(op *o)
    {
        char key[CHOOSER_KEY_BYTES + 8];
        uint64_t record = b_.work == workload::load ? next_record_++ : chooser_next(&b_.chooser, &random_);
        size_t key_bytes = chooser_key(record, key);
        o->is_put = b_.work != workload::get;
        o->start_ns = now_ns();
        o->context.emplace();
        o->context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(DEADLINE_MS));
        if (o->is_put) {
            o->put_request.set_key(key, key_bytes);
            o->put_request.set_value(b_.values.data() + random_below(&random_, VALUE_SHIFT), b_.value_bytes);
            o->put = stub_->AsyncPut(&*o->context, o->put_request, &queue_);
            o->put->Finish(&o->put_response, &o->status, o);
        } else {
            o->range_request.set_key(key, key_bytes);
            o->range = stub_->AsyncRange(&*o->context, o->range_request, &queue_);
            o->range->Finish(&o->range_response, &o->status, o);
        }
    }

    void take()
    {
        void *tag = nullptr;
        bool good = false;
        if (!queue_.Next(&tag, &good))
            return;
        op *o = static_cast<op *>(tag);
        unused_.push_back(o);
        if (!o->status.ok())
            result.errors[code_name(o->status.error_code())]++;
        else if (!o->is_put && !as_loaded(o->range_response))
            result.errors["WRONG_VALUE"]++;
        else {
            result.ops++;
            histogram_add(result.latency.get(), now_ns() - o->start_ns);
        }
    }

    bool as_loaded(const etcdserverpb::RangeResponse &r) const
    {
        return r.kvs_size() == 1 && r.kvs(0).value().size() == b_.value_bytes;
    }

    const bench &b_;
    std::vector<op> ops_;
    std::vector<op *> unused_; /* stack */
    uint64_t next_record_, load_end_, deadline_ns_ = 0;
    bool ended_ = false;
    struct random random_;
    grpc::CompletionQueue queue_;
    std::shared_ptr<grpc::Channel> channel_;
    std::unique_ptr<etcdserverpb::KV::Stub> stub_;
};

/* Runs all clients of one workload; false: one could not connect. */
bool run(const bench &b, const settings &o, report *out)
{
    uint64_t total = b.work == workload::load && o.outstanding < LOAD_OUTSTANDING ? LOAD_OUTSTANDING : o.outstanding;
    std::vector<std::unique_ptr<client>> clients;
    for (uint64_t i = 0; i < o.clients; i++) {
        uint64_t share = total / o.clients + (i < total % o.clients);
        clients.push_back(std::make_unique<client>(b, i, share ? share : 1, o.records * i / o.clients,
                                                   o.records * (i + 1) / o.clients));
        if (!clients.back()->connect())
            return false;
    }
    std::vector<std::thread> threads;
    for (auto &c : clients)
        threads.emplace_back(&client::run, c.get());
    for (auto &t : threads)
        t.join();
    for (auto &c : clients) {
        out->ops += c->result.ops;
        for (auto &[name, count] : c->result.errors)
            out->errors[name] += count;
        out->begin_ns = std::min(out->begin_ns, c->result.begin_ns);
        out->end_ns = std::max(out->end_ns, c->result.end_ns);
        histogram_merge(out->latency.get(), c->result.latency.get());
    }
    return true;
}

void print(const report &r, bool json, const char *what)
{
    double seconds = static_cast<double>(r.end_ns - r.begin_ns) / 1e9;
    double rate = seconds > 0 ? static_cast<double>(r.ops) / seconds : 0;
    auto us = [&r](double part) {
        return static_cast<double>(part >= 1 ? r.latency->max : histogram_at(r.latency.get(), part)) / 1000.0;
    };
    printf(json ? "{\"ops\":%" PRIu64 ",\"seconds\":%.3f,\"ops_per_second\":%.1f,\"latency_us\":{\"p50\":%.1f,"
                  "\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},\"errors\":{"
                : "%" PRIu64
                  " operations in %.2f s, %.0f/s\nlatency us: p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\nerrors: ",
           r.ops, seconds, rate, us(0.5), us(0.99), us(0.999), us(1));
    const char *before = "";
    for (auto &[name, count] : r.errors) {
        printf(json ? "%s\"%s\":%" PRIu64 : "%s%s %" PRIu64, before, name.c_str(), count);
        before = json ? "," : ", ";
    }
    if (json)
        puts("}}");
    else
        printf("%s (%s)\n", r.errors.empty() ? "none" : "", what);
}

/* A number from 1 (for value-bytes 0) to max, or the end of the program. */
uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end = nullptr;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < min || value > max) {
        fprintf(stderr, "etcd_bench: --%s wants a number from %" PRIu64 " to %" PRIu64 "\n", name, min, max);
        exit(2);
    }
    return value;
}

settings parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"endpoint", 1, nullptr, 'e'},    {"workload", 1, nullptr, 'w'},    {"records", 1, nullptr, 'r'},
        {"load-only", 0, nullptr, 'l'},   {"outstanding", 1, nullptr, 'o'}, {"clients", 1, nullptr, 'c'},
        {"value-bytes", 1, nullptr, 'v'}, {"seconds", 1, nullptr, 's'},     {"json", 0, nullptr, 'j'},
        {"help", 0, nullptr, 'h'},        {nullptr, 0, nullptr, 0}};
    settings o;
    int i = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, &i)) != -1;) {
        const char *name = c == '?' ? "" : options[i].name;
        switch (c) {
        case 'e':
            o.endpoint = optarg;
            break;
        case 'w':
            o.work = optarg;
            break;
        case 'r':
            o.records = number(name, optarg, 1, 1000000000);
            break;
        case 'l':
            o.load_only = true;
            break;
        case 'o':
            o.outstanding = number(name, optarg, 1, 32768);
            break;
        case 'c':
            o.clients = number(name, optarg, 1, 256);
            break;
        case 'v':
            o.value_bytes = number(name, optarg, 0, 1 << 20);
            break;
        case 's':
            o.seconds = number(name, optarg, 1, 86400);
            break;
        case 'j':
            o.json = true;
            break;
        default:
            fputs(usage, c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 2);
        }
    }
    if (optind < argc || (o.work != "put" && o.work != "get")) {
        fputs(usage, stderr);
        exit(2);
    }
    return o;
}

} // namespace

int main(int argc, char **argv)
{
    settings o = parse(argc, argv);
    bench b = {};
    b.work = o.load_only ? workload::load : o.work == "put" ? workload::put : workload::get;
    b.value_bytes = o.value_bytes;
    b.seconds = o.seconds;
    b.endpoint = o.endpoint;
    chooser_init(&b.chooser, o.records, false);
    struct random random = {42};
    for (uint64_t i = 0; i < o.value_bytes + VALUE_SHIFT; i++)
        b.values.push_back(static_cast<char>(random_next(&random)));
    report r;
    if (!run(b, o, &r)) {
        fprintf(stderr, "etcd_bench: no connection to %s\n", o.endpoint.c_str());
        return 3;
    }
    print(r, o.json, o.load_only ? "load" : o.work.c_str());
    return r.ops > 0 && (!o.load_only || r.errors.empty()) ? 0 : 3;
}
