/*-------------------------------------------------------------------------
 *
 * worker_hook.c
 *	  Statements that concern the workers: what each of them wakes or stops.
 *
 *	 CREATE, ALTER, DROP EXTENSION	after commit launcher and supervisor look again
 *	 DROP DATABASE, ALTER DATABASE .. SET TABLESPACE or RENAME, and CREATE
 *	 DATABASE .. TEMPLATE of it		its workers leave first: the server
 *									refuses while anybody is connected
 *	 CREATE, ALTER DATABASE			after commit the launcher looks through them
 *	 LISTEN							to a channel of ours: from then on there
 *									are notifications
 *	 LISTEN, UNLISTEN, DISCARD ALL	what a consumer is told may change
 *	 COMMIT, ROLLBACK PREPARED		what that transaction wrote has become
 *									visible in this backend, without a callback
 *
 * Workers are stopped only for who may run the statement (the owner of the
 * database), and come back when its transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "eb.h"
#include "shmem.h"
#include "worker/worker_internal.h"

/* How long workers may take to leave by themselves, and at all. */
#define LEAVE_MS		1000
#define LEAVE_LIMIT_MS	5000

#define POLL_MS			100

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* A database is blocked by this transaction; it is dropped by it. */
static bool blocking = false;
static Oid	dropping = InvalidOid;

static bool
any_worker(EbDatabase *db, int signal)
{
	EbWorkerShared *shared = eb_worker_shared();
	bool		any = false;

	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < EB_WORKER_KINDS; i++)
	{
		if (db->workers[i].pid == 0)
			continue;
		any = true;
		if (signal != 0)
			(void) kill(db->workers[i].pid, signal);
	}
	LWLockRelease(&shared->lock);
	return any;
}

/*
 * Make the workers of a database leave, until the end of this transaction.
 * If they do not in time, the statement itself says who is connected.  One's
 * own database can be copied, and nothing else of the kind.
 */
static void
clear_database(const char *name, bool drop, bool copy)
{
	EbWorkerShared *shared = eb_worker_shared();
	Oid			database;
	EbDatabase *db;
	TimestampTz start = GetCurrentTimestamp();
	bool		killed = false;

	if (!shared || !eb_preloaded() || IsTransactionBlock())
		return;
	database = get_database_oid(name, true);
	if (!OidIsValid(database) ||
		(database == MyDatabaseId && !copy) ||
		!EB_DATABASE_OWNERCHECK(database, GetUserId()))
		return;
	db = eb_worker_database(database);
	if (!db)
		return;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (db->database == database)
		db->blocked_by = MyProcPid;
	LWLockRelease(&shared->lock);
	blocking = true;
	if (drop)
		dropping = database;
	eb_worker_signal_all(db);

	ConditionVariablePrepareToSleep(&shared->stopped);
	while (any_worker(db, 0))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (TimestampDifferenceExceeds(start, now, LEAVE_LIMIT_MS))
			break;
		if (!killed && TimestampDifferenceExceeds(start, now, LEAVE_MS))
		{
			(void) any_worker(db, SIGTERM);
			killed = true;
		}
		(void) ConditionVariableTimedSleep(&shared->stopped, POLL_MS, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

void
eb_worker_hooks_at_xact(XactEvent event)
{
	EbWorkerShared *shared;

	if (!blocking || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	shared = eb_worker_shared();
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EB_MAX_DATABASES; i++)
	{
		EbDatabase *db = &shared->databases[i];

		if (db->blocked_by != MyProcPid)
			continue;
		db->blocked_by = 0;
		if (event == XACT_EVENT_COMMIT && db->database == dropping)
			db->dropped = true;
	}
	LWLockRelease(&shared->lock);
	eb_worker_signal(&shared->launcher);
	blocking = false;
	dropping = InvalidOid;
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

static void
before_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			clear_database(((DropdbStmt *) stmt)->dbname, true, false);
			break;
		case T_CreatedbStmt:
			{
				DefElem    *option = find_option(((CreatedbStmt *) stmt)->options, "template");

				if (option && option->arg)
					clear_database(defGetString(option), false, true);
				break;
			}
		case T_AlterDatabaseStmt:
			if (find_option(((AlterDatabaseStmt *) stmt)->options, "tablespace"))
				clear_database(((AlterDatabaseStmt *) stmt)->dbname, false, false);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				clear_database(((RenameStmt *) stmt)->subname, false, false);
			break;
		case T_CreateExtensionStmt:
			if (strcmp(((CreateExtensionStmt *) stmt)->extname, "pg_eventbus") == 0)
				eb_worker_wake_at_commit();
			break;
		case T_ListenStmt:
			eb_notify_listen(((ListenStmt *) stmt)->conditionname);
			break;
		case T_UnlistenStmt:
			eb_notify_unlisten(((UnlistenStmt *) stmt)->conditionname);
			break;
		case T_DiscardStmt:
			if (((DiscardStmt *) stmt)->target == DISCARD_ALL)
				eb_notify_unlisten(NULL);
			break;
		case T_AlterExtensionStmt:
			if (strcmp(((AlterExtensionStmt *) stmt)->extname, "pg_eventbus") == 0)
				eb_worker_wake_at_commit();
			break;
		default:
			break;
	}
}

static bool
ends_prepared(Node *stmt)
{
	TransactionStmtKind kind;

	if (!IsA(stmt, TransactionStmt))
		return false;
	kind = ((TransactionStmt *) stmt)->kind;
	return kind == TRANS_STMT_COMMIT_PREPARED || kind == TRANS_STMT_ROLLBACK_PREPARED;
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	NodeTag		tag = nodeTag(stmt);
	bool		prepared_ends = ends_prepared(stmt);

	before_statement(stmt);
	if (prev_process_utility)
		prev_process_utility(pstmt, query, read_only_tree, context, params, env,
							 dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								env, dest, qc);
	if (prepared_ends)
	{
		eb_config_prepared_ended();
		eb_notify_prepared_ended();
	}
	if (tag == T_CreatedbStmt || tag == T_AlterDatabaseStmt)
		eb_worker_rescan_at_commit();
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, sub, arg);
	if (access == OAT_DROP && class == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object);

		if (name && strcmp(name, "pg_eventbus") == 0)
			eb_worker_wake_at_commit();
	}
}

void
eb_worker_hooks_install(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
