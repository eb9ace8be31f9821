/*-------------------------------------------------------------------------
 *
 * archive.h
 *	  Archives (what is kept how long) and replays (delivering it again).
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_ARCHIVE_H
#define EB_ARCHIVE_H

#include "log/log.h"
#include "nodes/parsenodes.h"
#include "pattern/pattern.h"

/* Privileges on an archive's view. */
#define EB_ARCHIVE_READ		ACL_SELECT
#define EB_ARCHIVE_ADMIN	ACL_TRUNCATE

typedef struct EbArchive
{
	char		name[NAMEDATALEN];
	char		bus[NAMEDATALEN];
	int32		bus_id;			/* 0: the bus was deleted */
	Oid			view;
	bool		enabled;
	bool		forever;
	Interval	retention;
	EbPatternSet *pattern;		/* NULL: all events */
} EbArchive;

/* Look up by name, in the current context; an error if it does not exist. */
extern EbArchive *eb_archive_get(const char *name);

/* NULL if it does not exist. */
extern EbArchive *eb_archive_find(const char *name);

/*
 * What reads of an archive go over: its events after *after, which is raised
 * to where its retention begins.
 */
extern void eb_archive_clamp(const EbArchive *archive, EbTick *after);

/*
 * Does a row of the log match?  bus_id: of which bus; pattern NULL: all.
 * context is reset in each call.
 */
extern bool eb_archive_row_matches(const EbLogRow *row, int32 bus_id,
								   const EbPatternSet *pattern, MemoryContext context);

/* archive_read.c: position bounds from time bounds; NULL means none. */
extern EbTick eb_archive_after(bool isnull, TimestampTz from);

/* ---- for the maintainer ---- */

/* Count an archive's events on; returns true if there is more to count at once. */
extern bool eb_archive_count(const char *archive);

/* Names of all archives, in the current context. */
extern int	eb_archive_list(char ***names);

/* What a step of a replay has to say. */
typedef enum EbReplayOutcome
{
	EB_REPLAY_MORE,				/* call again at once */
	EB_REPLAY_LATER,			/* nothing to do before *due */
	EB_REPLAY_ENDED				/* or paused, failed, busy elsewhere */
} EbReplayOutcome;

/*
 * One chunk of a replay, in the current transaction; the caller commits.  A
 * chunk that raises is rolled back by the caller, who calls eb_replay_fail
 * in a new transaction.
 */
extern EbReplayOutcome eb_replay_chunk(const char *replay, bool wait, TimestampTz *due);
extern void eb_replay_fail(const char *replay, const char *message);

/* Names of replays that have work, in the current context. */
extern int	eb_replay_list(char ***names);

#endif							/* EB_ARCHIVE_H */
