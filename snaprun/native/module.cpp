// The extension module snaprun._native.
#include "bindings.hpp"

NB_MODULE(_native, m) {
    m.doc() = "The C++ core of snaprun.";
    snaprun::bind_engine(m);
#ifdef SNAPRUN_HAVE_INFLUENCE_BINDINGS
    snaprun::bind_influence(m);
#endif
}
