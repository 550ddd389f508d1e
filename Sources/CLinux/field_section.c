#include "field_section.h"

#include "byte_scan.h"
#include "long_vectors.h"

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

/* The bytes that a line with this name begins with: `front` is what they are once those at the
   places of letters have been made small (`letters` has 0x20 there). Behind the colon both are
   0xFF, so that one comparison judges the name and its length, too. `back` has the last eight bytes
   of a name that is longer than sixteen. */
typedef struct {
    uint8_t front[16], letters[16];
    uint64_t back;
    uint8_t length;
    uint8_t name;
} __attribute__((aligned(64))) known_name;

/* Open addressing. Four times as many slots as names, and as many again behind the last one as
   there are names, so that probing never wraps around. */
#define SLOTS 256
static known_name slots[SLOTS + sizeof names / sizeof *names];
/* The number of TE, the only name that is too short for the table. */
static uint8_t te;

/* Of a name of at least three bytes and its colon: its first four bytes, with the bit set that
   makes a letter small (and leaves the colon behind three as it is), and its length. */
static inline uint32_t slot_of(const uint8_t *line, uint32_t length) {
    uint32_t front;
    memcpy(&front, line, 4);
    return (((front | 0x20202020) + length * 0x6245u) * 0x5BE2B0F7u) >> 24;
}

static inline int is_letter(uint8_t c) { return (uint8_t)((c | 0x20) - 'a') < 26; }

/* Before main, so that no thread ever sees a half-filled table. */
__attribute__((constructor)) static void fill_slots(void) {
    for (uint8_t i = 1; i < sizeof names / sizeof *names; i++) {
        const uint8_t *text = (const uint8_t *)names[i];
        known_name entry = {.length = (uint8_t)strlen(names[i]), .name = i};
        for (size_t k = 0; k < 16; k++) {
            int is_own = k < entry.length, is_colon = k == entry.length;
            entry.front[k] = is_own ? text[k] : is_colon ? ':' : 0xFF;
            entry.letters[k] = is_own ? (is_letter(text[k]) ? 0x20 : 0) : is_colon ? 0 : 0xFF;
        }
        if (entry.length > 16) entry.back = weir_word(text + entry.length - 8);
        if (entry.length == 2) te = i;
        if (entry.length < 3) continue;
        uint8_t line[4] = {0, 0, 0, ':'};
        memcpy(line, text, entry.length < 4 ? entry.length : 4);
        uint32_t slot = slot_of(line, entry.length);
        while (slots[slot].length) slot++;
        slots[slot] = entry;
    }
}

static inline int is_known(const known_name *known, const uint8_t *name, size_t length) {
    if (known->length != length) return 0;
#if defined(__SSE2__)
    __m128i letters = _mm_load_si128((const __m128i *)known->letters);
    __m128i bytes = _mm_or_si128(weir_load_vector(name, length), letters);
    __m128i same = _mm_cmpeq_epi8(bytes, _mm_load_si128((const __m128i *)known->front));
    uint32_t own = length < 16 ? (1u << length) - 1 : 0xFFFF;
    if (((uint32_t)_mm_movemask_epi8(same) & own) != own) return 0;
#else
    for (size_t i = 0; i < length && i < 16; i++)
        if ((name[i] | known->letters[i]) != known->front[i]) return 0;
#endif
    return length <= 16 || weir_lowercased_word(name + length - 8) == known->back;
}

uint8_t weir_field_name(const uint8_t *name, size_t length) {
    if (length == 2) return (name[0] | 0x20) == 't' && (name[1] | 0x20) == 'e' ? te : 0;
    if (length < 3 || length > LONGEST_NAME) return 0;
    uint8_t line[4] = {name[0], name[1], name[2], length > 3 ? name[3] : ':'};
    const known_name *known = &slots[slot_of(line, (uint32_t)length)];
    for (; known->length; known++)
        if (is_known(known, name, length)) return known->name;
    return 0;
}

