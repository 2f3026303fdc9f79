// An engine's memory as tensors, to save it and to go on from what was saved.
#pragma once

#include <nanobind/stl/string.h>

#include <type_traits>

#include "bindings.hpp"

namespace snaprun {

template <class T>
size_t count(const Named<T>& b) {
    size_t all = 1;
    for (int64_t n : b.shape) all *= size_t(n);
    return all;
}

// Copies of the buffers as tensors.
template <class T>
nanobind::dict copies(const std::vector<Named<T>>& buffers) {
    namespace nb = nanobind;
    nb::dict all;
    for (const Named<T>& b : buffers) {
        const std::vector<size_t> shape(b.shape.begin(), b.shape.end());
        std::visit(
            [&](const auto* data) {
                using E = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
                E* const own = new E[std::max<size_t>(count(b), 1)];
                nb::capsule owner(own, [](void* p) noexcept { delete[] static_cast<E*>(p); });
                std::copy(data, data + count(b), own);
                all[b.name.c_str()] =
                    nb::cast(nb::ndarray<nb::pytorch, E>(own, shape.size(), shape.data(), owner));
            },
            b.data);
    }
    return all;
}

// Fills the buffers from all the tensors that `copies` returns.
template <class T>
void fill(const std::vector<Named<T>>& buffers, nanobind::dict all) {
    for (const bool checked : {false, true}) {  // check all before copying the first
        for (const Named<T>& b : buffers) {
            require(all.contains(b.name.c_str()), (b.name + " is missing").c_str());
            std::visit(
                [&](auto* data) {
                    using E = std::remove_pointer_t<decltype(data)>;
                    Array<const E> from;
                    bool same = nanobind::try_cast(all[b.name.c_str()], from, false);
                    same = same && from.ndim() == b.shape.size();
                    for (size_t i = 0; same && i < b.shape.size(); ++i) {
                        same = int64_t(from.shape(i)) == b.shape[i];
                    }
                    require(same, (b.name + " has another shape or type").c_str());
                    if constexpr (std::is_integral_v<E>) {
                        if (b.bound) within(from, b.bound, b.name.c_str());
                    }
                    if (checked) std::copy(from.data(), from.data() + count(b), data);
                },
                b.data);
        }
    }
}

}  // namespace snaprun
