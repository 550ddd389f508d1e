#include "text_write.h"

#include "byte_scan.h"

uint32_t weir_decimal_texts[2000];

/* Before main, so that no thread ever sees a half-filled table. */
__attribute__((constructor)) static void fill_decimal_texts(void) {
    for (uint32_t value = 0; value < 1000; value++) {
        uint32_t digits[3] = {'0' + value / 100, '0' + value / 10 % 10, '0' + value % 10};
        uint32_t padded = digits[0] | digits[1] << 8 | digits[2] << 16;
        uint32_t length = value < 10 ? 1 : value < 100 ? 2 : 3;
        weir_decimal_texts[value] = padded >> 8 * (3 - length) | length << 24;
        weir_decimal_texts[1000 + value] = padded | 3u << 24;
    }
}

size_t weir_write_long_decimal(uint8_t *p, uint64_t value) {
    size_t length = weir_write_decimal(p, value / 1000);
    return length + weir_write_entry(p + length, 1000 + value % 1000);
}

#if defined(__SSE2__)
/* As signed numbers, controls and what is above 0x7F are below a blank. */
static inline __m128i odd_text_bytes(__m128i b) {
    __m128i odd = _mm_cmpgt_epi8(_mm_set1_epi8(' '), b);
    odd = _mm_or_si128(odd, _mm_cmpeq_epi8(b, _mm_set1_epi8('"')));
    return _mm_or_si128(odd, _mm_cmpeq_epi8(b, _mm_set1_epi8('\\')));
}

uint32_t weir_copy_plain(uint8_t *to, const uint8_t *from, size_t length) {
    if (length < 16) {
        if (length == 0) return 0;
        __m128i b = weir_load_vector(from, length);
        _mm_storeu_si128((__m128i *)to, b);
        return (uint32_t)_mm_movemask_epi8(odd_text_bytes(b)) & ((1u << length) - 1);
    }
    /* The last sixteen first; the loop does some of them again. */
    const size_t last = length - 16;
    __m128i b = _mm_loadu_si128((const __m128i *)(from + last));
    _mm_storeu_si128((__m128i *)(to + last), b);
    __m128i odd = odd_text_bytes(b);
    size_t i = 0;
    for (; i + 16 < last; i += 32) {
        b = _mm_loadu_si128((const __m128i *)(from + i));
        __m128i c = _mm_loadu_si128((const __m128i *)(from + i + 16));
        _mm_storeu_si128((__m128i *)(to + i), b);
        _mm_storeu_si128((__m128i *)(to + i + 16), c);
        odd = _mm_or_si128(odd, _mm_or_si128(odd_text_bytes(b), odd_text_bytes(c)));
    }
    if (i < last) {
        b = _mm_loadu_si128((const __m128i *)(from + i));
        _mm_storeu_si128((__m128i *)(to + i), b);
        odd = _mm_or_si128(odd, odd_text_bytes(b));
    }
    return (uint32_t)_mm_movemask_epi8(odd);
}
#else
uint32_t weir_copy_plain(uint8_t *to, const uint8_t *from, size_t length) {
    uint32_t odd = 0;
    for (size_t i = 0; i < length; i++) {
        odd |= from[i] < ' ' || from[i] > 0x7F || from[i] == '"' || from[i] == '\\';
        to[i] = from[i];
    }
    return odd;
}
#endif
