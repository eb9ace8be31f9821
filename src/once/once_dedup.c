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
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "once/once_internal.h"

void
eb_dedup_check_id(const char *dedup_id)
{
	int			length = pg_mbstrlen(dedup_id);

	if (length < 1 || length > EB_DEDUP_ID_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dedup_id \"%.*s\" is out of range",
						pg_mbcliplen(dedup_id, strlen(dedup_id), 200), dedup_id),
				 errdetail("It has %d characters; 1 to %d are possible.", length,
						   EB_DEDUP_ID_MAX)));
}

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
claim_one(EbOnceKeys *keys, EbOnceKind kind, EbDedup *dedup)
{
	Datum		values[EB_PUBLISHED_NATTS] = {0};
	bool		isnull[EB_PUBLISHED_NATTS];
	TupleTableSlot *found;

	memset(isnull, true, sizeof(isnull));
	if (kind == EB_ONCE_BUS)
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
	dedup->duplicate =
		!eb_once_claim(keys, &dedup->key,
					   dedup->dedup_id ? dedup->dedup_id :
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&dedup->key))),
					   values, isnull);
	if (!dedup->duplicate)
		return;
	found = eb_once_found(keys);
	if (kind == EB_ONCE_BUS)
		dedup->event_id = *DatumGetUUIDP(found->tts_values[EB_PUBLISHED_EVENT_ID - 1]);
	else
		dedup->message_id = DatumGetInt64(found->tts_values[EB_PUBLISHED_MESSAGE_ID - 1]);
}

void
eb_dedup_claim(EbOnceKind kind, const char *name, EbDedup *batch, int n)
{
	EbDedup   **ordered = palloc_extended(n * sizeof(EbDedup *), MCXT_ALLOC_HUGE);
	EbOnceSet	set;
	EbOnceKeys *keys;
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
	if (wanted == 0)
		return;
	qsort(ordered, wanted, sizeof(EbDedup *), compare);

	set = *eb_once_lookup(kind, name, false);
	keys = eb_once_open(&set, kind == EB_ONCE_BUS ? "eb.put_events()" : "eb.send()");
	for (int i = 0; i < wanted; i++)
	{
		claim_one(keys, kind, ordered[i]);
		duplicates += ordered[i]->duplicate;
	}
	eb_once_close(keys);
	if (duplicates > 0)
		eb_once_count(&set, duplicates);
	pfree(ordered);
}
