/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  Shared memory: one block, a section per module.
 *
 * The block exists if the library is preloaded, or from PostgreSQL 17 on
 * through the DSM registry.  On 15 and 16 without preload there is none, and
 * every user must work without it: eb_shmem_section() returns NULL then.
 *
 * A section belongs to one module, whose header says who may write which
 * field under which lock.  It is zeroed, then set up once by the module's
 * init function.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_SHMEM_H
#define EB_SHMEM_H

typedef enum EbShmemSection
{
	EB_SHMEM_CLOCK,				/* clock.c */
	EB_SHMEM_CATALOG,			/* catalog.c: configuration epoch */
	EB_SHMEM_HORIZON,			/* log_horizon.c: open publishers */
	EB_SHMEM_QUEUE,				/* queue_floor.c: slots, announcements */
	EB_SHMEM_RULESET,			/* bus_ruleset.c: directory of compiled rule sets */
	EB_SHMEM_WORKER,			/* worker_shmem.c: worker states, wake-ups */
	EB_SHMEM_ONCE,				/* once_rotate.c: duplicates counted */
	EB_SHMEM_SECTIONS
} EbShmemSection;

/*
 * Sizes and initialisers, called by shmem.c alone, which lists them.  init
 * runs once, under AddinShmemInitLock or the DSM registry's lock: it may set
 * up its section, nothing else.
 */
extern Size eb_clock_shmem_size(void);
extern void eb_clock_shmem_init(void *section);
extern Size eb_horizon_shmem_size(void);
extern void eb_horizon_shmem_init(void *section);
extern Size eb_catalog_shmem_size(void);
extern void eb_catalog_shmem_init(void *section);
extern Size eb_queue_shmem_size(void);
extern void eb_queue_shmem_init(void *section);
extern Size eb_ruleset_shmem_size(void);
extern void eb_ruleset_shmem_init(void *section);
extern Size eb_once_shmem_size(void);
extern void eb_once_shmem_init(void *section);
extern Size eb_worker_shmem_size(void);
extern void eb_worker_shmem_init(void *section);

/*
 * The section, or NULL without shared memory.  Cheap after the first call in
 * a process.
 */
extern void *eb_shmem_section(EbShmemSection section);

/* Was the library preloaded (workers and hooks exist)? */
extern bool eb_preloaded(void);

/* LWLock tranche of the extension, for LWLocks that lie in sections. */
extern int	eb_shmem_tranche(void);

#endif							/* EB_SHMEM_H */
