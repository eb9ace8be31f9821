/*-------------------------------------------------------------------------
 *
 * queue_floor.c
 *	  The floors: keys below which a queue holds nothing alive.
 *
 * A queue's indexes fill with entries of rows that are gone and that no vacuum
 * can remove while anybody holds an old snapshot.  Scans therefore begin at a
 * floor that is kept in shared memory, one for each of the two indexes.
 *
 * Invariant: an index entry below the floor is dead to everyone, or its fate
 * hangs on a running transaction that has announced that it will lower the
 * floor when it ends.
 *
 * The protocol has four steps: announce, lower, raise, withdraw.  README.md
 * argues it claim by claim; comments here cite the claims.
 *
 * Shared memory: slots in sets of a few, a set by hash of the table's
 * relfilenumber; one spinlock a set guards all fields of its slots.  A table
 * that has no slot has the lowest floor, so a slot may be evicted at any time.
 * Beside the slots lies an array with the announced transaction of each
 * backend, written by that backend alone.
 *
 * Local memory: what the transaction has inserted and removed, a record per
 * queue and subtransaction, in TopTransactionContext.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog.h"
#include "eb.h"
#include "queue/queue_internal.h"
#include "shmem.h"

#define SLOTS_PER_SET	8
#define GROUP_SETS		1024
#define GROUPS_PER_SET	4

/* Which table: relfilenumbers come and go, but not twice for one oid. */
typedef struct FloorKey
{
	RelFileLocator locator;
	Oid			table;			/* InvalidOid: free slot */
} FloorKey;

/* All fields are guarded by the set's spinlock. */
typedef struct FloorSlot
{
	FloorKey	key;
	uint64		generation;		/* of this use of the slot */
	uint64		stamp;			/* of the group floors that are valid */
	uint64		used;			/* clock of the set when last used */
	int64		floor[EB_QUEUE_INDEXES];
	int64		collector[EB_QUEUE_INDEXES];	/* lowest key since the raise
												 * began */
	int			raiser[EB_QUEUE_INDEXES];	/* backend that raises, plus 1; 0:
											 * nobody */
	uint64		counts[EB_QUEUE_COUNTS];
} FloorSlot;

typedef struct FloorSet
{
	slock_t		mutex;
	uint64		clock;			/* grows with each use, for eviction */
	FloorSlot	slots[SLOTS_PER_SET];
} FloorSet;

/* Guarded by the spinlock of its set.  A stamp that is no slot's any more is nobody's. */
typedef struct GroupSet
{
	slock_t		mutex;
	int			next;			/* to be replaced */
	EbGroupFloor groups[GROUPS_PER_SET];
} GroupSet;

typedef struct QueueSection
{
	pg_atomic_uint64 generation;	/* last number given to a slot or stamp */
	uint64		seed[2];		/* of the hashes of groups */
	int			nsets;
	int			nbackends;
	Size		announced_offset;
	GroupSet	group_sets[GROUP_SETS];
	FloorSet	sets[FLEXIBLE_ARRAY_MEMBER];
} QueueSection;

/* What a subtransaction did to one queue. */
struct EbFloorRecord
{
	FloorKey	key;
	SubTransactionId subxact;
	int64		inserted[EB_QUEUE_INDEXES]; /* lowest key, EB_KEY_MAX: none */
	int64		removed[EB_QUEUE_INDEXES];
	int64		removed_id;		/* lowest message id of those */
	int			counts[EB_QUEUE_COUNTS];
	struct EbFloorRecord *next;
};

static EbFloorRecord *records = NULL;
static bool announced = false;

/* The raise that is under way, so that an error ends it, too. */
static struct
{
	bool		active;
	FloorKey	key;
	EbQueueIndex which;
	uint64		generation;
}			raising;

/*
 * Keys of tables that a raise was begun for, by oid, so that their floors can
 * be read without opening them.  A relcache invalidation of the table clears
 * its entry.
 */
#define KNOWN_KEYS	16
static FloorKey known_keys[KNOWN_KEYS];

/* ---- shared memory ---- */

static int
number_of_sets(void)
{
	/* twice the room, since queues spread unevenly over the sets */
	return Max(2 * eb_max_queues / SLOTS_PER_SET, 1);
}

static Size
sets_size(void)
{
	return CACHELINEALIGN(add_size(offsetof(QueueSection, sets),
								   mul_size(number_of_sets(), sizeof(FloorSet))));
}

Size
eb_queue_shmem_size(void)
{
	return add_size(sets_size(), mul_size(MaxBackends, sizeof(pg_atomic_uint32)));
}

static pg_atomic_uint32 *
announced_xids(QueueSection *section)
{
	return (pg_atomic_uint32 *) ((char *) section + section->announced_offset);
}

void
eb_queue_shmem_init(void *ptr)
{
	QueueSection *section = ptr;

	pg_atomic_init_u64(&section->generation, 0);
	if (!pg_strong_random(section->seed, sizeof(section->seed)))
		section->seed[0] = section->seed[1] = (uint64) MyProcPid;
	for (int i = 0; i < GROUP_SETS; i++)
		SpinLockInit(&section->group_sets[i].mutex);
	section->nsets = number_of_sets();
	section->nbackends = MaxBackends;
	section->announced_offset = sets_size();
	for (int i = 0; i < section->nsets; i++)
		SpinLockInit(&section->sets[i].mutex);
	for (int i = 0; i < section->nbackends; i++)
		pg_atomic_init_u32(&announced_xids(section)[i], InvalidTransactionId);
}

static inline QueueSection *
get_section(void)
{
	return eb_shmem_section(EB_SHMEM_QUEUE);
}

static inline void
make_key(FloorKey *key, Relation table)
{
	key->locator = EB_RELATION_LOCATOR(table);
	key->table = RelationGetRelid(table);
}

static inline bool
same_key(const FloorKey *a, const FloorKey *b)
{
	return a->table == b->table &&
		RelFileLocatorEquals(a->locator, b->locator);
}

/*
 * Lock the set of a key and return its slot, or NULL.  With make, a missing
 * slot is made in place of a free or the least recently used one: whoever
 * raises there finds another generation when it is done, and the queue that
 * lost its slot has the lowest floor from now on.
 */
static FloorSlot *
lock_slot(QueueSection *section, const FloorKey *key, bool make, FloorSet **set)
{
	uint32		hash = hash_combine(murmurhash32((uint32) EB_LOCATOR_NUMBER(key->locator)),
									murmurhash32(key->table));
	FloorSlot  *victim = NULL;
	FloorSlot  *slot;

	*set = &section->sets[hash % section->nsets];
	SpinLockAcquire(&(*set)->mutex);
	for (int i = 0; i < SLOTS_PER_SET; i++)
	{
		slot = &(*set)->slots[i];
		if (same_key(&slot->key, key))
		{
			slot->used = ++(*set)->clock;
			return slot;
		}
		if (!victim ||
			(OidIsValid(victim->key.table) &&
			 (!OidIsValid(slot->key.table) || slot->used < victim->used)))
			victim = slot;
	}
	if (!make)
		return NULL;

	memset(victim, 0, sizeof(FloorSlot));
	victim->key = *key;
	victim->generation = pg_atomic_add_fetch_u64(&section->generation, 1);
	victim->stamp = victim->generation;
	victim->used = ++(*set)->clock;
	for (int i = 0; i < EB_QUEUE_INDEXES; i++)
	{
		victim->floor[i] = EB_KEY_MIN;
		victim->collector[i] = EB_KEY_MAX;
	}
	return victim;
}

/* ---- announce ---- */

/* Everything that the transaction, its open subtransactions included, did to a queue. */
#define foreach_record(record, k) \
	for ((record) = records; (record); (record) = (record)->next) \
		if (same_key(&(record)->key, (k)))

/* floor claim 1: the announcement is stored before the first write. */
EbFloorRecord *
eb_floor_announce(Relation table)
{
	SubTransactionId subxact = GetCurrentSubTransactionId();
	EbFloorRecord *record;
	FloorKey	key;

	if (!announced)
	{
		QueueSection *section = get_section();
		TransactionId xid = GetTopTransactionId();

		if (section)
			pg_atomic_write_u32(&announced_xids(section)[EB_MY_PROC_NUMBER], xid);
		announced = true;
	}

	make_key(&key, table);
	foreach_record(record, &key)
	{
		if (record->subxact == subxact)
			return record;
	}

	record = MemoryContextAllocZero(TopTransactionContext, sizeof(EbFloorRecord));
	record->key = key;
	record->subxact = subxact;
	for (int i = 0; i < EB_QUEUE_INDEXES; i++)
		record->inserted[i] = record->removed[i] = EB_KEY_MAX;
	record->removed_id = EB_KEY_MAX;
	record->next = records;
	records = record;
	return record;
}

/* Is this the topmost transaction of somebody who will lower the floor? */
bool
eb_floor_is_announced(TransactionId xid)
{
	QueueSection *section = get_section();
	pg_atomic_uint32 *xids = announced_xids(section);

	xid = SubTransGetTopmostTransaction(xid);
	for (int i = 0; i < section->nbackends; i++)
	{
		if (pg_atomic_read_u32(&xids[i]) == xid)
			return true;
	}
	return false;
}

static void
withdraw(void)
{
	QueueSection *section = get_section();

	if (announced && section)
		pg_atomic_write_u32(&announced_xids(section)[EB_MY_PROC_NUMBER],
							InvalidTransactionId);
	announced = false;
}

/* ---- lower ---- */

static void
lower_to(FloorSlot *slot, EbQueueIndex which, int64 key)
{
	slot->floor[which] = Min(slot->floor[which], key);
	slot->collector[which] = Min(slot->collector[which], key);
}

/* Somebody writes past our functions: nothing is known of groups any more. */
static void
forget_groups(QueueSection *section, FloorSlot *slot)
{
	slot->stamp = pg_atomic_add_fetch_u64(&section->generation, 1);
}

void
eb_floor_removing(EbFloorRecord *record, EbQueueIndex which, int64 key,
				  int64 message_id)
{
	record->removed[which] = Min(record->removed[which], key);
	record->removed_id = Min(record->removed_id, message_id);
}

/* floor claim 2: the entries are in, now the floor may not stay above them. */
void
eb_floor_inserted(EbFloorRecord *record, EbQueueIndex which, int64 key)
{
	QueueSection *section = get_section();
	FloorSlot  *slot;
	FloorSet   *set;

	record->inserted[which] = Min(record->inserted[which], key);
	if (!section)
		return;
	slot = lock_slot(section, &record->key, false, &set);
	if (slot)
	{
		lower_to(slot, which, key);
		if (key == EB_KEY_MIN)
			forget_groups(section, slot);
	}
	SpinLockRelease(&set->mutex);
}

void
eb_floor_lower(Relation table, EbQueueIndex which, int64 key)
{
	QueueSection *section = get_section();
	FloorSlot  *slot;
	FloorSet   *set;
	FloorKey	floor_key;

	if (!section)
		return;
	make_key(&floor_key, table);
	slot = lock_slot(section, &floor_key, false, &set);
	if (slot)
		lower_to(slot, which, key);
	SpinLockRelease(&set->mutex);
}

void
eb_floor_count(EbFloorRecord *record, EbQueueCount count, int n)
{
	record->counts[count] += n;
}

/*
 * At an end: lower to what this record inserted, removed, or both, and count
 * what it did.  The slot is looked up anew; if there is none, the floor is
 * lowest anyway.
 */
static void
settle_record(QueueSection *section, const EbFloorRecord *record,
			  bool inserted, bool removed)
{
	FloorSlot  *slot;
	FloorSet   *set;

	slot = lock_slot(section, &record->key, inserted, &set);
	if (slot)
	{
		for (int i = 0; i < EB_QUEUE_INDEXES; i++)
		{
			if (inserted)
				lower_to(slot, i, record->inserted[i]);
			if (removed)
				lower_to(slot, i, record->removed[i]);
		}
		if (record->removed_id == EB_KEY_MIN)
			forget_groups(section, slot);
		if (inserted)
		{
			for (int i = 0; i < EB_QUEUE_COUNTS; i++)
				slot->counts[i] += record->counts[i];
		}
	}
	SpinLockRelease(&set->mutex);
}

/* ---- raise ---- */

