// The influence kernel for Python: arguments are checked here, so that a step checks nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <string>

#include "bindings.hpp"
#include "dispatch.hpp"
#include "influence.hpp"
#include "overlap.hpp"
#include "threads.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace snaprun {

#define SNAPRUN_DECLARE(ns)                                                          \
    namespace ns {                                                                   \
    template <class T>                                                               \
    std::unique_ptr<InfluenceBase<T>> make_influence(const Pattern&, int, int, int); \
    }
SNAPRUN_DECLARE(portable)
SNAPRUN_DECLARE(v3)
SNAPRUN_DECLARE(v4)

namespace {

template <class T>
std::unique_ptr<InfluenceBase<T>> make(const Pattern& pattern, int lanes, int stride, int threads) {
    SNAPRUN_DISPATCH(make_influence<T>(pattern, lanes, stride, threads))
}

template <class T>
class Kernel {
public:
    Kernel(nb::dict fields, int lanes, int threads)
        : pattern_(read_pattern(fields)), lanes_(lanes) {
        require(lanes >= 1 && lanes <= 1 << 24, "lanes must lie in [1, 2^24]");
        require(threads >= 1, "threads must be at least 1");
        stride_ = (lanes + 7) / 8 * 8;
        require(!pattern_.rows.empty(), "the pattern has no rows");
        kernel_ = make<T>(pattern_, lanes_, stride_, threads);
    }

    void reset(Array<const bool> lanes) {
        require_shape(lanes, "lanes", {lanes_});
        kernel_->reset(reinterpret_cast<const uint8_t*>(lanes.data()));
    }

    void step(Array<const T> theta, Array<const T> slopes, Array<const T> blocks,
              Array<const T> src, std::optional<Array<const T>> credit,
              std::optional<Array<T>> gradient) {
        const Pattern& p = pattern_;
        require_shape(theta, "theta", {p.parameters});
        require_shape(slopes, "slopes", {p.components, p.slots, p.units, stride_});
        require_shape(blocks, "blocks", {p.components, p.components, p.units, stride_});
        require_shape(src, "src", {p.sources, stride_});
        require(credit.has_value() == gradient.has_value(), "credit and gradient go together");
        if (credit) {
            require_shape(*credit, "credit", {p.components, p.units, stride_});
            require_shape(*gradient, "gradient", {p.parameters});
        }
        if (gradient) {
            Apart arrays;
            arrays.writes(*gradient, "gradient");
            arrays.reads(theta, "theta");
            arrays.reads(slopes, "slopes");
            arrays.reads(blocks, "blocks");
            arrays.reads(src, "src");
            arrays.reads(*credit, "credit");
            arrays.require();
        }
        kernel_->step(theta.data(), slopes.data(), blocks.data(), src.data(),
                      credit ? credit->data() : nullptr, gradient ? gradient->data() : nullptr);
    }

    void read(Array<T> out) const {
        require_shape(out, "out", {lanes_, kernel_->entries()});
        kernel_->read(out.data());
    }

    void assign(Array<const T> in) {
        require_shape(in, "in", {lanes_, kernel_->entries()});
        kernel_->assign(in.data());
    }

    int64_t stored() const { return kernel_->stored(); }
    int threads() const { return kernel_->threads(); }
    int stride() const { return stride_; }

private:
    Pattern pattern_;
    int lanes_, stride_;
    std::unique_ptr<InfluenceBase<T>> kernel_;
};

template <class T>
void bind(nb::module_& m, const char* name) {
    nb::class_<Kernel<T>>(m, name)
        .def(nb::init<nb::dict, int, int>(), "pattern"_a, "lanes"_a, "threads"_a)
        .def("reset", &Kernel<T>::reset, "lanes"_a.noconvert())
        .def("step", &Kernel<T>::step, "theta"_a.noconvert(), "slopes"_a.noconvert(),
             "blocks"_a.noconvert(), "src"_a.noconvert(),
             "credit"_a.noconvert().none(), "gradient"_a.noconvert().none())
        .def("read", &Kernel<T>::read, "out"_a.noconvert())
        .def("assign", &Kernel<T>::assign, "in"_a.noconvert())
        .def_prop_ro("stored", &Kernel<T>::stored)
        .def_prop_ro("threads", &Kernel<T>::threads, "That a step takes, at most those asked for.")
        .def_prop_ro("stride", &Kernel<T>::stride);
}

}  // namespace

void bind_influence(nb::module_& m) {
    bind<float>(m, "Influence32");
    bind<double>(m, "Influence64");
    m.def("startable_threads", &portable::startable_threads, "wanted"_a,
          "The threads that the system starts, this one included, at most as many as wanted.");
}

}  // namespace snaprun