/* Where a scan has come to, and what holds for all lines. */
typedef struct {
    const uint8_t *const head, *p, *const limit;
    weir_field_table *const table;
    const uint32_t max_fields, max_line;
} line_scan;

static inline uint8_t *line_of(const weir_field_table *table) {
    return (uint8_t *)(table->fields + WEIR_MAX_FIELDS);
}

static inline int is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static inline void add_line(line_scan *scan, uint32_t name_length, const uint8_t *value,
                            const uint8_t *value_end, const uint8_t *end, uint8_t name) {
    weir_field_table *table = scan->table;
    uint32_t start = (uint32_t)(scan->p - scan->head);
    table->fields[table->count] = (weir_field){
        .start = start,
        .name_end = start + name_length,
        .value_start = (uint32_t)(value - scan->head),
        .value_end = (uint32_t)(value_end - scan->head),
        .end = (uint32_t)(end - scan->head) + 2,
        .name = name,
    };
    uint64_t bit = 1ull << name;
    table->repeated |= table->present & bit;
    table->present |= bit;
    line_of(table)[name] = (uint8_t)table->count++;
    scan->p = end + 2;
}

/* No outcome: a line was added, and the next one follows. */
#define LINE_ADDED (WEIR_FIELDS_TOO_MANY + 1)

/* Any line, or the blank one: what every line is judged by, one way or the other. */
__attribute__((noinline)) static uint32_t scan_line(line_scan *scan) {
    const uint8_t *const p = scan->p, *const limit = scan->limit;
    if (p == limit) return WEIR_FIELDS_PARTIAL;
    size_t room = (size_t)(limit - p);
    if (*p == '\r') {
        if (room < 2) return WEIR_FIELDS_PARTIAL;
        scan->p += 2;
        return p[1] == '\n' ? WEIR_FIELDS_COMPLETE : WEIR_FIELDS_BARE_CR;
    }
    /* A name that is not in the list has to prove that it is a token (RFC 9110 section 5.1). */
    size_t length = weir_find_colon(p, room);
    uint8_t name = length < room ? weir_field_name(p, length) : 0;
    if (!name) {
        size_t token = weir_scan_token(p, room);
        if (token == room) return WEIR_FIELDS_PARTIAL;
        if (token != length || length == 0) return WEIR_FIELDS_BAD_NAME;
        scan->table->has_underscore |= weir_find_byte(p, '_', token) < token;
    }
    const uint8_t *value = p + length + 1;
    while (value < limit && is_blank(*value)) value++;
    const uint8_t *end = value + weir_scan_value(value, (size_t)(limit - value));
    if (limit - end < 2)
        return end < limit && *end != '\r' ? WEIR_FIELDS_BAD_VALUE : WEIR_FIELDS_PARTIAL;
    if (end[0] != '\r') return WEIR_FIELDS_BAD_VALUE;
    if (end[1] != '\n') return WEIR_FIELDS_BARE_CR;
    if (end - p > scan->max_line) return WEIR_FIELDS_LONG_LINE;
    if (scan->table->count == scan->max_fields) return WEIR_FIELDS_TOO_MANY;
    const uint8_t *value_end = end;
    while (value_end > value && is_blank(value_end[-1])) value_end--;
    add_line(scan, (uint32_t)length, value, value_end, end, name);
    return LINE_ADDED;
}

#if defined(__SSE2__)
/* Bits where a byte is not printable ASCII: one more than 0x7E is negative, and one more than what
   is below 0x20 is not above it. */
static inline uint32_t odd_value_bytes(const uint8_t *p) {
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    __m128i printable = _mm_cmpgt_epi8(_mm_add_epi8(b, _mm_set1_epi8(1)), _mm_set1_epi8(0x20));
    return (uint32_t)_mm_movemask_epi8(printable) ^ 0xFFFF;
}

