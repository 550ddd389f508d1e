/* PCRE2 names its functions by code unit width through macros, which Swift cannot import;
   the width is fixed here and the suffixed names (pcre2_compile_8, ...) are what Swift calls. */
#ifndef WEIR_PCRE2_SHIM_H
#define WEIR_PCRE2_SHIM_H
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif
