/* Memory for OpenSSL whose larger blocks can rest: give their pages back to the system while
   nobody uses them, and be filled again at the same address.

   A connection of OpenSSL 3.0 is one block of 7.6 KiB of which four fifths are zero for all its
   life (room for 32 records at a time, of which one is used). It points into itself, so it cannot
   be moved; but while a connection idles, what is not zero can be kept elsewhere. */
#ifndef WEIR_RESTING_BLOCKS_H
#define WEIR_RESTING_BLOCKS_H

#include <stddef.h>

/* Reserves the addresses. Until then, and where it has failed (false), every block comes from the
   general allocator and none can rest. Any thread, any number of times. */
int weir_blocks_prepare(void);

/* In the form that CRYPTO_set_mem_functions asks for. All of them may be called on any thread. */
void *weir_block_allocate(size_t bytes, const char *file, int line);
void *weir_block_reallocate(void *block, size_t bytes, const char *file, int line);
void weir_block_free(void *block, const char *file, int line);

/* Lays a block to rest: its content is in what is returned, and until `weir_block_wake` nobody may
   touch it. NULL where it cannot rest (another size, no memory); then it is as it was. */
void *weir_block_rest(void *block);

/* Fills the block again and frees what `weir_block_rest` had returned for it. */
void weir_block_wake(void *block, void *content);

#endif
