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
    "connection",
    "content-encoding",
    "content-length",
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

/* Open addressing by the first two and the last two bytes. Four times as many slots as names, and
   as many again behind the last one as there are names, so that probing never wraps around; with
   this factor names meet only where those bytes are the same. */
#define SLOTS 256
static known_name slots[SLOTS + sizeof names / sizeof *names];

/* The ends of a name of at least two bytes, with the bit set that makes a letter small. */
static inline uint32_t slot_of(const uint8_t *name, size_t length) {
    uint16_t first, last;
    memcpy(&first, name, 2);
    memcpy(&last, name + length - 2, 2);
    return ((first | (uint32_t)last << 16 | 0x20202020) * 0x5CD5061Du) >> 24;
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
        uint32_t slot = slot_of(text, entry.length);
        while (slots[slot].length) slot++;
        slots[slot] = entry;
    }
}

static int is_known(const known_name *known, const uint8_t *name, size_t length) {
    if (known->length != length) return 0;
    for (size_t i = 0; i < length && i < 16; i++)
        if ((name[i] | known->letters[i]) != known->front[i]) return 0;
    return length <= 16 || weir_lowercased_word(name + length - 8) == known->back;
}

uint8_t weir_field_name(const uint8_t *name, size_t length) {
    if (length < 2 || length > LONGEST_NAME) return 0;
    for (const known_name *known = &slots[slot_of(name, length)]; known->length; known++)
        if (is_known(known, name, length)) return known->name;
    return 0;
}

/* Where a scan has come to, and what holds for all lines. */
typedef struct {
    const uint8_t *const head, *p, *const limit;
    weir_field_table *const table;
    const uint32_t max_fields, max_line;
} line_scan;

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
    table->line_of[name] = (uint8_t)table->count++;
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

/* A name of 16 to 31 bytes, of which all that matter lie before `p + 32`: its length, and above that
   its number; 0 where `scan_line` must look. */
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

static inline int is_line_end(const uint8_t *head, size_t at, size_t length) {
    return at + 2 <= length && memcmp(head + at, "\r\n", 2) == 0;
}

/* Where a value ends that has more than printable ASCII, at `at` for the first time. */
__attribute__((noinline)) static size_t rest_of_value(const uint8_t *head, size_t at, size_t end) {
    return at + weir_scan_value(head + at, end - at);
}

/* Takes lines as long as they are like nearly all lines: nothing is taken that `scan_line` would
   judge otherwise, and everything else is left to it. */
