#include "field_section.h"

#include "byte_scan.h"

/* Up to 24 all of a name is compared: its first sixteen bytes and its last eight. */
#define LONGEST_NAME 21

/* In the order of `FieldName`. */
static const char *const names[] = {
    "",
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "cache-status",
    "cache-tag",
    "cdn-cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "location",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "range",
    "referer",
    "retry-after",
    "sec-websocket-key",
    "server",
    "set-cookie",
    "surrogate-control",
    "surrogate-key",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "weir-cache-control",
    "x-client-cert-sha256",
    "x-client-cert-subject",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-original-host",
    "x-original-url",
    "x-request-id",
    "x-rewrite-url",
};

/* A name padded with zeros, and its last eight bytes again where it is longer than sixteen. */
typedef struct {
    uint8_t front[16];
    uint64_t back;
    uint8_t length;
    uint8_t name;
} known_name;

/* Open addressing by length and first eight bytes. Four times as many slots as names, and as many
   again behind the last one as there are names, so that probing never wraps around. */
#define SLOTS 256
static known_name slots[SLOTS + sizeof names / sizeof *names];

static inline uint32_t slot_of(uint64_t first_word, size_t length) {
    return (uint32_t)(((first_word + length) * 0x9E3779B97F4A7C15ull) >> 56);
}

/* Sixteen bytes of a name in lower case, with zeros behind the `length` that are its own. */
static inline void copy_front(uint8_t *front, const uint8_t *name, size_t length) {
    memset(front, 0, 16);
    memcpy(front, name, length < 16 ? length : 16);
    weir_lowercase(front, 16);
}

/* Before main, so that no thread ever sees a half-filled table. */
__attribute__((constructor)) static void fill_slots(void) {
    for (uint8_t i = 1; i < sizeof names / sizeof *names; i++) {
        const uint8_t *text = (const uint8_t *)names[i];
        known_name entry = {.length = (uint8_t)strlen(names[i]), .name = i};
        copy_front(entry.front, text, entry.length);
        if (entry.length > 16) entry.back = weir_word(text + entry.length - 8);
        uint32_t slot = slot_of(weir_word(entry.front), entry.length);
        while (slots[slot].length) slot++;
        slots[slot] = entry;
    }
}

uint8_t weir_field_name(const uint8_t *name, size_t length) {
    if (length == 0 || length > LONGEST_NAME) return 0;
    uint8_t front[16];
    copy_front(front, name, length);
    const known_name *known = &slots[slot_of(weir_word(front), length)];
    for (; known->length; known++)
        if (known->length == length && memcmp(front, known->front, 16) == 0 &&
            (length <= 16 || weir_lowercased_word(name + length - 8) == known->back))
            return known->name;
    return 0;
}

/* What a line's name turned out to be: `outcome` is WEIR_FIELDS_COMPLETE where it may stand. */
typedef struct {
    const uint8_t *end;
    uint8_t name, outcome, has_underscore;
} scanned_name;

/* Any name. One that is not in the list has to prove that it is a token (RFC 9110 section 5.1). */
__attribute__((noinline)) static scanned_name scan_name(const uint8_t *p, const uint8_t *limit) {
    size_t room = (size_t)(limit - p), length = weir_find_colon(p, room);
    scanned_name found = {p + length, 0, WEIR_FIELDS_COMPLETE, 0};
    if (length < room) found.name = weir_field_name(p, length);
    if (found.name) return found;
    size_t token = weir_scan_token(p, room);
    if (token == room) found.outcome = WEIR_FIELDS_PARTIAL;
    else if (token != length || length == 0) found.outcome = WEIR_FIELDS_BAD_NAME;
    found.has_underscore = weir_find_byte(p, '_', token) < token;
    return found;
}

#if defined(__SSE2__)
static const uint8_t ones_then_zeros[32] = {
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
};

static inline __m128i in_range(__m128i bytes, char low, char high) {
    return _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8((char)(low - 1))),
                         _mm_cmpgt_epi8(_mm_set1_epi8((char)(high + 1)), bytes));
}

/* A name that ends within sixteen bytes and is in the list, or has nothing but letters, digits and
   hyphens, which nearly all have: returns its length, or 0 where `scan_name` must look. */
static inline uint32_t scan_short_name(const uint8_t *p, uint8_t *name) {
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    uint32_t colons = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(b, _mm_set1_epi8(':')));
    uint32_t length = (uint32_t)__builtin_ctz(colons | 0x10000);
    if (length == 0 || length == 16) return 0;
    __m128i mask = _mm_loadu_si128((const __m128i *)(ones_then_zeros + 16 - length));
    __m128i capital = _mm_and_si128(in_range(b, 'A', 'Z'), _mm_set1_epi8(0x20));
    __m128i front = _mm_and_si128(_mm_or_si128(b, capital), mask);
    const known_name *known = &slots[slot_of((uint64_t)_mm_cvtsi128_si64(front), length)];
    for (; known->length; known++) {
        __m128i other = _mm_loadu_si128((const __m128i *)known->front);
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(front, other)) == 0xFFFF && known->length == length) {
            *name = known->name;
            return length;
        }
    }
    __m128i plain = _mm_or_si128(in_range(front, 'a', 'z'), in_range(front, '0', '9'));
    plain = _mm_or_si128(plain, _mm_cmpeq_epi8(front, _mm_set1_epi8('-')));
    uint32_t counted = (1u << length) - 1;
    *name = 0;
    return ((uint32_t)_mm_movemask_epi8(plain) & counted) == counted ? length : 0;
}

