#define _GNU_SOURCE
#include "resting_blocks.h"
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Blocks of more than one page and at most two have two of their own, so that resting takes no page
   from a neighbour. */
#define PAGE_BYTES 4096u
#define BLOCK_BYTES (2 * PAGE_BYTES)
#define WORDS (BLOCK_BYTES / sizeof(uint64_t))
/* Addresses are reserved for so many; further blocks come from the general allocator. */
#define MOST_BLOCKS (1u << 20)
#define RESERVED_BYTES ((size_t)MOST_BLOCKS * BLOCK_BYTES)
/* Made accessible at a time: the kernel merges them into one mapping. */
#define BLOCKS_PER_STEP 256u
/* Free blocks that keep their pages, for the connection that comes next. */
#define MOST_WARM 64u

/* What is not zero in a block that rests: a bit for each word, then the words. */
struct content {
    uint64_t present[WORDS / 64];
    uint64_t words[];
};

/* Written once, before any block is taken from there. */
static char *blocks;

/* Of the free blocks. Taken in a handshake and at a connection's end, never for a request. */
static struct {
    pthread_mutex_t lock;
    /* Blocks from here on were never used; from `accessible` on they may not be touched. */
    uint32_t fresh;
    uint32_t accessible;
    uint32_t warm_count;
    uint32_t warm[MOST_WARM];
    /* Free without pages: a stack as deep as there are blocks, touched as far as it is used. */
    uint32_t cold_count;
    uint32_t *cold;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

int weir_blocks_prepare(void) {
    pthread_mutex_lock(&store.lock);
    if (!blocks) {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        size_t stack = MOST_BLOCKS * sizeof *store.cold;
        void *cold = mmap(NULL, stack, PROT_READ | PROT_WRITE, flags, -1, 0);
        void *base = mmap(NULL, RESERVED_BYTES, PROT_NONE, flags, -1, 0);
        if (base != MAP_FAILED && cold != MAP_FAILED) {
            /* A huge page would not go before all its blocks rest. */
            madvise(base, RESERVED_BYTES, MADV_NOHUGEPAGE);
            store.cold = cold;
            __atomic_store_n(&blocks, base, __ATOMIC_RELEASE);
        } else {
            if (base != MAP_FAILED) munmap(base, RESERVED_BYTES);
            if (cold != MAP_FAILED) munmap(cold, stack);
        }
    }
    int is_ready = blocks != NULL;
    pthread_mutex_unlock(&store.lock);
    return is_ready;
}

static inline int is_ours(const void *block) {
    char *base = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
    return base && (uintptr_t)block - (uintptr_t)base < RESERVED_BYTES;
}

static void *take(void) {
    char *block = NULL;
    pthread_mutex_lock(&store.lock);
    if (store.warm_count > 0) {
        block = blocks + (size_t)store.warm[--store.warm_count] * BLOCK_BYTES;
    } else if (store.cold_count > 0) {
        block = blocks + (size_t)store.cold[--store.cold_count] * BLOCK_BYTES;
    } else if (store.fresh < MOST_BLOCKS) {
        char *next = blocks + (size_t)store.fresh * BLOCK_BYTES;
        if (store.fresh == store.accessible &&
            mprotect(next, (size_t)BLOCKS_PER_STEP * BLOCK_BYTES, PROT_READ | PROT_WRITE) == 0)
            store.accessible += BLOCKS_PER_STEP;
        if (store.fresh < store.accessible) {
            store.fresh++;
            block = next;
        }
    }
    pthread_mutex_unlock(&store.lock);
    return block;
}

static void give(void *block) {
    uint32_t index = (uint32_t)(((uintptr_t)block - (uintptr_t)blocks) / BLOCK_BYTES);
    pthread_mutex_lock(&store.lock);
    if (store.warm_count < MOST_WARM) {
        store.warm[store.warm_count++] = index;
    } else {
        madvise(block, BLOCK_BYTES, MADV_DONTNEED);
        store.cold[store.cold_count++] = index;
    }
    pthread_mutex_unlock(&store.lock);
}

void *weir_block_allocate(size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    if (bytes == 0) return NULL;
    if (bytes > PAGE_BYTES && bytes <= BLOCK_BYTES && __atomic_load_n(&blocks, __ATOMIC_ACQUIRE)) {
        void *block = take();
        if (block) return block;
    }
    return malloc(bytes);
}

void weir_block_free(void *block, const char *file, int line) {
    (void)file, (void)line;
    /* OpenSSL often frees what is not there. */
    if (!block) return;
    if (is_ours(block)) give(block);
    else free(block);
}

void *weir_block_reallocate(void *block, size_t bytes, const char *file, int line) {
    if (!block) return weir_block_allocate(bytes, file, line);
    if (bytes == 0) {
        weir_block_free(block, file, line);
        return NULL;
    }
    if (!is_ours(block)) return realloc(block, bytes);
    if (bytes <= BLOCK_BYTES) return block;
    void *larger = malloc(bytes);
    if (!larger) return NULL;
    memcpy(larger, block, BLOCK_BYTES);
    give(block);
    return larger;
}

void *weir_block_rest(void *block) {
    if (!is_ours(block)) return NULL;
    const uint64_t *words = block;
    uint64_t present[WORDS / 64];
    size_t count = 0;
    for (size_t i = 0; i < WORDS / 64; i++) {
        uint64_t bits = 0;
        for (size_t j = 0; j < 64; j++) bits |= (uint64_t)(words[i * 64 + j] != 0) << j;
        present[i] = bits;
        count += (size_t)__builtin_popcountll(bits);
    }
    size_t length = sizeof(struct content) + count * sizeof(uint64_t);
    struct content *content = malloc(length);
    if (!content) return NULL;
    memcpy(content->present, present, sizeof present);
    uint64_t *next = content->words;
    for (size_t i = 0; i < WORDS / 64; i++)
        for (uint64_t bits = present[i]; bits != 0; bits &= bits - 1)
            *next++ = words[i * 64 + (size_t)__builtin_ctzll(bits)];
    /* Refused where the pages are locked into memory. */
    if (madvise(block, BLOCK_BYTES, MADV_DONTNEED) == 0) return content;
    explicit_bzero(content, length);
    free(content);
    return NULL;
}

void weir_block_wake(void *block, void *kept) {
    struct content *content = kept;
    uint64_t *words = block;
    uint64_t *next = content->words;
    for (size_t i = 0; i < WORDS / 64; i++)
        for (uint64_t bits = content->present[i]; bits != 0; bits &= bits - 1)
            words[i * 64 + (size_t)__builtin_ctzll(bits)] = *next++;
    /* Keys of the connection were in it. */
    explicit_bzero(content, (size_t)((char *)next - (char *)content));
    free(content);
}
