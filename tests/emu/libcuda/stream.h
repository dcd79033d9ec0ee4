// Streams, events and graphs of the stub driver. A stream is a real thread, so that the host code in front of it meets
// real asynchrony.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace stub {

using Work = std::function<void()>;
using Graph = std::vector<Work>;

class Stream {
  public:
    Stream() : worker([this] { loop(); }) {}

    ~Stream() {
        {
            std::lock_guard<std::mutex> hold(lock);
            closing = true;
        }
        changed.notify_all();
        worker.join();
    }

    void push(Work work) {
        {
            std::lock_guard<std::mutex> hold(lock);
            queue.push_back(std::move(work));
        }
        changed.notify_all();
    }

    // Until everything pushed has run.
    void wait() {
        std::unique_lock<std::mutex> hold(lock);
        idle.wait(hold, [&] { return queue.empty() && !busy; });
    }

    // What is pushed while capturing goes here instead; null otherwise.
    std::unique_ptr<Graph> captured;

  private:
    void loop() {
        std::unique_lock<std::mutex> hold(lock);
        for (;;) {
            changed.wait(hold, [&] { return closing || !queue.empty(); });
            if (queue.empty()) return;
            const Work work = std::move(queue.front());
            queue.pop_front();
            busy = true;
            hold.unlock();
            work();
            hold.lock();
            busy = false;
            if (queue.empty()) idle.notify_all();
        }
    }

    std::mutex lock;
    std::condition_variable changed, idle;
    std::deque<Work> queue;
    bool closing = false, busy = false;
    std::thread worker;
};

// Shared with the streams in which it was recorded, as those may reach it after it was destroyed.
class Event {
  public:
    using Clock = std::chrono::steady_clock;

    // The work that records the event where it stands in the stream.
    static Work record(const std::shared_ptr<Event> &event) {
        std::lock_guard<std::mutex> hold(event->lock);
        const unsigned long ticket = ++event->recorded;
        return [event, ticket] {
            std::lock_guard<std::mutex> hold(event->lock);
            event->passed = ticket;
            event->at = Clock::now();
            event->change.notify_all();
        };
    }

    void wait() {
        std::unique_lock<std::mutex> hold(lock);
        change.wait(hold, [&] { return passed >= recorded; });
    }

    bool done() {
        std::lock_guard<std::mutex> hold(lock);
        return passed >= recorded;
    }

    bool ever() {
        std::lock_guard<std::mutex> hold(lock);
        return recorded > 0;
    }

    Clock::time_point time() {
        std::lock_guard<std::mutex> hold(lock);
        return at;
    }

  private:
    std::mutex lock;
    std::condition_variable change;
    unsigned long recorded = 0, passed = 0;
    Clock::time_point at;
};

} // namespace stub
