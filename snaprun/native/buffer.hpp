// Zeroed memory on 64-byte boundaries.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "simd.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

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

    // Keeps what was there; what is new is 0.
    void resize(size_t size) {
        if (size > (size_t(-1) >> 2) / sizeof(T)) throw std::bad_alloc();
        size_t bytes = (size * sizeof(T) + 127) / 64 * 64;
        void* fresh = std::aligned_alloc(64, bytes);
        if (!fresh) throw std::bad_alloc();
        std::memset(fresh, 0, bytes);
        if (data_) std::memcpy(fresh, data_, (size < size_ ? size : size_) * sizeof(T));
        std::free(data_);
        data_ = static_cast<T*>(fresh);
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
    T* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
