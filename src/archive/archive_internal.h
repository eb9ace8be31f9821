/*-------------------------------------------------------------------------
 *
 * archive_internal.h
 *	  What the files of src/archive share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_ARCHIVE_INTERNAL_H
#define EB_ARCHIVE_INTERNAL_H

#include "archive/archive.h"
#include "bus/bus.h"

/* A replay's row and progress, palloc'd. */
typedef struct EbReplay
{
	char		name[NAMEDATALEN];
	bool		backfill;		/* of a rule: what it did not route live */
	bool		handover;		/* to_queue, then the rule is enabled */
	char	   *state;
	char	   *bus;
	char	   *archive;		/* optional, as all pointers below */
	char	  **rules;
	int			nrules;
	char	   *to_queue;
	Jsonb	   *pattern;
	EbTick		before;			/* 0: not known yet */
	int			max_rate;		/* 0: none */
	EbBackfillVersions versions;	/* of a backfill */
	bool		through_buses;
	bool		dry_run;
	Oid			owner;
	TransactionId xmin;			/* who wrote the row */

	EbTick		position;
	int64		scanned;
	int64		replayed;
	int64		deliveries;
	TimestampTz next_at;		/* 0: at once */
} EbReplay;

/* NULL if there is none of that name. */
extern EbReplay *eb_replay_get(const char *name);

/* Lock it to the end of the transaction; false if somebody has it. */
extern bool eb_replay_lock(const char *name, bool wait);

extern void eb_replay_set_state(const char *name, const char *state, const char *error);

/*
 * Its state, with the row locked until the end of the transaction; NULL: it
 * is gone, or somebody is changing it, who is not waited for.
 */
extern char *eb_replay_lock_state(const char *name);

/* Change it if it is in one of the states from ("{A,B}"); false if not. */
extern bool eb_replay_change_state(const char *name, const char *state, const char *from);

/* Has it not come to an end, and would go on if resumed? */
extern bool eb_replay_unfinished(const EbReplay *replay);

/* Start the backfill of a rule; privileges are checked. */
extern void eb_backfill_start(const char *name, const char *bus, const char *rule,
							  EbTick after, int64 from_version);

/*
 * The same for a FIFO queue: history goes to the queue first, then the rule,
 * which is disabled until then, is enabled.
 */
extern void eb_handover_start(const char *name, const char *bus, const char *rule,
							  const char *queue, Jsonb *pattern, EbTick after,
							  int64 from_version);

#endif							/* EB_ARCHIVE_INTERNAL_H */
