/*-------------------------------------------------------------------------
 *
 * pattern_intern.c
 *	  Numbers byte strings: equal strings get the same small number.
 *
 * The parser and the compiler recognise equal paths, tests and lists of tests
 * by it.  Open addressing over 32-bit hashes; the strings lie in one growing
 * buffer per table, 8-aligned, so that a key may be read as the struct it was
 * written as.  Keys move when the buffer grows: do not keep the pointers that
 * eb_intern_key() returns across a call of eb_intern().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pattern/pattern_hash.h"
#include "pattern/pattern_int.h"

typedef struct InternEntry
{
	Size		key;			/* offset into bytes */
	uint32		len;
	uint32		hash;
} InternEntry;

struct EbIntern
{
	MemoryContext context;
	uint32		nentries;
	uint32		maxentries;
	InternEntry *entries;
	uint32		mask;
	uint32	   *slots;			/* entry number + 1; 0 = free */
	char	   *bytes;
	Size		nbytes;
	Size		maxbytes;
};

EbIntern   *
eb_intern_create(uint32 size_hint)
{
	EbIntern   *t = palloc0(sizeof(EbIntern));
	uint32		nslots = 16;

	t->context = CurrentMemoryContext;
	while (nslots < size_hint * 2 && nslots < 1024 * 1024)
		nslots *= 2;
	t->mask = nslots - 1;
	t->slots = palloc0(nslots * sizeof(uint32));
	t->maxentries = nslots / 2;
	t->entries = palloc(t->maxentries * sizeof(InternEntry));
	t->maxbytes = (Size) nslots * 16;
	t->bytes = palloc(t->maxbytes);
	return t;
}

static void
grow_entries(EbIntern *t)
{
	uint32		nslots = (t->mask + 1) * 2;

	if (nslots == 0 || nslots > PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many different tests in one set of event patterns")));
	t->maxentries = nslots / 2;
	t->entries = repalloc_huge(t->entries,
							   t->maxentries * sizeof(InternEntry));
	pfree(t->slots);
	t->slots = MemoryContextAllocExtended(t->context,
										  nslots * sizeof(uint32),
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	t->mask = nslots - 1;
	for (uint32 i = 0; i < t->nentries; i++)
	{
		uint32		slot = t->entries[i].hash & t->mask;

		while (t->slots[slot] != 0)
			slot = (slot + 1) & t->mask;
		t->slots[slot] = i + 1;
	}
}

uint32
eb_intern(EbIntern *t, const void *key, uint32 len, bool *found)
{
	uint32		hash = (uint32) eb_hash_bytes(key, len);
	uint32		slot = hash & t->mask;
	InternEntry *e;

	for (; t->slots[slot] != 0; slot = (slot + 1) & t->mask)
	{
		e = &t->entries[t->slots[slot] - 1];
		if (e->hash == hash && e->len == len &&
			memcmp(t->bytes + e->key, key, len) == 0)
		{
			if (found)
				*found = true;
			return t->slots[slot] - 1;
		}
	}

	if (t->nentries == t->maxentries)
	{
		grow_entries(t);
		slot = hash & t->mask;
		while (t->slots[slot] != 0)
			slot = (slot + 1) & t->mask;
	}
	if (t->nbytes + len + MAXIMUM_ALIGNOF > t->maxbytes)
	{
		t->maxbytes = t->maxbytes * 2 + len;
		t->bytes = repalloc_huge(t->bytes, t->maxbytes);
	}
	e = &t->entries[t->nentries++];
	e->key = t->nbytes;
	e->len = len;
	e->hash = hash;
	memcpy(t->bytes + t->nbytes, key, len);
	t->nbytes = MAXALIGN(t->nbytes + len);
	t->slots[slot] = t->nentries;
	if (found)
		*found = false;
	return t->nentries - 1;
}

uint32
eb_intern_count(const EbIntern *t)
{
	return t->nentries;
}

const char *
eb_intern_key(const EbIntern *t, uint32 id, uint32 *len)
{
	Assert(id < t->nentries);
	if (len)
		*len = t->entries[id].len;
	return t->bytes + t->entries[id].key;
}
