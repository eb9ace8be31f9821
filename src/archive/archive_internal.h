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

/* A replay's row and progress, palloc'd. */
typedef struct EbReplay
{
	char		name[NAMEDATALEN];
	bool		backfill;
	char	   *state;
	char	   *bus;
	char	   *archive;		/* optional, as all pointers below */
	char	  **rules;
	int			nrules;
	char	   *to_queue;
	Jsonb	   *pattern;
	EbTick		before;			/* 0: not known yet */
	int			max_rate;		/* 0: none */
	bool		through_buses;
	bool		dry_run;
	Oid			owner;
	TransactionId xmin;			/* who wrote the row */

	EbTick		position;
	int64		scanned;
	int64		replayed;
	int64		deliveries;
	TimestampTz updated_at;
} EbReplay;

/* NULL if there is none of that name. */
extern EbReplay *eb_replay_get(const char *name);

/* Lock it to the end of the transaction; false if somebody has it. */
extern bool eb_replay_lock(const char *name, bool wait);

extern void eb_replay_set_state(const char *name, const char *state, const char *error);

/* Start the backfill of a rule; privileges are checked. */
extern void eb_backfill_start(const char *name, const char *bus, const char *rule,
							  EbTick after);

#endif							/* EB_ARCHIVE_INTERNAL_H */
