/*-------------------------------------------------------------------------
 *
 * worker_consumer.c
 *	  Consumers that commits tell of messages themselves, without a NOTIFY.
 *
 * A NOTIFY costs the notifier a wake-up and a transaction, only to signal the
 * backends that listen.  Most of those are consumers: they listen to one
 * queue, and receive from it in the same session.  Such a one enters its name
 * here when a receive of its finds nothing.  While all that listen have, a
 * commit disarms the queue and signals those of its queue, just as the end of
 * a transaction with a NOTIFY would; each tells its client.  If anybody else
 * listens, too, the notifier does it, for all.  (README.md, claim 15)
 *
 * A backend that is signalled for a NOTIFY runs a transaction to read the
 * server's queue of them, as soon as its client is idle.  What it was told
 * here is sent to the client at the end of that one, before the server
 * flushes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "eb.h"
#include "worker/worker_internal.h"

/*
 * EbConsumer.word: 0: not entered; else the slot's number plus one, shifted,
 * and whether it was told of something that its client does not know yet.
 */
#define TOLD				1u
#define WORD(slot)			(((uint32) (slot) + 1) << 1)
#define IS_WORD_OF(word, slot)	(((word) & ~TOLD) == WORD(slot))

/*
 * More than that are left to the notifier: a signal takes a committing client
 * some 8 us of waiting.
 */
#define MAX_TOLD			8

/* The only channel of ours that this backend listens to; empty: none, or several. */
static char only_channel[NAMEDATALEN];
static bool channels_known = true;	/* it listens to none yet */
static bool channels_change = false;	/* this transaction may change them */

static bool entered = false;
static NameData entered_queue;

static pg_atomic_uint32 *
entered_count(Oid database)
{
	return &eb_worker_shared()->entered[database % EB_LISTENER_COUNTS];
}

static bool
all_entered(void)
{
	uint32		n = pg_atomic_read_u32(entered_count(MyDatabaseId));

	pg_read_barrier();
	return n != 0 && n == eb_notify_listeners();
}

/*
 * First one less, then the word, and again one more if somebody else has been
 * here: a commit that does not find the word finds the count changed.
 */
static uint32
strike(int i, uint32 word, Oid database)
{
	pg_atomic_fetch_sub_u32(entered_count(database), 1);
	pg_memory_barrier();
	while (word != 0 && !pg_atomic_compare_exchange_u32(&eb_worker_consumer(i)->word, &word, 0))
		;
	if (word == 0)
		pg_atomic_fetch_add_u32(entered_count(database), 1);
	return word;
}

/* Sent by the notifier, for all that the client can see. */
static void
tell_client(void)
{
	EbDatabase *db = eb_worker_my_database();

	NotifyMyFrontEnd(eb_notify_channel(EB_SLOT_QUEUE, NameStr(entered_queue)),
					 NameStr(entered_queue),
					 db ? db->workers[EB_WORKER_NOTIFIER].pid : 0);
}

/* What it was told meanwhile its client has to know, though there will be no more. */
static void
leave(bool tell)
{
	uint32		word;

	if (!entered)
		return;
	entered = false;
	word = strike(EB_MY_PROC_NUMBER, pg_atomic_read_u32(&eb_worker_consumer(EB_MY_PROC_NUMBER)->word),
				  MyDatabaseId);
	if (tell && (word & TOLD) != 0)
		tell_client();
}

void
eb_consumer_exit(void)
{
	leave(false);
}

void
eb_consumer_channels_change(void)
{
	leave(true);
	channels_known = false;
	channels_change = true;
}

/* ---- entering ---- */

/* Has this backend one channel of ours, and which?  Asks the server. */
static void
read_channels(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	function;
	ReturnSetInfo result = {.type = T_ReturnSetInfo};
	int			n = 0;

	only_channel[0] = '\0';
	fmgr_info(F_PG_LISTENING_CHANNELS, &function);
	result.econtext = CreateStandaloneExprContext();
	result.allowedModes = SFRM_ValuePerCall;
	result.returnMode = SFRM_ValuePerCall;
	InitFunctionCallInfoData(*fcinfo, &function, 0, InvalidOid, NULL, (Node *) &result);
	for (;;)
	{
		Datum		value;
		char	   *channel;

		fcinfo->isnull = false;
		result.isDone = ExprSingleResult;
		value = FunctionCallInvoke(fcinfo);
		if (result.isDone != ExprMultipleResult)
			break;
		channel = TextDatumGetCString(value);
		if (!EB_IS_OUR_CHANNEL(channel))
			continue;
		n++;
		strlcpy(only_channel, channel, NAMEDATALEN);
	}
	FreeExprContext(result.econtext, true);
	if (n != 1)
		only_channel[0] = '\0';
	channels_known = true;
}