#if defined(WEIR_LONG_VECTORS)
/* The same of 32 bytes. */
WEIR_WITH_LONG_VECTORS static inline uint32_t odd_value_bytes_32(const uint8_t *p) {
    __m256i b = _mm256_loadu_si256((const __m256i *)p);
    __m256i printable =
        _mm256_cmpgt_epi8(_mm256_add_epi8(b, _mm256_set1_epi8(1)), _mm256_set1_epi8(0x20));
    return ~(uint32_t)_mm256_movemask_epi8(printable);
}
#else
static inline uint32_t odd_value_bytes_32(const uint8_t *p) { return odd_value_bytes(p); }
#endif

/* A name of 16 to 31 bytes, of which all that matter lie before `p + 32`: its length, and above
   that its number; 0 where `scan_line` must look. */
__attribute__((noinline)) static uint32_t scan_long_name(const uint8_t *p) {
    __m128i front = _mm_loadu_si128((const __m128i *)p);
    __m128i back = _mm_loadu_si128((const __m128i *)(p + 16));
    uint32_t colons = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(back, _mm_set1_epi8(':')));
    if (!colons) return 0;
    uint32_t behind = (uint32_t)__builtin_ctz(colons), length = 16 + behind;
    uint32_t name = weir_field_name(p, length);
    if (name) return length | name << 8;
    uint32_t odd = weir_odd_name_bytes(front) | (weir_odd_name_bytes(back) & ((1u << behind) - 1));
    return odd ? 0 : length;
}

/* The slow way to the end of a value that has more than printable ASCII, at `at` for the first
   time. Returns 0 where no CRLF follows within `limit`. */
__attribute__((noinline)) static size_t rest_of_value(const uint8_t *head, size_t at,
                                                      size_t limit) {
    at += weir_scan_value(head + at, limit - at);
    return limit - at >= 2 && memcmp(head + at, "\r\n", 2) == 0 ? at : 0;
}

/* The number of a name that is not in the first of its slots; 0 where it is in none of them. */
__attribute__((noinline)) static uint32_t probe_name(const known_name *known, __m128i b) {
    for (; known->name; known++) {
        __m128i front = _mm_load_si128((const __m128i *)known->front);
        __m128i letters = _mm_load_si128((const __m128i *)known->letters);
        __m128i same = _mm_cmpeq_epi8(_mm_or_si128(b, letters), front);
        if (_mm_movemask_epi8(same) == 0xFFFF) return known->name;
    }
    return 0;
}

/* Takes lines as long as they are like nearly all lines: nothing is taken that `scan_line` would
   judge otherwise, and everything else is left to it. `has_long_vectors` is a constant to each of
   the two functions that this is a part of. */
