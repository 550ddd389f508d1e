/* c-ares as it is: nothing in it has to be made importable for Swift. */
#ifndef WEIR_CARES_SHIM_H
#define WEIR_CARES_SHIM_H
#include <ares.h>
#endif
