// The extension module snaprun._native.
#include <exception>
#include <typeinfo>

#include "bindings.hpp"

NB_MODULE(_native, m) {
    // nanobind raises this for a field of the wrong type.
    nanobind::register_exception_translator([](const std::exception_ptr& raised, void*) {
        try {
            std::rethrow_exception(raised);
        } catch (const std::bad_cast&) {
            PyErr_SetString(PyExc_TypeError, "a field is not of the type that it should be");
        }
    });
    // At the end of a program PyTorch abandons the graphs that are left, and what they hold of ours.
    nanobind::set_leak_warnings(false);
    m.doc() = "The C++ core of snaprun.";
    snaprun::bind_capabilities(m);
    snaprun::bind_engine(m);
    snaprun::bind_influence(m);
}
