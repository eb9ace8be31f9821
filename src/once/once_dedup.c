/*-------------------------------------------------------------------------
 *
 * once_dedup.c
 *	  Deduplication of what is published on a bus or sent to a FIFO queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "once/once_internal.h"

/* Parts are told apart by their lengths. */
static void
hash_part(pg_cryptohash_ctx *hash, const void *part, Size length)
{
	uint64		size = part ? length : PG_UINT64_MAX;

	if (pg_cryptohash_update(hash, (const uint8 *) &size, sizeof(size)) < 0 ||
		(part && pg_cryptohash_update(hash, part, length) < 0))
		elog(ERROR, "could not compute the hash of a body: %s",
			 pg_cryptohash_error(hash));
}

void
eb_dedup_content(EbDedup *dedup, const char *source, const char *detail_type,
				 Jsonb *body)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (pg_cryptohash_init(hash) < 0)
		elog(ERROR, "could not compute the hash of a body: %s",
			 pg_cryptohash_error(hash));
	hash_part(hash, source, source ? strlen(source) : 0);
	hash_part(hash, detail_type, detail_type ? strlen(detail_type) : 0);
	hash_part(hash, body ? VARDATA_ANY(body) : NULL,
			  body ? VARSIZE_ANY_EXHDR(body) : 0);
	if (pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the hash of a body: %s",
			 pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
	memcpy(dedup->key.data, digest, UUID_LEN);
	dedup->has_key = true;
}

/* By key, then by place in the batch. */
static int
compare(const void *a, const void *b)
{
	const EbDedup *first = *(EbDedup *const *) a;
	const EbDedup *second = *(EbDedup *const *) b;
	int			result = memcmp(first->key.data, second->key.data, UUID_LEN);

	return result != 0 ? result : first < second ? -1 : 1;
}

static void
claim_one(EbOnceKeys *keys, EbDedup *dedup)
{
	bool		bus = eb_once_set(keys)->kind == EB_ONCE_BUS;
	Datum		values[EB_PUBLISHED_NATTS] = {0};
	bool		isnull[EB_PUBLISHED_NATTS];
	TupleTableSlot *found;
	const char *label = dedup->dedup_id;

	memset(isnull, true, sizeof(isnull));
	if (bus)
	{
		values[EB_PUBLISHED_EVENT_ID - 1] = UUIDPGetDatum(&dedup->event_id);
		isnull[EB_PUBLISHED_EVENT_ID - 1] = false;
	}
	else
	{
		values[EB_PUBLISHED_MESSAGE_ID - 1] = Int64GetDatum(dedup->message_id);
		isnull[EB_PUBLISHED_MESSAGE_ID - 1] = false;
	}
	if (dedup->dedup_id)
	{
		values[EB_PUBLISHED_NAME - 1] = CStringGetTextDatum(dedup->dedup_id);
		isnull[EB_PUBLISHED_NAME - 1] = false;
	}
	else
		label = DatumGetCString(DirectFunctionCall1(uuid_out,
													UUIDPGetDatum(&dedup->key)));
	dedup->duplicate = !eb_once_claim(keys, &dedup->key, label, values, isnull);
	if (!dedup->duplicate)
		return;
	found = eb_once_found(keys);
	if (bus)
		dedup->event_id = *DatumGetUUIDP(found->tts_values[EB_PUBLISHED_EVENT_ID - 1]);
	else
		dedup->message_id = DatumGetInt64(found->tts_values[EB_PUBLISHED_MESSAGE_ID - 1]);
}

void
eb_dedup_claim(EbOnceKeys *keys, EbDedup *batch, int n)
{
	EbDedup   **ordered = palloc_extended(n * sizeof(EbDedup *), MCXT_ALLOC_HUGE);
	int			wanted = 0;
	int			duplicates = 0;

	for (int i = 0; i < n; i++)
	{
		batch[i].duplicate = false;
		if (batch[i].dedup_id)
			eb_once_key(batch[i].dedup_id, strlen(batch[i].dedup_id), &batch[i].key);
		else if (!batch[i].has_key)
			continue;
		ordered[wanted++] = &batch[i];
	}
	if (wanted > 1)
		qsort(ordered, wanted, sizeof(EbDedup *), compare);
	for (int i = 0; i < wanted; i++)
	{
		claim_one(keys, ordered[i]);
		duplicates += ordered[i]->duplicate;
	}
	if (duplicates > 0)
		eb_once_count(eb_once_set(keys), duplicates);
	pfree(ordered);
}
