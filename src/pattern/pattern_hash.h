/*-------------------------------------------------------------------------
 *
 * pattern_hash.h
 *	  Hashes of the matcher.
 *
 * They only have to spread well and be cheap for strings of 5 to 50 bytes;
 * whoever finds something by a hash of text compares the text afterwards.
 * (An attacker who makes hashes collide makes look-ups linear in the number
 * of patterns with the same hash, which takes patterns made for it.)
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_HASH_H
#define EB_PATTERN_HASH_H

#define EB_HASH_MULTIPLIER	UINT64CONST(0x9E3779B97F4A7C15)

static inline uint64
eb_hash_mix(uint64 h)
{
	h *= EB_HASH_MULTIPLIER;
	return h ^ (h >> 32);
}

static inline uint64
eb_hash_bytes(const void *key, uint32 len)
{
	const char *p = key;
	uint64		h = len * UINT64CONST(0xD6E8FEB86659FD93);
	uint64		w;

	while (len >= 8)
	{
		memcpy(&w, p, 8);
		h = eb_hash_mix(h ^ w);
		p += 8;
		len -= 8;
	}
	if (len >= 4)
	{
		uint32		head,
					tail;

		memcpy(&head, p, 4);
		memcpy(&tail, p + len - 4, 4);
		h = eb_hash_mix(h ^ head ^ ((uint64) tail << 32));
	}
	else if (len > 0)
	{
		w = (unsigned char) p[0] | (uint64) (unsigned char) p[len / 2] << 8 |
			(uint64) (unsigned char) p[len - 1] << 16;
		h = eb_hash_mix(h ^ w);
	}
	return eb_hash_mix(h);
}

/* Equality of short strings, without the call and the order of memcmp() */
static inline bool
eb_same_bytes(const char *a, const char *b, uint32 len)
{
	uint64		wa;
	uint64		wb;
	uint32		i;

	if (len >= 8)
	{
		for (i = 0; i + 8 <= len; i += 8)
		{
			memcpy(&wa, a + i, 8);
			memcpy(&wb, b + i, 8);
			if (wa != wb)
				return false;
		}
		memcpy(&wa, a + len - 8, 8);
		memcpy(&wb, b + len - 8, 8);
		return wa == wb;
	}
	for (i = 0; i < len; i++)
	{
		if (a[i] != b[i])
			return false;
	}
	return true;
}

/* Byte by byte, so that the hashes of all prefixes come in one pass. */
#define EB_HASH_ROLL_START	UINT64CONST(0xA0761D6478BD642F)

static inline uint64
eb_hash_roll(uint64 h, unsigned char c)
{
	return (h ^ c) * UINT64CONST(0x100000001B3) ^ (h >> 47);
}

#endif							/* EB_PATTERN_HASH_H */