/* Own rows are seen wherever others have raised the floor meanwhile. */
static int64
own_start(const FloorKey *key, EbQueueIndex which)
{
	EbFloorRecord *record;
	int64		start = EB_KEY_MAX;

	foreach_record(record, key)
		start = Min(start, record->inserted[which]);
	return start;
}

int64
eb_floor_start(Relation table, EbQueueIndex which)
{
	QueueSection *section = get_section();
	int64		start = EB_KEY_MIN;
	FloorSlot  *slot;
	FloorSet   *set;
	FloorKey	key;

	if (!section)
		return EB_KEY_MIN;
	make_key(&key, table);
	slot = lock_slot(section, &key, false, &set);
	if (slot)
		start = slot->floor[which];
	SpinLockRelease(&set->mutex);
	return Min(start, own_start(&key, which));
}

static void
forget_key(Datum arg, Oid table)
{
	if (!OidIsValid(table))
		memset(known_keys, 0, sizeof(known_keys));
	else if (known_keys[table % KNOWN_KEYS].table == table)
		known_keys[table % KNOWN_KEYS].table = InvalidOid;
}

static void
remember_key(const FloorKey *key)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(forget_key, (Datum) 0);
	registered = true;
	known_keys[key->table % KNOWN_KEYS] = *key;
}

/* floor claim 8: what a look would find, without opening the table. */
bool
eb_floor_is_empty(Oid table, TimestampTz now)
{
	const FloorKey *key = &known_keys[table % KNOWN_KEYS];
	QueueSection *section = get_section();
	bool		empty = false;
	FloorSlot  *slot;
	FloorSet   *set;

	if (!section || key->table != table)
		return false;
	slot = lock_slot(section, key, false, &set);
	if (slot)
		empty = slot->floor[EB_READY] == EB_KEY_MAX && slot->floor[EB_WAITING] > now;
	SpinLockRelease(&set->mutex);
	return empty && own_start(key, EB_READY) == EB_KEY_MAX && own_start(key, EB_WAITING) > now;
}

/*
 * A table without our triggers is being restored: COPY into it would not be
 * noticed, so nothing is said about what it does not hold.
 */
static inline bool
is_watched(Relation table)
{
	return table->trigdesc && table->trigdesc->trig_insert_before_row;
}

/*
 * floor claims 3 and 6: one raise at a time, since there is one collector, and
 * none in recovery, since replay lowers nothing.
 */
bool
eb_floor_raise_begin(Relation table, EbQueueIndex which, int64 *start)
{
	QueueSection *section = get_section();
	FloorSlot  *slot;
	FloorSet   *set;
	bool		mine;

	if (!section || raising.active || RecoveryInProgress() || !is_watched(table))
	{
		*start = eb_floor_start(table, which);
		return false;
	}
	make_key(&raising.key, table);
	remember_key(&raising.key);
	slot = lock_slot(section, &raising.key, true, &set);
	mine = slot->raiser[which] == 0;
	if (mine)
	{
		slot->raiser[which] = EB_MY_PROC_NUMBER + 1;
		slot->collector[which] = EB_KEY_MAX;
	}
	*start = slot->floor[which];
	raising.generation = slot->generation;
	SpinLockRelease(&set->mutex);

	*start = Min(*start, own_start(&raising.key, which));
	raising.which = which;
	raising.active = mine;
	return mine;
}

/* End the raise that is under way; with a key, set the floor to it. */
static void
end_raise(const int64 *key)
{
	QueueSection *section = get_section();
	EbQueueIndex which = raising.which;
	FloorSlot  *slot;
	FloorSet   *set;

	raising.active = false;
	slot = lock_slot(section, &raising.key, false, &set);
	if (slot && slot->generation == raising.generation)
	{
		if (key)
			slot->floor[which] = Min(*key, slot->collector[which]);
		slot->raiser[which] = 0;
	}
	SpinLockRelease(&set->mutex);
}

void
eb_floor_raise_end(Relation table, EbQueueIndex which, int64 key)
{
	Assert(raising.active && raising.which == which);
	end_raise(&key);
}

/* ---- groups ---- */

