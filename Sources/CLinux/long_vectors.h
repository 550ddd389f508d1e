/* Vectors of 32 bytes: not every x86-64 has them. A function that uses them is compiled for the
   machines that do, stands beside one that does not, and is called where the machine is one. */
#ifndef WEIR_LONG_VECTORS_H
#define WEIR_LONG_VECTORS_H

#if defined(__x86_64__) && defined(__GNUC__)
#define WEIR_LONG_VECTORS 1
#include <immintrin.h>

#define WEIR_WITH_LONG_VECTORS __attribute__((target("avx2,bmi")))

/* Known before main. */
extern int weir_has_long_vectors;
#endif

#endif