static inline void scan_ordinary_lines(line_scan *scan) {
    const uint8_t *const head = scan->head;
    const size_t length = (size_t)(scan->limit - head);
    size_t at = (size_t)(scan->p - head);
    weir_field_table *const table = scan->table;
    /* A short name, its colon, a blank and one byte more can be looked at without a question. */
    if (length - at < 18 || table->count >= scan->max_fields) return;
    const size_t last_start = length - 18, last_vector = length - 16, max_line = scan->max_line;
    uint8_t *const line_of = table->line_of;
    uint64_t present = table->present, repeated = table->repeated;
    weir_field *field = table->fields + table->count;
    weir_field *const room_ends = table->fields + scan->max_fields;
    uint32_t count = table->count;
    while (head[at] != '\r') {
        __m128i b = _mm_loadu_si128((const __m128i *)(head + at));
        uint32_t colons = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(b, _mm_set1_epi8(':')));
        size_t name_end, value, end;
        uint32_t name;
        if (colons) {
            size_t name_length = (uint32_t)__builtin_ctz(colons);
            if (name_length < 2) break;
            name_end = at + name_length;
            const known_name *known = &slots[slot_of(head + at, name_length)];
            for (;; known++) {
                __m128i front = _mm_load_si128((const __m128i *)known->front);
                __m128i letters = _mm_load_si128((const __m128i *)known->letters);
                __m128i same = _mm_cmpeq_epi8(_mm_or_si128(b, letters), front);
                name = known->name;
                if (_mm_movemask_epi8(same) == 0xFFFF || !name) break;
            }
            if (!name && weir_odd_name_bytes(b) & ((colons & -colons) - 1)) break;
        } else {
            name = length - at >= 34 ? scan_long_name(head + at) : 0;
            if (!name) break;
            name_end = at + (name & 0xFF);
            name >>= 8;
        }
        value = name_end + (__builtin_expect(head[name_end + 1] == ' ', 1) ? 2 : 1);
        if (head[value] <= ' ') break;
        uint32_t odd;
        for (end = value;; end += 16) {
            if (end > last_vector) {
                odd = odd_value_bytes(head + last_vector) >> (end - last_vector);
                break;
            }
            odd = odd_value_bytes(head + end);
            if (odd) break;
        }
        if (!odd) break;
        end += (uint32_t)__builtin_ctz(odd);
        if (__builtin_expect(!is_line_end(head, end, length), 0)) {
            end = rest_of_value(head, end, length);
            if (!is_line_end(head, end, length)) break;
        }
        if (head[end - 1] <= ' ' || end - at > max_line) break;
        size_t next = end + 2;
        field->start = (uint32_t)at;
        field->name_end = (uint32_t)name_end;
        field->value_start = (uint32_t)value;
        field->value_end = (uint32_t)end;
        field->end = (uint32_t)next;
        field->name = (uint8_t)name;
        field++;
        line_of[name] = (uint8_t)count++;
        uint64_t bit = 1ull << name;
        repeated |= present & bit;
        present |= bit;
        at = next;
        if (at > last_start || field == room_ends) break;
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

#define BEGIN_SCAN                                                                             \
    table->count = 0;                                                                          \
    table->present = table->repeated = 0;                                                      \
    table->has_underscore = 0;                                                                 \
    line_scan scan = {head, head + start, head + length, table, max_fields, max_line}

weir_field_section weir_scan_fields(weir_field_table *table, const uint8_t *head, uint32_t start,
                                    uint32_t length, uint32_t max_fields, uint32_t max_line) {
    BEGIN_SCAN;
    for (;;) {
#if defined(__SSE2__)
        scan_ordinary_lines(&scan);
        if (scan.limit - scan.p >= 2 && scan.p[0] == '\r' && scan.p[1] == '\n') {
            scan.p += 2;
            return end_scan(&scan, WEIR_FIELDS_COMPLETE);
        }
#endif
        uint32_t outcome = scan_line(&scan);
        if (outcome != LINE_ADDED) return end_scan(&scan, outcome);
    }
}

weir_field_section weir_scan_fields_plainly(weir_field_table *table, const uint8_t *head,
                                            uint32_t start, uint32_t length, uint32_t max_fields,
                                            uint32_t max_line) {
    BEGIN_SCAN;
    uint32_t outcome;
    do outcome = scan_line(&scan);
    while (outcome == LINE_ADDED);
    return end_scan(&scan, outcome);
}

/* One bit for each line that is left out. */
static inline void mark_dropped(const weir_field_table *table, uint64_t drop, uint64_t *marks) {
    uint64_t names = table->present & drop;
    if (names & table->repeated) {
        for (uint32_t i = 0; i < table->count; i++)
            marks[i >> 6] |= (names >> table->fields[i].name & 1) << (i & 63);
        return;
    }
    for (; names; names &= names - 1) {
        uint8_t line = table->line_of[__builtin_ctzll(names)];
        marks[line >> 6] |= 1ull << (line & 63);
    }
}

size_t weir_copy_fields(const weir_field_table *table, const uint8_t *head, uint64_t drop,
                        const uint64_t *mask, uint8_t *target, size_t room) {
    if (table->count == 0) return 0;
    uint64_t marks[4] = {0, 0, 0, 0};
    if (mask) memcpy(marks, mask, sizeof marks);
    mark_dropped(table, drop, marks);
    /* Lines follow each other without gaps, so what lies between two marks is one run. */
    const uint8_t *run = head + table->fields->start;
    uint8_t *const start = target, *const limit = target + room;
    for (uint32_t i = 0; i * 64 < table->count; i++) {
        for (uint64_t left = marks[i]; left; left &= left - 1) {
            const weir_field *line = table->fields + i * 64 + __builtin_ctzll(left);
            size_t length = (size_t)(head + line->start - run);
            if (length > (size_t)(limit - target)) return SIZE_MAX;
            if (length) memcpy(target, run, length);
            target += length;
            run = head + line->end;
        }
    }
    size_t length = (size_t)(head + table->fields[table->count - 1].end - run);
    if (length > (size_t)(limit - target)) return SIZE_MAX;
    memcpy(target, run, length);
    return (size_t)(target - start) + length;
}
