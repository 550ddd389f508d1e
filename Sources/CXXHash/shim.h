/* xxHash compiled into its callers: no shared library at run time. Its public names are macros,
   which Swift cannot import, so the one weir uses has a function here. */
#ifndef WEIR_XXHASH_SHIM_H
#define WEIR_XXHASH_SHIM_H
#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t weir_xxh64(const void *bytes, size_t length, uint64_t seed) {
    return XXH64(bytes, length, seed);
}

/* Faster for short keys; the values of one version of the library need not be another's. */
static inline uint64_t weir_xxh3(const void *bytes, size_t length, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes, length, seed);
}
#endif