void
eb_group_floor_begin(EbGroupFloor *group, Relation table, Datum group_id)
{
	QueueSection *section = get_section();
	FloorSlot  *slot;
	FloorSet   *set;
	GroupSet   *groups;
	FloorKey	key;

	group->stamp = 0;
	group->floor = EB_KEY_MIN;
	if (!section || !is_watched(table))
		return;
	make_key(&key, table);
	slot = lock_slot(section, &key, true, &set);
	group->stamp = slot->stamp;
	SpinLockRelease(&set->mutex);

	for (int i = 0; i < 2; i++)
		group->hash[i] = hash_bytes_extended((unsigned char *) VARDATA_ANY(group_id),
											 VARSIZE_ANY_EXHDR(group_id),
											 section->seed[i]);
	groups = &section->group_sets[group->hash[0] % GROUP_SETS];
	SpinLockAcquire(&groups->mutex);
	for (int i = 0; i < GROUPS_PER_SET; i++)
	{
		EbGroupFloor *known = &groups->groups[i];

		if (known->stamp == group->stamp && known->hash[0] == group->hash[0] &&
			known->hash[1] == group->hash[1])
			group->floor = known->floor;
	}
	SpinLockRelease(&groups->mutex);
}

/*
 * FIFO claim 5: what this transaction itself has deleted is invisible to it
 * but not dead yet, so the floor stays below.
 */
void
eb_group_floor_raise(const EbGroupFloor *group, Relation table, int64 id)
{
	QueueSection *section = get_section();
	EbGroupFloor *entry = NULL;
	EbFloorRecord *record;
	GroupSet   *groups;
	FloorKey	key;

	if (!section || group->stamp == 0)
		return;
	make_key(&key, table);
	foreach_record(record, &key)
		id = Min(id, record->removed_id);
	if (id <= group->floor || id == EB_KEY_MAX)
		return;

	groups = &section->group_sets[group->hash[0] % GROUP_SETS];
	SpinLockAcquire(&groups->mutex);
	for (int i = 0; i < GROUPS_PER_SET; i++)
	{
		EbGroupFloor *known = &groups->groups[i];

		if (known->stamp == group->stamp && known->hash[0] == group->hash[0] &&
			known->hash[1] == group->hash[1])
			entry = known;
	}
	if (!entry)
	{
		entry = &groups->groups[groups->next];
		groups->next = (groups->next + 1) % GROUPS_PER_SET;
		*entry = *group;
	}
	entry->floor = Max(entry->floor, id);
	SpinLockRelease(&groups->mutex);
}

/* ---- ends of transactions ---- */

/*
 * floor claim 4: withdraw first, then lower; the outcome is visible to others
 * already.  A prepared transaction keeps its rows in progress without an
 * announcement, so raises stop at them.
 */
void
eb_queue_at_xact(XactEvent event)
{
	QueueSection *section;
	EbFloorRecord *record;
	bool		inserted;
	bool		removed;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			inserted = true;
			removed = false;
			break;
		case XACT_EVENT_ABORT:
			inserted = false;
			removed = true;
			break;
		case XACT_EVENT_PREPARE:
			inserted = removed = true;
			break;
		default:
			return;
	}
	eb_queue_view_at_xact_end();
	eb_message_context_at_xact_end();

	if (raising.active)
		end_raise(NULL);
	withdraw();
	section = get_section();
	if (section)
	{
		for (record = records; record; record = record->next)
			settle_record(section, record, inserted, removed);
	}
	records = NULL;				/* TopTransactionContext frees them */
}

/* Fold a committed subtransaction's record into its parent's. */
static void
hand_up(EbFloorRecord *record, SubTransactionId parent)
{
	EbFloorRecord *other;

	for (other = records; other; other = other->next)
	{
		if (other != record && other->subxact == parent &&
			same_key(&other->key, &record->key))
			break;
	}
	record->subxact = other ? InvalidSubTransactionId : parent;
	if (!other)
		return;
	for (int i = 0; i < EB_QUEUE_INDEXES; i++)
	{
		other->inserted[i] = Min(other->inserted[i], record->inserted[i]);
		other->removed[i] = Min(other->removed[i], record->removed[i]);
	}
	other->removed_id = Min(other->removed_id, record->removed_id);
	for (int i = 0; i < EB_QUEUE_COUNTS; i++)
		other->counts[i] += record->counts[i];
}

