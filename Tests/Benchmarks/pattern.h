/* The bytes that bodies are made of, on both sides of the proxy: octet i of every body is
 * pattern[i % PATTERN_PERIOD]. The period is a prime, so that a block lost, repeated or shifted
 * by any power of two is noticed by a plain memcmp, which is stricter than a checksum and cheaper.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_PERIOD = 65521, PATTERN_SLACK = 1 << 20 };

static unsigned char *pattern_bytes;

/* One period and a slack after it: any window of up to PATTERN_SLACK octets is contiguous. */
static inline void pattern_make(void) {
  pattern_bytes = malloc(PATTERN_PERIOD + PATTERN_SLACK);
  if (pattern_bytes == NULL) abort();
  uint64_t state = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i < PATTERN_PERIOD; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    pattern_bytes[i] = (unsigned char)(state >> 32);
  }
  for (size_t i = 0; i < PATTERN_SLACK; i++)
    pattern_bytes[PATTERN_PERIOD + i] = pattern_bytes[i];
}

static inline const unsigned char *pattern_at(uint64_t offset) {
  return pattern_bytes + offset % PATTERN_PERIOD;
}

/* Up to PATTERN_SLACK octets. */
static inline int pattern_matches(const void *bytes, size_t count, uint64_t offset) {
  return memcmp(bytes, pattern_at(offset), count) == 0;
}

#endif
