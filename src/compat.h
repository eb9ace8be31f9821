/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the server versions 15 to 18, and nothing else.
 *
 * Each entry gives the newest server's name to older ones, with the version
 * at which it can go.  No other file reads PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_COMPAT_H
#define EB_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pg_eventbus needs PostgreSQL 15 or later"
#endif

/* 16 moved the varlena macros out of postgres.h (goes with 15). */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 renamed RelFileNode and its parts (goes with 15). */
#if PG_VERSION_NUM < 160000
#include "storage/relfilenode.h"
typedef RelFileNode RelFileLocator;
#define EB_RELATION_LOCATOR(rel)	((rel)->rd_node)
#define EB_LOCATOR_NUMBER(loc)		((loc).relNode)
#define RelFileLocatorEquals(a, b)	RelFileNodeEquals(a, b)
#else
#include "storage/relfilelocator.h"
#define EB_RELATION_LOCATOR(rel)	((rel)->rd_locator)
#define EB_LOCATOR_NUMBER(loc)		((loc).relNumber)
#endif

/* 16: table_tuple_update() reports which indexes need entries (goes with 15). */
#if PG_VERSION_NUM < 160000
typedef bool EbUpdateIndexes;
#define EB_UPDATES_ALL_INDEXES(u)	(u)
#else
#define EbUpdateIndexes	TU_UpdateIndexes
#define EB_UPDATES_ALL_INDEXES(u)	((u) == TU_All)
#endif

/* 17: backends are numbered by ProcNumber from 0; before, by BackendId from 1 (goes with 16). */
#if PG_VERSION_NUM < 170000
#include "storage/backendid.h"
#define EB_MY_PROC_NUMBER	(MyBackendId - 1)
#define EB_PROC_BY_NUMBER(n)	BackendIdGetProc((n) + 1)
#define EB_SIGNAL_NUMBER(n)	((n) + 1)
#else
#define EB_MY_PROC_NUMBER	MyProcNumber
#define EB_PROC_BY_NUMBER(n)	GetPGProcByNumber(n)
#define EB_SIGNAL_NUMBER(n)	(n)
#endif

/* 17: a process's place in shared memory has a type of its own (goes with 16). */
#if PG_VERSION_NUM < 170000
#define EB_PROC_NUMBER(proc)	((proc)->pgprocno)
#else
#define EB_PROC_NUMBER(proc)	GetNumberFromPGProc(proc)
#endif

/* 17: named shared memory without preload (goes with 16). */
#if PG_VERSION_NUM >= 170000
#define EB_HAVE_DSM_REGISTRY 1
#endif

/* 18: the primary key's index may be deferrable, which ours are not (goes with 17). */
#if PG_VERSION_NUM < 180000
#define EB_PRIMARY_KEY_INDEX(rel)	RelationGetPrimaryKeyIndex(rel)
#else
#define EB_PRIMARY_KEY_INDEX(rel)	RelationGetPrimaryKeyIndex(rel, false)
#endif

/* 18: the mark of functions that do not return stands first (goes with 17). */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* 18: index scans can count for EXPLAIN, which ours need not (goes with 17). */
#if PG_VERSION_NUM < 180000
#define EB_INDEX_BEGINSCAN(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, nkeys, 0)
#else
#define EB_INDEX_BEGINSCAN(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#endif

/* 16: index entries of BRIN alone can be asked for (goes with 15). */
#if PG_VERSION_NUM < 160000
#define EB_EXEC_INSERT_INDEX_TUPLES(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL)
#else
#define EB_EXEC_INSERT_INDEX_TUPLES(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL, false)
#endif

/* 18: a conditional wait may log why it failed (goes with 17). */
#if PG_VERSION_NUM < 180000
#define EB_XACT_HAS_ENDED(xid)	ConditionalXactLockTableWait(xid)
#else
#define EB_XACT_HAS_ENDED(xid)	ConditionalXactLockTableWait(xid, false)
#endif

/* 18: portals are run once as a matter of course (goes with 17). */
#if PG_VERSION_NUM < 180000
#define EB_PORTAL_RUN(portal, count, toplevel, dest, altdest, qc) \
	PortalRun(portal, count, toplevel, true, dest, altdest, qc)
#else
#define EB_PORTAL_RUN(portal, count, toplevel, dest, altdest, qc) \
	PortalRun(portal, count, toplevel, dest, altdest, qc)
#endif

/* 17: BRIN look-ups take no snapshot any more (goes with 16). */
#if PG_VERSION_NUM < 170000
#define EB_BRIN_REVMAP(index, snapshot) \
	brinRevmapInitialize(index, &(BlockNumber) {0}, snapshot)
#define EB_BRIN_GET_TUPLE(revmap, block, buffer, offset, size, snapshot) \
	brinGetTupleForHeapBlock(revmap, block, buffer, offset, size, BUFFER_LOCK_SHARE, snapshot)
#else
#define EB_BRIN_REVMAP(index, snapshot) \
	brinRevmapInitialize(index, &(BlockNumber) {0})
#define EB_BRIN_GET_TUPLE(revmap, block, buffer, offset, size, snapshot) \
	brinGetTupleForHeapBlock(revmap, block, buffer, offset, size, BUFFER_LOCK_SHARE)
#endif

/* 17: BRIN keeps state over insertions that must be let go (goes with 16). */
#if PG_VERSION_NUM < 170000
#define index_insert_cleanup(index, info)	((void) 0)
#endif

/* 16: object_ownercheck() replaced the per-catalog functions (goes with 15). */
#if PG_VERSION_NUM < 160000
#define EB_DATABASE_OWNERCHECK(oid, role)	pg_database_ownercheck(oid, role)
#else
#define EB_DATABASE_OWNERCHECK(oid, role)	object_ownercheck(DatabaseRelationId, oid, role)
#endif

/* 16: object_aclcheck() replaced the per-catalog functions (goes with 15). */
#if PG_VERSION_NUM < 160000
#define EB_PROC_ACLCHECK(oid, role, mode)	pg_proc_aclcheck(oid, role, mode)
#else
#include "catalog/pg_proc.h"
#define EB_PROC_ACLCHECK(oid, role, mode)	object_aclcheck(ProcedureRelationId, oid, role, mode)
#endif

#endif							/* EB_COMPAT_H */
