// Chooses the best instruction set for which the kernels were compiled and which this CPU has.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace snaprun {

enum class Isa { portable, v3, v4 };

// The best instruction set of the CPU for which the kernels were compiled.
inline Isa best_isa() {
    Isa best = Isa::portable;
#if defined(__x86_64__)
    __builtin_cpu_init();
#if defined(SNAPRUN_HAVE_v3)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) {
        best = Isa::v3;
#if defined(SNAPRUN_HAVE_v4)
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl")) {
            best = Isa::v4;
        }
#endif
    }
#endif
#endif
    return best;
}

// SNAPRUN_ISA=portable|v3 in the environment chooses less than the CPU has.
inline Isa isa() {
    static const Isa chosen = [] {
        Isa best = best_isa();
        if (const char* asked = std::getenv("SNAPRUN_ISA")) {
            if (!std::strcmp(asked, "portable")) best = Isa::portable;
            if (!std::strcmp(asked, "v3") && best == Isa::v4) best = Isa::v3;
        }
        return best;
    }();
    return chosen;
}

// The values of SNAPRUN_ISA that this CPU supports, the least first.
inline std::vector<std::string> isas() {
    std::vector<std::string> words{"portable"};
    if (best_isa() != Isa::portable) words.push_back("v3");
    if (best_isa() == Isa::v4) words.push_back("v4");
    return words;
}

inline const char* isa_name() {
    return isa() == Isa::v4 ? "x86-64-v4" : isa() == Isa::v3 ? "x86-64-v3" : "portable";
}

}  // namespace snaprun

#if defined(SNAPRUN_HAVE_v3)
#define SNAPRUN_CASE_v3(call) \
    case ::snaprun::Isa::v3: return ::snaprun::v3::call;
#else
#define SNAPRUN_CASE_v3(call)
#endif
#if defined(SNAPRUN_HAVE_v4)
#define SNAPRUN_CASE_v4(call) \
    case ::snaprun::Isa::v4: return ::snaprun::v4::call;
#else
#define SNAPRUN_CASE_v4(call)
#endif

// return <the chosen namespace>::call;
#define SNAPRUN_DISPATCH(call)                    \
    switch (::snaprun::isa()) {                   \
        SNAPRUN_CASE_v3(call)                     \
        SNAPRUN_CASE_v4(call)                     \
        default: return ::snaprun::portable::call; \
    }
