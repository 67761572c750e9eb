/* Where a user's key lives: its slot, and the start of its row in the store. Pure functions.
 *
 *   row    = slot:u16be kind:u8 hash:u32be key
 *   slot   = CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384: Redis Cluster's
 *   hash   = XXH32 of the key, seed 0
 *
 * The slot comes first, so that one range holds all rows of a slot. The hash keeps the rows of one
 * slot and kind in an order that says nothing about the keys, so that a cursor can be a number. */
#ifndef LUNODE_SLOT_H
#define LUNODE_SLOT_H

#include <stddef.h>
#include <stdint.h>

enum { LN_SLOTS = 16384, LN_SLOT_ROW_BYTES = 7 };

/* 0 … LN_SLOTS - 1. The hash tag is what stands between the first '{' and the first '}' after it,
 * unless that is empty. */
uint16_t ln_slot_of(const void *key, size_t len);

/* Writes what precedes the key in its row. */
void ln_slot_row(uint8_t kind, const void *key, size_t len, uint8_t out[LN_SLOT_ROW_BYTES]);

#endif
