// A parallel step takes as many threads as its work pays for and as the system can start.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace snaprun {
namespace SNAPRUN_NS {

// The least multiply-adds per thread and step, which take 150 µs. Starting and joining a team takes
// some 10 µs if cores are free, and as long as a time slice if they are not.
constexpr double kPays = 4e6;

inline int paying_threads(int most, double multiply_adds) {
    return std::max(1, static_cast<int>(std::min<double>(most, multiply_adds / kPays)));
}

// The threads that the system can start, this one included, up to `wanted`: OpenMP ends the
// process if it cannot start one.
inline int startable_threads(int wanted) {
    std::mutex mutex;
    std::condition_variable all_started;
    bool go = false;
    std::vector<std::thread> started;
    try {
        started.reserve(std::max(wanted - 1, 0));
        while (static_cast<int>(started.size()) + 1 < wanted) {
            started.emplace_back([&] {
                std::unique_lock<std::mutex> lock(mutex);
                all_started.wait(lock, [&] { return go; });
            });
        }
    } catch (const std::exception&) {
        // The system has no further thread, or no memory for it: stop here.
    }
    {
        const std::lock_guard<std::mutex> lock(mutex);
        go = true;
    }
    all_started.notify_all();
    for (std::thread& one : started) one.join();
    return static_cast<int>(started.size()) + 1;
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
