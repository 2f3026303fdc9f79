// Zeroed memory on 64-byte boundaries, large pieces on huge pages.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "simd.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

constexpr size_t kHugePage = size_t(2) << 20;

template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(size_t size) { resize(size); }
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    // Keeps the old numbers; the new ones are 0.
    void resize(size_t size) {
        size_t bytes = 0;
        void* const fresh = allocate(size, bytes);
        std::memset(fresh, 0, bytes);
        if (data_) std::memcpy(fresh, data_, (size < size_ ? size : size_) * sizeof(T));
        std::free(data_);
        data_ = static_cast<T*>(fresh);
        size_ = size;
    }

    // Frees the old numbers first. The new ones are not set, so that the system gives their memory
    // when they are written to.
    void replace(size_t size) {
        std::free(data_);
        data_ = nullptr;
        size_ = 0;
        size_t bytes = 0;
        data_ = static_cast<T*>(allocate(size, bytes));
        size_ = size;
    }

    void zero() {
        if (size_) std::memset(data_, 0, size_ * sizeof(T));
    }
    size_t size() const { return size_; }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }

private:
    static void* allocate(size_t size, size_t& bytes) {
        if (size > (size_t(-1) >> 2) / sizeof(T)) throw std::bad_alloc();
        // Large buffers use huge pages where the system has them, for fewer TLB misses.
        const size_t bytes_wanted = size * sizeof(T) + 64;
        const size_t page = bytes_wanted >= 2 * kHugePage ? kHugePage : 64;
        bytes = (bytes_wanted + page - 1) / page * page;
        void* fresh = std::aligned_alloc(page, bytes);
        if (!fresh) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        if (page == kHugePage) madvise(fresh, bytes, MADV_HUGEPAGE);
#endif
        return fresh;
    }

    T* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