void
eb_queue_at_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent)
{
	QueueSection *section;
	EbFloorRecord **link;
	EbFloorRecord *record;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	eb_queue_view_at_subxact(event, mine, parent);
	eb_message_context_at_subxact(event, mine, parent);

	section = get_section();
	if (event == SUBXACT_EVENT_ABORT_SUB && raising.active)
		end_raise(NULL);
	for (record = records; record; record = record->next)
	{
		if (record->subxact != mine)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			hand_up(record, parent);
		else
		{
			/* floor claim 5: the transaction goes on, so nothing is withdrawn */
			if (section)
				settle_record(section, record, false, true);
			record->subxact = InvalidSubTransactionId;
		}
	}

	/* drop what was folded or has aborted */
	for (link = &records; (record = *link) != NULL;)
	{
		if (record->subxact == InvalidSubTransactionId)
			*link = record->next;
		else
			link = &record->next;
	}
}

/* ---- writes by others, tables made and dropped, status ---- */

/*
 * Trigger of queue tables for those who write them by SQL (their owner, COPY,
 * an apply worker): announce, and treat the lowest key as inserted and
 * removed.  So the floor goes to the bottom now and at the transaction's end,
 * and the transaction's own scans begin there.  Our own writes go past the
 * executor and fire no trigger.
 */
PG_FUNCTION_INFO_V1(eb_queue_written);
Datum
eb_queue_written(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	EbFloorRecord *record;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" can be called as a trigger only",
						"eb.queue_written")));

	record = eb_floor_announce(trigger->tg_relation);
	for (int i = 0; i < EB_QUEUE_INDEXES; i++)
	{
		eb_floor_removing(record, i, EB_KEY_MIN, EB_KEY_MIN);
		eb_floor_inserted(record, i, EB_KEY_MIN);
	}

	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
					  trigger->tg_newtuple : trigger->tg_trigtuple);
}

/*
 * ENABLE ALWAYS, so that an apply worker fires it, too; by row for its sake,
 * as it fires no statement triggers, and by statement for TRUNCATE and for
 * scans that the statement itself may start.
 */
void
eb_floor_storage_create(const char *table)
{
	QueueSection *section = get_section();
	const char *quoted = quote_identifier(table);
	Relation	rel;

	eb_sql_execute("CREATE TRIGGER eb_written BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.%s "
				   "FOR EACH STATEMENT EXECUTE FUNCTION eb.queue_written()", quoted);
	eb_sql_execute("CREATE TRIGGER eb_written_after AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.%s "
				   "FOR EACH STATEMENT EXECUTE FUNCTION eb.queue_written()", quoted);
	eb_sql_execute("CREATE TRIGGER eb_written_row BEFORE INSERT OR UPDATE OR DELETE ON eb.%s "
				   "FOR EACH ROW EXECUTE FUNCTION eb.queue_written()", quoted);
	eb_sql_execute("ALTER TABLE eb.%s ENABLE ALWAYS TRIGGER eb_written, "
				   "ENABLE ALWAYS TRIGGER eb_written_after, "
				   "ENABLE ALWAYS TRIGGER eb_written_row", quoted);

	if (section)
	{
		FloorKey	key;
		FloorSlot  *slot;
		FloorSet   *set;

		rel = table_open(eb_relation_oid(table), AccessShareLock);
		make_key(&key, rel);
		table_close(rel, NoLock);
		slot = lock_slot(section, &key, false, &set);
		if (slot)
			memset(slot, 0, sizeof(FloorSlot));
		SpinLockRelease(&set->mutex);
	}
}

bool
eb_floor_counts(Relation table, uint64 counts[EB_QUEUE_COUNTS])
{
	QueueSection *section = get_section();
	FloorSlot  *slot = NULL;
	FloorSet   *set;
	FloorKey	key;

	if (!section)
		return false;
	make_key(&key, table);
	slot = lock_slot(section, &key, false, &set);
	if (slot)
		memcpy(counts, slot->counts, sizeof(slot->counts));
	SpinLockRelease(&set->mutex);
	return slot != NULL;
}