__attribute__((always_inline)) static inline void scan_ordinary_lines(line_scan *scan,
                                                                      int has_long_vectors) {
    const uint8_t *const head = scan->head;
    size_t at = (size_t)(scan->p - head), length = (size_t)(scan->limit - head);
    weir_field_table *const table = scan->table;
    uint32_t count = table->count;
    const uint32_t max_fields = scan->max_fields;
    /* Two bytes can be looked at behind all that is scanned here, and no line in it is too long. */
    if (length - at < 20) return;
    length = length - at - 2 > scan->max_line ? at + scan->max_line : length - 2;
    /* A short name, its colon, a blank and one byte more can be looked at without a question. */
    if (length - at < 18 || count >= max_fields) return;
    const size_t last_start = length - 18, last_vector = length - 16;
    /* Nothing is looked at before `at`, so that 0 is in front of everything. */
    const size_t last_long = has_long_vectors && length >= 32 ? length - 32 : 0;
    weir_field *const fields = table->fields;
    uint64_t present = table->present, repeated = table->repeated;
    while (head[at] != '\r') {
        __m128i b = _mm_loadu_si128((const __m128i *)(head + at));
        uint32_t colons = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(b, _mm_set1_epi8(':')));
        size_t name_end, value, end;
        uint32_t name;
        if (__builtin_expect(colons != 0, 1)) {
            uint32_t name_length = (uint32_t)__builtin_ctz(colons);
            if (name_length < 3) break;
            name_end = at + name_length;
            const known_name *known = &slots[slot_of(head + at, name_length)];
            __m128i front = _mm_load_si128((const __m128i *)known->front);
            __m128i letters = _mm_load_si128((const __m128i *)known->letters);
            __m128i same = _mm_cmpeq_epi8(_mm_or_si128(b, letters), front);
            name = known->name;
            if (__builtin_expect(_mm_movemask_epi8(same) != 0xFFFF, 0)) {
                if (name) name = probe_name(known + 1, b);
                /* One that is not in the list must be a token. */
                if (!name && weir_odd_name_bytes(b) & ((colons & -colons) - 1)) break;
            }
        } else {
            name = length - at >= 34 ? scan_long_name(head + at) : 0;
            if (!name) break;
            name_end = at + (name & 0xFF);
            name >>= 8;
        }
        value = name_end + (__builtin_expect(head[name_end + 1] == ' ', 1) ? 2 : 1);
        if (head[value] <= ' ') break;
        uint32_t odd;
        for (end = value, odd = 0; has_long_vectors && end <= last_long; end += 32) {
            odd = odd_value_bytes_32(head + end);
            if (odd) break;
        }
        for (; !odd; end += 16) {
            if (end > last_vector) {
                odd = odd_value_bytes(head + last_vector) >> (end - last_vector);
                break;
            }
            odd = odd_value_bytes(head + end);
            if (odd) break;
        }
        if (!odd) break;
        end += (uint32_t)__builtin_ctz(odd);
        if (__builtin_expect(memcmp(head + end, "\r\n", 2) != 0, 0)) {
            end = rest_of_value(head, end, length);
            if (!end) break;
        }
        if (head[end - 1] <= ' ') break;
        weir_field *field = fields + count;
        field->start = (uint32_t)at;
        field->name_end = (uint32_t)name_end;
        field->value_start = (uint32_t)value;
        field->value_end = (uint32_t)end;
        at = end + 2;
        field->end = (uint32_t)at;
        field->name = (uint8_t)name;
        ((uint8_t *)(fields + WEIR_MAX_FIELDS))[name] = (uint8_t)count++;
        uint64_t bit = 1ull << name;
        repeated |= present & bit;
        present |= bit;
        if (at > last_start || count == max_fields) break;
    }
    scan->p = head + at;
    table->count = count;
    table->present = present;
    table->repeated = repeated;
}
#endif

static inline weir_field_section end_scan(line_scan *scan, uint32_t outcome) {
    /* The CR of a line as long as its limit may have come without its LF. */
    if (outcome == WEIR_FIELDS_PARTIAL && scan->limit - scan->p > (int64_t)scan->max_line + 1)
        outcome = WEIR_FIELDS_LONG_LINE;
    scan->table->present &= ~1ull;
    return (weir_field_section){(uint32_t)(scan->p - scan->head), outcome};
}

static inline line_scan begin_scan(weir_field_table *table, const uint8_t *head, uint32_t start,
                                   uint32_t length, uint32_t max_fields, uint32_t max_line) {
    table->count = 0;
    table->present = table->repeated = 0;
    table->has_underscore = 0;
    return (line_scan){head, head + start, head + length, table, max_fields, max_line};
}

/* To the end of the section, or to what ends the scan. */
__attribute__((always_inline)) static inline weir_field_section scan_section(line_scan *scan,
                                                                             int has_long_vectors) {
    for (;;) {
#if defined(__SSE2__)
        scan_ordinary_lines(scan, has_long_vectors);
        if (scan->limit - scan->p >= 2 && scan->p[0] == '\r' && scan->p[1] == '\n') {
            scan->p += 2;
            return end_scan(scan, WEIR_FIELDS_COMPLETE);
        }
#endif
        uint32_t outcome = scan_line(scan);
        if (outcome != LINE_ADDED) return end_scan(scan, outcome);
    }
}