/*
 * A receive of this backend arms the queue.  Changes of what it listens to
 * take effect at the end of their transaction, so they are read later.
 */
void
eb_consumer_enter(int slot, const char *queue)
{
	EbConsumer *mine;
	char	   *channel;

	if (entered && pg_atomic_read_u32(&eb_worker_consumer(EB_MY_PROC_NUMBER)->word) == 0)
		entered = false;		/* its slot went to another queue */
	if (entered || channels_change || whereToSendOutput != DestRemote)
		return;
	if (!channels_known)
		read_channels();
	if (only_channel[0] == '\0')
		return;
	channel = eb_notify_channel(EB_SLOT_QUEUE, queue);
	if (strcmp(channel, only_channel) == 0)
	{
		mine = eb_worker_consumer(EB_MY_PROC_NUMBER);
		mine->pid = MyProcPid;
		namestrcpy(&entered_queue, queue);
		entered = true;
		pg_write_barrier();
		pg_atomic_write_u32(&mine->word, WORD(slot));
		pg_memory_barrier();	/* whoever counts it finds it */
		pg_atomic_fetch_add_u32(entered_count(MyDatabaseId), 1);
	}
	pfree(channel);
}

/* ---- telling ---- */

/* Who entered for a slot; -1: more than a commit should signal. */
static int
find_consumers(int slot, int *found)
{
	EbWorkerShared *shared = eb_worker_shared();
	int			n = 0;

	for (int i = 0; i < shared->nconsumers; i++)
	{
		if (!IS_WORD_OF(pg_atomic_read_u32(&eb_worker_consumer(i)->word), slot))
			continue;
		if (n == MAX_TOLD)
			return -1;
		found[n++] = i;
	}
	return n;
}

static void
tell(int slot, int i)
{
	EbConsumer *c = eb_worker_consumer(i);
	uint32		word = WORD(slot);

	/* who was told and has not said so yet will look after this */
	if (pg_atomic_compare_exchange_u32(&c->word, &word, word | TOLD))
		(void) SendProcSignal(c->pid, PROCSIG_NOTIFY_INTERRUPT, EB_SIGNAL_NUMBER(i));
}

bool
eb_consumers_tell(int number, uint32 arm)
{
	EbNotifySlot *slot = &eb_worker_shared()->slots[number];
	int			found[MAX_TOLD];
	int			n;
	TimestampTz now;
	TimestampTz notified_at;

	/* first the count, then the words: whoever is counted has one */
	if (slot->kind != EB_SLOT_QUEUE || !all_entered() ||
		(n = find_consumers(number, found)) < 0)
		return false;
	if (n == 0)
	{
		/* nobody listens to this queue, unless one has left meanwhile */
		pg_memory_barrier();
		return all_entered();
	}
	now = GetCurrentTimestamp();
	notified_at = (TimestampTz) pg_atomic_read_u64(&slot->notified_at);
	if (now < TimestampTzPlusMilliseconds(notified_at, eb_notify_interval))
		return false;

	/* as the notifier does: first the flags, then the telling (claim 1) */
	pg_atomic_write_u32(&slot->pending, 0);
	pg_atomic_write_u64(&slot->notified_at, (uint64) now);
	pg_atomic_write_u32(&slot->told, EB_TOLD);
	if (!pg_atomic_compare_exchange_u32(&slot->arm, &arm, arm + 1))
		return true;			/* who was faster tells of this, too */
	for (int i = 0; i < n; i++)
		tell(number, found[i]);

	/* somebody left, and may have been missed */
	pg_memory_barrier();
	if (all_entered())
		return true;
	pg_atomic_write_u64(&slot->notified_at, 0);
	pg_atomic_write_u32(&slot->told, EB_TOLD_WATCH);
	pg_atomic_write_u32(&slot->pending, 1);
	return false;
}

void
eb_consumers_strike(int slot, Oid database)
{
	EbWorkerShared *shared = eb_worker_shared();

	for (int i = 0; i < shared->nconsumers; i++)
	{
		uint32		word = pg_atomic_read_u32(&eb_worker_consumer(i)->word);

		if (IS_WORD_OF(word, slot))
			(void) strike(i, word, database);
	}
}

void
eb_consumer_at_xact(XactEvent event)
{
	EbConsumer *mine;

	if (event != XACT_EVENT_PRE_COMMIT)
	{
		channels_change = false;
		return;
	}

	/* if it is signalled already, the transaction that follows does it */
	if (likely(!entered) || notifyInterruptPending)
		return;
	mine = eb_worker_consumer(EB_MY_PROC_NUMBER);
	if ((pg_atomic_read_u32(&mine->word) & TOLD) != 0 &&
		(pg_atomic_fetch_and_u32(&mine->word, ~TOLD) & TOLD) != 0)
		tell_client();
}
