#include "text_write.h"

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
