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

/* The texts of 0 to 999, each in the lower three bytes with its length in the highest one; then the
   same with leading zeros. */
extern uint32_t weir_decimal_texts[2000];

/* Writes four bytes, of which the returned number count. */
static inline size_t weir_write_entry(uint8_t *p, size_t index) {
    uint32_t entry = weir_decimal_texts[index];
    memcpy(p, &entry, 4);
    return entry >> 24;
}

/* A dotted quad: at most 15 bytes, with room for one more. */
static inline size_t weir_write_ipv4(uint8_t *p, uint32_t address) {
    uint8_t *const start = p;
    p += weir_write_entry(p, address >> 24);
    *p++ = '.';
    p += weir_write_entry(p, address >> 16 & 255);
    *p++ = '.';
    p += weir_write_entry(p, address >> 8 & 255);
    *p++ = '.';
    p += weir_write_entry(p, address & 255);
    return (size_t)(p - start);
}

/* A million and more. */
size_t weir_write_long_decimal(uint8_t *p, uint64_t value);

/* Without leading zeros: at most 20 bytes, with room for one more. */
static inline size_t weir_write_decimal(uint8_t *p, uint64_t value) {
    if (value < 1000) return weir_write_entry(p, value);
    if (value >= 1000000) return weir_write_long_decimal(p, value);
    uint32_t thousands = (uint32_t)value / 1000;
    size_t length = weir_write_entry(p, thousands);
    return length + weir_write_entry(p + length, 1000 + (uint32_t)value - thousands * 1000);
}

/* Bytes that mostly are few: without a call up to 32. */
static inline void weir_copy(uint8_t *restrict to, const uint8_t *restrict from, size_t length) {
    if (length < 8) {
        if (length >= 4) {
            uint32_t first, last;
            memcpy(&first, from, 4);
            memcpy(&last, from + length - 4, 4);
            memcpy(to, &first, 4);
            memcpy(to + length - 4, &last, 4);
        } else if (length) {
            /* The first, the middle one and the last, some of them the same. */
            uint8_t first = from[0], middle = from[length >> 1], last = from[length - 1];
            to[0] = first;
            to[length >> 1] = middle;
            to[length - 1] = last;
        }
    } else if (length < 16) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + length - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + length - 8, &last, 8);
    } else if (length <= 32) {
        uint8_t first[16], last[16];
        memcpy(first, from, 16);
        memcpy(last, from + length - 16, 16);
        memcpy(to, first, 16);
        memcpy(to + length - 16, last, 16);
    } else {
        memcpy(to, from, length);
    }
}

/* Copies a text of a log line, and returns what is not zero where it may not stand there as it is:
   where it has a control below 0x20, a quote, a backslash, or anything above 0x7F. Writes up to
   sixteen bytes, of which `length` count. */
uint32_t weir_copy_plain(uint8_t *to, const uint8_t *from, size_t length);

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
