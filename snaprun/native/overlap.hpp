// Checks that no array that is written shares memory with another array.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace snaprun {

class Apart {
public:
    template <class A>
    void reads(const A& array, const char* name) { add(array, name, false); }
    template <class A>
    void writes(const A& array, const char* name) { add(array, name, true); }

    // Throws std::invalid_argument, which Python sees as ValueError.
    void require() const {
        for (size_t i = 0; i < spans_.size(); ++i) {
            for (size_t j = 0; j < i; ++j) {
                const Span &a = spans_[i], &b = spans_[j];
                if ((a.written || b.written) && a.first < b.last && b.first < a.last) {
                    throw std::invalid_argument(std::string(b.name) + " and " + a.name +
                                                " share memory");
                }
            }
        }
    }

private:
    struct Span {
        const char *first, *last, *name;
        bool written;
    };

    template <class A>
    void add(const A& array, const char* name, bool written) {
        const char* first = reinterpret_cast<const char*>(array.data());
        const size_t bytes = array.size() * sizeof(*array.data());
        if (bytes) spans_.push_back({first, first + bytes, name, written});
    }

    std::vector<Span> spans_;
};

}  // namespace snaprun
