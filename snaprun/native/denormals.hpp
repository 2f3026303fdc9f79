// While an object of this class lives, its thread treats denormal numbers as zero.
//
// The traces of rare inputs decay into denormal numbers, and an operation on one takes a CPU a
// hundred times as long. The mode belongs to the thread.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace snaprun {
namespace SNAPRUN_NS {

class FlushDenormals {
public:
    FlushDenormals() {
#if defined(__x86_64__)
        before_ = _mm_getcsr();
        _mm_setcsr(static_cast<uint32_t>(before_) | kFlush | kAreZero);
#elif defined(__aarch64__)
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" : : "r"(before_ | kFlush));
#endif
    }
    ~FlushDenormals() {
#if defined(__x86_64__)
        _mm_setcsr(static_cast<uint32_t>(before_));
#elif defined(__aarch64__)
        asm volatile("msr fpcr, %0" : : "r"(before_));
#endif
    }
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
#if defined(__aarch64__)
    static constexpr uint64_t kFlush = uint64_t(1) << 24;  // flushes inputs and results
#else
    static constexpr uint32_t kFlush = 0x8000, kAreZero = 0x0040;
#endif
    uint64_t before_ = 0;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