/* High bits where a byte may not stand in a field value (RFC 9110 section 5.5). */
static inline uint32_t value_faults(const uint8_t *p) {
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(b, _mm_set1_epi8(0x1F)), b);
    control = _mm_andnot_si128(_mm_cmpeq_epi8(b, _mm_set1_epi8('\t')), control);
    control = _mm_or_si128(control, _mm_cmpeq_epi8(b, _mm_set1_epi8(0x7F)));
    return (uint32_t)_mm_movemask_epi8(control);
}

/* The first byte that no value has; at least sixteen bytes lie before `limit` from `first` on, so
   the last vector may overlap the one before it. */
static inline const uint8_t *end_of_value(const uint8_t *p, const uint8_t *limit) {
    const uint8_t *last = limit - 16;
    for (; p <= last; p += 16) {
        uint32_t faults = value_faults(p);
        if (faults) return p + __builtin_ctz(faults);
    }
    uint32_t faults = value_faults(last) >> (p - last);
    return faults ? p + __builtin_ctz(faults) : limit;
}
#endif

static inline int is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

weir_field_section weir_scan_fields(const uint8_t *head, uint32_t start, uint32_t length,
                                    weir_field *fields, uint32_t max_fields, uint32_t max_line) {
    const uint8_t *p = head + start, *const limit = head + length;
    weir_field *next = fields, *const last = fields + max_fields;
    uint64_t present = 0, has_underscore = 0;
    uint32_t outcome = WEIR_FIELDS_PARTIAL;
    for (; p < limit; outcome = WEIR_FIELDS_PARTIAL) {
        if (*p == '\r') {
            if (limit - p < 2) break;
            outcome = p[1] == '\n' ? WEIR_FIELDS_COMPLETE : WEIR_FIELDS_BARE_CR;
            p += 2;
            goto done;
        }
        const uint8_t *name_end = p, *value, *end;
        uint8_t name = 0;
#if defined(__SSE2__)
        if (limit - p >= 16) name_end += scan_short_name(p, &name);
#endif
        if (name_end == p) {
            scanned_name found = scan_name(p, limit);
            outcome = found.outcome;
            if (outcome == WEIR_FIELDS_PARTIAL) break;
            if (outcome != WEIR_FIELDS_COMPLETE) goto done;
            name_end = found.end;
            name = found.name;
            has_underscore |= found.has_underscore;
            outcome = WEIR_FIELDS_PARTIAL;
        }
        for (value = name_end + 1; value < limit && is_blank(*value); value++) {}
#if defined(__SSE2__)
        if (length >= 16) end = end_of_value(value, limit);
        else
#endif
            end = value + weir_scan_value(value, (size_t)(limit - value));
        if (limit - end < 2) {
            outcome = end < limit && *end != '\r' ? WEIR_FIELDS_BAD_VALUE : WEIR_FIELDS_PARTIAL;
            if (outcome == WEIR_FIELDS_PARTIAL) break;
            goto done;
        }
        if (end[0] != '\r' || end[1] != '\n') {
            outcome = *end == '\r' ? WEIR_FIELDS_BARE_CR : WEIR_FIELDS_BAD_VALUE;
            goto done;
        }
        if (end - p > max_line) {
            outcome = WEIR_FIELDS_LONG_LINE;
            goto done;
        }
        if (next == last) {
            outcome = WEIR_FIELDS_TOO_MANY;
            goto done;
        }
        const uint8_t *value_end = end;
        while (value_end > value && is_blank(value_end[-1])) value_end--;
        next->start = (uint32_t)(p - head);
        next->name_end = (uint32_t)(name_end - head);
        next->value_start = (uint32_t)(value - head);
        next->value_end = (uint32_t)(value_end - head);
        next->end = (uint32_t)(end - head) + 2;
        next->name = name;
        next++;
        present |= 1ull << name;
        p = end + 2;
    }
    /* The CR of a line as long as its limit may have come without its LF. */
    if (limit - p > (int64_t)max_line + 1) outcome = WEIR_FIELDS_LONG_LINE;
done:
    return (weir_field_section){(uint32_t)(p - head), (uint32_t)(next - fields),
                                (present & ~1ull) | has_underscore, outcome};
}

size_t weir_copy_fields(const uint8_t *head, const weir_field *fields, uint32_t count,
                        uint64_t drop, const uint64_t *mask, uint8_t *target, size_t room) {
    size_t written = 0;
    uint32_t run_start = 0, run_end = 0;
    const weir_field *const last = fields + count;
    uint64_t marked = 0;
    drop &= ~1ull;
    for (const weir_field *field = fields; field < last; field++, marked >>= 1) {
        if (mask && !((field - fields) & 63)) marked = mask[(field - fields) >> 6];
        if ((drop >> field->name | marked) & 1) continue;
        if (field->start != run_end) {
            if (run_end - run_start > room - written) return SIZE_MAX;
            memcpy(target + written, head + run_start, run_end - run_start);
            written += run_end - run_start;
            run_start = field->start;
        }
        run_end = field->end;
    }
    if (run_end - run_start > room - written) return SIZE_MAX;
    memcpy(target + written, head + run_start, run_end - run_start);
    return written + (run_end - run_start);
}
