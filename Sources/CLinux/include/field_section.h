/* The field lines of one head: found, judged and named in one pass, and copied in runs.

   One call for a whole section keeps what it looks at in registers; the same work line by line from
   Swift took three times the instructions (docs/PERFORMANCE.md). Nothing here reads past `length`
   or writes past the room that it was given. */
#ifndef WEIR_FIELD_SECTION_H
#define WEIR_FIELD_SECTION_H

#include <stddef.h>
#include <stdint.h>

/* One field line: offsets into the head. `end` is behind the CRLF, the value is without the blanks
   around it, `name` is 0 for a name that weir does not act upon (the numbers are those of
   `FieldName` in Sources/HTTP, and a test compares the two lists). */
typedef struct {
    uint32_t start, name_end, value_start, value_end, end;
    uint8_t name;
} weir_field;

enum weir_fields_outcome {
    WEIR_FIELDS_COMPLETE,
    /* More bytes are needed. */
    WEIR_FIELDS_PARTIAL,
    WEIR_FIELDS_BARE_CR,
    WEIR_FIELDS_BAD_NAME,
    WEIR_FIELDS_BAD_VALUE,
    WEIR_FIELDS_LONG_LINE,
    WEIR_FIELDS_TOO_MANY,
};

#define WEIR_MAX_FIELDS 256

/* The lines of one section. The memory of `fields` belongs to the caller. */
typedef struct {
    /* Room for WEIR_MAX_FIELDS lines, and behind that 64 bytes: by the number of a name the last of
       its lines, where it is present. */
    weir_field *fields;
    /* Bit n: there is a field whose name has the number n; and there is more than one. Bit 0 of
       `present` is not set, bit 0 of `repeated` means nothing. */
    uint64_t present, repeated;
    uint32_t count;
    /* An unknown name has an underscore in it. */
    uint32_t has_underscore;
} weir_field_table;

typedef struct {
    /* Behind the blank line, where complete. */
    uint32_t end;
    uint32_t outcome;
} weir_field_section;

/* Scans the lines from `start` up to and including the blank line into `table`, at most
   `max_fields` (up to WEIR_MAX_FIELDS); `max_line` is the longest line without its CRLF. */
weir_field_section weir_scan_fields(weir_field_table *table, const uint8_t *head, uint32_t start,
                                    uint32_t length, uint32_t max_fields, uint32_t max_line);

/* The same with vectors of sixteen bytes only, for machines that have no longer ones. */
weir_field_section weir_scan_fields_shortly(weir_field_table *table, const uint8_t *head,
                                            uint32_t start, uint32_t length, uint32_t max_fields,
                                            uint32_t max_line);

/* The same, line by line without vectors: what machines without them have, and what the others
   are compared with in tests. */
weir_field_section weir_scan_fields_plainly(weir_field_table *table, const uint8_t *head,
                                            uint32_t start, uint32_t length, uint32_t max_fields,
                                            uint32_t max_line);

/* The number of a name in any case; 0 where it is not in the list. */
uint8_t weir_field_name(const uint8_t *name, size_t length);

/* Copies the lines whose name's bit is not in `drop` and whose index is not in `mask` (four
   words); bit 0 of `drop` is not looked at. Neighbours go in one copy. Returns the bytes
   written, or SIZE_MAX where they do not fit into `room`. */
size_t weir_copy_fields(const weir_field_table *table, const uint8_t *head, uint64_t drop,
                        const uint64_t *mask, uint8_t *target, size_t room);

#endif
