/* Numbers and addresses as text, for heads that are written for every request. Each returns the
   bytes written; the caller has made sure of the room that is named. */
#ifndef WEIR_TEXT_WRITE_H
#define WEIR_TEXT_WRITE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* A number of at most three digits. */
static inline uint8_t *weir_write_octet(uint8_t *p, uint32_t value) {
    if (value >= 10) {
        if (value >= 100) {
            *p++ = (uint8_t)('0' + value / 100);
            value %= 100;
        }
        *p++ = (uint8_t)('0' + value / 10);
        value %= 10;
    }
    *p++ = (uint8_t)('0' + value);
    return p;
}

/* A dotted quad: at most 15 bytes. */
static inline size_t weir_write_ipv4(uint8_t *p, uint32_t address) {
    uint8_t *const start = p;
    p = weir_write_octet(p, address >> 24);
    *p++ = '.';
    p = weir_write_octet(p, address >> 16 & 255);
    *p++ = '.';
    p = weir_write_octet(p, address >> 8 & 255);
    *p++ = '.';
    p = weir_write_octet(p, address & 255);
    return (size_t)(p - start);
}

/* Without leading zeros: at most 20 bytes. */
static inline size_t weir_write_decimal(uint8_t *p, uint64_t value) {
    uint8_t text[20];
    size_t i = sizeof text;
    do {
        text[--i] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    size_t length = sizeof text - i;
    for (size_t k = 0; k < length; k++) p[k] = text[i + k];
    return length;
}

/* Sixteen small hexadecimal digits. */
static inline void weir_write_hex16(uint8_t *p, uint64_t value) {
#if defined(__SSE2__)
    __m128i bytes = _mm_cvtsi64_si128((long long)__builtin_bswap64(value));
    __m128i low_half = _mm_set1_epi8(0x0F);
    __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), low_half);
    __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(bytes, low_half));
    __m128i letters = _mm_and_si128(_mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9)), _mm_set1_epi8(39));
    __m128i digits = _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8('0')), letters);
    _mm_storeu_si128((__m128i *)p, digits);
#else
    for (int shift = 60; shift >= 0; shift -= 4)
        *p++ = (uint8_t)"0123456789abcdef"[value >> shift & 15];
#endif
}

#endif