weir_field_section weir_scan_fields_shortly(weir_field_table *table, const uint8_t *head,
                                            uint32_t start, uint32_t length, uint32_t max_fields,
                                            uint32_t max_line) {
    line_scan scan = begin_scan(table, head, start, length, max_fields, max_line);
    return scan_section(&scan, 0);
}

#if defined(WEIR_LONG_VECTORS)
WEIR_WITH_LONG_VECTORS static weir_field_section scan_fields_longly(
    weir_field_table *table, const uint8_t *head, uint32_t start, uint32_t length,
    uint32_t max_fields, uint32_t max_line) {
    line_scan scan = begin_scan(table, head, start, length, max_fields, max_line);
    return scan_section(&scan, 1);
}
#endif

weir_field_section weir_scan_fields(weir_field_table *table, const uint8_t *head, uint32_t start,
                                    uint32_t length, uint32_t max_fields, uint32_t max_line) {
#if defined(WEIR_LONG_VECTORS)
    if (weir_has_long_vectors)
        return scan_fields_longly(table, head, start, length, max_fields, max_line);
#endif
    return weir_scan_fields_shortly(table, head, start, length, max_fields, max_line);
}

weir_field_section weir_scan_fields_plainly(weir_field_table *table, const uint8_t *head,
                                            uint32_t start, uint32_t length, uint32_t max_fields,
                                            uint32_t max_line) {
    line_scan scan = begin_scan(table, head, start, length, max_fields, max_line);
    uint32_t outcome;
    do outcome = scan_line(&scan);
    while (outcome == LINE_ADDED);
    return end_scan(&scan, outcome);
}

/* A copy of runs of lines: lines follow each other without gaps. */
typedef struct {
    const uint8_t *run;
    uint8_t *target, *limit;
} run_copy;

/* Copies the run up to `end`; false where there is no room. */
static inline int copy_run(run_copy *copy, const uint8_t *end) {
    size_t length = (size_t)(end - copy->run);
    if (length > (size_t)(copy->limit - copy->target)) return 0;
    if (length) memcpy(copy->target, copy->run, length);
    copy->target += length;
    return 1;
}

/* Copies what lies before and between the lines whose bits are set. */
static inline int copy_around(run_copy *copy, const uint8_t *head, const weir_field *lines,
                              uint64_t dropped) {
    for (; dropped; dropped &= dropped - 1) {
        const weir_field *line = lines + __builtin_ctzll(dropped);
        if (!copy_run(copy, head + line->start)) return 0;
        copy->run = head + line->end;
    }
    return 1;
}

__attribute__((noinline)) static int copy_around_all(run_copy *copy, const weir_field_table *table,
                                                     const uint8_t *head, uint64_t names,
                                                     const uint64_t *mask) {
    for (uint32_t i = 0; i < table->count; i += 64) {
        uint64_t dropped = mask[i >> 6];
        for (uint32_t k = i; k < table->count && k < i + 64; k++)
            dropped |= (names >> table->fields[k].name & 1) << (k & 63);
        if (!copy_around(copy, head, table->fields + i, dropped)) return 0;
    }
    return 1;
}

size_t weir_copy_fields(const weir_field_table *table, const uint8_t *head, uint64_t drop,
                        const uint64_t *mask, uint8_t *target, size_t room) {
    const uint32_t count = table->count;
    if (count == 0) return 0;
    const weir_field *const fields = table->fields;
    run_copy copy = {head + fields->start, target, target + room};
    uint64_t names = table->present & drop, dropped = mask[0];
    if (count > 64 || names & table->repeated) {
        if (!copy_around_all(&copy, table, head, names, mask)) return SIZE_MAX;
    } else {
        for (; names; names &= names - 1)
            dropped |= 1ull << line_of(table)[__builtin_ctzll(names)];
        if (!copy_around(&copy, head, fields, dropped)) return SIZE_MAX;
    }
    if (!copy_run(&copy, head + fields[count - 1].end)) return SIZE_MAX;
    return (size_t)(copy.target - target);
}
