/* Byte scanning kernels for the head parser.

   Each returns the index of the first byte that does NOT belong to its class, or `length`.
   SSE2 is part of every x86-64; elsewhere the table loop serves alone. No kernel reads past
   `length`, so callers need no slack behind their buffers. */
#ifndef WEIR_BYTE_SCAN_H
#define WEIR_BYTE_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Bit 0: token character (RFC 9110 section 5.6.2). Bit 1: field value byte (tab, 0x20-0x7E,
   0x80-0xFF). Bit 2: request target byte (see safety rule 10 in docs/THREAT-MODEL.md). Bit 3: byte
   of a host name in its normal form: small letters, digits, "-._~". */
extern const uint8_t weir_byte_class[256];

static inline size_t weir_scan_class(const uint8_t *p, size_t i, size_t length, uint8_t bit) {
    while (i < length && (weir_byte_class[p[i]] & bit)) i++;
    return i;
}

static inline size_t weir_scan_token(const uint8_t *p, size_t length) {
    return weir_scan_class(p, 0, length, 1);
}

static inline size_t weir_scan_value(const uint8_t *p, size_t length) {
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i low = _mm_set1_epi8(0x1F), tab = _mm_set1_epi8(0x09), del = _mm_set1_epi8(0x7F);
    for (; i + 16 <= length; i += 16) {
        __m128i b = _mm_loadu_si128((const __m128i *)(p + i));
        /* unsigned b <= 0x1F, except tab; or b == DEL */
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(b, low), b);
        control = _mm_andnot_si128(_mm_cmpeq_epi8(b, tab), control);
        unsigned bad = (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(b, del)));
        if (bad) return i + (size_t)__builtin_ctz(bad);
    }
#endif
    return weir_scan_class(p, i, length, 2);
}

static inline size_t weir_scan_target(const uint8_t *p, size_t length) {
    return weir_scan_class(p, 0, length, 4);
}

static inline size_t weir_scan_host(const uint8_t *p, size_t length) {
    return weir_scan_class(p, 0, length, 8);
}

static inline size_t weir_find_byte(const uint8_t *p, uint8_t wanted, size_t length) {
    const void *hit = length ? memchr(p, wanted, length) : 0;
    return hit ? (size_t)((const uint8_t *)hit - p) : length;
}

/* Index of the first ':' or `length`. Field names are short: two vectors settle nearly all. */
static inline size_t weir_find_colon(const uint8_t *p, size_t length) {
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i colon = _mm_set1_epi8(':');
    for (; i + 16 <= length && i < 64; i += 16) {
        __m128i b = _mm_loadu_si128((const __m128i *)(p + i));
        unsigned hit = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(b, colon));
        if (hit) return i + (size_t)__builtin_ctz(hit);
    }
#endif
    return i + weir_find_byte(p + i, ':', length - i);
}

/* Eight bytes with their ASCII capitals made small. */
static inline uint64_t weir_lowercased_word(const uint8_t *p) {
    uint64_t a;
    memcpy(&a, p, 8);
    uint64_t heptets = a & 0x7F7F7F7F7F7F7F7Full;
    uint64_t above = heptets + 0x3F3F3F3F3F3F3F3Full;  /* high bit: byte >= 'A' */
    uint64_t beyond = heptets + 0x2525252525252525ull; /* high bit: byte >  'Z' */
    uint64_t capital = above & ~beyond & ~a & 0x8080808080808080ull;
    return a | (capital >> 2);
}

static inline void weir_lowercase(uint8_t *p, size_t length) {
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word = weir_lowercased_word(p + i);
        memcpy(p + i, &word, 8);
    }
    for (; i < length; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] |= 0x20;
}

static inline uint64_t weir_word(const uint8_t *p) {
    uint64_t a;
    memcpy(&a, p, 8);
    return a;
}

/* ASCII case-insensitive comparison of `length` bytes; `lower` must be lower case already. The
   last word overlaps the one before it, so only names under eight bytes go byte by byte. */
__attribute__((always_inline)) static inline int weir_equals_lowercased(
    const uint8_t *p, const uint8_t *lower, size_t length) {
    if (length >= 8) {
        size_t i = 0;
        for (; i + 8 <= length; i += 8)
            if (weir_lowercased_word(p + i) != weir_word(lower + i)) return 0;
        return weir_lowercased_word(p + length - 8) == weir_word(lower + length - 8);
    }
    for (size_t i = 0; i < length; i++) {
        uint8_t c = p[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (c != lower[i]) return 0;
    }
    return 1;
}

#endif
