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
   of a host name in its normal form: small letters, digits, "-._~". Bit 4: small letter, digit or
   hyphen. */
extern const uint8_t weir_byte_class[256];

static inline size_t weir_scan_class(const uint8_t *p, size_t i, size_t length, uint8_t bit) {
    while (i < length && (weir_byte_class[p[i]] & bit)) i++;
    return i;
}

#if defined(__SSE2__)
/* High bits where a byte is one of the `count` up to `last`: adding brings them to the top of the
   signed numbers, where one comparison finds them. */
static inline __m128i weir_in_range(__m128i bytes, char last, char count) {
    return _mm_cmpgt_epi8(_mm_add_epi8(bytes, _mm_set1_epi8((char)(127 - last))),
                          _mm_set1_epi8((char)(127 - count)));
}

static inline __m128i weir_letters(__m128i bytes) {
    return weir_in_range(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'z', 26);
}

static inline __m128i weir_digits_or_hyphens(__m128i bytes) {
    return _mm_or_si128(weir_in_range(bytes, '9', 10), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')));
}

/* Bits where a byte is neither a letter nor a digit nor a hyphen: names have nothing else, but for
   a few. */
static inline uint32_t weir_odd_name_bytes(__m128i bytes) {
    __m128i plain = _mm_or_si128(weir_letters(bytes), weir_digits_or_hyphens(bytes));
    return (uint32_t)_mm_movemask_epi8(plain) ^ 0xFFFF;
}

/* Bits where a byte is no letter, no '_', and not from '$' to '?' without '<' and '>': targets have
   nothing else, but for a few. */
static inline uint32_t weir_odd_target_bytes(__m128i bytes) {
    __m128i brackets = _mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8((char)0xFD)),
                                      _mm_set1_epi8('<'));
    __m128i plain = _mm_andnot_si128(brackets, weir_in_range(bytes, '?', '?' - '$' + 1));
    plain = _mm_or_si128(plain, weir_letters(bytes));
    plain = _mm_or_si128(plain, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('_')));
    return (uint32_t)_mm_movemask_epi8(plain) ^ 0xFFFF;
}
#endif

static inline size_t weir_scan_token(const uint8_t *p, size_t length) {
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 16 <= length; i += 16) {
        uint32_t odd = weir_odd_name_bytes(_mm_loadu_si128((const __m128i *)(p + i)));
        if (odd) return weir_scan_class(p, i + (size_t)__builtin_ctz(odd), length, 1);
    }
#endif
    return weir_scan_class(p, i, length, 1);
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
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 16 <= length; i += 16) {
        uint32_t odd = weir_odd_target_bytes(_mm_loadu_si128((const __m128i *)(p + i)));
        if (odd) return weir_scan_class(p, i + (size_t)__builtin_ctz(odd), length, 4);
    }
#endif
    return weir_scan_class(p, i, length, 4);
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

/* Up to sixteen bytes in two words, zeros behind them, without reading past them. */
typedef struct {
    uint64_t low, high;
} weir_words;

static inline weir_words weir_load_words(const uint8_t *p, size_t length) {
    weir_words words = {0, 0};
    uint32_t first, last;
    if (length >= 8) {
        memcpy(&words.low, p, 8);
        memcpy(&words.high, p + length - 8, 8);
        /* In two steps: shifting by all 64 bits is undefined. */
        if (length < 16) words.high = words.high >> (8 * (15 - length)) >> 8;
    } else if (length >= 4) {
        memcpy(&first, p, 4);
        memcpy(&last, p + length - 4, 4);
        words.low = first | (uint64_t)last << (8 * (length - 4));
    } else if (length) {
        words.low = p[0] | (uint64_t)p[length / 2] << (8 * (length / 2)) |
                    (uint64_t)p[length - 1] << (8 * (length - 1));
    }
    return words;
}

#if defined(__SSE2__)
static inline __m128i weir_load_vector(const uint8_t *p, size_t length) {
    if (length >= 16) return _mm_loadu_si128((const __m128i *)p);
    weir_words words = weir_load_words(p, length);
    return _mm_set_epi64x((long long)words.high, (long long)words.low);
}

static inline uint32_t weir_equal_bits(__m128i bytes, char wanted) {
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(wanted)));
}
#endif

/* The same as `weir_scan_path`, octet by octet. */
size_t weir_scan_path_plainly(const uint8_t *p, size_t length, uint32_t *traits);

/* Up to the first '?': returns its index, or `length`. In `*traits`, of what comes before it,
   bit 0: a '%'. Bit 1: "//". Bit 2: "/." or ";.". `readable` bytes may be looked at, of which
   `length` count. */
