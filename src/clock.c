/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  The one source of time, and the ids made from it.
 *
 * Shared memory holds one word, the last tick given out.  Taking n ticks is
 * one compare-and-swap: the larger of the clock and the word's successor.  So
 * ticks increase over all backends even when the clock stands still or steps
 * back; giving out more than 4096 a microsecond would only run ahead of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "eb.h"
#include "shmem.h"

#define COUNTER_MASK	((UINT64CONST(1) << EB_TICK_SHIFT) - 1)
#define UNIX_EPOCH_OFFSET \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct ClockSection
{
	pg_atomic_uint64 last;		/* last tick given out; only ever raised */
} ClockSection;

/*
 * Without shared memory, and while the clock is moved for tests (which must
 * not push everybody's ticks into the future): the last tick of this backend.
 */
static EbTick local_last = 0;
static EbTick moved_last = 0;

/* The word that ticks are to be taken from; NULL: this backend's own. */
static ClockSection *
shared_clock(void)
{
	return eb_clock_offset == 0 ? eb_shmem_section(EB_SHMEM_CLOCK) : NULL;
}

Size
eb_clock_shmem_size(void)
{
	return sizeof(ClockSection);
}

void
eb_clock_shmem_init(void *section)
{
	pg_atomic_init_u64(&((ClockSection *) section)->last, 0);
}

TimestampTz
eb_clock_now(void)
{
	return GetCurrentTimestamp() + (int64) eb_clock_offset * 1000;
}

EbTick
eb_clock_take(int n)
{
	ClockSection *clock = shared_clock();
	EbTick	   *own = eb_clock_offset == 0 ? &local_last : &moved_last;
	EbTick		now = eb_time_tick(eb_clock_now());
	EbTick		first;

	Assert(n > 0);
	if (clock)
	{
		uint64		last = pg_atomic_read_u64(&clock->last);

		do
			first = Max(now, last + 1);
		while (!pg_atomic_compare_exchange_u64(&clock->last, &last,
											   first + n - 1));
		return first;
	}

	/* The backend's number in place of the counter keeps backends apart. */
	now |= (uint64) EB_MY_PROC_NUMBER & COUNTER_MASK;
	first = Max(now, eb_tick_next(*own));
	*own = first + (((uint64) n - 1) << EB_TICK_SHIFT);
	return first;
}

void
eb_clock_raise(EbTick tick)
{
	ClockSection *clock = eb_shmem_section(EB_SHMEM_CLOCK);

	if (clock)
	{
		uint64		last = pg_atomic_read_u64(&clock->last);

		while (last < tick &&
			   !pg_atomic_compare_exchange_u64(&clock->last, &last, tick))
			;
	}
	else
		local_last = Max(local_last, tick);
}

EbTick
eb_tick_next(EbTick tick)
{
	if (shared_clock())
		return tick + 1;
	return tick + (UINT64CONST(1) << EB_TICK_SHIFT);
}

/*
 * RFC 9562 version 7: 48 bits of Unix milliseconds; then, by method 3, more
 * of the clock in place of leading random bits: rand_a holds the microsecond
 * (10 bits) and the counter's two highest bits, rand_b begins with the other
 * ten.  Byte order is tick order.
 */
void
eb_tick_uuid(EbTick tick, pg_uuid_t *uuid)
{
	uint64		unix_us = (uint64) (eb_tick_time(tick) + UNIX_EPOCH_OFFSET);
	uint64		ms = unix_us / 1000;
	uint32		counter = (uint32) (tick & COUNTER_MASK);
	uint32		rand_a = (uint32) (unix_us % 1000) << 2 | counter >> 10;
	uint64		random = pg_prng_uint64(&pg_global_prng_state);
	unsigned char *d = uuid->data;

	d[0] = (unsigned char) (ms >> 40);
	d[1] = (unsigned char) (ms >> 32);
	d[2] = (unsigned char) (ms >> 24);
	d[3] = (unsigned char) (ms >> 16);
	d[4] = (unsigned char) (ms >> 8);
	d[5] = (unsigned char) ms;
	d[6] = (unsigned char) (0x70 | rand_a >> 8);
	d[7] = (unsigned char) rand_a;
	d[8] = (unsigned char) (0x80 | ((counter >> 4) & 0x3f));
	d[9] = (unsigned char) ((counter & 0x0f) << 4 | (random >> 48 & 0x0f));
	for (int i = 10; i < 16; i++)
	{
		d[i] = (unsigned char) random;
		random >>= 8;
	}
}

EbTick
eb_uuid_tick(const pg_uuid_t *uuid)
{
	uint64		words[2];
	uint64		ms;
	uint32		rand_a;
	uint32		counter;
	int64		us;

	/* scans of the log do this for every row */
	memcpy(words, uuid->data, sizeof(words));
	words[0] = pg_ntoh64(words[0]);
	words[1] = pg_ntoh64(words[1]);
	ms = words[0] >> 16;
	rand_a = (uint32) (words[0] & 0x0fff);
	counter = (rand_a & 3) << 10 | (uint32) ((words[1] >> 52) & 0x03ff);
	us = (int64) (ms * 1000 + (rand_a >> 2)) - UNIX_EPOCH_OFFSET;

	/* any uuid may be passed as a position: stay in the order of ids */
	if (unlikely(us < 0))
		return 0;
	if (unlikely(us > EB_LAST_TIME))
		return PG_INT64_MAX;

	return eb_time_tick(us) | counter;
}
