#include "long_vectors.h"

#if defined(WEIR_LONG_VECTORS)
int weir_has_long_vectors;

__attribute__((constructor)) static void ask_machine(void) {
    __builtin_cpu_init();
    weir_has_long_vectors = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
}
#endif