static inline size_t weir_scan_path(const uint8_t *p, size_t length, size_t readable,
                                    uint32_t *traits) {
#if defined(__SSE2__)
    /* Most paths have none of all that. Vectors overlap by a byte, so that every pair lies in one
       of them. */
    for (size_t i = 0;; i += 15) {
        __m128i b = weir_load_vector(p + i, readable - i);
        __m128i slash = _mm_cmpeq_epi8(b, _mm_set1_epi8('/'));
        __m128i odd = _mm_cmpeq_epi8(b, _mm_set1_epi8('?'));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(b, _mm_set1_epi8('%')));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(b, _mm_set1_epi8(';')));
        __m128i second = _mm_or_si128(slash, _mm_cmpeq_epi8(b, _mm_set1_epi8('.')));
        uint32_t found = (uint32_t)_mm_movemask_epi8(odd) |
                         ((uint32_t)_mm_movemask_epi8(slash) << 1 &
                          (uint32_t)_mm_movemask_epi8(second));
        size_t left = length - i;
        if (left < 16) found &= (1u << left) - 1;
        if (__builtin_expect(found != 0, 0)) break;
        if (left <= 16) {
            *traits = 0;
            return length;
        }
    }
#else
    (void)readable;
#endif
    return weir_scan_path_plainly(p, length, traits);
}

#if defined(__SSE2__)
static inline uint32_t weir_host_bytes(__m128i bytes) {
    return (uint32_t)_mm_movemask_epi8(
        _mm_or_si128(weir_in_range(bytes, 'z', 26), weir_digits_or_hyphens(bytes)));
}

/* As `weir_normal_host`, for up to 32 bytes, which nearly all fit into. */
static inline size_t weir_short_normal_host(const uint8_t *p, size_t length) {
    __m128i b = weir_load_vector(p, length);
    uint64_t ends = weir_equal_bits(b, ':'), dots = weir_equal_bits(b, '.');
    uint64_t fine = weir_host_bytes(b);
    if (length > 16) {
        b = _mm_loadu_si128((const __m128i *)(p + length - 16));
        ends |= (uint64_t)weir_equal_bits(b, ':') << (length - 16);
        dots |= (uint64_t)weir_equal_bits(b, '.') << (length - 16);
        fine |= (uint64_t)weir_host_bytes(b) << (length - 16);
    }
    size_t end = (size_t)__builtin_ctzll(ends | 1ull << length);
    if (end == 0) return 0;
    uint64_t own = (1ull << end) - 1;
    /* A dot at the front, behind a dot or at the end. */
    uint64_t odd = dots & (dots << 1 | 1 | 1ull << (end - 1));
    return ((~(fine | dots) | odd) & own) ? 0 : end;
}
#endif

/* Length of the name in "name" or "name:port", where it has only small letters, digits, hyphens
   and single dots, none of them at either end; 0 for anything else. The port is not looked at. */
static inline size_t weir_normal_host(const uint8_t *p, size_t length) {
#if defined(__SSE2__)
    if (length <= 32) return weir_short_normal_host(p, length);
#endif
    uint8_t before = '.';
    size_t i = 0;
    for (; i < length && p[i] != ':'; i++) {
        uint8_t c = p[i];
        if (!(weir_byte_class[c] & 16) && !(c == '.' && before != '.')) return 0;
        before = c;
    }
    return before == '.' ? 0 : i;
}

/* A number of 1 to 18 digits and nothing else; -1 otherwise. */
static inline int64_t weir_parse_decimal(const uint8_t *p, size_t length) {
    if (length - 1 >= 18) return -1;
    int64_t value = 0;
    for (const uint8_t *const end = p + length; p < end; p++) {
        uint32_t digit = (uint32_t)*p - '0';
        if (digit > 9) return -1;
        value = value * 10 + digit;
    }
    return value;
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

/* The last word overlaps the one before it; it is loaded before that is stored. */
static inline void weir_lowercase(uint8_t *p, size_t length) {
    if (length < 8) {
        for (size_t i = 0; i < length; i++)
            if (p[i] >= 'A' && p[i] <= 'Z') p[i] |= 0x20;
        return;
    }
    uint64_t last = weir_lowercased_word(p + length - 8);
    for (size_t i = 0; i + 8 < length; i += 8) {
        uint64_t word = weir_lowercased_word(p + i);
        memcpy(p + i, &word, 8);
    }
    memcpy(p + length - 8, &last, 8);
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
